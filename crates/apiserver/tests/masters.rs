//! Servers of one cluster know of each other by their leases in etcd, and share what Services are given.

mod common;

use common::Server;

/// The addresses behind the service `kubernetes`, from both kinds of objects.
fn addresses(server: &Server) -> [Vec<String>; 2] {
    let read = |path: &str| {
        let body = server.get(path).body;
        serde_json::from_str::<serde_json::Value>(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    };
    let endpoints = read("/api/v1/namespaces/default/endpoints/kubernetes");
    let slice = read("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes");
    let all = |list: &serde_json::Value, of: fn(&serde_json::Value) -> &serde_json::Value| {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|i| of(i).as_str().map(str::to_owned)).collect()
    };
    [all(&endpoints["subsets"][0]["addresses"], |a| &a["ip"]), all(&slice["endpoints"], |e| &e["addresses"][0])]
}

#[test]
fn servers_come_and_go() {
    let first = Server::start();
    assert_eq!(addresses(&first), [["192.0.2.1"], ["192.0.2.1"]]);
    let second = first.beside("192.0.2.2");
    let both = ["192.0.2.1", "192.0.2.2"];
    assert_eq!(addresses(&second), [both, both]);
    second.stop();
    assert_eq!(addresses(&first), [["192.0.2.1"], ["192.0.2.1"]]);
}

/// The answer to the creation of a Service with one node port.
fn node_port(server: &Server, name: &str) -> Result<u64, String> {
    let service = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    });
    let (path, json) = ("/api/v1/namespaces/default/services", "Content-Type: application/json\r\n");
    let answer = server.request("POST", path, json, service.to_string().as_bytes());
    let body: serde_json::Value = serde_json::from_str(&answer.body).map_err(|e| format!("{e}: {}", answer.body))?;
    body["spec"]["ports"][0]["nodePort"].as_u64().ok_or(answer.body)
}

#[test]
fn servers_share_one_pool_of_node_ports() {
    let first = Server::start_with(&["--service-node-port-range", "30000-30039"]);
    let other = first.beside_with("192.0.2.2", &["--service-node-port-range", "30000-30039"]);
    let servers = [&first, &other];
    let mut ports: Vec<u64> = std::thread::scope(|scope| {
        let made: Vec<_> = (0..4)
            .map(|t| {
                scope.spawn(move || -> Vec<u64> {
                    let one = |i| node_port(servers[t % 2], &format!("s-{t}-{i}")).expect("there are ports left");
                    (0..10).map(one).collect()
                })
            })
            .collect();
        made.into_iter().flat_map(|m| m.join().expect("no thread fails")).collect()
    });
    ports.sort_unstable();
    assert_eq!(ports, (30000..30040).collect::<Vec<_>>());
    let full = node_port(&other, "one-more").expect_err("all ports are taken");
    assert!(full.contains("failed to allocate a nodePort: range is full"), "{full}");
    // What one server gives back, the other can give away.
    assert_eq!(first.request("DELETE", "/api/v1/namespaces/default/services/s-0-0", "", b"").code, 200);
    node_port(&other, "one-more").expect("a port was given back");
}
