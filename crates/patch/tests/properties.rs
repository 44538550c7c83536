//! What holds for any objects and patches.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use steersman_patch::fieldset::{FieldFilter, FieldSet};
use steersman_patch::managed::{self, ManagerContext, OneVersion};
use steersman_patch::{merge, strategic};
use steersman_schema::{Field, Kind, Type};

fn data() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map("[a-d]", "[xyz]", 0..4)
        .prop_map(|m| m.into_iter().map(|(k, v)| (k, Value::from(v))).collect())
}

/// Containers with distinct names, each with an image and perhaps an environment.
fn containers() -> impl Strategy<Value = Value> {
    let env = proptest::collection::btree_map("[A-C]", "[xy]", 0..3);
    proptest::collection::btree_map("[a-d]", ("[ij]", env), 1..4).prop_map(|m| {
        let one = |(name, (image, env)): (String, (String, std::collections::BTreeMap<String, String>))| {
            let env: Vec<Value> = env.into_iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
            let mut c = json!({"name": name, "image": image});
            if !env.is_empty() {
                c["env"] = Value::Array(env);
            }
            c
        };
        Value::Array(m.into_iter().map(one).collect())
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        "[a-c$]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![
            Just("name".to_owned()),
            Just("spec".to_owned()),
            Just("containers".to_owned()),
            Just("metadata".to_owned()),
            Just("finalizers".to_owned()),
            Just("managedFields".to_owned()),
            Just("$patch".to_owned()),
            Just("$retainKeys".to_owned()),
            Just("$setElementOrder/containers".to_owned()),
            Just("$deleteFromPrimitiveList/finalizers".to_owned()),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn apply(live: Option<&Value>, config: &Value, manager: &str, force: bool) -> Option<Value> {
    let ty = steersman_schema::lookup("", "v1", "Pod");
    let filter = FieldFilter::default();
    let ctx = ManagerContext {
        manager,
        api_version: "v1",
        subresource: "",
        filter: &filter,
        now: jiff::Timestamp::UNIX_EPOCH,
        versions: &OneVersion,
    };
    managed::apply(live, config, ty.as_deref(), &ctx, force).ok()
}

fn pod(labels: &Map<String, Value>, containers: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": {"containers": containers}})
}

/// Everything `part` says is in `whole` too; elements of lists are found by name.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        // A map that became empty is null until it is decoded again.
        (Value::Null, Value::Object(p)) => p.is_empty(),
        (Value::Object(w), Value::Object(p)) => p.iter().all(|(k, v)| w.get(k).is_some_and(|w| contains(w, v))),
        (Value::Array(w), Value::Array(p)) => {
            p.iter().all(|v| w.iter().any(|w| w.get("name") == v.get("name") && contains(w, v)))
        }
        (w, p) => w == p,
    }
}

/// The merge patch that makes `to` of `from`, where neither has nulls.
fn merge_diff(from: &Value, to: &Value) -> Value {
    let (Value::Object(f), Value::Object(t)) = (from, to) else { return to.clone() };
    let mut patch = Map::new();
    for (k, v) in t {
        match f.get(k) {
            Some(old) if old == v => {}
            Some(old) => drop(patch.insert(k.clone(), merge_diff(old, v))),
            None => drop(patch.insert(k.clone(), v.clone())),
        }
    }
    patch.extend(f.keys().filter(|k| !t.contains_key(*k)).map(|k| (k.clone(), Value::Null)));
    Value::Object(patch)
}

/// The strategic merge patch that makes `to` of `from`, as clients write it: deletions by directive, and the order of
/// every list that merges.
fn strategic_diff(from: &Map<String, Value>, to: &Map<String, Value>, ty: Option<&Type>) -> Map<String, Value> {
    let mut patch = Map::new();
    for (k, v) in to {
        let field = ty.and_then(|t| t.field(k));
        match (from.get(k), v) {
            (Some(old), v) if old == v => {}
            (Some(Value::Object(old)), Value::Object(v)) => {
                let below = field.and_then(|f| f.kind.object());
                patch.insert(k.clone(), strategic_diff(old, v, below.map(|t| &**t)).into());
            }
            (Some(Value::Array(old)), Value::Array(v)) if field.is_some_and(|f| f.strategy.merge) => {
                list_diff(&mut patch, k, old, v, field.expect("looked at above"));
            }
            (_, v) => drop(patch.insert(k.clone(), v.clone())),
        }
    }
    patch.extend(from.keys().filter(|k| !to.contains_key(*k)).map(|k| (k.clone(), Value::Null)));
    patch
}

fn list_diff(patch: &mut Map<String, Value>, name: &str, from: &[Value], to: &[Value], field: &Field) {
    let key: &str = &field.merge_key;
    if key.is_empty() {
        let missing = |list: &[Value], other: &[Value]| -> Vec<Value> {
            list.iter().filter(|v| !other.contains(v)).cloned().collect()
        };
        patch.insert(name.to_owned(), missing(to, from).into());
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), missing(from, to).into());
        patch.insert(format!("$setElementOrder/{name}"), to.to_vec().into());
        return;
    }
    let find = |list: &[Value], element: &Value| list.iter().find(|v| v[key] == element[key]).cloned();
    let ty = field.kind.item().and_then(Kind::object);
    let mut elements: Vec<Value> = Vec::new();
    for v in to {
        match find(from, v) {
            None => elements.push(v.clone()),
            Some(old) if old == *v => {}
            Some(old) => {
                let (old, new) = (old.as_object().expect("an object"), v.as_object().expect("an object"));
                let mut below = strategic_diff(old, new, ty.map(|t| &**t));
                below.insert(key.to_owned(), v[key].clone());
                elements.push(below.into());
            }
        }
    }
    let gone = from.iter().filter(|v| find(to, v).is_none());
    elements.extend(gone.map(|v| json!({"$patch": "delete", key: v[key]})));
    patch.insert(name.to_owned(), elements.into());
    let order: Vec<Value> = to.iter().map(|v| json!({key: v[key]})).collect();
    patch.insert(format!("$setElementOrder/{name}"), order.into());
}

/// Pods whose lists stand in any order.
fn shuffled_pod() -> impl Strategy<Value = Value> {
    let shuffled = containers().prop_flat_map(|c| Just(c.as_array().cloned().unwrap_or_default()).prop_shuffle());
    let finalizers = proptest::sample::subsequence(vec!["a/1", "a/2", "a/3", "a/4"], 1..=4).prop_shuffle();
    (data(), shuffled, finalizers).prop_map(|(labels, containers, finalizers)| {
        let mut pod = pod(&labels, &containers.into());
        pod["metadata"]["finalizers"] = json!(finalizers);
        pod
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_apply_never_loses_a_foreign_field(l1 in data(), c1 in containers(), l2 in data(), c2 in containers(), l3 in data(), c3 in containers()) {
        let (first, second, third) = (pod(&l1, &c1), pod(&l2, &c2), pod(&l3, &c3));
        let live = apply(None, &first, "one", false).expect("a create has no conflicts");
        if let Some(live) = apply(Some(&live), &second, "two", false) {
            prop_assert!(contains(&live, &first) && contains(&live, &second));
            // Whatever the second then applies, the first's fields stay.
            if let Some(after) = apply(Some(&live), &third, "two", false) {
                prop_assert!(contains(&after, &first) && contains(&after, &third), "{after}");
            }
        }
        let forced = apply(Some(&live), &second, "two", true).expect("force has no conflicts");
        prop_assert!(contains(&forced, &second));
        let again = apply(Some(&forced), &second, "two", false).expect("an apply agrees with itself");
        prop_assert_eq!(again, forced);
    }

    #[test]
    fn sets_are_an_algebra(a in any_json(), b in any_json()) {
        let set = |v: &Value| {
            let mut paths = FieldSet::default();
            fn fill(v: &Value, at: &mut Vec<String>, out: &mut FieldSet) {
                for (k, v) in v.as_object().into_iter().flatten() {
                    at.push(format!("f:{k}"));
                    if v.is_boolean() || v.is_null() || v.as_object().is_some_and(|m| m.len() > 1) {
                        out.insert(at);
                    }
                    fill(v, at, out);
                    at.pop();
                }
            }
            fill(v, &mut Vec::new(), &mut paths);
            paths
        };
        let (a, b) = (set(&a), set(&b));
        let paths = |s: &FieldSet| s.paths().into_iter().collect::<std::collections::BTreeSet<_>>();
        let (pa, pb) = (paths(&a), paths(&b));
        let mut u = a.clone();
        u.unite(&b);
        prop_assert_eq!(paths(&u), &pa | &pb);
        prop_assert_eq!(paths(&a.intersection(&b)), &pa & &pb);
        let mut d = a.clone();
        d.subtract(&b);
        prop_assert_eq!(paths(&d), &pa - &pb);
        prop_assert_eq!(FieldSet::parse(&u.clone().into_value()).unwrap(), u);
        let mut none = a.clone();
        none.subtract(&a);
        prop_assert!(none.is_empty());
    }

    #[test]
    fn bad_input_never_panics(doc in any_json(), patch in any_json()) {
        let ty = steersman_schema::lookup("", "v1", "Pod").expect("a built-in kind");
        let _ = strategic::apply(doc.clone(), patch.clone(), &ty);
        let mut merged = doc.clone();
        merge::apply(&mut merged, patch.clone());
        let _ = apply(Some(&doc), &patch, "m", true);
        let mut new = patch;
        let filter = FieldFilter::default();
        let ctx = ManagerContext { manager: "m", api_version: "v1", subresource: "", filter: &filter, now: jiff::Timestamp::UNIX_EPOCH, versions: &OneVersion };
        managed::update(Some(&doc), &mut new, Some(&ty), &ctx);
    }

    #[test]
    fn a_merge_patch_makes_the_target(from in shuffled_pod(), to in shuffled_pod()) {
        let mut doc = from.clone();
        merge::apply(&mut doc, merge_diff(&from, &to));
        prop_assert_eq!(doc, to);
    }

    #[test]
    fn a_strategic_patch_makes_the_target(from in shuffled_pod(), to in shuffled_pod()) {
        let ty = steersman_schema::lookup("", "v1", "Pod").expect("a built-in kind");
        let (f, t) = (from.as_object().expect("an object"), to.as_object().expect("an object"));
        let patch = Value::Object(strategic_diff(f, t, Some(&ty)));
        let made = strategic::apply(from.clone(), patch.clone(), &ty).map_err(|s| s.message);
        prop_assert_eq!(made, Ok(to), "{} {}", from, patch);
    }
}
