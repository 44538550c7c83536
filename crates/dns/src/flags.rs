//! Flags of cluster DNS.

use steersman_component::flags::Kind::{Int, List, Text};
use steersman_component::flags::{Flag, flag};

/// The table.
pub const FLAGS: &[Flag] = &[
    flag("DNS", "domain", Text, "cluster.local", "Domain of the cluster."),
    flag("DNS", "port", Int, "53", "Port for UDP and TCP."),
    flag("DNS", "bind-address", Text, "0.0.0.0", "Address to listen on."),
    flag("DNS", "resolv-conf", Text, "/etc/resolv.conf", "Where the resolvers for other names are read from."),
    flag("DNS", "forward", List, "", "Resolvers for other names instead of those of --resolv-conf."),
    flag(
        "Kubeconfig",
        "kubeconfig",
        Text,
        "",
        "Path to the kubeconfig file; without it the in-cluster configuration is used.",
    ),
    flag("Serving", "health-address", Text, "0.0.0.0:8181", "Address of the health endpoints."),
    flag("Serving", "metrics-address", Text, "0.0.0.0:9153", "Address of the metrics endpoint."),
];
