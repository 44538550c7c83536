//! `ipaddresses` (rule: `pkg/registry/networking/ipaddress`).

use super::{GROUP, columns};
use crate::common::age_cell;
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use crate::shared::print;
use crate::{checks, cluster_scoped};
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo =
    ResourceInfo { short_names: &["ip"], ..cluster_scoped(GROUP, "v1", "ipaddresses", "ipaddress", "IPAddress") };

const PARENT: &[Field] = &[
    Field("group", Type::Text),
    Field("resource", Type::Text),
    Field("namespace", Type::Text),
    Field("name", Type::Text),
];

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let path = Path::new("spec").child("parentRef");
    let Some(parent) = obj.at("spec").sub("parentRef") else {
        e.required(&path, "");
        return e;
    };
    if !parent.s("group").is_empty() {
        checks::subdomain(&mut e, &path.child("group"), parent.s("group"));
    }
    for key in ["resource", "name"] {
        match parent.s(key) {
            "" => e.required(&path.child(key), ""),
            value => checks::path_segment(&mut e, &path.child(key), value),
        }
    }
    if !parent.s("namespace").is_empty() {
        checks::path_segment(&mut e, &path.child("namespace"), parent.s("namespace"));
    }
    e
}

/// The strategy of `ipaddresses`.
pub struct IPAddresses;

impl Strategy for IPAddresses {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        let (is, was) = (new.at("spec").at("parentRef"), old.at("spec").at("parentRef"));
        checks::immutable_shown(&mut e, &Path::new("spec").child("parentRef"), is, was, Show(PARENT, is));
        e
    }
    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        let mut e = ErrorList::new();
        validation::ip(&mut e, &Path::root(), name);
        let shown = steersman_apimachinery::field::go_quote(name);
        let lead = format!("Invalid value: {shown}: ");
        e.0.into_iter().map(|e| e.body.strip_prefix(&lead).map_or_else(|| e.body.clone(), str::to_owned)).collect()
    }
    /// An address cannot be made up.
    fn generate_name(&self, base: &str) -> String {
        base.to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        columns::IPADDRESSES
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let parent = obj.at("spec").at("parentRef");
        let mut text = parent.s("resource").to_lowercase();
        for (separator, part) in [(".", parent.s("group")), ("/", parent.s("namespace")), ("/", parent.s("name"))] {
            if !part.is_empty() {
                text.push_str(separator);
                text.push_str(part);
            }
        }
        vec![print::name(obj), text.into(), age_cell(obj, now)]
    }
}
