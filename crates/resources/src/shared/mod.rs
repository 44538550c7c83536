//! What several resources share: defaults and validation of pod templates and their parts, selectors, print helpers.

pub mod cel;
pub mod claim_template;
pub mod defaults;
pub mod internal;
pub mod pod;
pub mod pod_defaults;
pub mod pod_warnings;
pub mod print;
pub mod quantity;
pub mod rules;
pub mod volume_warnings;
pub mod workload;
