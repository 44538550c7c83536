//! Listing and watching, against a real etcd.

mod common;

use common::*;
use serde_json::json;
use steersman_apimachinery::object;
use steersman_apimachinery::options::*;
use steersman_apimachinery::selector::{FieldSelector, LabelSelector};
use steersman_registry::{PatchType, WatchEvent};

fn labelled(name: &str, label: &str) -> serde_json::Value {
    let mut c = cm(name, json!({}));
    c["metadata"]["labels"] = json!({"x": label});
    c
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_in_pages_at_versions_and_by_selectors() {
    let s = serve().await;
    let mut versions = Vec::new();
    for (name, label) in [("a", "1"), ("b", "2"), ("c", "1"), ("d", "2")] {
        versions
            .push(object::resource_version(&s.create("configmaps", labelled(name, label)).await.unwrap()).to_owned());
    }
    let plain = ListOptions::default;
    let (names, list) = s.list("configmaps", &plain()).await.unwrap();
    assert_eq!(
        (names, list.continue_token, list.remaining_item_count),
        (["a", "b", "c", "d"].map(String::from).to_vec(), String::new(), None)
    );
    let (names, page) = s.list("configmaps", &ListOptions { limit: 3, ..plain() }).await.unwrap();
    assert_eq!((names.len(), page.remaining_item_count), (3, Some(1)));
    s.delete("configmaps", "d", DeleteOptions::default()).await.unwrap();
    let next = ListOptions { limit: 3, continue_token: page.continue_token.clone(), ..plain() };
    let (names, rest) = s.list("configmaps", &next).await.unwrap();
    assert_eq!((names, rest.revision, rest.continue_token), (vec!["d".to_owned()], page.revision, String::new()));
    // Lists that any cached state would do for may be older than the deletion: its revision is waited for.
    let (_, newest) = s.list("configmaps", &plain()).await.unwrap();
    let seen = ListOptions { resource_version: newest.revision.to_string(), ..plain() };
    assert_eq!(s.list("configmaps", &seen).await.unwrap().0.concat(), "abc");

    let at = |version: &str, how, limit| ListOptions {
        resource_version: version.into(),
        resource_version_match: how,
        limit,
        ..plain()
    };
    let names = |l: Result<(Vec<String>, steersman_registry::List), _>| l.map(|(n, _)| n.concat()).unwrap();
    assert_eq!(names(s.list("configmaps", &at(&versions[1], VersionMatch::Exact, 0)).await), "ab");
    assert_eq!(names(s.list("configmaps", &at(&versions[0], VersionMatch::Unset, 5)).await), "a");
    assert_eq!(names(s.list("configmaps", &at(&versions[0], VersionMatch::Unset, 0)).await), "abc");
    assert_eq!(names(s.list("configmaps", &at(&versions[0], VersionMatch::NotOlderThan, 1)).await), "a");
    assert_eq!(names(s.list("configmaps", &at("0", VersionMatch::Unset, 2)).await), "abc");
    let e = s.list("configmaps", &at("999999999", VersionMatch::Unset, 0)).await.err().unwrap();
    assert_eq!((e.code, e.details.unwrap().causes[0].reason.as_str()), (504, "ResourceVersionTooLarge"));
    let e = s.list("configmaps", &at("x", VersionMatch::Unset, 0)).await.err().unwrap();
    assert_eq!(
        e.message,
        "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax"
    );

    let by = |l: &str, f: &str| ListOptions {
        label_selector: LabelSelector::parse(l).unwrap(),
        field_selector: FieldSelector::parse(f).unwrap(),
        ..plain()
    };
    assert_eq!(names(s.list("configmaps", &by("x=1", "")).await), "ac");
    assert_eq!(names(s.list("configmaps", &by("", "metadata.name=b")).await), "b");
    assert_eq!(names(s.list("configmaps", &by("x=1", "metadata.name=b")).await), "");
    let one = ListOptions { limit: 1, resource_version: versions[0].clone(), ..by("", "metadata.name=b") };
    assert_eq!(names(s.list("configmaps", &one).await), "b");
    let both = |token: &str| ListOptions { continue_token: token.into(), resource_version: "x".into(), ..plain() };
    let e = s.list("configmaps", &both("e30")).await.err().unwrap();
    assert!(e.message.starts_with("invalid continue token: "), "{}", e.message);
    let e = s.list("configmaps", &both(&page.continue_token)).await.err().unwrap();
    assert_eq!(e.message, "specifying resource version is not allowed when using continue");
    assert_eq!(names(s.list("configmaps", &by("", "metadata.name!=b,metadata.namespace=ns")).await), "ac");
    let (_, page) = s.list("configmaps", &ListOptions { limit: 1, ..by("x=1", "") }).await.unwrap();
    assert_eq!((page.continue_token.is_empty(), page.remaining_item_count), (false, None));
    let e = s.list("configmaps", &by("", "data=x")).await.err().unwrap();
    assert_eq!(e.message, "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"");
    let e = s.list("deployments", &by("", "data=x")).await.err().unwrap();
    assert_eq!(e.message, "field label not supported: data");
    let mut node = work("w1", json!({}));
    node["metadata"]["labels"] = json!({"node": "n1"});
    s.create("deployments", node).await.unwrap();
    s.create("deployments", work("w2", json!({}))).await.unwrap();
    assert_eq!(names(s.list("deployments", &by("", "spec.nodeName=n1")).await), "w1");
    assert_eq!(names(s.list("deployments", &by("", "spec.nodeName=")).await), "w2");

    let deleted =
        s.store("configmaps").delete_collection(&s.ctx, "ns", &by("x=1", ""), DeleteOptions::default()).await.unwrap();
    assert_eq!(deleted.items.count(), 2);
    assert_eq!(names(s.list("configmaps", &plain()).await), "b");
}

async fn events(s: &Server, resource: &str, options: ListOptions) -> Vec<String> {
    let options = ListOptions { timeout_seconds: Some(1), ..options };
    let mut watch = s.store(resource).watch(&s.ctx, "ns", &options).await.expect("a watch");
    let mut out = Vec::new();
    while watch.next_batch(&mut out).await {}
    out.into_iter()
        .map(|e| match e {
            WatchEvent::Added(o) => format!("+{}", object::name(&tree(o))),
            WatchEvent::Modified(o) => format!("~{}", object::name(&tree(o))),
            WatchEvent::Deleted(o) => format!("-{}", object::name(&tree(o))),
            WatchEvent::Bookmark { initial_events_end, .. } => if initial_events_end { "end" } else { "mark" }.into(),
            WatchEvent::Error(e) => e.message,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_resume_select_and_begin_with_the_state() {
    let s = serve().await;
    let mark = s.create("configmaps", labelled("mark", "0")).await.unwrap();
    let from = |v: &str| ListOptions { resource_version: v.into(), ..ListOptions::default() };
    let since = object::resource_version(&mark).to_owned();
    s.create("configmaps", labelled("b", "1")).await.unwrap();
    s.create("configmaps", labelled("a", "2")).await.unwrap();
    s.merge("configmaps", "b", json!({"metadata": {"labels": {"x": "2"}}})).await.unwrap();
    s.merge("configmaps", "b", json!({"metadata": {"labels": {"x": "1"}}})).await.unwrap();
    s.delete("configmaps", "a", DeleteOptions::default()).await.unwrap();
    let select = |o: ListOptions, l: &str| ListOptions { label_selector: LabelSelector::parse(l).unwrap(), ..o };
    assert_eq!(events(&s, "configmaps", from(&since)).await, ["+b", "+a", "~b", "~b", "-a"]);
    assert_eq!(events(&s, "others", from(&since)).await, ["+b", "+a", "~b", "~b", "-a"]);
    assert_eq!(events(&s, "configmaps", select(from(&since), "x=1")).await, ["+b", "-b", "+b"]);
    assert_eq!(events(&s, "configmaps", from("0")).await, ["+b", "+mark"]);
    assert_eq!(events(&s, "configmaps", from("")).await, ["+b", "+mark"]);
    let marks = |o: ListOptions| ListOptions { allow_watch_bookmarks: true, ..o };
    // What the deprecated paths ask for: the state, but no mark of its end.
    assert_eq!(events(&s, "configmaps", marks(from(""))).await, ["+b", "+mark"]);
    let streamed = ListOptions { send_initial_events: Some(true), ..marks(from("")) };
    assert_eq!(events(&s, "configmaps", streamed).await, ["+b", "+mark", "end"]);
    let initial = ListOptions {
        send_initial_events: Some(true),
        resource_version_match: VersionMatch::NotOlderThan,
        ..marks(from(&since))
    };
    assert_eq!(events(&s, "configmaps", initial).await, ["+b", "+mark", "end"]);
    let none = ListOptions {
        send_initial_events: Some(false),
        resource_version_match: VersionMatch::NotOlderThan,
        ..from("")
    };
    assert_eq!(events(&s, "configmaps", none).await, [""; 0]);
    let again = Server { registry: start(&s.etcd).await, etcd: s.etcd, ctx: s.ctx };
    let old = events(&again, "configmaps", from("1")).await;
    assert!(old[0].starts_with("too old resource version: 1 ("), "{old:?}");
    let s = again;
    let e = s.store("configmaps").watch(&s.ctx, "ns", &from("-5")).await.err().unwrap();
    assert_eq!(
        (e.code, e.message.as_str()),
        (500, "resourceVersion: Invalid value: \"-5\": strconv.ParseUint: parsing \"-5\": invalid syntax")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_finds_what_was_stored() {
    let s = serve().await;
    let a = s.create("configmaps", cm("a", json!({"k": "ü\"\\"}))).await.unwrap();
    let again = Server { registry: start(&s.etcd).await, etcd: s.etcd, ctx: s.ctx };
    assert_eq!(again.get("configmaps", "a").await.unwrap(), a);
    let (b, _) = again
        .patch("configmaps", "a", PatchType::Merge, json!({"data": {"k": "ü\"\\"}}), &UpdateOptions::default())
        .await
        .unwrap();
    assert_eq!(version(&b), version(&a));
}
