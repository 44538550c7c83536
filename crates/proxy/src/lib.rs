//! kube-proxy: what services say becomes rules of the kernel's packet filter.
//!
//! The way of a change: informers → [`controller`] (which service is dirty) → [`model`] (pure: ports and usable
//! endpoints) → [`rules`] (pure: the fragment of rules of one service) → [`nftables`] (the difference of two fragments, as
//! one transaction).
//!
//! Invariant: this crate never lists what it wrote to the kernel, never touches tables of others, and never asks the
//! kubelet anything.

pub mod conntrack;
pub mod controller;
pub mod flags;
pub mod health_check;
pub mod model;
pub mod nftables;
pub mod rules;
