//! Informers of all that decisions need, and the changes that they tell the scheduling loop.

use crate::binder::Bound;
use crate::node::NodeInfo;
use crate::pod::{Labels, PodInfo};
use crate::volumes::{Claim, Class, Volume};
use crate::watched::{Budget, Digest, NamespaceLabels, OwnerSelector, ServiceSelector, Watched};
use futures::future::join_all;
use std::sync::Arc;
use steersman_api::k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use steersman_api::k8s_openapi::api::core::v1::ReplicationController;
use steersman_apimachinery::selector::LabelSelector;
use steersman_client::{Client, Event, Informer, InformerBuilder, Object};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the scheduling loop is told. `None` where an object is gone.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Change {
    Pod(Arc<PodInfo>),
    PodGone(Arc<PodInfo>),
    Node(Arc<NodeInfo>),
    NodeGone(String),
    Namespace(String, Option<Labels>),
    /// Namespace of a service, and its selector before and now.
    Service(String, Option<Labels>, Option<Labels>),
    /// `<kind>/<namespace>/<name>`.
    Owner(String, Option<Arc<LabelSelector>>),
    Budget(String, Option<Arc<Budget>>),
    Claim(String, Option<Arc<Claim>>),
    Volume(String, Option<Arc<Volume>>),
    Class(String, Option<Arc<Class>>),
    /// A pod was bound, or could not be.
    Bound(Bound),
}

/// Where changes go.
pub type Changes = UnboundedSender<Change>;

/// Running informers.
pub struct Running {
    tasks: Vec<JoinHandle<()>>,
    synced: Vec<futures::future::BoxFuture<'static, ()>>,
}

/// An object's digest, if it is still there.
type Now<D> = Option<Arc<D>>;

struct Starter<'a> {
    client: &'a Client,
    changes: &'a Changes,
    stop: &'a CancellationToken,
    running: Running,
}

impl Starter<'_> {
    /// Follows objects of one type; `tell` makes a change of an object's key, its digest before and its digest now.
    fn follow<D: Digest>(&mut self, tell: impl Fn(&Watched<D>, Now<D>, Now<D>) -> Change + Send + Sync + 'static) {
        self.follow_some(|builder| builder, tell);
    }

    fn follow_some<D: Digest>(
        &mut self,
        choose: impl FnOnce(InformerBuilder<Watched<D>>) -> InformerBuilder<Watched<D>>,
        tell: impl Fn(&Watched<D>, Now<D>, Now<D>) -> Change + Send + Sync + 'static,
    ) {
        let informer = choose(Informer::<Watched<D>>::builder(self.client.clone())).build();
        let changes = self.changes.clone();
        informer.add_handler(move |event| {
            let object = event.object();
            let now = (!matches!(event, Event::Deleted { .. })).then(|| object.digest.clone());
            // After shutdown nobody listens any more.
            let _ = changes.send(tell(object, event.old().map(|o| o.digest.clone()), now));
        });
        self.running.tasks.push(informer.spawn(self.stop));
        self.running.synced.push(Box::pin(async move { informer.synced().await }));
    }
}

/// Starts all informers.
pub fn start(client: &Client, changes: &Changes, stop: &CancellationToken) -> Running {
    let mut all = Starter { client, changes, stop, running: Running { tasks: Vec::new(), synced: Vec::new() } };
    all.follow::<NodeInfo>(|object, _, now| match now {
        Some(node) => Change::Node(node),
        None => Change::NodeGone(object.name().to_owned()),
    });
    all.follow::<NamespaceLabels>(|object, _, now| {
        Change::Namespace(object.name().to_owned(), now.map(|n| n.0.clone()))
    });
    all.follow::<ServiceSelector>(|object, old, now| {
        let selector = |s: Now<ServiceSelector>| s.and_then(|s| s.0.clone());
        Change::Service(object.namespace().to_owned(), selector(old), selector(now))
    });
    all.follow::<OwnerSelector<ReplicaSet>>(|object, _, now| owner(object, now.map(|o| o.selector.clone())));
    all.follow::<OwnerSelector<StatefulSet>>(|object, _, now| owner(object, now.map(|o| o.selector.clone())));
    all.follow::<OwnerSelector<ReplicationController>>(|object, _, now| owner(object, now.map(|o| o.selector.clone())));
    all.follow::<Budget>(|object, _, now| Change::Budget(object.key().to_string(), now));
    all.follow::<Claim>(|object, _, now| Change::Claim(object.key().to_string(), now));
    all.follow::<Volume>(|object, _, now| Change::Volume(object.name().to_owned(), now));
    all.follow::<Class>(|object, _, now| Change::Class(object.name().to_owned(), now));
    // Pods that have run to their end need no room any more.
    all.follow_some::<PodInfo>(
        |builder| builder.fields("status.phase!=Succeeded,status.phase!=Failed"),
        |object, _, now| match now {
            Some(pod) => Change::Pod(pod),
            None => Change::PodGone(object.digest.clone()),
        },
    );
    all.running
}

fn owner<D: Digest>(object: &Watched<D>, selector: Option<Arc<LabelSelector>>) -> Change {
    use steersman_api::k8s_openapi::Resource;
    Change::Owner(format!("{}/{}/{}", D::From::KIND, object.namespace(), object.name()), selector)
}

impl Running {
    /// Waits until all hold a whole list.
    pub async fn synced(&mut self) {
        join_all(std::mem::take(&mut self.synced)).await;
    }

    /// Waits until all have ended after shutdown.
    pub async fn stopped(self) {
        join_all(self.tasks).await;
    }
}
