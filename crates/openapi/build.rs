//! Writes the descriptions of types and fields, which clients such as `kubectl explain` show, into one deflated table.
//! They come out of the schemas that `k8s-openapi` carries for the same API level, so none of them stands in this tree.
//!
//! The table is text: records end with U+001E. A record is a definition's name, U+001F, its description; the records of
//! its fields follow, each begun by U+001F: U+001F, the field's name, U+001F, its description.

use flate2::{Compression, write::DeflateEncoder};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::WatchEvent, runtime::RawExtension};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;
use std::io::Write as _;

/// Collects the schemas of types by their module; what they refer to comes along.
macro_rules! collect {
    ($generator:ident; $($($module:ident)::+::{$($name:ident),+ $(,)?},)+) => {
        $({
            use k8s_openapi::$($module)::+ as types;
            $(add::<types::$name>(&mut $generator);)+
        })+
    };
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// Every kind, and what is answered but is no kind of its own.
fn generator() -> SchemaGenerator {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    collect! { generator;
        api::admissionregistration::v1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration},
        api::admissionregistration::v1alpha1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding},
        api::admissionregistration::v1beta1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding},
        api::apiserverinternal::v1alpha1::{StorageVersion},
        api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview},
        api::authorization::v1::{LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview},
        api::autoscaling::v1::{HorizontalPodAutoscaler, Scale},
        api::autoscaling::v2::{HorizontalPodAutoscaler},
        api::batch::v1::{CronJob, Job},
        api::certificates::v1::{CertificateSigningRequest},
        api::certificates::v1alpha1::{ClusterTrustBundle},
        api::certificates::v1beta1::{ClusterTrustBundle, PodCertificateRequest},
        api::coordination::v1::{Lease},
        api::coordination::v1alpha2::{LeaseCandidate},
        api::coordination::v1beta1::{LeaseCandidate},
        api::core::v1::{Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount},
        api::discovery::v1::{EndpointSlice},
        api::events::v1::{Event},
        api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration},
        api::networking::v1::{IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR},
        api::networking::v1beta1::{IPAddress, ServiceCIDR},
        api::node::v1::{RuntimeClass},
        api::policy::v1::{Eviction, PodDisruptionBudget},
        api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
        api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice},
        api::resource::v1alpha3::{DeviceTaintRule, ResourcePoolStatusRequest},
        api::resource::v1beta1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice},
        api::resource::v1beta2::{DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice},
        api::scheduling::v1::{PriorityClass},
        api::scheduling::v1alpha2::{PodGroup, Workload},
        api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass},
        api::storage::v1beta1::{VolumeAttributesClass},
        api::storagemigration::v1beta1::{StorageVersionMigration},
        apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition},
        apimachinery::pkg::apis::meta::v1::{APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions, Patch, Status},
        apimachinery::pkg::version::{Info},
        kube_aggregator::pkg::apis::apiregistration::v1::{APIService},
    }
    generator.subschema_for::<WatchEvent<RawExtension>>();
    generator
}

fn description(schema: &Value) -> Option<&str> {
    schema.get("description")?.as_str()
}

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut text = String::new();
    for (name, schema) in generator().definitions() {
        text += &format!("{name}\u{1f}{}\u{1e}", description(schema).unwrap_or(""));
        let fields = schema.get("properties").and_then(Value::as_object);
        for (field, schema) in fields.into_iter().flatten() {
            if let Some(description) = description(schema) {
                text += &format!("\u{1f}{field}\u{1f}{description}\u{1e}");
            }
        }
    }
    let folder = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("cargo sets OUT_DIR"))?;
    let file = std::fs::File::create(std::path::Path::new(&folder).join("descriptions.deflate"))?;
    let mut encoder = DeflateEncoder::new(file, Compression::best());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()?;
    Ok(())
}
