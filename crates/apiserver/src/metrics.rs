//! What the server counts, under upstream's names.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::OnceLock;
use std::time::Duration;
use steersman_admission::{Admitted, Figures, Observer, Operation};
use steersman_component::metrics::Metrics;

/// What a request was about; the names are those of the table of resources, so nothing is copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
#[allow(missing_docs)]
pub struct Subject {
    pub verb: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
    pub scope: &'static str,
    pub component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    dry_run: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupResource {
    group: String,
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cluster {
    storage_cluster_id: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Deprecated {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    removed_release: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    name: &'static str,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kinds {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
}

/// Bounds of request durations, seconds (upstream's).
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];
/// Bounds of answer sizes, bytes (upstream's).
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Bounds of the time that admission takes, seconds (upstream's).
const ADMISSION: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

type Durations = Family<Subject, Histogram, fn() -> Histogram>;

/// The server's own metrics.
#[derive(Clone)]
pub struct Instruments {
    requests: Family<Answered, Counter>,
    durations: Durations,
    slis: Durations,
    sizes: Durations,
    inflight: Family<Kind, Gauge>,
    long_running: Family<Subject, Gauge>,
    terminations: Family<Answered, Counter>,
    objects: Family<GroupResource, Gauge>,
    storage_size: Family<Cluster, Gauge>,
    deprecated: Family<Deprecated, Gauge>,
    admission_steps: Family<Step, Histogram, fn() -> Histogram>,
    admission_controllers: Family<Controller, Histogram, fn() -> Histogram>,
    watch_events: Family<Kinds, Counter>,
    panics: Counter,
    tls_errors: Counter,
}

impl Instruments {
    /// Registers all of them.
    pub fn new(metrics: &Metrics) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let bytes: fn() -> Histogram = || Histogram::new(BYTES);
        let admission: fn() -> Histogram = || Histogram::new(ADMISSION);
        let me = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(seconds),
            slis: Family::new_with_constructor(seconds),
            sizes: Family::new_with_constructor(bytes),
            inflight: Family::default(),
            long_running: Family::default(),
            terminations: Family::default(),
            objects: Family::default(),
            storage_size: Family::default(),
            deprecated: Family::default(),
            admission_steps: Family::new_with_constructor(admission),
            admission_controllers: Family::new_with_constructor(admission),
            watch_events: Family::default(),
            panics: Counter::default(),
            tls_errors: Counter::default(),
        };
        metrics.with(|r| {
            r.register(
                "apiserver_request",
                "Requests, by what they were about and how they were answered",
                me.requests.clone(),
            );
            r.register("apiserver_request_duration_seconds", "Time to answer, seconds", me.durations.clone());
            r.register(
                "apiserver_request_sli_duration_seconds",
                "Time to answer without webhooks and queues, seconds",
                me.slis.clone(),
            );
            r.register("apiserver_response_sizes", "Size of answers, bytes", me.sizes.clone());
            r.register("apiserver_current_inflight_requests", "Requests in flight", me.inflight.clone());
            r.register("apiserver_longrunning_requests", "Watches and streams that are open", me.long_running.clone());
            r.register("apiserver_request_terminations", "Requests ended in self-defence", me.terminations.clone());
            r.register("apiserver_storage_objects", "Stored objects", me.objects.clone());
            r.register("apiserver_storage_size_bytes", "Size of etcd's database", me.storage_size.clone());
            r.register(
                "apiserver_requested_deprecated_apis",
                "Deprecated APIs that somebody asked for",
                me.deprecated.clone(),
            );
            r.register(
                "apiserver_admission_step_admission_duration_seconds",
                "Time that a whole step of admission took, seconds",
                me.admission_steps.clone(),
            );
            r.register(
                "apiserver_admission_controller_admission_duration_seconds",
                "Time that one admission plug-in took, seconds",
                me.admission_controllers.clone(),
            );
            r.register("apiserver_watch_events", "Events sent to watchers", me.watch_events.clone());
            r.register("apiserver_panics", "Requests that ended in a panic", me.panics.clone());
            r.register("apiserver_tls_handshake_errors", "TLS handshakes that failed", me.tls_errors.clone());
        });
        for kind in ["mutating", "readOnly"] {
            me.inflight.get_or_create(&Kind { request_kind: kind }).set(0);
        }
        me
    }

    /// A request was answered.
    pub fn answered(&self, s: &Subject, dry_run: bool, code: u16, took: Duration, size: Option<u64>) {
        let labels = Answered {
            verb: s.verb,
            dry_run: if dry_run { "All" } else { "" },
            group: s.group,
            version: s.version,
            resource: s.resource,
            subresource: s.subresource,
            scope: s.scope,
            component: s.component,
            code,
        };
        self.requests.get_or_create(&labels).inc();
        if !matches!(s.verb, "WATCH" | "CONNECT") {
            self.durations.get_or_create(s).observe(took.as_secs_f64());
            self.slis.get_or_create(s).observe(took.as_secs_f64());
        }
        if let Some(size) = size
            && matches!(s.verb, "GET" | "LIST")
        {
            self.sizes.get_or_create(s).observe(size as f64);
        }
    }
    /// A request was refused to protect the server.
    pub fn terminated(&self, s: &Subject, code: u16) {
        let labels = Answered {
            verb: s.verb,
            dry_run: "",
            group: s.group,
            version: s.version,
            resource: s.resource,
            subresource: s.subresource,
            scope: s.scope,
            component: s.component,
            code,
        };
        self.terminations.get_or_create(&labels).inc();
    }
    /// A handler panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }
    /// The gauge of requests in flight.
    pub fn inflight(&self, mutating: bool) -> Gauge {
        self.inflight.get_or_create_owned(&Kind { request_kind: if mutating { "mutating" } else { "readOnly" } })
    }
    /// The gauge of open streams about `s`.
    pub fn long_running(&self, s: &Subject) -> Gauge {
        self.long_running.get_or_create_owned(s)
    }
    /// The counter of events sent to watchers of a kind.
    pub fn watch_events(&self, group: &'static str, version: &'static str, kind: &'static str) -> Counter {
        self.watch_events.get_or_create_owned(&Kinds { group, version, kind })
    }
    /// A deprecated resource was asked for.
    pub fn asked_for_deprecated(&self, s: &Subject) {
        let labels = Deprecated {
            group: s.group,
            version: s.version,
            resource: s.resource,
            subresource: s.subresource,
            // None of them has a release in which it goes.
            removed_release: "",
        };
        self.deprecated.get_or_create(&labels).set(1);
    }
    /// The size of etcd's database.
    pub fn set_storage_size(&self, bytes: u64) {
        let labels = Cluster { storage_cluster_id: "etcd-0" };
        self.storage_size.get_or_create(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
    /// How many objects of each resource are stored.
    pub fn set_objects(&self, counts: &[(&'static str, &'static str, u64)]) {
        for (group, resource, n) in counts {
            let labels = GroupResource { group: (*group).to_owned(), resource: (*resource).to_owned() };
            self.objects.get_or_create(&labels).set(i64::try_from(*n).unwrap_or(i64::MAX));
        }
    }
}

impl Observer for Instruments {
    fn figures(&self, plugin: Option<&'static str>) -> Box<dyn Figures> {
        let (steps, controllers) = (self.admission_steps.clone(), self.admission_controllers.clone());
        let make = move |r#type, operation, rejected| match plugin {
            None => steps.get_or_create_owned(&Step { r#type, operation, rejected }),
            Some(name) => controllers.get_or_create_owned(&Controller { name, r#type, operation, rejected }),
        };
        Box::new(Admissions { make, known: Default::default() })
    }
}

const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];

/// The histograms of one plug-in, found without hashing their labels: dozens are written to for each request.
struct Admissions<M> {
    make: M,
    /// By step, operation and verdict. What never happened is not shown.
    known: [[[OnceLock<Histogram>; 2]; OPERATIONS.len()]; 2],
}

impl<M: Fn(&'static str, &'static str, &'static str) -> Histogram + Send + Sync> Figures for Admissions<M> {
    fn admitted(&self, Admitted { step, operation, rejected, took }: Admitted) {
        let operation = match operation {
            Operation::Create => 0,
            Operation::Update => 1,
            Operation::Delete => 2,
            Operation::Connect => 3,
        };
        let make = || (self.make)(step, OPERATIONS[operation], if rejected { "true" } else { "false" });
        let histogram = &self.known[usize::from(step == "validate")][operation][usize::from(rejected)];
        histogram.get_or_init(make).observe(took.as_secs_f64());
    }
}
