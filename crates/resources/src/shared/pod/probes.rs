//! Probes and lifecycle hooks (rule: core validation `validateProbe`, `validateLifecycle`, `validateHandler`).

use super::say;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};

/// The three probes of a container.
pub fn probes(e: &mut ErrorList, container: &Value, grace: Option<i64>, at: &Path) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get(name) {
            one_probe(e, probe, name == "readinessProbe", grace, &at.child(name));
        }
    }
}

fn one_probe(e: &mut ErrorList, probe: &Value, readiness: bool, grace: Option<i64>, at: &Path) {
    handler(e, probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace, at);
    let int = |k: &str| object::int(probe, &[k]).unwrap_or(0);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        if int(key) < 0 {
            validation::nonnegative(e, int(key), &at.child(key));
        }
    }
    let termination = object::int(probe, &["terminationGracePeriodSeconds"]);
    if let Some(seconds) = termination.filter(|s| *s <= 0) {
        e.invalid(&at.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
    if readiness {
        if let Some(seconds) = termination {
            e.invalid(&at.child("terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes");
        }
    } else if int("successThreshold") != 1 {
        e.invalid(&at.child("successThreshold"), int("successThreshold"), "must be 1");
    }
}

/// The hooks of a container.
pub fn lifecycle(e: &mut ErrorList, lifecycle: &Value, grace: Option<i64>, at: &Path) {
    for hook in ["postStart", "preStop"] {
        if let Some(h) = lifecycle.get(hook) {
            handler(e, h, &["exec", "httpGet", "tcpSocket", "sleep"], grace, &at.child(hook));
        }
    }
}

fn handler(e: &mut ErrorList, handler: &Value, kinds: &[&str], grace: Option<i64>, at: &Path) {
    let mut found = false;
    for kind in kinds {
        let Some(action) = handler.get(*kind) else { continue };
        let path = at.child(kind);
        if found {
            e.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                if object::list(action, &["command"]).is_empty() {
                    e.required(&path.child("command"), "");
                }
            }
            "httpGet" => http_get(e, action, &path),
            "sleep" => sleep(e, action, grace, &path),
            _ => port(e, action.get("port"), || path.child("port")),
        }
    }
    if !found {
        e.required(at, "must specify a handler type");
    }
}

fn http_get(e: &mut ErrorList, get: &Value, at: &Path) {
    if object::str(get, &["path"]).is_empty() {
        e.required(&at.child("path"), "");
    }
    port(e, get.get("port"), || at.child("port"));
    let scheme = object::str(get, &["scheme"]);
    if !["HTTP", "HTTPS"].contains(&scheme) {
        e.not_supported(&at.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in object::list(get, &["httpHeaders"]) {
        let name = object::str(header, &["name"]);
        say(e, || at.child("httpHeaders"), name, validation::http_header_name(name));
    }
}

/// A port by number or by name (rule: `ValidatePortNumOrName`).
pub fn port(e: &mut ErrorList, port: Option<&Value>, at: impl Fn() -> Path) {
    match port {
        Some(Value::String(name)) => say(e, at, name, validation::port_name(name)),
        other => {
            let number = other.and_then(Value::as_i64).unwrap_or(0);
            for m in validation::port_number(number) {
                e.invalid(&at(), number, m);
            }
        }
    }
}

fn sleep(e: &mut ErrorList, sleep: &Value, grace: Option<i64>, at: &Path) {
    let seconds = object::int(sleep, &["seconds"]).unwrap_or(0);
    if let Some(grace) = grace.filter(|g| seconds < 0 || seconds > *g) {
        e.invalid(
            at,
            seconds,
            format_args!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
        );
    }
}
