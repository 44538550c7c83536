//! OpenAPI v2 and v3 documents, made from the facts of the types and a list of resources.
//!
//! Entry point: [`OpenApi`], which holds one [`Api`] per group and version and gives finished [`Document`]s for
//! `/openapi/v2`, `/openapi/v3` and the paths below it. Documents are made when they are first asked for, and kept
//! compressed. Descriptions of types and fields are those that `k8s-openapi` carries.
//!
//! Invariant: this crate never does IO and knows no resource by name.

mod api;
mod descriptions;
mod document;
mod gnostic;
mod names;
mod operation;
mod paths;
mod registry;
mod schema;

pub use api::{Api, Resource, Subresource};
pub use document::Document;
pub use registry::OpenApi;
pub use schema::Dialect;
