//! `metadata.managedFields` of everything that is written through the API.

use crate::registry::Registry;
use crate::shape::{Shape, name_kind};
use crate::store::Store;
use crate::{Strategy, patch};
use serde_json::Value;
use std::sync::Arc;
use steersman_apimachinery::{GroupVersionKind, Status};
use steersman_patch::fieldset::FieldFilter;
use steersman_patch::managed::{self, Converted, ManagerContext, OneVersion, Versions};
use steersman_schema::TypeRef;

/// Names of managers are not longer than this.
const LONGEST: usize = 128;

/// Who writes.
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) now: jiff::Timestamp,
}

/// The manager of a request: what it says, or the beginning of its user agent (rule: `managerOrUserAgent`).
pub(crate) fn manager(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.to_owned();
    }
    let mut out = String::new();
    for c in user_agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > LONGEST {
            break;
        }
        out.push(c);
    }
    out
}

/// The other versions in which the objects of a store can be had.
struct Siblings {
    shape: Shape,
    stores: Vec<Arc<Store>>,
}

impl Siblings {
    fn of(store: &Store, registry: Option<&Registry>) -> Option<Self> {
        let stores = registry?.siblings(store);
        (!stores.is_empty()).then_some(Self { shape: store.shape, stores })
    }
}

impl Versions for Siblings {
    fn convert(&self, object: &Value, api_version: &str) -> Option<Converted> {
        let to = self.stores.iter().find(|s| s.gvk.api_version() == api_version)?;
        let mut object = object.clone();
        if self.shape.converts {
            self.shape.strategy.to_stored(&mut object);
        }
        to.strategy.from_stored(&mut object);
        let info = to.info();
        name_kind(&mut object, (info.group, info.version, info.kind));
        to.strategy.default(&mut object);
        Some(Converted { object, ty: to.ty.clone() })
    }
}

/// Runs `f` with the context of a write through `strategy`.
fn within<T>(
    store: &Store,
    writer: &Writer<'_>,
    strategy: &dyn Strategy,
    f: impl FnOnce(&ManagerContext<'_>) -> T,
) -> T {
    let registry = store.registry().ok();
    let siblings = Siblings::of(store, registry.as_deref());
    let (api_version, filter) = (store.gvk.api_version(), FieldFilter::parse(strategy.reset_fields()));
    f(&ManagerContext {
        manager: writer.manager,
        api_version: &api_version,
        subresource: writer.subresource,
        filter: &filter,
        now: writer.now,
        versions: match &siblings {
            Some(s) => s,
            None => &OneVersion,
        },
    })
}

/// Records who changed what, in the object that is to be stored.
pub(crate) fn update(
    store: &Store,
    writer: &Writer<'_>,
    live: Option<&Value>,
    new: &mut Value,
    strategy: &dyn Strategy,
) {
    within(store, writer, strategy, |ctx| managed::update(live, new, store.ty.as_deref(), ctx));
}

/// Server-side apply: the object that is to be stored, decoded and defaulted.
pub(crate) fn apply(
    store: &Store,
    writer: &Writer<'_>,
    live: Option<&Value>,
    applied: &Value,
    strategy: &dyn Strategy,
    force: bool,
) -> Result<Value, Status> {
    let new = within(store, writer, strategy, |ctx| managed::apply(live, applied, store.ty.as_deref(), ctx, force))?;
    let mut new = patch::decode_applied(patch::Kind { gvk: &store.gvk, ty: store.ty.as_ref() }, new)?;
    store.strategy.default(&mut new);
    Ok(new)
}

/// The same two for Scales, which have one version and nothing that may not be owned.
fn plainly<T>(gvk: &GroupVersionKind, writer: &Writer<'_>, f: impl FnOnce(&ManagerContext<'_>) -> T) -> T {
    f(&ManagerContext {
        manager: writer.manager,
        api_version: &gvk.api_version(),
        subresource: writer.subresource,
        filter: &FieldFilter::default(),
        now: writer.now,
        versions: &OneVersion,
    })
}

/// [`update`] for a Scale.
pub(crate) fn update_scale(
    gvk: &GroupVersionKind,
    ty: Option<&TypeRef>,
    writer: &Writer<'_>,
    live: &Value,
    new: &mut Value,
) {
    plainly(gvk, writer, |ctx| managed::update(Some(live), new, ty.map(|t| &**t), ctx));
}

/// [`apply`] for a Scale.
pub(crate) fn apply_scale(
    gvk: &GroupVersionKind,
    ty: Option<&TypeRef>,
    writer: &Writer<'_>,
    live: &Value,
    applied: &Value,
    force: bool,
) -> Result<Value, Status> {
    let new = plainly(gvk, writer, |ctx| managed::apply(Some(live), applied, ty.map(|t| &**t), ctx, force))?;
    patch::decode_applied(patch::Kind { gvk, ty }, new)
}

/// A write that changes nothing but times of managers changes nothing.
pub(crate) fn settle(stored: &Value, new: &mut Value) {
    managed::revert_timestamps(stored, new);
}

#[cfg(test)]
mod tests {
    use super::manager;

    #[test]
    fn managers_are_named_or_taken_from_the_user_agent() {
        let check = |named: &str, agent: &str, want: &str| assert_eq!(manager(named, agent), want);
        check("me", "kubectl/v1.36", "me");
        check("", "kubectl/v1.36 (linux/amd64)", "kubectl");
        check("", "", "");
        check("", &"x".repeat(200), &"x".repeat(128));
        check("", "a\u{7}b/1", "ab");
    }
}
