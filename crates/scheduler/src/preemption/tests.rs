use super::*;
use crate::cycle::evaluate;
use crate::pod::Labels;

fn pod(name: &str, priority: i32, cpu: i64) -> PodInfo {
    let mut pod =
        PodInfo { uid: name.into(), name: name.into(), namespace: "d".into(), priority, ..PodInfo::default() };
    pod.requests.cpu = cpu;
    pod
}

/// A node of so much CPU; pods are name (and label `app`), priority, CPU, and second at which they began.
fn node(name: &str, cpu: i64, pods: &[(&str, i32, i64, i64)]) -> Arc<NodeInfo> {
    let mut node = NodeInfo { name: name.into(), max_pods: 100, exists: true, ..NodeInfo::default() };
    Arc::make_mut(&mut node.allocatable).cpu = cpu;
    for (name, priority, cpu, started) in pods {
        let labels: Labels = [("app".to_owned(), (*name).to_owned())].into();
        let started = jiff::Timestamp::from_second(*started).ok();
        node.add(Arc::new(PodInfo { labels, started, ..pod(name, *priority, *cpu) }));
    }
    Arc::new(node)
}

fn budget(app: &str, allowed: i32) -> Arc<Budget> {
    let selector = steersman_apimachinery::selector::LabelSelector::from_map([("app", app)]);
    Arc::new(Budget { namespace: "d".into(), selector, allowed, disrupted: vec![] })
}

/// Which node is chosen and who must go, or what the user is told.
fn check(name: &str, incoming: &PodInfo, nodes: Vec<Arc<NodeInfo>>, budgets: &[Arc<Budget>], want: &str) {
    let cluster = Snapshot::new(nodes, Arc::default(), Arc::default());
    let decision = evaluate(incoming, &cluster, 0, cluster.nodes.len());
    for offset in 0..3 {
        let got = match preempt(incoming, &cluster, &decision, budgets, offset) {
            Outcome::Found(c) => {
                let victims: Vec<&str> = c.victims.iter().map(|p| p.name.as_str()).collect();
                format!("{}: {}", cluster.nodes[c.index].name, victims.join(" "))
            }
            Outcome::Nothing { message, .. } => message,
        };
        assert_eq!(got, want, "{name}, from {offset}");
    }
}

#[test]
fn who_has_to_go() {
    let p = pod("new", 10, 50);
    check(
        "as few as possible, the least important",
        &p,
        vec![node("a", 100, &[("x", 1, 50, 1), ("y", 2, 50, 2)])],
        &[],
        "a: x",
    );
    check("of equals the youngest", &p, vec![node("a", 100, &[("x", 1, 50, 1), ("y", 1, 50, 2)])], &[], "a: y");
    check("budgets first", &p, vec![node("a", 100, &[("x", 1, 50, 1), ("y", 2, 50, 2)])], &[budget("x", 0)], "a: y");
    check(
        "a budget with room does not protect",
        &p,
        vec![node("a", 100, &[("x", 1, 50, 1), ("y", 2, 50, 2)])],
        &[budget("x", 1)],
        "a: x",
    );
    check("no protection if all else fails", &p, vec![node("a", 100, &[("x", 1, 100, 1)])], &[budget("x", 0)], "a: x");
}

#[test]
fn which_node_is_chosen() {
    let p = pod("new", 10, 60);
    let two = |a: &[(&str, i32, i64, i64)], b: &[(&str, i32, i64, i64)]| vec![node("a", 100, a), node("b", 100, b)];
    check("no violated budget", &p, two(&[("x", 1, 90, 1)], &[("y", 5, 90, 1)]), &[budget("x", 0)], "b: y");
    check("lowest highest priority", &p, two(&[("x", 4, 90, 1)], &[("y", 3, 45, 1), ("z", 3, 45, 1)]), &[], "b: y z");
    check(
        "lowest sum",
        &p,
        two(&[("x", 3, 45, 1), ("v", 3, 45, 1)], &[("y", 3, 45, 1), ("z", 2, 45, 1)]),
        &[],
        "b: y z",
    );
    check("fewest pods", &p, two(&[("x", -1, 45, 1), ("v", -1, 45, 1)], &[("y", -1, 90, 1)]), &[], "b: y");
    check("began last", &p, two(&[("x", 1, 90, 5)], &[("y", 1, 90, 9)]), &[], "b: y");
}

#[test]
fn why_nobody_has_to_go() {
    let p = pod("new", 10, 60);
    let cordoned = Arc::new(NodeInfo { unschedulable: true, ..NodeInfo::clone(&node("c", 100, &[])) });
    let nodes = vec![node("a", 100, &[("x", 10, 90, 1)]), node("b", 10, &[]), cordoned];
    let want = "0/3 nodes are available: 1 No preemption victims found for incoming pod, \
                2 Preemption is not helpful for scheduling.";
    check("nobody is less important", &p, nodes, &[], want);
    let nodes = vec![node("a", 100, &[("x", 10, 90, 1), ("y", 1, 10, 1)])];
    check("it would not be enough", &p, nodes, &[], "0/1 nodes are available: 1 Insufficient cpu.");
    let never = PodInfo { never_preempts: true, ..pod("new", 10, 60) };
    let nodes = vec![node("a", 100, &[("x", 1, 90, 1)])];
    check("it must not", &never, nodes, &[], "not eligible due to preemptionPolicy=Never.");
    let mut leaving = NodeInfo::clone(&node("a", 100, &[]));
    leaving.add(Arc::new(PodInfo { terminating: true, preempted: true, ..pod("x", 1, 90) }));
    let nominated = PodInfo { nominated: "a".into(), ..pod("new", 10, 60) };
    let want = "not eligible due to a terminating pod on the nominated node.";
    check("room is being made already", &nominated, vec![Arc::new(leaving)], &[], want);
}
