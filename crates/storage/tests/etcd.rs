//! The store and the cache against a real etcd.

use std::sync::Arc;
use std::time::{Duration, Instant};
use steersman_storage::*;
use steersman_testkit::Etcd;

/// Objects are `{"kind":"K","apiVersion":"v1","metadata":{"name":..,"node":..,"color":..}}`.
struct Plain;

impl Decode for Plain {
    fn decode(&self, value: &[u8], revision: u64) -> Result<Decoded, String> {
        let tree: serde_json::Value = serde_json::from_slice(value).map_err(|e| e.to_string())?;
        let (bytes, body) = json::finish(value, revision).ok_or("bad beginning")?;
        let text = |k: &str| tree["metadata"][k].as_str().unwrap_or("").to_owned();
        let attributes = Attributes {
            labels: Pairs::new([("color", &*text("color"))]),
            fields: Pairs::new([("node", &*text("node"))]),
        };
        Ok(Decoded { bytes, body, attributes })
    }
}

struct Color(&'static str);
impl Select for Color {
    fn selects(&self, _key: &str, a: &Attributes) -> bool {
        a.labels.get("color") == Some(self.0)
    }
}
struct Node(&'static str);
impl Select for Node {
    fn selects(&self, _key: &str, a: &Attributes) -> bool {
        a.fields.get("node") == Some(self.0)
    }
}

fn object(name: &str, node: &str, color: &str) -> Vec<u8> {
    format!(r#"{{"kind":"K","apiVersion":"v1","metadata":{{"name":"{name}","node":"{node}","color":"{color}"}}}}"#)
        .into_bytes()
}

fn spec(prefix: &str) -> CacheSpec {
    CacheSpec { prefix: prefix.into(), decode: Arc::new(Plain), index: Some("node") }
}

async fn start(etcd: &Etcd) -> (Arc<Storage>, Arc<Cache>, Arc<Cache>) {
    let config = StorageConfig { servers: vec![etcd.url()], ..StorageConfig::default() };
    let (storage, caches) =
        Storage::start(&config, vec![spec("/registry/things/"), spec("/registry/others/")]).await.expect("started");
    assert!(storage.wait_loaded(Duration::from_secs(10)).await);
    let [things, others] = caches.try_into().unwrap_or_else(|_| panic!("two"));
    (storage, things, others)
}

async fn put(storage: &Storage, cache: &Cache, key: &str, value: Vec<u8>, expected: u64) -> u64 {
    match storage.put(cache, key, value, expected, None).await.expect("etcd") {
        Written::Done(revision) => revision,
        Written::Conflict(_) => panic!("conflict on {key}"),
    }
}

fn keys(listed: Option<Listed>) -> Vec<String> {
    listed.expect("kept").entries.map(|e| e.key.to_string()).collect()
}

async fn events(w: &mut Watcher, most: Duration) -> Vec<String> {
    let mut out = Vec::new();
    w.next(&mut out, tokio::time::Instant::now() + most).await;
    out.iter()
        .map(|c| match c {
            Change::Added(e) => format!("+{}", e.key),
            Change::Modified(e) => format!("~{}", e.key),
            Change::Deleted(e) => {
                let (bytes, _) = e.gone().expect("old");
                let tree: serde_json::Value = serde_json::from_slice(&bytes).expect("json");
                assert_eq!(tree["metadata"]["resourceVersion"], e.revision.to_string());
                format!("-{}", e.key())
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_guarded_and_consistent_reads_see_them() {
    let etcd = Etcd::start().expect("etcd");
    let (storage, things, _) = start(&etcd).await;
    let first = put(&storage, &things, "a/x", object("x", "", ""), 0).await;
    let again = storage.put(&things, "a/x", object("x", "", ""), 0, None).await.expect("etcd");
    assert_eq!(again, Written::Conflict(Some(Raw { value: object("x", "", ""), revision: first })));
    assert!(storage.catch_up(Duration::from_secs(3)).await.expect("etcd"));
    let entry = things.get("a/x").expect("cached");
    assert_eq!(entry.revision, first);
    assert!(json::is_made_of(&entry.bytes, entry.body, &object("x", "", "")));
    for n in 0..300 {
        // A key outside the prefix moves etcd's revision too: reads must not wait for an event that is none of theirs.
        let r = put(&storage, &things, &format!("b/{n}"), object("b", "", ""), 0).await;
        assert!(storage.catch_up(Duration::from_secs(3)).await.expect("etcd"));
        assert_eq!(things.get(&format!("b/{n}")).map(|e| e.revision), Some(r));
    }
    assert_eq!(
        storage.delete(&things, "a/x", 1).await.expect("etcd"),
        Written::Conflict(Some(Raw { value: object("x", "", ""), revision: first }))
    );
    assert!(matches!(storage.delete(&things, "a/x", first).await.expect("etcd"), Written::Done(_)));
    assert_eq!(storage.delete(&things, "a/x", first).await.expect("etcd"), Written::Conflict(None));
    assert_eq!(storage.get(&things, "a/x").await.expect("etcd").map(|e| e.revision), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_cut_filtered_and_taken_back_in_time() {
    let etcd = Etcd::start().expect("etcd");
    let (storage, things, _) = start(&etcd).await;
    let mut at = 0;
    for (key, node, color) in [("a/1", "n1", "red"), ("a/2", "n2", "blue"), ("b/1", "n1", "blue"), ("b/2", "n1", "red")]
    {
        at = put(&storage, &things, key, object(key, node, color), 0).await;
    }
    let one = things_revision(&storage, &things, "a/1").await;
    assert!(matches!(storage.delete(&things, "a/1", one).await.expect("etcd"), Written::Done(_)));
    put(&storage, &things, "a/0", object("a/0", "n2", "red"), 0).await;
    storage.catch_up(Duration::from_secs(3)).await.expect("etcd");

    let list = |scope: &Scope, start: &str, limit, f: Option<Arc<dyn Select>>, at| {
        things.list(scope, start, limit, f, None, at)
    };
    let (all, a) = (Scope::All, Scope::Namespace("a".into()));
    assert_eq!(keys(list(&all, "", 0, None, None)), ["a/0", "a/2", "b/1", "b/2"]);
    assert_eq!(keys(list(&all, "", 0, None, Some(at))), ["a/1", "a/2", "b/1", "b/2"]);
    assert_eq!(keys(list(&a, "", 0, Some(Arc::new(Color("red"))), Some(at))), ["a/1"]);
    assert_eq!(keys(list(&all, "", 0, Some(Arc::new(Node("n2"))), None)), ["a/0", "a/2"]);
    assert_eq!(keys(things.list(&all, "", 0, Some(Arc::new(Node("n1"))), Some("n1"), None)), ["b/1", "b/2"]);
    assert_eq!(keys(list(&Scope::Key("b/1".into()), "", 0, None, None)), ["b/1"]);
    let page = list(&all, "", 3, None, None).expect("kept");
    assert_eq!((page.cut_after.as_deref(), page.remaining), (Some("b/1"), 1));
    let rest = list(&all, "b/1\0", 3, None, None).expect("kept");
    assert_eq!((rest.cut_after.as_deref(), rest.remaining, rest.entries.count()), (None, 0, 1));
    assert!(list(&all, "", 0, None, Some(0)).is_none(), "before the load nothing is known");
    let (old, revision, _) = storage.range(&things, &all, "", 0, at).await.expect("etcd");
    assert_eq!((old.len(), revision), (4, at));
    let (page, _, rest) = storage.range(&things, &a, "", 1, 0).await.expect("etcd");
    assert_eq!((page[0].key.as_ref(), rest), ("a/0", 1));
}

async fn things_revision(storage: &Storage, cache: &Cache, key: &str) -> u64 {
    storage.get(cache, key).await.expect("etcd").expect("there").revision
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_see_what_concerns_them() {
    let etcd = Etcd::start().expect("etcd");
    let (storage, things, others) = start(&etcd).await;
    let start = put(&storage, &things, "a/1", object("1", "n1", "red"), 0).await;
    storage.catch_up(Duration::from_secs(3)).await.expect("etcd");
    let color = || Some(Arc::new(Color("red")) as Arc<dyn Select>);
    let watch = |scope: Scope, filter, index: Option<&str>| {
        things.watch(&scope, Some(start), false, filter, index).unwrap_or_else(|_| panic!("resumable")).0
    };
    let mut all = watch(Scope::All, None, None);
    let mut ns = watch(Scope::Namespace("b".into()), None, None);
    let mut one = watch(Scope::Key("a/1".into()), None, None);
    let mut red = watch(Scope::All, color(), None);
    let mut node = watch(Scope::All, Some(Arc::new(Node("n2"))), Some("n2"));
    put(&storage, &others, "a/1", object("1", "n2", "red"), 0).await;
    let r = put(&storage, &things, "a/1", object("1", "n2", "blue"), start).await;
    let b = put(&storage, &things, "b/1", object("1", "n1", "red"), 0).await;
    let r = put(&storage, &things, "a/1", object("1", "n1", "red"), r).await;
    storage.delete(&things, "b/1", b).await.expect("etcd");
    let end = put(&storage, &others, "z", object("z", "", ""), 0).await;
    assert!(storage.wait_for(end, Duration::from_secs(3)).await);
    let soon = Duration::from_millis(50);
    assert_eq!(events(&mut all, soon).await, ["~a/1", "+b/1", "~a/1", "-b/1"]);
    assert_eq!(events(&mut ns, soon).await, ["+b/1", "-b/1"]);
    assert_eq!(events(&mut one, soon).await, ["~a/1", "~a/1"]);
    assert_eq!(events(&mut red, soon).await, ["-a/1", "+b/1", "+a/1", "-b/1"]);
    assert_eq!(events(&mut node, soon).await, ["+a/1", "-a/1"]);
    for w in [&mut all, &mut ns, &mut one, &mut red, &mut node] {
        assert_eq!(events(w, soon).await, [""; 0]);
        assert_eq!(w.revision(), end, "quiet watchers move on, for their bookmarks");
    }
    // A watcher that joins an existing channel late, and one that begins a new one, both get the past.
    assert_eq!(events(&mut watch(Scope::Namespace("b".into()), None, None), soon).await, ["+b/1", "-b/1"]);
    assert_eq!(events(&mut watch(Scope::Key("b/1".into()), None, None), soon).await, ["+b/1", "-b/1"]);
    let (mut late, initial) = things.watch(&Scope::All, None, true, color(), None).unwrap_or_else(|_| panic!("now"));
    assert_eq!(keys(initial), ["a/1"]);
    storage.delete(&things, "a/1", r).await.expect("etcd");
    assert_eq!(events(&mut late, Duration::from_secs(3)).await, ["-a/1"]);
    assert_eq!(things.watch(&Scope::All, Some(1), false, None, None).err().is_some(), start > 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_may_go_and_come_back() {
    let mut etcd = Etcd::start().expect("etcd");
    let (storage, things, _) = start(&etcd).await;
    let first = put(&storage, &things, "a", object("a", "", ""), 0).await;
    storage.catch_up(Duration::from_secs(3)).await.expect("etcd");
    let mut watcher = things.watch(&Scope::All, Some(first), false, None, None).unwrap_or_else(|_| panic!("now")).0;
    etcd.kill();
    assert!(storage.healthy().await.is_err());
    assert!(things.get("a").is_some(), "what is cached stays readable");
    etcd.restart().expect("etcd");
    let until = Instant::now() + Duration::from_secs(20);
    let second = loop {
        match storage.put(&things, "b", object("b", "", ""), 0, None).await {
            Ok(Written::Done(r)) => break r,
            Ok(Written::Conflict(Some(raw))) => break raw.revision,
            other => assert!(Instant::now() < until, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(storage.wait_for(second, Duration::from_secs(10)).await);
    assert_eq!(events(&mut watcher, Duration::from_secs(5)).await, ["+b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caches_can_be_attached_and_objects_expire() {
    let etcd = Etcd::start().expect("etcd");
    let (storage, things, _) = start(&etcd).await;
    let early = CacheSpec { prefix: "/registry/example.com/widgets/".into(), decode: Arc::new(Plain), index: None };
    let widgets = storage.attach(early).await.expect("attached");
    put(&storage, &widgets, "ns/w", object("w", "", ""), 0).await;
    storage.detach(&widgets);
    let late = CacheSpec { prefix: "/registry/example.com/widgets/".into(), decode: Arc::new(Plain), index: None };
    let widgets = storage.attach(late).await.expect("attached");
    // A cache begins where the others are, which may be before the last write.
    storage.catch_up(Duration::from_secs(3)).await.expect("etcd");
    assert!(widgets.get("ns/w").is_some());
    put(&storage, &widgets, "ns/w2", object("w2", "", ""), 0).await;
    storage.catch_up(Duration::from_secs(3)).await.expect("etcd");
    assert_eq!(widgets.len(), 2);

    for n in 0..5 {
        let written = storage
            .put(&things, &format!("e{n}"), object("e", "", ""), 0, Some(Duration::from_secs(1)))
            .await
            .expect("etcd");
        assert!(matches!(written, Written::Done(_)));
    }
    storage.catch_up(Duration::from_secs(3)).await.expect("etcd");
    assert_eq!(things.len(), 5);
    let until = Instant::now() + Duration::from_secs(15);
    while !things.is_empty() {
        assert!(Instant::now() < until, "leases do not end");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_watchers_of_one_node_each_cost_nothing_for_others() {
    let etcd = Etcd::start().expect("etcd");
    let (storage, things, _) = start(&etcd).await;
    let names: Vec<&'static str> = (0..5_000).map(|n| &*Box::leak(format!("n{n}").into_boxed_str())).collect();
    let mut watchers: Vec<_> = names
        .iter()
        .map(|n| {
            things
                .watch(&Scope::All, None, false, Some(Arc::new(Node(n)) as Arc<dyn Select>), Some(n))
                .unwrap_or_else(|_| panic!("now"))
                .0
        })
        .collect();
    let begin = Instant::now();
    for n in 0..200 {
        put(&storage, &things, &format!("p{n}"), object("p", names[n % 100], ""), 0).await;
    }
    storage.catch_up(Duration::from_secs(3)).await.expect("etcd");
    println!("200 writes under 5,000 watchers: {:?}", begin.elapsed());
    for (n, w) in watchers.iter_mut().enumerate().take(200) {
        let got = events(w, Duration::from_millis(1)).await;
        assert_eq!(got.len(), if n < 100 { 2 } else { 0 }, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watchers_of_everything_are_woken_together_and_miss_nothing() {
    const WRITES: usize = 100;
    let etcd = Etcd::start().expect("etcd");
    let (storage, things, _) = start(&etcd).await;
    let want: Vec<String> = (0..WRITES).map(|n| format!("+a/{n:03}")).collect();
    let mut tasks = Vec::new();
    for n in 0..1_000 {
        let scope = if n % 2 == 0 { Scope::All } else { Scope::Namespace("a".into()) };
        let (mut watcher, _) = things.watch(&scope, None, false, None, None).unwrap_or_else(|_| panic!("now"));
        let want = want.clone();
        tasks.push(tokio::spawn(async move {
            let mut got = Vec::new();
            while got.len() < want.len() {
                let more = events(&mut watcher, Duration::from_secs(20)).await;
                assert!(!more.is_empty(), "after {got:?} nothing came");
                got.extend(more);
            }
            assert_eq!(got, want);
        }));
    }
    let keys: Vec<String> = (0..WRITES).map(|n| format!("a/{n:03}")).collect();
    for key in &keys {
        put(&storage, &things, key, object("x", "", ""), 0).await;
    }
    for task in tasks {
        task.await.expect("saw all");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_compacted_and_nobody_minds() {
    let etcd = Etcd::start().expect("etcd");
    let config = StorageConfig {
        servers: vec![etcd.url()],
        compaction_interval: Duration::from_millis(300),
        ..StorageConfig::default()
    };
    let (storage, caches) = Storage::start(&config, vec![spec("/registry/things/")]).await.expect("started");
    assert!(storage.wait_loaded(Duration::from_secs(10)).await);
    let things = &caches[0];
    let first = put(&storage, things, "a", object("a", "", ""), 0).await;
    let second = put(&storage, things, "a", object("a", "n", ""), first).await;
    let until = Instant::now() + Duration::from_secs(10);
    while !matches!(storage.range(things, &Scope::All, "", 0, first).await, Err(Error::Compacted)) {
        assert!(Instant::now() < until, "etcd still has the first revision");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    storage.catch_up(Duration::from_secs(3)).await.expect("etcd");
    assert_eq!(things.get("a").map(|e| e.revision), Some(second));
    assert_eq!(keys(things.list(&Scope::All, "", 0, None, None, Some(first))), ["a"], "the ring still knows");
}
