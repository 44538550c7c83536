//! `apiextensions.k8s.io`.

mod columns;
mod crd_validation;
pub mod customresourcedefinitions;
