//! Between the two forms of an event (rule: `pkg/apis/events/v1` conversion).

use serde_json::{Map, Value, json};
use steersman_apimachinery::object;

/// Names in `events.k8s.io/v1` and in `v1`.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

/// Members that are there even where they say nothing, in `v1`.
fn fill_core(obj: &mut Map<String, Value>) {
    for key in ["eventTime", "firstTimestamp", "lastTimestamp"] {
        obj.entry(key).or_insert(Value::Null);
    }
    for key in ["involvedObject", "source"] {
        obj.entry(key).or_insert_with(|| json!({}));
    }
    for key in ["reportingComponent", "reportingInstance"] {
        obj.entry(key).or_insert_with(|| json!(""));
    }
}

/// The same of `events.k8s.io/v1`; texts that say nothing are left out there.
fn fill_group(obj: &mut Map<String, Value>) {
    for key in ["eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"] {
        obj.entry(key).or_insert(Value::Null);
    }
    for key in ["regarding", "deprecatedSource"] {
        obj.entry(key).or_insert_with(|| json!({}));
    }
    for key in ["reportingController", "reportingInstance"] {
        if obj.get(key).is_some_and(|v| v == "") {
            obj.remove(key);
        }
    }
}

fn rename(obj: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(v) = obj.remove(from) {
        obj.insert(to.to_owned(), v);
    }
}

/// From `events.k8s.io/v1` to `v1`.
pub fn to_core(obj: &mut Value) {
    let obj = object::entry(obj, &[]);
    for (group, core) in RENAMED {
        rename(obj, group, core);
    }
    obj.insert("apiVersion".into(), "v1".into());
    fill_core(obj);
}

/// From `v1` to `events.k8s.io/v1`.
pub fn from_core(obj: &mut Value) {
    let obj = object::entry(obj, &[]);
    for (group, core) in RENAMED {
        rename(obj, core, group);
    }
    obj.insert("apiVersion".into(), "events.k8s.io/v1".into());
    fill_group(obj);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let core = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e" }, "involvedObject": { "kind": "Pod" },
            "message": "m", "reportingComponent": "", "reportingInstance": "", "source": { "component": "c" },
            "firstTimestamp": null, "lastTimestamp": null, "eventTime": null, "count": 3, "type": "Normal",
        });
        let mut v = core.clone();
        from_core(&mut v);
        assert_eq!(
            (&v["note"], &v["regarding"]["kind"], &v["deprecatedCount"]),
            (&json!("m"), &json!("Pod"), &json!(3))
        );
        assert!(v.get("reportingController").is_none() && v.get("message").is_none());
        to_core(&mut v);
        assert_eq!(v, core);
    }
}
