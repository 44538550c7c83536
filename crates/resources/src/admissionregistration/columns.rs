//! The columns of this group's Tables; names and descriptions are part of the API (rule: `pkg/printers/internalversion`).

use crate::common::{AGE, NAME, column};
use steersman_registry::Column;

/// Columns of `mutatingadmissionpolicies`.
pub(super) const MUTATINGADMISSIONPOLICIES: &[Column] = &[
    NAME,
    column("Mutations", "integer", "Mutation indicates the number of mutations rules defined in this configuration"),
    column("ParamKind", "string", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];

/// Columns of `mutatingadmissionpolicybindings`.
pub(super) const MUTATINGADMISSIONPOLICYBINDINGS: &[Column] = &[
    NAME,
    column("PolicyName", "string", "PolicyName indicates the policy definition which the policy binding binded to"),
    column("ParamRef", "string", "ParamRef indicates the param resource which sets the configuration param"),
    AGE,
];

/// Columns of `mutatingwebhookconfigurations`.
pub(super) const MUTATINGWEBHOOKCONFIGURATIONS: &[Column] = &[
    NAME,
    column("Webhooks", "integer", "Webhooks indicates the number of webhooks registered in this configuration"),
    AGE,
];

/// Columns of `validatingadmissionpolicies`.
pub(super) const VALIDATINGADMISSIONPOLICIES: &[Column] = &[
    NAME,
    column(
        "Validations",
        "integer",
        "Validations indicates the number of validation rules defined in this configuration",
    ),
    column("ParamKind", "string", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];

/// Columns of `validatingadmissionpolicybindings`.
pub(super) const VALIDATINGADMISSIONPOLICYBINDINGS: &[Column] = &[
    NAME,
    column("PolicyName", "string", "PolicyName indicates the policy definition which the policy binding binded to"),
    column("ParamRef", "string", "ParamRef indicates the param resource which sets the configuration param"),
    AGE,
];

/// Columns of `validatingwebhookconfigurations`.
pub(super) const VALIDATINGWEBHOOKCONFIGURATIONS: &[Column] = &[
    NAME,
    column("Webhooks", "integer", "Webhooks indicates the number of webhooks registered in this configuration"),
    AGE,
];
