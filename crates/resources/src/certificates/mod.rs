//! `certificates.k8s.io`.

pub mod certificatesigningrequests;
mod columns;
mod csr_validation;
