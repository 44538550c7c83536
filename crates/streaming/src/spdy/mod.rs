//! SPDY/3.1 as Kubernetes uses it: streams with headers, half-closes, resets and pings.
//!
//! Flow control is lenient: the Go peers of Kubernetes never send window updates, so a window is enforced only after
//! the peer has shown that it takes part.

mod frame;
mod headers;
mod session;

pub use frame::{Decoder, Encoder, Error, Frame, ResetStatus};
pub use headers::Headers;
pub use session::{Session, Side, Stream, StreamReader, StreamWriter};

/// The value of the `Upgrade` header.
pub const UPGRADE: &str = "SPDY/3.1";
