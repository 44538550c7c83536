//! Typed Kubernetes v1.36 objects, and the few that k8s-openapi lacks

pub use k8s_openapi;
