//! What each binary shares: flags, feature gates, logs, health, metrics, the side server and shutdown.
//!
//! Entry points: [`flags::parse_or_exit`], [`logs::init`], [`shutdown::on_signals`], [`health::Health`],
//! [`metrics::Metrics`], [`serve::Server`] and [`secure`] (its TLS and its delegated guard).
//!
//! Invariant: this crate never knows a component: what differs comes in as tables and closures.

pub mod features;
pub mod flags;
pub mod health;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod secure;
pub mod serve;
pub mod shutdown;
pub mod version;
