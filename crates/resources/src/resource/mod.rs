//! `resource.k8s.io`: dynamic resource allocation.

mod admin_access;
mod capacity_validation;
mod claim_validation;
mod columns;
pub mod deviceclasses;
pub mod resourceclaims;
pub mod resourceclaimtemplates;
pub mod resourceslices;
mod slice_validation;
mod status_access;
mod status_validation;

/// The group's name.
pub(crate) const GROUP: &str = "resource.k8s.io";
