//! Server-side apply.

use super::conflict::{self, Conflict};
use super::entries::{self, Entry, stamp};
use super::update::{Changes, reconcile_all, record, strip, take_from_others};
use super::{Converted, ManagerContext, last_applied};
use crate::fieldset::FieldSet;
use crate::typed::{Node, empty_object, explain, field_set, merge, remove_items, validate, with_named_fields};
use serde_json::{Value, json};
use steersman_apimachinery::{GroupVersion, Reason, Status, object};
use steersman_schema::{Type, TypeRef};

/// The owner of what an object had before anybody applied it.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The manager whose client-side apply is handed over to its server-side apply.
const KUBECTL: &str = "kubectl";

/// What an apply came to: the object without its managers (`None`: it is unchanged), and the managers.
type Outcome = (Option<Value>, Vec<Entry>);

/// Why an apply failed.
enum Failure {
    Conflicts(Vec<Conflict>),
    Status(Status),
}

/// Merges `applied` into `live` (none: creates) and returns the object to be stored, before defaulting. What the
/// manager applied before and leaves out now goes, unless others own it. Conflicts are a 409 unless `force`.
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    ty: Option<&Type>,
    ctx: &ManagerContext<'_>,
    force: bool,
) -> Result<Value, Status> {
    if object::get(applied, &["metadata", "managedFields"]).is_some_and(|v| !v.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut base = match (live, ty) {
        (Some(live), _) => live.clone(),
        (None, Some(ty)) => empty_object(ty),
        (None, None) => json!({}),
    };
    let stored = entries::take(&mut base).unwrap_or_default();
    let mut managers = entries::decode_stored(stored).unwrap_or_default();
    if managers.is_empty() && live.is_some() {
        let nothing = ty.map_or_else(|| json!({}), empty_object);
        record(&nothing, &base, ty, &mut managers, &ManagerContext { manager: BEFORE_FIRST_APPLY, ..*ctx });
    }
    let attempt = |managers: Vec<Entry>, force| merge_and_prune(&base, applied, ty, managers, ctx, force);
    let outcome = if ctx.manager == KUBECTL {
        match (attempt(managers.clone(), force), last_applied::owned(&base, ty, ctx)) {
            // What client-side apply set, and nobody changed since, is kubectl's own.
            (Err(Failure::Conflicts(conflicts)), Some(owned)) => match without(conflicts, &owned) {
                rest if rest.is_empty() => attempt(managers, true),
                rest => Err(Failure::Conflicts(rest)),
            },
            (outcome, _) => outcome,
        }
    } else {
        attempt(managers, force)
    };
    let (merged, managers) = outcome.map_err(|f| match f {
        Failure::Conflicts(c) => conflict::status(c),
        Failure::Status(s) => s,
    })?;
    let mut out = merged.unwrap_or(base);
    if ctx.manager == KUBECTL {
        last_applied::refresh(&mut out, applied);
    }
    entries::put(&mut out, managers);
    Ok(out)
}

fn without(conflicts: Vec<Conflict>, owned: &FieldSet) -> Vec<Conflict> {
    let mut rest = conflicts;
    rest.retain_mut(|c| {
        c.fields.subtract(owned);
        !c.fields.is_empty()
    });
    rest
}

fn merge_and_prune(
    live: &Value,
    applied: &Value,
    ty: Option<&Type>,
    mut managers: Vec<Entry>,
    ctx: &ManagerContext<'_>,
    force: bool,
) -> Result<Outcome, Failure> {
    let node = Node::root(ty);
    let mistakes = validate(node, applied, false);
    if !mistakes.is_empty() {
        let why = format!("failed to create typed patch object ({}): {}", describe(applied), explain(&mistakes));
        return Err(internal(why));
    }
    reconcile_all(live, ty, &mut managers, ctx);
    let merged = merge(node, live, applied).map_err(|e| internal(format!("failed to merge config: {e}")))?;

    let mut mine = Entry::new(ctx, true);
    mine.fields = field_set(node, applied);
    ctx.filter.apply(&mut mine.fields);
    let last = managers.iter().position(|m| m.is_same_manager(&mine)).map(|at| managers.remove(at));
    mine.time = last.as_ref().map(|l| l.time.clone()).unwrap_or_default();
    managers.push(mine.clone());

    let merged = match &last {
        Some(last) if !last.fields.is_empty() => prune(merged, ty, &managers, last, ctx),
        _ => merged,
    };
    if !force {
        let conflicts = conflicts(live, &merged, ty, &managers, &mine, ctx);
        if !conflicts.is_empty() {
            return Err(Failure::Conflicts(conflicts));
        }
    }
    take_from_others(live, &merged, ty, &mut managers, Some(&mine), ctx);
    managers.retain_mut(|m| {
        if m.is_same_manager(&mine) {
            strip(&mut m.fields);
        }
        !m.fields.is_empty()
    });
    if merged == *live {
        return Ok((None, managers));
    }
    if let Some(m) = managers.iter_mut().find(|m| m.is_same_manager(&mine)) {
        m.time = stamp(ctx);
    }
    Ok((Some(merged), managers))
}

fn internal(why: String) -> Failure {
    Failure::Status(Status::failure(500, Reason::Unknown, why))
}

/// `namespace/name; group/version, Kind=kind`.
fn describe(applied: &Value) -> String {
    let gv = GroupVersion::parse(object::str(applied, &["apiVersion"])).unwrap_or_default();
    let (group, version, kind) = (gv.group, gv.version, object::str(applied, &["kind"]));
    format!("{}/{}; {group}/{version}, Kind={kind}", object::namespace(applied), object::name(applied))
}

fn conflicts(
    live: &Value,
    merged: &Value,
    ty: Option<&Type>,
    managers: &[Entry],
    mine: &Entry,
    ctx: &ManagerContext<'_>,
) -> Vec<Conflict> {
    let changes = Changes::new(live, merged, ty, ctx);
    let others = changes.others(managers);
    let mut out = Vec::new();
    for m in managers.iter().filter(|m| !m.is_same_manager(mine)) {
        let Some(change) = changes.of(&m.api_version, &others) else { continue };
        let mut fields = m.fields.intersection(&change.modified);
        fields.unite(&m.fields.intersection(&change.added));
        if !fields.is_empty() {
            out.push(Conflict { manager: Entry { fields: FieldSet::default(), ..m.clone() }, fields });
        }
    }
    out
}

/// An object in some version.
struct Versioned {
    version: String,
    object: Value,
    /// `None` for the version of the request, whose type the caller has.
    ty: Option<Option<TypeRef>>,
}

impl Versioned {
    fn node<'a>(&'a self, own: Option<&'a Type>) -> Node<'a> {
        match &self.ty {
            None => Node::root(own),
            Some(ty) => Node::root(ty.as_deref()),
        }
    }
    fn to(&self, version: &str, ctx: &ManagerContext<'_>) -> Option<Self> {
        if version == self.version {
            let Self { version, object, ty } = self;
            return Some(Self { version: version.clone(), object: object.clone(), ty: ty.clone() });
        }
        let Converted { object, ty } = ctx.versions.convert(&self.object, version)?;
        let ty = (version != ctx.api_version).then_some(ty);
        Some(Self { version: version.to_owned(), object, ty })
    }
    fn fields(&self, own: Option<&Type>) -> FieldSet {
        field_set(self.node(own), &self.object)
    }
    fn named(&self, own: Option<&Type>, set: &FieldSet) -> FieldSet {
        with_named_fields(self.node(own), set)
    }
    fn without(&self, own: Option<&Type>, set: &FieldSet) -> Self {
        let object = remove_items(self.node(own), &self.object, set);
        Self { version: self.version.clone(), object, ty: self.ty.clone() }
    }
}

/// Removes what the manager applied last time, does not apply now, and nobody owns (rule: `Updater.prune`).
fn prune(merged: Value, ty: Option<&Type>, managers: &[Entry], last: &Entry, ctx: &ManagerContext<'_>) -> Value {
    let whole = Versioned { version: ctx.api_version.to_owned(), object: merged, ty: None };
    let Some(then) = whole.to(&last.api_version, ctx) else { return whole.object };
    let pruned = then.without(ty, &then.named(ty, &last.fields));

    // What somebody owns comes back, in the version of the last apply first.
    let mut versions: Vec<&str> = managers.iter().map(|m| m.api_version.as_str()).collect();
    versions.sort_by_key(|v| (*v != last.api_version, *v));
    versions.dedup();
    let (mut full, mut pruned) = (then.to(&last.api_version, ctx).unwrap_or(then), pruned);
    for version in versions {
        let mut owned = FieldSet::default();
        managers.iter().filter(|m| m.api_version == version).for_each(|m| owned.unite(&m.fields));
        let (Some(f), Some(p)) = (full.to(version, ctx), pruned.to(version, ctx)) else { continue };
        let mut gone = f.named(ty, &f.fields(ty));
        let mut kept = p.named(ty, &p.fields(ty));
        kept.unite(&f.named(ty, &owned));
        gone.subtract(&kept);
        pruned = f.without(ty, &gone);
        full = f;
    }

    // What the manager did not own comes back too.
    let (Some(full), Some(pruned)) = (full.to(&last.api_version, ctx), pruned.to(&last.api_version, ctx)) else {
        return whole.object;
    };
    let mut gone = full.named(ty, &full.fields(ty));
    gone.subtract(&pruned.named(ty, &pruned.fields(ty)));
    let gone = gone.intersection(&full.named(ty, &last.fields));
    full.without(ty, &gone).to(ctx.api_version, ctx).map_or(whole.object, |v| v.object)
}
