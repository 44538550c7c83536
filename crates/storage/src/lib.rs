//! The etcd store and the watch cache: keys, bytes, revisions.
//!
//! Entry points: [`Storage`] (one etcd cluster: guarded writes, and the feed that fills the caches), [`Cache`] (all
//! objects under one prefix, ready to be copied out) and [`Watcher`] (a place in a cache's ring of events).
//!
//! One watch of all keys of etcd feeds all caches, so the highest revision seen is a fact about every one of them: that
//! makes consistent reads from memory right without etcd's progress notifications (`docs/adr/0002-one-etcd-watch.md`).
//!
//! Invariant: this crate never knows a kind of object and never speaks HTTP. What it keeps is opaque to it but for the
//! place of `metadata.resourceVersion`.

mod cache;
mod compact;
mod config;
mod entry;
mod error;
mod etcd;
mod feed;
pub mod json;
mod lease;
mod pairs;
mod probe;
mod ring;
mod storage;
mod tree;
mod watcher;

pub use cache::{Cache, CacheSpec, Decode, Decoded, Listed, Scope, Select};
pub use config::StorageConfig;
pub use entry::{Attributes, Entry};
pub use error::Error;
pub use etcd::{Raw, Written};
pub use pairs::Pairs;
pub use ring::Event;
pub use storage::Storage;
pub use watcher::{Change, Next, Watcher};
