//! Client of the Container Runtime Interface v1, the gRPC service that containerd and CRI-O serve on a socket.
//!
//! Entry points: [`Client::connect`], and the trait [`Runtime`] that callers depend on so that a test can stand in for
//! the runtime. Messages live in [`v1`] and are made from `proto/cri/v1.proto`.
//!
//! Invariant: this crate never knows an API type of Kubernetes; it speaks sandboxes and containers, not pods.

mod client;
mod runtime;

/// Messages and raw clients of the interface, generated from `proto/cri/v1.proto`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

pub use client::Client;
pub use runtime::{Error, EventStream, Result, Runtime};
