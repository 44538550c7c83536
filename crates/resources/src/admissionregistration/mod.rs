//! `admissionregistration.k8s.io`.

mod columns;
mod defaults;
pub mod mutatingadmissionpolicies;
pub mod mutatingadmissionpolicybindings;
pub mod mutatingwebhookconfigurations;
mod param_access;
mod policy_validation;
mod rule_validation;
pub mod validatingadmissionpolicies;
pub mod validatingadmissionpolicybindings;
pub mod validatingwebhookconfigurations;
mod webhook_validation;

/// The group's name.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

pub(crate) use webhook_validation::{service as check_webhook_service, url as check_webhook_url};
