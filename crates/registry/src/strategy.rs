//! What differs between resources.

use crate::{Cluster, Context};
use async_trait::async_trait;
use serde_json::Value;
use std::time::Duration;
use steersman_apimachinery::options::DeleteOptions;
use steersman_apimachinery::{ErrorList, Status};

/// The facts of a resource: what discovery lists, and where it is stored.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ResourceInfo {
    pub group: &'static str,
    pub version: &'static str,
    /// Plural.
    pub resource: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    /// As discovery lists them, sorted.
    pub verbs: &'static [&'static str],
    /// The part of the etcd key after `/registry/`, e.g. `minions`, `services/specs`; empty: not stored.
    pub prefix: &'static str,
    /// Group, version and kind that objects are stored as (equal to the above but for second versions).
    pub stored_as: (&'static str, &'static str, &'static str),
}

/// The usual verbs of a stored resource.
pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// What deletion does to dependants when the request does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DefaultGc {
    Background,
    Orphan,
}

/// A column of a Table.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` for the column that names the object, else empty.
    pub format: &'static str,
    /// Shown by `kubectl get` as a tooltip only; tables carry it all the same.
    pub description: &'static str,
    /// 0: always; 1: only `-o wide`.
    pub priority: i32,
}

/// Undoes or finishes what [`Strategy::begin_create`] and [`Strategy::begin_update`] did outside the object.
#[async_trait]
pub trait Finish: Send {
    /// Called once; `committed` says whether the object was stored.
    async fn finish(self: Box<Self>, cluster: &dyn Cluster, committed: bool);
}

/// Behaviour of one resource, or of a subresource that writes the same object (such as `status`).
///
/// Objects come as dynamic JSON that was decoded by its schema: unknown fields are gone, and fields that Go would leave
/// out (null, or empty under omitempty) are absent. So "absent" and "empty" are the same thing here, as in Go.
/// A strategy may decode the typed struct from it (`resources::typed::<Pod>(obj)`) to validate.
#[async_trait]
pub trait Strategy: Send + Sync {
    /// The facts.
    fn info(&self) -> &'static ResourceInfo;

    /// Sets the defaults of upstream's `SetDefaults_*`: after decoding, and after every patch. Idempotent.
    fn default(&self, _obj: &mut Value) {}

    /// Before a create: drop what the user may not set (such as `status`), set `metadata.generation`.
    fn prepare_for_create(&self, _ctx: &Context, _obj: &mut Value) {}
    /// Before an update: carry over from `old` what this resource or subresource may not write; bump generation.
    /// Must change `old`'s kept fields into `new`, never the other way round.
    fn prepare_for_update(&self, _ctx: &Context, _new: &mut Value, _old: &Value) {}
    /// All that is wrong with a new object (metadata is checked by the caller).
    fn validate(&self, _ctx: &Context, _obj: &Value) -> ErrorList {
        ErrorList::new()
    }
    /// All that is wrong with a change (the immutable metadata is checked by the caller).
    fn validate_update(&self, _ctx: &Context, _new: &Value, _old: &Value) -> ErrorList {
        ErrorList::new()
    }
    /// Whether upstream's update validation of this kind also runs its create validation, which checks the whole
    /// metadata once more: its mistakes are then told once more.
    fn revalidates_metadata(&self) -> bool {
        false
    }
    /// Whether upstream's update validation of this kind compares the metadata with what was there, as the general code
    /// does in any case: mistakes are then told twice.
    fn compares_metadata(&self) -> bool {
        true
    }
    /// Whether finalizers without a domain have to be the system's, as where upstream checks metadata by the core group's
    /// code. They are looked at as often as the metadata are. False also where the strategy does so itself.
    fn checks_finalizers(&self) -> bool {
        false
    }
    /// Warnings on create.
    fn warn_on_create(&self, _ctx: &Context, _obj: &Value) {}
    /// Warnings on update.
    fn warn_on_update(&self, _ctx: &Context, _new: &Value, _old: &Value) {}

    /// The rule for `metadata.name`: messages of what is wrong with it (empty: fine). `prefix` for generateName.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        steersman_apimachinery::validation::dns_subdomain(name, prefix)
    }
    /// A name for an object that has only the `base` of one (`generateName`).
    fn generate_name(&self, base: &str) -> String {
        crate::meta::generate(base)
    }
    /// Whether PUT of a missing object creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }
    /// Whether PUT may omit resourceVersion.
    fn allow_unconditional_update(&self) -> bool {
        true
    }
    /// What deletion does to dependants by default.
    fn default_gc(&self) -> DefaultGc {
        DefaultGc::Background
    }
    /// For resources that are deleted gracefully (pods): fills in `options.grace_period_seconds` and returns true.
    fn check_graceful_delete(&self, _ctx: &Context, _obj: &Value, _options: &mut DeleteOptions) -> bool {
        false
    }
    /// Whether a deletion may take place now; an error refuses it. For namespaces and the like.
    async fn before_delete(&self, _ctx: &Context, _cluster: &dyn Cluster, _obj: &Value) -> Result<(), Status> {
        Ok(())
    }
    /// For kinds with finalizers of their own beside `metadata.finalizers` (namespaces: `spec.finalizers`): whether an
    /// object must stay though it is marked as being deleted. A deletion then sets `deletionTimestamp` (and no grace
    /// period), calls [`Strategy::mark_deleting`], and answers with the object; an update through any strategy of the
    /// resource that leaves nothing holding it (and no finalizers) removes it.
    fn holds_deletion(&self, _obj: &Value) -> bool {
        false
    }
    /// What else changes in an object when a deletion marks it (namespaces: `status.phase`).
    fn mark_deleting(&self, _obj: &mut Value) {}
    /// Whether deletion answers with the object as it was; otherwise with a Status.
    fn returns_deleted_object(&self) -> bool {
        false
    }
    /// How long objects live (events).
    fn ttl(&self, _cluster: &dyn Cluster) -> Option<Duration> {
        None
    }

    /// What the rest of the cluster forbids, told before all that [`Self::validate`] or [`Self::validate_update`] find.
    async fn forbidden(&self, _ctx: &Context, _cluster: &dyn Cluster, _new: &Value, _old: Option<&Value>) -> ErrorList {
        ErrorList::new()
    }
    /// Takes what the object needs outside itself (cluster IPs, node ports), before it is prepared and validated.
    async fn begin_create(
        &self,
        _ctx: &Context,
        _cluster: &dyn Cluster,
        _obj: &mut Value,
        _dry_run: bool,
    ) -> Result<Option<Box<dyn Finish>>, Status> {
        Ok(None)
    }
    /// The same for an update.
    async fn begin_update(
        &self,
        _ctx: &Context,
        _cluster: &dyn Cluster,
        _new: &mut Value,
        _old: &Value,
        _dry_run: bool,
    ) -> Result<Option<Box<dyn Finish>>, Status> {
        Ok(None)
    }
    /// After the object is gone: give back what it held.
    async fn after_delete(&self, _ctx: &Context, _cluster: &dyn Cluster, _obj: &Value) {}

    /// Names of the fields that field selectors may use, besides `metadata.name` and, but for kinds without namespaces
    /// that have others, `metadata.namespace`.
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }
    /// What is said of a field that selectors may not use (rule: the kind's `AddFieldLabelConversionFunc`).
    fn unsupported_field(&self, field: &str) -> String {
        if self.selectable_fields().is_empty() {
            format!("\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {field}")
        }
    }
    /// The only members of members of the object, as `spec.nodeName`, that [`Self::selectable_field`] looks at besides
    /// the metadata. Saves reading the rest with every write; `None`: it is read.
    fn selectable_members(&self) -> Option<&'static [&'static str]> {
        None
    }
    /// The value of such a field. It may be given just a part of the object: scalars up to a depth of four and the first
    /// element of lists, without annotations and managedFields.
    fn selectable_field(&self, _obj: &Value, _field: &str) -> String {
        String::new()
    }

    /// Columns of the Table.
    fn columns(&self) -> &'static [Column] {
        NAME_AND_AGE
    }
    /// The cells of one object, one for each column. Ages are made with [`crate::age`].
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            steersman_apimachinery::object::name(obj).into(),
            age(steersman_apimachinery::object::creation_timestamp(obj), now).into(),
        ]
    }

    /// The `conditions` of the object's row in a Table: what makes clients grey it out.
    fn row_conditions(&self, _obj: &Value) -> Vec<Value> {
        Vec::new()
    }

    /// Field paths that a writer through this resource or subresource never owns in managedFields, as dotted paths
    /// (upstream's `GetResetFields`), e.g. `["status"]` on the main resource, `["spec", "metadata.labels"]` on status.
    fn reset_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The subresources, sorted by name.
    fn subresources(&self) -> &'static [Subresource] {
        &[]
    }

    /// For second versions: from the stored form to this version's, in place. Identity for all others.
    #[allow(clippy::wrong_self_convention, reason = "`self` is the strategy, not what is converted")]
    fn from_stored(&self, _obj: &mut Value) {}
    /// For second versions: from this version's form to the stored one, in place.
    fn to_stored(&self, _obj: &mut Value) {}
    /// Whether the above two do anything.
    fn converts(&self) -> bool {
        false
    }
}

/// One subresource: its facts for discovery, and how it behaves.
pub struct Subresource {
    /// `status`, `scale`, `log`, ...
    pub name: &'static str,
    /// Group, version, kind of its body, as discovery lists them (group and version empty where they are the parent's).
    pub kind: (&'static str, &'static str, &'static str),
    /// As discovery lists them, sorted.
    pub verbs: &'static [&'static str],
    /// How it behaves.
    pub behaviour: SubBehaviour,
}

/// How a subresource behaves.
pub enum SubBehaviour {
    /// Reads and writes the parent object under a strategy of its own (`status`, `approval`, `resize`, ...).
    Object(&'static dyn Strategy),
    /// autoscaling/v1 Scale of a workload.
    Scale(&'static ScalePaths),
    /// A body of its own, no connection: `binding`, `eviction`, `token`.
    Create(&'static dyn CreateSubresource),
    /// Needs the raw connection; the apiserver serves it: `log`, `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

/// Where a workload keeps what its Scale shows.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ScalePaths {
    pub spec_replicas: &'static [&'static str],
    pub status_replicas: &'static [&'static str],
    /// A LabelSelector object, or a plain map of labels (replication controllers).
    pub selector: &'static [&'static str],
}

/// POST to a subresource with a body of its own.
#[async_trait]
pub trait CreateSubresource: Send + Sync {
    /// `name` is the parent's; `body` is decoded and pruned by the subresource's kind, not defaulted.
    /// Returns what is answered (201), an object or a Status. Admission ran on `body` before.
    async fn create(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        namespace: &str,
        name: &str,
        body: Value,
        dry_run: bool,
    ) -> Result<Value, Status>;
    /// How the server's own update of the parent named after this subresource (`Cluster::update` with its name) writes
    /// it, e.g. a binding the node of a pod. Users cannot write through it.
    fn parent_strategy(&self) -> Option<&'static dyn Strategy> {
        None
    }
}

/// A resource without storage: reviews, `componentstatuses`, `bindings`.
#[async_trait]
pub trait Virtual: Send + Sync {
    /// The facts.
    fn info(&self) -> &'static ResourceInfo;
    /// POST.
    async fn create(
        &self,
        _ctx: &Context,
        _cluster: &dyn Cluster,
        _namespace: &str,
        _body: Value,
        _dry_run: bool,
    ) -> Result<Value, Status> {
        Err(Status::method_not_supported(&gr(self.info()), "create"))
    }
    /// GET of one.
    async fn get(&self, _ctx: &Context, _cluster: &dyn Cluster, _namespace: &str, name: &str) -> Result<Value, Status> {
        Err(Status::not_found(&gr(self.info()), name))
    }
    /// GET of all.
    async fn list(&self, _ctx: &Context, _cluster: &dyn Cluster, _namespace: &str) -> Result<Vec<Value>, Status> {
        Ok(Vec::new())
    }
    /// Columns of the Table.
    fn columns(&self) -> &'static [Column] {
        NAME_AND_AGE
    }
    /// The cells of one object.
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![
            steersman_apimachinery::object::name(obj).into(),
            age(steersman_apimachinery::object::creation_timestamp(obj), now).into(),
        ]
    }
}

/// Group and resource of a resource's facts.
pub fn gr(info: &ResourceInfo) -> steersman_apimachinery::GroupResource {
    steersman_apimachinery::GroupResource::from_static(info.group, info.resource)
}

/// One line of the table of resources.
pub enum Resource {
    /// Kept in etcd.
    Stored(&'static dyn Strategy),
    /// Computed.
    Virtual(&'static dyn Virtual),
}

/// The columns of a kind that has no others.
pub const NAME_AND_AGE: &[Column] = &[
    Column { name: "Name", kind: "string", format: "name", description: "", priority: 0 },
    Column { name: "Age", kind: "string", format: "", description: "", priority: 0 },
];

/// How long ago an RFC 3339 time was, as upstream's tables print it (`5m2s`, `3d4h`); `<unknown>` where it is empty
/// (rule: apimachinery `pkg/util/duration` HumanDuration).
pub fn age(since: &str, now: jiff::Timestamp) -> String {
    let Ok(t) = since.parse::<jiff::Timestamp>() else { return "<unknown>".into() };
    human_duration(now.as_second() - t.as_second())
}

/// Seconds as upstream prints durations for people.
pub fn human_duration(seconds: i64) -> String {
    match seconds {
        i64::MIN..-1 => return "<invalid>".into(),
        -1..0 => return "0s".into(),
        _ => {}
    }
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |a: i64, au: &str, b: i64, bu: &str| if b == 0 { format!("{a}{au}") } else { format!("{a}{au}{b}{bu}") };
    if seconds < 120 {
        format!("{seconds}s")
    } else if m < 10 {
        two(m, "m", seconds % 60, "s")
    } else if m < 180 {
        format!("{m}m")
    } else if h < 8 {
        two(h, "h", m % 60, "m")
    } else if h < 48 {
        format!("{h}h")
    } else if h < 192 {
        two(d, "d", h % 24, "h")
    } else if d < 730 {
        format!("{d}d")
    } else if d < 2920 {
        two(d / 365, "y", d % 365, "d")
    } else {
        format!("{}y", d / 365)
    }
}
