//! Objects to bytes and back: JSON, YAML and protobuf, with Go's fidelity.
//!
//! Entry points: [`decode_object`] (the body of a request, with upstream's checks and messages), [`decode`] (an object
//! of a known type), [`normalise`] (a value after a patch), [`encode`] and [`splice_resource_version`] (answers),
//! [`protobuf`], [`yaml`], and [`media::negotiate`].
//!
//! What comes out of decoding holds no unknown field, no field that Go would leave out, and every field that Go always
//! writes; times, quantities and base64 are in canonical form. So the rest of the server treats absent and empty alike.
//!
//! Invariant: this crate never knows any one resource, and does no IO.

mod decode;
mod encode;
mod json;
pub mod media;
mod normalise;
mod path;
mod presence;
pub mod protobuf;
mod scalar;
mod strict;
pub mod time;
mod untyped;
pub mod yaml;

pub use decode::{Decoded, decode, decode_object, decode_options, decode_unstructured, no_object, normalise};
pub use encode::{body_offset, encode, encode_stored, splice_resource_version};
pub use json::scan::check as check_json;
pub use json::text::first_value;
pub use media::{MediaType, Negotiated};
pub use untyped::parse;
