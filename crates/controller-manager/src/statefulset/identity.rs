//! Names, labels and claims of a StatefulSet's pods (rule: `statefulset/stateful_set_utils.go`).

use steersman_api::k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use steersman_client::Object;

use crate::pods;

/// The label of pods that names the revision.
pub const REVISION: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name())
}

/// The ordinal of a pod of this set; `None` if the name is not of the set's form.
pub fn ordinal(set: &StatefulSet, pod: &str) -> Option<i32> {
    let text = pod.strip_prefix(set.name())?.strip_prefix('-')?;
    let number: i32 = text.parse().ok().filter(|number| *number >= 0)?;
    (number.to_string() == text).then_some(number)
}

pub fn first_ordinal(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.ordinals.as_ref()).and_then(|ordinals| ordinals.start).unwrap_or(0)
}

pub fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default()
}

fn claim_name(template: &PersistentVolumeClaim, pod: &str) -> String {
    format!("{}-{pod}", template.name())
}

/// A pod's claims as they should be created.
pub fn claims(set: &StatefulSet, pod: &str) -> Vec<PersistentVolumeClaim> {
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    let make = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(claim_name(template, pod));
        claim.metadata.namespace = Some(set.namespace().to_owned());
        claim.metadata.labels.get_or_insert_default().extend(selector.clone());
        claim.status = None;
        claim
    };
    claim_templates(set).iter().map(make).collect()
}

/// Who a claim should be deleted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    Nobody,
    Set,
    Pod,
}

/// The retention of a pod's claims (rule: `claimOwnerMatchesSetAndPod`); `condemned` pods are being scaled away.
pub fn retention(set: &StatefulSet, condemned: bool) -> Retention {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |value: Option<&String>| value.is_some_and(|value| value == "Delete");
    let when_deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    let when_scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    match (when_deleted, when_scaled && condemned) {
        (_, true) => Retention::Pod,
        (true, false) => Retention::Set,
        (false, false) => Retention::Nobody,
    }
}

/// The owners that a claim should have: those of others stay.
pub fn claim_owners(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    pod: &Pod,
    retention: Retention,
) -> Vec<OwnerReference> {
    let foreign = |owner: &&OwnerReference| owner.uid != set.uid() && owner.uid != pod.uid();
    let mut owners: Vec<OwnerReference> = claim.owners().iter().filter(foreign).cloned().collect();
    let plain = |mut owner: OwnerReference| {
        owner.block_owner_deletion = None;
        owner.controller = Some(true);
        owner
    };
    match retention {
        Retention::Nobody => {}
        Retention::Set => owners.push(plain(set.controller_reference())),
        Retention::Pod => owners.push(plain(pod.controller_reference())),
    }
    owners
}

/// The pod with this ordinal, from the template of a revision.
pub fn pod_for(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let mut pod = pods::from_template(template, set.name(), set.controller_reference());
    let name = pod_name(set, ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    pod.metadata.namespace = Some(set.namespace().to_owned());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    labels.insert(REVISION.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    let volumes = spec.volumes.get_or_insert_default();
    for template in claim_templates(set) {
        volumes.retain(|volume| volume.name != template.name());
        volumes.push(Volume {
            name: template.name().to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(template, &name),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
    if volumes.is_empty() {
        spec.volumes = None;
    }
    pod
}

/// Whether the pod has the labels that identify it; adopted pods may lack them.
pub fn has_identity(pod: &Pod) -> bool {
    pod.labels().get(POD_NAME).is_some_and(|name| name == pod.name())
}

/// The labels that identify a pod.
pub fn identity_labels(set: &StatefulSet, pod: &Pod) -> [(&'static str, String); 2] {
    let ordinal = ordinal(set, pod.name()).unwrap_or(0);
    [(POD_NAME, pod.name().to_owned()), (POD_INDEX, ordinal.to_string())]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn identity() {
        let set: StatefulSet = serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "ns"}, "spec": {
            "serviceName": "svc", "selector": {"matchLabels": {"app": "db"}}, "template": {"spec": {"containers": []}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
        }}))
        .unwrap();
        let check = |name: &str, expect| assert_eq!(ordinal(&set, name), expect, "{name}");
        check("db-0", Some(0));
        check("db-12", Some(12));
        check("db-01", None);
        check("db-x", None);
        check("other-1", None);
        let pod = pod_for(&set, &set.spec.as_ref().unwrap().template, "db-abc", 3);
        let spec = pod.spec.clone().unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-3"), Some("svc")));
        assert_eq!(spec.volumes.unwrap()[0].persistent_volume_claim.as_ref().unwrap().claim_name, "data-db-3");
        assert_eq!(claims(&set, "db-3")[0].labels()["app"], "db");
        assert!(has_identity(&pod));
    }
}
