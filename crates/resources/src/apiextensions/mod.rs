//! `apiextensions.k8s.io`.

mod columns;
mod crd_formats;
mod crd_schema;
mod crd_structural;
mod crd_validation;
pub mod customresourcedefinitions;
