//! JSON text to values, in one pass, driven by the facts of the type.

pub mod parse;
pub mod scan;
pub mod text;
