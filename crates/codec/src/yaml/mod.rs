//! YAML in and out, as `sigs.k8s.io/yaml` does it: YAML 1.1 scalars, one document, JSON's data model.

mod read;
mod resolve;
mod write;

pub use read::{Yaml, read};
pub use write::write;
