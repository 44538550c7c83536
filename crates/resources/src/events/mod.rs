//! Events, as `v1` and as `events.k8s.io/v1` show them: one storage, two forms.

mod conversion;
pub mod core;
pub mod groups;
mod print;
mod validation;
