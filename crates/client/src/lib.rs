//! The Kubernetes client of all our components: requests, informers, work queues, lease election and events.
//!
//! Entry points:
//! * [`Client`]: typed requests over any `k8s_openapi` type, one multiplexed HTTP/2 connection, no client-side
//!   throttle. `Client::new(Config::from_kubeconfig(path)?)`, then
//!   `client.get::<Pod>("default", "web").await?`; an empty namespace means "cluster-scoped" or "all namespaces".
//! * [`Informer`]: list and watch into a [`Store`] with indexes and handlers; [`Informers`] shares one informer of each
//!   kind among all users in the process.
//! * [`WorkQueue`] and [`run_workers`]: keyed, deduplicating, rate-limited work.
//! * [`LeaderElector`]: one active replica among many.
//! * [`EventRecorder`]: events that users see in `kubectl describe`.
//!
//! A typical component:
//! ```ignore
//! let informers = Informers::new(client.clone());
//! let pods = informers.get::<Pod>();
//! pods.add_index("node", |pod| pod.spec.iter().filter_map(|s| s.node_name.clone()).collect());
//! let queue = WorkQueue::new();
//! pods.add_handler({ let queue = queue.clone(); move |event| queue.add(event.object().key()) });
//! informers.start(&shutdown);
//! informers.synced().await;
//! run_workers("pods", &queue, 5, &shutdown, move |key: ObjectKey| { let pods = pods.clone(); async move {
//!     let Some(pod) = pods.store().get(&key) else { return Ok(Action::Done) };
//!     Ok(Action::RequeueAfter(Duration::from_secs(30)))
//! }}).await;
//! ```
//!
//! Invariant: this crate never decides anything for a controller, never polls, and never builds a dynamic tree of an
//! object that a watch delivers: objects decode straight from the stream into their types.

mod backoff;
mod client;
mod config;
mod delegated;
mod error;
mod events;
mod informer;
mod kubeconfig;
pub mod labels;
mod leader;
mod object;
mod params;
mod reflector;
mod store;
mod tls;
mod transport;
mod watch;
mod workqueue;

pub use backoff::Backoff;
pub use client::Client;
pub use config::{Config, Identity, TokenSource};
pub use delegated::DelegatedAuth;
pub use error::Error;
pub use events::{EventRecorder, EventType, object_reference};
pub use informer::{Event, Informer, InformerBuilder, Informers};
pub use leader::{LeaderElectionConfig, LeaderElectionError, LeaderElector, leader_identity};
pub use object::{List, Object, ObjectKey, PartialObjectMetadata, ResourcePath};
pub use params::{DeleteOptions, GetOptions, ListOptions, Patch, PatchOptions, PropagationPolicy, WriteOptions};
pub use reflector::Source;
pub use store::Store;
pub use watch::{WatchEvent, WatchStream};
pub use workqueue::{Action, WorkQueue, run_workers};

/// The result of a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;
