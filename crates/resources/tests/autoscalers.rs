//! Where an autoscaler's rules come from: the client, or the defaults.

use serde_json::{Value, json};
use steersman_apimachinery::options::FieldValidation;
use steersman_codec::normalise;
use steersman_registry::{Context, Strategy};
use steersman_resources::autoscaling::v2::HorizontalPodAutoscalers;

fn created(rules: Value) -> (Value, Vec<String>) {
    let ty = steersman_schema::lookup("autoscaling", "v2", "HorizontalPodAutoscaler").expect("a kind");
    let given = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "a", "namespace": "n" },
        "spec": {
            "maxReplicas": 2,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "d" },
            "behavior": { "scaleUp": rules },
        },
    });
    let (mut obj, _) = normalise(given, &ty, FieldValidation::Strict).expect("a good object");
    HorizontalPodAutoscalers.default(&mut obj);
    let told = HorizontalPodAutoscalers.validate(&Context::loopback(), &obj);
    (obj, told.0.iter().map(ToString::to_string).collect())
}

/// Rule: `GenerateHPAScaleUpRules` replaces absent policies only.
#[test]
fn no_policies_are_not_the_default_policies() {
    for absent in [json!({}), json!({ "policies": null })] {
        let (obj, told) = created(absent);
        assert_eq!(obj["spec"]["behavior"]["scaleUp"]["policies"].as_array().map(Vec::len), Some(2));
        assert!(told.is_empty(), "{told:?}");
    }
    let (_, told) = created(json!({ "policies": [] }));
    assert_eq!(told, ["spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"]);
}
