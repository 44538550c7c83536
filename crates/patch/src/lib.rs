//! The four kinds of patches: JSON patch, merge patch, strategic merge patch and server-side apply.
//!
//! Entry points: [`json::Patch`], [`merge::apply`], [`strategic::apply`]; [`managed::update`] (records who owns what
//! after a create, update or patch) and [`managed::apply`] (server-side apply). All of them work on JSON values and on
//! the facts of `steersman-schema`; an object whose type is unknown is treated by the shape of its values.
//!
//! Invariant: this crate never does IO, and knows neither verbs nor HTTP, only what a patch makes of an object.

pub mod fieldset;
pub mod go;
pub mod json;
pub mod managed;
pub mod merge;
pub mod strategic;
mod typed;
