//! `apiregistration.k8s.io`.

pub mod apiservices;
mod columns;
