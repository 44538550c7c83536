//! `ephemeralcontainers`: containers may be added to a pod that runs, never changed or removed
//! (rule: pod strategy `podEphemeralContainersStrategy`, core validation `ValidatePodEphemeralContainersUpdate`).

use super::validation::metadata_and_spec;
use super::{INFO, count_generation, default, drop_disabled, keep_metadata};
use crate::common::carry_over;
use crate::shared::internal;
use crate::shared::pod::internal::EPHEMERAL_CONTAINER;
use crate::shared::pod::{Rules, annotations};
use serde_json::Value;
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Context, ResourceInfo, Strategy};

/// The subresource.
pub struct EphemeralContainers;

impl Strategy for EphemeralContainers {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        default(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        let containers = object::remove(new, &["spec", "ephemeralContainers"]);
        for part in ["spec", "status"] {
            carry_over(new, old, &[part]);
        }
        keep_metadata(new, old);
        match containers {
            Some(c) => object::set(new, &["spec", "ephemeralContainers"], c),
            None => {
                object::remove(new, &["spec", "ephemeralContainers"]);
            }
        }
        drop_disabled(new, Some(old));
        count_generation(new, old);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        if object::annotation(old, annotations::MIRROR).is_some() {
            e.forbidden(&Path::root(), "static pods do not support ephemeral containers");
            return e;
        }
        let rules = Rules::for_pod(new, Some(old));
        metadata_and_spec(&mut e, new, &rules);
        annotations::pod_annotation_updates(&mut e, new, old, &Path::new("metadata").child("annotations"), &rules);
        let list = |o| object::list(o, &["spec", "ephemeralContainers"]);
        let at = Path::new("spec").child("ephemeralContainers");
        for was in list(old) {
            let name = object::str(was, &["name"]);
            match list(new).iter().find(|c| object::str(c, &["name"]) == name) {
                None => {
                    e.forbidden(&at, format!("existing ephemeral containers {} may not be removed\n", go_quote(name)));
                }
                Some(is) if is != was => {
                    let diff = internal::diff(EPHEMERAL_CONTAINER, was, is);
                    let why = format!("existing ephemeral containers {} may not be changed\n{diff}", go_quote(name));
                    e.forbidden(&at, why);
                }
                Some(_) => {}
            }
        }
        e
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status", "metadata.labels", "metadata.annotations"]
    }
}
