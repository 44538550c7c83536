//! The group `autoscaling`: horizontal pod autoscalers, in versions `v1` and `v2`; `v2` is stored.

mod annotations;
mod conversion;
mod print;
pub mod v1;
pub mod v2;
mod validation;
