//! The facts of every type: fields, list kinds, merge keys, presence, protobuf numbers.
//!
//! Entry points: [`lookup`] (by group, version, kind) and [`definition`] (by OpenAPI name) give a [`TypeRef`];
//! [`Type::field`] leads on from there. The tables are made from `facts/*.facts` at build time (see `facts/README.md`
//! for the notation); nothing is built at run time.
//!
//! Invariant: this crate never does IO, and holds facts only, no behaviour of any kind of object.

mod table;
mod types;

pub use table::{Served, definition, definitions, is_registered, lookup, served};
pub use types::{Field, Kind, KindRef, ListType, MapType, PatchStrategy, Presence, Ref, Type, TypeRef, signature};
