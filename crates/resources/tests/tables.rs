//! What a table shows of an object beyond its plain fields.

use serde_json::{Value, json};
use steersman_registry::Strategy;
use steersman_resources::core::nodes::Nodes;
use steersman_resources::networking::ingressclasses::IngressClasses;

fn cell(strategy: &dyn Strategy, column: &str, obj: &Value) -> Value {
    let at = strategy.columns().iter().position(|c| c.name == column).expect("the column exists");
    strategy.cells(obj, jiff::Timestamp::UNIX_EPOCH)[at].clone()
}

#[test]
fn a_nodes_kernel_is_shown_with_its_architecture() {
    let node = |info: Value| json!({ "metadata": { "name": "n" }, "status": { "nodeInfo": info } });
    let kernel = |info: Value| cell(&Nodes, "Kernel-Version", &node(info));
    assert_eq!(kernel(json!({ "kernelVersion": "6.1.0", "architecture": "arm64" })), "6.1.0 (arm64)");
    assert_eq!(kernel(json!({ "kernelVersion": "6.1.0" })), "6.1.0");
    assert_eq!(kernel(json!({})), "<unknown>");
}

#[test]
fn the_default_ingress_class_is_told() {
    let class = |mark: &str| {
        let annotations = json!({ "ingressclass.kubernetes.io/is-default-class": mark });
        json!({ "metadata": { "name": "c", "annotations": annotations }, "spec": { "controller": "example.com/c" } })
    };
    assert_eq!(cell(&IngressClasses, "Name", &class("true")), "c (default)");
    assert_eq!(cell(&IngressClasses, "Name", &class("false")), "c");
}
