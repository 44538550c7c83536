//! Ownership after a write that is no apply.

use super::entries::{self, Entry, stamp};
use super::{Converted, ManagerContext};
use crate::fieldset::FieldSet;
use crate::typed::{Comparison, Node, compare, empty_object, reconcile};
use serde_json::{Value, json};
use std::sync::LazyLock;
use steersman_apimachinery::object;
use steersman_schema::Type;

/// The most entries of managers that do not apply; beyond, the oldest are merged.
const MAX_UPDATE_MANAGERS: usize = 10;
/// The manager of what was merged.
const ANCIENT: &str = "ancient-changes";

/// What nobody ever owns (rule: `stripMetaManager`).
static STRIPPED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::from_paths([
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.namespace",
        "metadata.creationTimestamp",
        "metadata.selfLink",
        "metadata.uid",
        "metadata.clusterName",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.resourceVersion",
    ])
});

/// Takes away what nobody ever owns.
pub(super) fn strip(set: &mut FieldSet) {
    set.subtract(&STRIPPED);
}

/// Records in `new`, the object to be stored, what its writer changed of `live` (none on create). Managers lose what
/// others change. The list of `new` counts where it is valid and not empty, except through a subresource; an empty one
/// (`[]`, or `[{}]`) clears it.
pub fn update(live: Option<&Value>, new: &mut Value, ty: Option<&Type>, ctx: &ManagerContext<'_>) {
    let given = entries::take(new);
    let stored = live.map_or(&[][..], |l| object::list(l, &["metadata", "managedFields"]));
    let managers = match given {
        // What came through unchanged needs no copy and no check.
        Some(list) if list == stored => entries::decode_stored(list),
        Some(list) if ctx.subresource.is_empty() => {
            if entries::is_reset(&list) {
                Some(Vec::new())
            } else {
                entries::decode_foreign(list)
                    .filter(|m| !m.is_empty())
                    .or_else(|| entries::decode_stored(stored.to_vec()))
            }
        }
        _ => entries::decode_stored(stored.to_vec()),
    };
    let mut managers = managers.unwrap_or_default();
    // An object that nobody tracks stays so until somebody applies it.
    if managers.is_empty() && live.is_some_and(|l| !object::uid(l).is_empty()) {
        return;
    }
    let nothing;
    let old = match live {
        Some(live) => live,
        None => {
            nothing = ty.map_or_else(|| json!({}), empty_object);
            &nothing
        }
    };
    for m in managers.iter_mut().filter(|m| m.api_version == ctx.api_version) {
        reconcile(Node::root(ty), &mut m.fields);
    }
    record(old, new, ty, &mut managers, ctx);
    entries::put(new, managers);
}

/// The same on a decoded list; `new` is not changed.
pub(super) fn record(old: &Value, new: &Value, ty: Option<&Type>, managers: &mut Vec<Entry>, ctx: &ManagerContext<'_>) {
    let change = take_from_others(old, new, ty, managers, None, ctx);
    let mut taken = change.modified;
    taken.absorb(change.added);
    ctx.filter.apply(&mut taken);
    strip(&mut taken);
    if !taken.is_empty() {
        let mut mine = Entry::new(ctx, false);
        mine.time = stamp(ctx);
        match managers.iter_mut().find(|m| m.is_same_manager(&mine)) {
            Some(entry) => {
                entry.fields.absorb(taken);
                entry.time = mine.time;
            }
            None => {
                mine.fields = taken;
                managers.push(mine);
            }
        }
    }
    cap(managers);
}

/// Takes what changed from every manager but `except`, drops those that own nothing then and those whose version is
/// gone, and returns the change (rule: `Updater.update` with force).
pub(super) fn take_from_others(
    old: &Value,
    new: &Value,
    ty: Option<&Type>,
    managers: &mut Vec<Entry>,
    except: Option<&Entry>,
    ctx: &ManagerContext<'_>,
) -> Comparison {
    let changes = Changes::new(old, new, ty, ctx);
    let mut others = changes.others(managers);
    managers.retain_mut(|m| {
        let is_self = except.is_some_and(|e| e.is_same_manager(m));
        if !is_self {
            let Some(change) = changes.of(&m.api_version, &others) else { return false };
            for set in [&change.modified, &change.added, &change.removed] {
                if !set.is_empty() {
                    m.fields.subtract(set);
                }
            }
        }
        !m.fields.is_empty()
    });
    others.clear();
    changes.own
}

/// The change of an object in every version that some manager speaks.
pub(super) struct Changes<'a> {
    pub own: Comparison,
    old: &'a Value,
    new: &'a Value,
    ctx: &'a ManagerContext<'a>,
}

/// The change in other versions; none where the version is gone.
pub(super) type Others = Vec<(String, Option<Comparison>)>;

impl<'a> Changes<'a> {
    pub fn new(old: &'a Value, new: &'a Value, ty: Option<&Type>, ctx: &'a ManagerContext<'a>) -> Self {
        let mut own = compare(Node::root(ty), old, new);
        filter(&mut own, ctx);
        Self { own, old, new, ctx }
    }
    pub fn others(&self, managers: &[Entry]) -> Others {
        let mut out: Others = Vec::new();
        for version in managers.iter().map(|m| m.api_version.as_str()) {
            if version == self.ctx.api_version || out.iter().any(|(v, _)| v == version) {
                continue;
            }
            let convert = |v| self.ctx.versions.convert(v, version);
            let change = match (convert(self.old), convert(self.new)) {
                (Some(Converted { object: old, ty }), Some(Converted { object: new, .. })) => {
                    let mut change = compare(Node::root(ty.as_deref()), &old, &new);
                    filter(&mut change, self.ctx);
                    Some(change)
                }
                _ => None,
            };
            out.push((version.to_owned(), change));
        }
        out
    }
    pub fn of<'b>(&'b self, version: &str, others: &'b Others) -> Option<&'b Comparison> {
        if version == self.ctx.api_version {
            return Some(&self.own);
        }
        others.iter().find(|(v, _)| v == version).and_then(|(_, c)| c.as_ref())
    }
}

fn filter(change: &mut Comparison, ctx: &ManagerContext<'_>) {
    for set in [&mut change.removed, &mut change.modified, &mut change.added] {
        if !set.is_empty() {
            ctx.filter.apply(set);
        }
    }
}

/// Adapts what managers own to the types of today, and drops managers of versions that are gone.
pub(super) fn reconcile_all(live: &Value, ty: Option<&Type>, managers: &mut Vec<Entry>, ctx: &ManagerContext<'_>) {
    managers.retain_mut(|m| {
        if m.api_version == ctx.api_version {
            reconcile(Node::root(ty), &mut m.fields);
            return true;
        }
        let Some(converted) = ctx.versions.convert(live, &m.api_version) else { return false };
        reconcile(Node::root(converted.ty.as_deref()), &mut m.fields);
        true
    });
}

/// Merges the oldest managers that do not apply, version by version, until few enough are left
/// (rule: `capManagersManager`).
fn cap(managers: &mut Vec<Entry>) {
    let mut count = managers.iter().filter(|m| !m.applied).count();
    if count <= MAX_UPDATE_MANAGERS {
        return;
    }
    managers.sort_by(|a, b| (a.applied, &a.time, a.identity()).cmp(&(b.applied, &b.time, b.identity())));
    let updaters: Vec<Entry> = managers.iter().filter(|m| !m.applied).cloned().collect();
    let mut first_of_version: Vec<&Entry> = Vec::new();
    for old in &updaters {
        if count <= MAX_UPDATE_MANAGERS {
            break;
        }
        let Some(first) = first_of_version.iter().find(|f| f.api_version == old.api_version) else {
            first_of_version.push(old);
            continue;
        };
        let bucket = Entry { manager: ANCIENT.to_owned(), subresource: String::new(), ..(*first).clone() };
        if !managers.iter().any(|m| m.is_same_manager(&bucket)) {
            managers.retain(|m| !m.is_same_manager(first));
            managers.push(bucket.clone());
        }
        if old.is_same_manager(&bucket) {
            continue;
        }
        managers.retain(|m| !m.is_same_manager(old));
        if let Some(b) = managers.iter_mut().find(|m| m.is_same_manager(&bucket)) {
            b.fields.unite(&old.fields);
            b.time.clone_from(&old.time);
        }
        count -= 1;
    }
}
