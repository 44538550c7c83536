use super::*;

fn pod(uid: &str, priority: i32) -> Arc<PodInfo> {
    Arc::new(PodInfo { uid: uid.into(), name: uid.into(), priority, ..PodInfo::default() })
}

/// What is done with the queue, at second `n` of the test.
enum Step {
    Set(PodInfo),
    /// Which pod comes next.
    Pop(Option<&'static str>),
    Failed(&'static str, &'static [&'static str]),
    Node(i64),
    Gone(&'static str),
    /// Pods in active, backoff, unschedulable, gated.
    Counts(usize, usize, usize, usize),
}

/// Runs steps at their seconds.
fn check(name: &str, steps: Vec<(u64, Step)>) {
    let (mut queue, cluster, start) = (Queue::new(Times::default()), Snapshot::default(), Instant::now());
    for (at, (second, step)) in steps.into_iter().enumerate() {
        let now = start + Duration::from_secs(second);
        match step {
            Step::Set(p) => queue.set(Arc::new(p), &cluster, now),
            Step::Pop(want) => {
                let got = queue.pop(now).map(|q| q.pod.uid.clone());
                assert_eq!(got.as_deref(), want, "{name}, step {at}");
            }
            Step::Failed(uid, by) => queue.failed(uid, by.to_vec(), now),
            Step::Node(cpu) => {
                let mut node = NodeInfo { max_pods: 10, ..NodeInfo::default() };
                Arc::make_mut(&mut node.allocatable).cpu = cpu;
                queue.moved(&Event::NodeAdded(&node), &cluster, now);
            }
            Step::Gone(uid) => drop(queue.remove(uid)),
            Step::Counts(active, backoff, unschedulable, gated) => {
                assert_eq!(queue.counts(), Counts { active, backoff, unschedulable, gated }, "{name}, step {at}");
            }
        }
    }
}

fn set(uid: &str, priority: i32) -> Step {
    Step::Set(PodInfo::clone(&pod(uid, priority)))
}

fn wants(uid: &str, cpu: i64) -> Step {
    let mut p = PodInfo::clone(&pod(uid, 0));
    p.requests.cpu = cpu;
    Step::Set(p)
}

#[test]
fn pods_come_and_go() {
    use Step::*;
    check(
        "priority goes before time",
        vec![
            (0, set("a", 0)),
            (1, set("b", 5)),
            (2, set("c", 0)),
            (3, Pop(Some("b"))),
            (3, Pop(Some("a"))),
            (3, Gone("c")),
            (3, Pop(None)),
        ],
    );
    check(
        "a refused pod waits for an event that may help",
        vec![
            (0, wants("a", 500)),
            (0, Pop(Some("a"))),
            (0, Failed("a", &["NodeResourcesFit"])),
            (0, Counts(0, 0, 1, 0)),
            (60, Pop(None)),
            (60, Node(100)),
            (60, Counts(0, 0, 1, 0)),
            (60, Node(1000)),
            (60, Counts(1, 0, 0, 0)),
            (60, Pop(Some("a"))),
        ],
    );
    check(
        "within its wait it goes to the backoff queue, from where it is taken if nothing else is there",
        vec![
            (0, wants("a", 500)),
            (0, Pop(Some("a"))),
            (0, Failed("a", &["NodeResourcesFit"])),
            (0, Node(1000)),
            (0, Counts(0, 1, 0, 0)),
            (0, set("b", 0)),
            (0, Pop(Some("b"))),
            (0, Pop(Some("a"))),
        ],
    );
    check(
        "after errors the wait doubles, up to ten seconds",
        vec![
            (0, set("a", 0)),
            (0, Pop(Some("a"))),
            (0, Failed("a", &[])),
            (0, Pop(None)),
            (1, Pop(Some("a"))),
            (1, Failed("a", &[])),
            (2, Pop(None)),
            (3, Pop(Some("a"))),
            (3, Failed("a", &[])),
            (7, Pop(Some("a"))),
            (7, Failed("a", &[])),
            (15, Pop(Some("a"))),
            (15, Failed("a", &[])),
            (24, Pop(None)),
            (25, Pop(Some("a"))),
        ],
    );
    check(
        "after five minutes a pod is tried again",
        vec![
            (0, set("a", 0)),
            (0, Pop(Some("a"))),
            (0, Failed("a", &["NodeAffinity"])),
            (299, Pop(None)),
            (300, Pop(Some("a"))),
        ],
    );
    let gated = PodInfo { gates: vec!["wait".into()], ..PodInfo::clone(&pod("a", 0)) };
    check(
        "gated pods wait for their gates to go",
        vec![
            (0, Set(gated)),
            (0, Counts(0, 0, 0, 1)),
            (0, Pop(None)),
            (400, Pop(None)),
            (400, set("a", 0)),
            (400, Counts(1, 0, 0, 0)),
            (400, Pop(Some("a"))),
        ],
    );
    let relabelled = PodInfo { labels: [("k".into(), "v".into())].into(), ..PodInfo::clone(&pod("a", 0)) };
    let reported = PodInfo { nominated: "n".into(), ..PodInfo::clone(&pod("a", 0)) };
    check(
        "a waiting pod is tried again when it changes, but not for its status",
        vec![
            (0, set("a", 0)),
            (0, Pop(Some("a"))),
            (0, Failed("a", &["InterPodAffinity"])),
            (5, Set(reported)),
            (5, Counts(0, 0, 1, 0)),
            (5, Set(relabelled)),
            (5, Pop(Some("a"))),
        ],
    );
    check(
        "priority of a waiting pod may change",
        vec![
            (0, set("a", 0)),
            (0, set("b", 1)),
            (1, set("a", 2)),
            (1, Counts(2, 0, 0, 0)),
            (1, Pop(Some("a"))),
            (1, Pop(Some("b"))),
        ],
    );
}
