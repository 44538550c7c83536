use super::*;

fn node(name: &str, zone: &str) -> NodeInfo {
    let labels = [(ZONE.to_owned(), zone.to_owned())].into();
    NodeInfo { name: name.into(), labels: Arc::new(labels), ..NodeInfo::default() }
}

fn pod(uid: &str, node: &str, cpu: i64) -> Arc<PodInfo> {
    let mut pod = PodInfo { uid: uid.into(), node_name: node.into(), ..PodInfo::default() };
    pod.requests.cpu = cpu;
    Arc::new(pod)
}

fn used(cache: &mut Cache, node: &str) -> Option<i64> {
    cache.snapshot().node(node).map(|n| n.requested.cpu)
}

#[test]
fn assumed_pods_count_until_they_are_known_or_forgotten() {
    let mut cache = Cache::default();
    cache.set_node(&node("a", ""));
    cache.set_node(&node("b", ""));
    cache.assume(pod("p", "", 5), "a");
    assert_eq!((used(&mut cache, "a"), cache.sizes()), (Some(5), (1, 1)));
    assert!(cache.set_pod(pod("p", "a", 5)).is_none(), "what was only assumed is no earlier state");
    assert_eq!((used(&mut cache, "a"), cache.sizes()), (Some(5), (1, 0)));
    assert!(cache.forget("p").is_none(), "it is known to be there");
    assert_eq!(cache.set_pod(pod("p", "a", 3)).map(|p| p.requests.cpu), Some(5));
    assert_eq!(used(&mut cache, "a"), Some(3));

    cache.assume(pod("q", "", 7), "a");
    cache.set_pod(pod("q", "b", 7));
    assert_eq!(
        (used(&mut cache, "a"), used(&mut cache, "b")),
        (Some(3), Some(7)),
        "somebody else has bound it elsewhere"
    );

    cache.assume(pod("r", "", 9), "b");
    assert!(cache.forget("r").is_some());
    assert_eq!((used(&mut cache, "b"), cache.has_pod("r")), (Some(7), false));
}

#[test]
fn pods_outlive_their_nodes() {
    let mut cache = Cache::default();
    cache.set_pod(pod("early", "a", 1));
    assert_eq!(used(&mut cache, "a"), None);
    cache.set_node(&node("a", ""));
    cache.set_pod(pod("p", "a", 2));
    assert_eq!(used(&mut cache, "a"), Some(3));
    cache.remove_node("a");
    assert!(cache.snapshot().nodes.is_empty());
    cache.remove_pod("p");
    cache.set_node(&node("a", ""));
    assert_eq!(used(&mut cache, "a"), Some(1));
}

#[test]
fn zones_take_turns() {
    let mut cache = Cache::default();
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c"), ("c2", "c")] {
        cache.set_node(&node(name, zone));
    }
    let names = |cache: &mut Cache| cache.snapshot().nodes.iter().map(|n| n.name.clone()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&mut cache), "a1 b1 c1 a2 c2 a3");
    cache.remove_node("b1");
    cache.set_pod(pod("p", "a3", 4));
    assert_eq!(names(&mut cache).split(' ').count(), 5);
    assert_eq!(used(&mut cache, "a3"), Some(4), "places follow the order");
}

#[test]
fn images_keep_the_size_first_told() {
    let mut cache = Cache::default();
    let with = |name: &str, images: &[(&str, i64)]| {
        let mut images: Vec<_> = images.iter().map(|(n, b)| (ImageId::of(n), *b)).collect();
        images.sort_unstable();
        NodeInfo { images: images.into(), ..node(name, "") }
    };
    cache.set_node(&with("a", &[("x", 10), ("y", 1)]));
    cache.set_node(&with("b", &[("x", 99)]));
    assert_eq!(cache.peek().images[&ImageId::of("x")], (10, 2));
    cache.set_node(&with("a", &[("x", 10)]));
    assert_eq!(cache.peek().images.get(&ImageId::of("y")), None);
    cache.remove_node("b");
    assert_eq!(cache.peek().images[&ImageId::of("x")], (10, 1));
}

#[test]
fn nominations_and_affinity_are_counted() {
    let mut cache = Cache::default();
    cache.set_node(&node("a", ""));
    let p = pod("p", "", 1);
    cache.nominate(&p, "a");
    cache.nominate(&p, "b");
    assert_eq!((cache.nominated("p"), cache.peek().nominated.len()), (Some("b"), 1));
    cache.nominate(&p, "");
    assert!(cache.peek().nominated.is_empty());

    let term = crate::pod::AffinityTerm {
        namespaces: vec![],
        namespace_selector: LabelSelector::nothing(),
        selector: LabelSelector::nothing(),
        topology_key: "k".into(),
    };
    let shy = PodInfo { required_anti_affinity: vec![term], ..PodInfo::clone(&pod("s", "a", 1)) };
    cache.set_pod(Arc::new(shy));
    assert_eq!((cache.peek().with_affinity, cache.peek().with_anti_affinity), (1, 1));
    cache.remove_node("a");
    assert_eq!((cache.peek().with_affinity, cache.peek().with_anti_affinity), (0, 0));
    cache.set_node(&node("a", ""));
    cache.remove_pod("s");
    assert_eq!((cache.peek().with_affinity, cache.peek().with_anti_affinity), (0, 0));
}

#[test]
fn groups_follow_every_change() {
    let mut cache = Cache::default();
    let check = |cache: &Cache, step: &str| {
        assert_eq!(cache.peek().groups.all(), Groups::new(&cache.peek().nodes).all(), "{step}");
    };
    cache.set_pod(pod("early", "a", 1));
    cache.set_node(&node("a", "x"));
    check(&cache, "a node comes after its pod");
    cache.set_node(&node("b", "y"));
    cache.set_pod(pod("p", "b", 1));
    cache.assume(pod("q", "", 1), "a");
    check(&cache, "pods come");
    cache.set_node(&node("b", "z"));
    check(&cache, "a node moves to another zone");
    cache.set_pod(Arc::new(PodInfo { terminating: true, ..PodInfo::clone(&pod("p", "b", 1)) }));
    cache.set_pod(Arc::new(PodInfo { group: 7, ..PodInfo::clone(&pod("early", "a", 1)) }));
    cache.forget("q");
    check(&cache, "pods change");
    assert_eq!(cache.peek().groups.all(), [(String::new(), 7, vec![("x".to_owned(), 1)])]);
    cache.remove_node("a");
    cache.remove_pod("early");
    check(&cache, "a node goes");
}
