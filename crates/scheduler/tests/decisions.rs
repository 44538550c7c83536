//! Holds decisions against recorded ones of upstream's default profile, if they are at hand: a gzipped file of one JSON
//! object a line, named by `STEERSMAN_SCHEDULER_CASES` or found in `../shared/scheduler` beside the checkout.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use steersman_scheduler::cycle::evaluate;
use steersman_scheduler::node::NodeInfo;
use steersman_scheduler::plugins::TABLE;
use steersman_scheduler::pod::PodInfo;
use steersman_scheduler::snapshot::{Selectors, Snapshot};

fn cases() -> Option<String> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/scheduler/cases.jsonl.gz");
    let path = std::env::var_os("STEERSMAN_SCHEDULER_CASES").map_or(beside, PathBuf::from);
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzipped text");
    Some(text)
}

fn typed<T: serde::de::DeserializeOwned>(v: &Value) -> T {
    T::deserialize(v).unwrap_or_else(|e| panic!("{e}: {v}"))
}

fn cluster(case: &Value) -> Snapshot {
    let mut nodes: Vec<NodeInfo> = Vec::new();
    for n in case["nodes"].as_array().expect("nodes") {
        let mut info = NodeInfo::default();
        info.set_node(&typed(n));
        nodes.push(info);
    }
    for p in case["pods"].as_array().expect("pods") {
        let pod = Arc::new(PodInfo::new(&typed(p)));
        nodes.iter_mut().find(|n| n.name == pod.node_name).expect("bound to a node").add(pod);
    }
    let labels = |v: &Value| -> BTreeMap<String, String> { typed::<Option<_>>(v).unwrap_or_default() };
    let name = |v: &Value, k: &str| v["metadata"][k].as_str().unwrap_or("").to_owned();
    let namespaces = case["namespaces"].as_array().into_iter().flatten();
    let namespaces = namespaces.map(|n| (name(n, "name"), labels(&n["metadata"]["labels"]))).collect();
    let mut selectors = Selectors::default();
    for s in case["services"].as_array().into_iter().flatten() {
        selectors.services.entry(name(s, "namespace")).or_default().push(labels(&s["spec"]["selector"]));
    }
    Snapshot::new(nodes.into_iter().map(Arc::new).collect(), Arc::new(namespaces), Arc::new(selectors))
}

/// What differs between a decision and the recorded one.
fn differences(cluster: &Snapshot, pod: &Value, want: &Value) -> Vec<String> {
    let pod = PodInfo::new(&typed(pod));
    let got = evaluate(&pod, cluster, 0, cluster.nodes.len());
    let mut out = Vec::new();
    let node = |i: usize| cluster.nodes[i].name.as_str();
    let feasible: BTreeMap<&str, _> = got.feasible.iter().map(|r| (node(r.index), r)).collect();
    let wanted = want["feasible"].as_object().cloned().unwrap_or_default();
    for name in feasible.keys().copied().chain(wanted.keys().map(String::as_str)).collect::<BTreeSet<_>>() {
        match (feasible.get(name), wanted.get(name)) {
            (Some(r), Some(w)) => {
                for (plugin, points) in w.as_object().expect("points") {
                    let mine = if plugin == "total" {
                        r.total
                    } else {
                        TABLE.iter().position(|p| p.name == plugin).map_or(0, |at| r.scores[at])
                    };
                    if Some(mine) != points.as_i64() {
                        out.push(format!("{name}: {plugin}: got {mine}, want {points}"));
                    }
                }
            }
            (mine, _) => out.push(format!("{name}: feasible here: {}, recorded: {}", mine.is_some(), mine.is_none())),
        }
    }
    let refused: BTreeMap<&str, Vec<&str>> = got
        .refused
        .iter()
        .map(|(i, plugin, r)| (node(*i), std::iter::once(*plugin).chain(r.reasons.iter().map(|s| &**s)).collect()))
        .collect();
    let recorded: BTreeMap<&str, Vec<&str>> = want["reasons"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(n, r)| (n.as_str(), r.as_array().expect("reasons").iter().filter_map(Value::as_str).collect()))
        .collect();
    if refused != recorded {
        out.push(format!("reasons: got {refused:?}, want {recorded:?}"));
    }
    if let Some(message) = want["message"].as_str() {
        let mine = got.message(cluster.nodes.len());
        if mine != message {
            out.push(format!("message: got {mine}, want {message}"));
        }
    }
    out
}

#[test]
fn decisions_are_upstreams() {
    let Some(text) = cases() else {
        println!("the recorded decisions are not at hand, so there is nothing to compare with");
        return;
    };
    let (mut total, mut wrong) = (0, Vec::new());
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        let cluster = cluster(&case);
        for (i, pod) in case["pending"].as_array().expect("pending").iter().enumerate() {
            total += 1;
            let differences = differences(&cluster, pod, &case["expect"][i]);
            if !differences.is_empty() {
                wrong.push(format!("{} pod {i}: {}", case["name"], differences.join("\n    ")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {total} decisions differ, among them:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
}
