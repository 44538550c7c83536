//! kube-apiserver: the API over HTTPS.
//!
//! Entry point: [`app::run`]. A connection ([`server`]) hands each request to [`api::Api::answer`], which leads it
//! through the filters (authentication, impersonation, limits, authorisation) to [`routes`] and [`handlers`], or to
//! [`nonresource`] (discovery, health, metrics) or [`connect`] (logs, exec, proxy). [`bootstrap`] writes the objects
//! that a cluster has from the start.
//!
//! Invariant: this crate never talks to etcd and holds no rule of any one resource; it turns HTTP into the registry's
//! verbs and their answers into HTTP.

mod admission;
pub mod api;
pub mod app;
mod authn;
mod authz;
pub mod body;
pub mod bootstrap;
pub mod config;
pub mod connect;
mod cors;
mod decode;
pub mod discovery;
mod encode;
pub mod flags;
mod frames;
mod handlers;
mod impersonate;
mod inflight;
mod linger;
mod lists;
mod metrics;
mod negotiate;
mod nonresource;
mod openapi;
mod options;
mod peer;
mod query;
mod request_info;
mod respond;
mod routes;
mod runtime_config;
pub mod server;
mod tls;
mod tokens;
mod transform;
mod warnings;
mod watch;
mod websocket;
