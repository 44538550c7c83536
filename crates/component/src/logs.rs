//! Structured logs on stderr, as text or JSON.

use crate::flags::Flags;
use tracing_subscriber::EnvFilter;

/// Starts logging by `--v` and `--logging-format`. `RUST_LOG` overrides the level.
pub fn init(flags: &Flags) {
    let level = match flags.int("v") {
        i64::MIN..=3 => "info",
        4..=5 => "debug",
        _ => "trace",
    };
    // Libraries say too much at high levels: they follow only from 8 on.
    let default =
        if flags.int("v") >= 8 { level.to_owned() } else { format!("warn,steersman={level},kube_apiserver={level}") };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        let mut filter = default;
        for name in OURS {
            filter.push_str(&format!(",{name}={level}"));
        }
        EnvFilter::new(filter)
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = if flags.text("logging-format") == "json" {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
    drop(done); // A second start in one process (tests) keeps the first.
}

/// Our crates, whose messages follow `--v`.
const OURS: &[&str] = &[
    "kubelet",
    "kube_proxy",
    "kube_scheduler",
    "kube_controller_manager",
    "cluster_dns",
    "steersman_admission",
    "steersman_apiserver",
    "steersman_auth",
    "steersman_client",
    "steersman_component",
    "steersman_controller_manager",
    "steersman_dns",
    "steersman_kubelet",
    "steersman_pki",
    "steersman_proxy",
    "steersman_registry",
    "steersman_resources",
    "steersman_scheduler",
    "steersman_storage",
    "steersman_streaming",
    "steersman_volumes",
];
