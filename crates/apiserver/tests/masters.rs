//! Servers of one cluster know of each other by their leases in etcd.

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
