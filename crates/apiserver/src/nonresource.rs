//! Paths that are no resources: discovery, version, health, metrics, documents.

use crate::api::{self, Api, Incomings};
use crate::discovery::Document;
use crate::encode;
use crate::negotiate::{self, MediaType, Negotiated, Wanted, no_such_route};
use crate::respond::{self, Reply, tree};
use http::Method;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;
use steersman_apimachinery::Status;
use steersman_component::health::{Endpoint, Results};
use steersman_component::{metrics, version};
use steersman_registry::Context;

/// Serves a path that is no resource, or none at all.
pub async fn serve(api: &Arc<Api>, request: &Incomings, _ctx: &Context) -> Result<Reply, Status> {
    let path = request.info.path.as_str();
    if path.starts_with("//") {
        return Ok(respond::page_not_found());
    }
    // Every check has its path, but there is none for nothing behind the slash.
    if let Some((endpoint, single)) = Endpoint::of_path(path).filter(|_| !path.ends_with('/')) {
        return Ok(health(api, request, endpoint, single));
    }
    if path.starts_with("/openapi/") {
        return Ok(crate::openapi::serve(api, request));
    }
    match path {
        "/" | "/index.html" => {
            Ok(respond::new(200, "application/json", encode::pretty(&json!({"paths": paths(api)})).into()))
        }
        "/metrics" => {
            api.instruments.set_objects(&api.registry.counts());
            if let Some(bytes) = api.registry.database_size().await {
                api.instruments.set_storage_size(bytes);
            }
            Ok(respond::new(200, metrics::CONTENT_TYPE, api.metrics.text().into()))
        }
        "/metrics/slis" => Ok(respond::new(200, metrics::CONTENT_TYPE, slis(&api.health.results()).into())),
        "/statusz" => Ok(respond::new(200, "text/plain; charset=utf-8", statusz(api).into())),
        "/flagz" => Ok(respond::text(200, flagz(api))),
        _ => routed(api, request, path),
    }
}

/// Paths that upstream serves through its router, which takes a trailing slash and refuses other methods.
fn routed(api: &Api, request: &Incomings, path: &str) -> Result<Reply, Status> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let get = |produces: &'static str| -> Result<(), Status> {
        if request.parts.method != Method::GET {
            return Err(negotiate::method_not_allowed());
        }
        negotiate::route_accepts(request.headers(), &request.parts.method, produces)
    };
    match parts[..] {
        ["api"] => {
            get(negotiate::OBJECT_TYPES)?;
            if let Some(format) = negotiate::aggregated(request.headers()) {
                return document_with_tag(request, &api.discovery.aggregated_core, format);
            }
            let address = std::net::SocketAddr::new(api.config.advertise, api.config.bind.port()).to_string();
            let versions = json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
            });
            let mut json = versions.to_string();
            json.push('\n');
            Ok(request.asked().document(&json.into()))
        }
        // Two slashes at the end are no path of the aggregator's, which serves these two literally.
        ["apis"] if !matches!(path, "/apis" | "/apis/") => Ok(respond::page_not_found()),
        ["apis"] => {
            get(negotiate::OBJECT_TYPES)?;
            match negotiate::aggregated(request.headers()) {
                Some(format) => document_with_tag(request, &api.discovery.aggregated, format),
                None => Ok(document(request, &api.discovery.groups)),
            }
        }
        ["api", v] => {
            let found = api.discovery.resources.get(&(String::new(), v.to_owned())).ok_or_else(no_such_route)?;
            get(negotiate::OBJECT_TYPES)?;
            Ok(document(request, found))
        }
        ["apis", group] => match api.discovery.group.get(group) {
            None => Ok(respond::page_not_found()),
            Some(found) => {
                get(negotiate::OBJECT_TYPES)?;
                Ok(document(request, found))
            }
        },
        ["apis", group, v] => {
            if !api.discovery.group.contains_key(group) {
                return Ok(respond::page_not_found());
            }
            let found = api.discovery.resources.get(&(group.to_owned(), v.to_owned())).ok_or_else(no_such_route)?;
            get(negotiate::OBJECT_TYPES)?;
            Ok(document(request, found))
        }
        ["version"] => {
            get("application/json")?;
            Ok(respond::new(200, "application/json", encode::pretty(&version::info()).into()))
        }
        [".well-known", "openid-configuration"] if api.verifier.is_some() => {
            get("application/json")?;
            Ok(cached(respond::new(200, "application/json", configuration(api).to_string().into())))
        }
        ["openid", "v1", "jwks"] => match &api.verifier {
            None => Ok(respond::page_not_found()),
            Some(keys) => {
                get("application/jwk-set+json")?;
                Ok(cached(respond::new(200, "application/jwk-set+json", keys.jwks().to_string().into())))
            }
        },
        _ if parts[0] == "api" => Err(no_such_route()),
        _ => Ok(respond::page_not_found()),
    }
}

fn document(request: &Incomings, d: &Document) -> Reply {
    request.asked().document(&d.json)
}

/// Aggregated discovery, which clients keep by its tag.
fn document_with_tag(request: &Incomings, d: &Document, wanted: Negotiated) -> Result<Reply, Status> {
    let unchanged = request.headers().get(IF_NONE_MATCH).is_some_and(|t| t.as_bytes() == d.etag.as_bytes());
    let mut reply = if unchanged {
        api::empty(304)
    } else {
        let body = match wanted.media {
            MediaType::Json => d.json.clone(),
            format => encode::value(&tree(&d.json)?, &Wanted { format, ..Wanted::JSON })?,
        };
        request.asked().reply(200, wanted.content_type(false), body)
    };
    let headers = reply.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&d.etag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(reply)
}

fn cached(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    reply
}

/// The OpenID discovery document of service-account tokens.
fn configuration(api: &Api) -> Value {
    let issuer = api.config.server.issuers.first().cloned().unwrap_or_default();
    let host = if api.config.external_hostname.is_empty() {
        api.config.advertise.to_string()
    } else {
        api.config.external_hostname.clone()
    };
    let jwks = match api.config.service_account.jwks_uri.as_str() {
        "" => format!("https://{host}:{}/openid/v1/jwks", api.config.bind.port()),
        uri => uri.to_owned(),
    };
    json!({
        "issuer": issuer,
        "jwks_uri": jwks,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": api.verifier.as_ref().map(steersman_pki::token::Verifier::algorithms),
    })
}

fn health(api: &Api, request: &Incomings, endpoint: Endpoint, single: &str) -> Reply {
    let exclude: Vec<String> = request.query.all("exclude").map(str::to_owned).collect();
    let verbose = request.query.first("verbose").is_some();
    let answer = api.health.answer(endpoint, single, verbose, &exclude);
    respond::text(answer.status, answer.body)
}

/// Every path that there is, sorted.
fn paths(api: &Api) -> Vec<String> {
    let mut all = api.discovery.paths();
    let fixed = [
        "/.well-known/openid-configuration",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/statusz",
        "/flagz",
        "/version",
    ];
    all.extend(fixed.map(str::to_owned));
    for endpoint in [Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz] {
        all.push(format!("/{}", endpoint.name()));
        all.extend(api.health.names(endpoint).into_iter().map(|name| format!("/{}/{name}", endpoint.name())));
    }
    all.sort_unstable();
    all
}

/// How the checks went as metrics (rule: component-base `metrics/prometheus/slis`).
fn slis(results: &[Results]) -> String {
    let mut out = String::new();
    if results.is_empty() {
        return out;
    }
    out += "# HELP kubernetes_healthcheck [STABLE] This metric records the result of a single healthcheck.\n# TYPE kubernetes_healthcheck gauge\n";
    for r in results {
        let _ = writeln!(
            out,
            "kubernetes_healthcheck{{name=\"{}\",type=\"{}\"}} {}",
            r.name,
            r.endpoint,
            i32::from(r.well)
        );
    }
    out += "# HELP kubernetes_healthchecks_total [STABLE] This metric records the results of all healthcheck.\n# TYPE kubernetes_healthchecks_total counter\n";
    for status in ["error", "success"] {
        let count = |r: &Results| if status == "success" { r.passed } else { r.failed };
        for r in results.iter().filter(|r| count(r) > 0) {
            let labels = format!("name=\"{}\",status=\"{status}\",type=\"{}\"", r.name, r.endpoint);
            let _ = writeln!(out, "kubernetes_healthchecks_total{{{labels}}} {}", count(r));
        }
    }
    out
}

/// The state of the process (rule: component-base `zpages/statusz`).
fn statusz(api: &Api) -> String {
    statusz_text(api.started, Timestamp::now(), &paths(api))
}

fn statusz_text(started: Timestamp, now: Timestamp, paths: &[String]) -> String {
    let up = now.duration_since(started).as_secs();
    let mut roots: Vec<&str> = paths.iter().filter_map(|p| p.split('/').nth(1)).collect();
    roots.dedup();
    let roots: String = roots.iter().map(|r| format!(" /{r}")).collect();
    format!(
        "\nkube-apiserver statusz\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\nStarted: {}\nUp: {} hr {:02} min {:02} sec\nGo version: {}\nBinary version: {}\nEmulation version: {}.{}\nPaths:{roots}\n",
        started.strftime("%a %b %e %H:%M:%S UTC %Y"),
        up / 3600,
        up / 60 % 60,
        up % 60,
        concat!("rust", env!("CARGO_PKG_RUST_VERSION")),
        version::GIT_VERSION.trim_start_matches('v'),
        version::MAJOR,
        version::MINOR
    )
}

fn flagz(api: &Api) -> String {
    let mut out = String::from(
        "kube-apiserver flagz\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n\n",
    );
    for (name, value) in &api.config.flags {
        let _ = writeln!(out, "{name}={value}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slis_tell_how_checks_went() {
        let result =
            |name: &str, endpoint, passed, failed, well| Results { name: name.into(), endpoint, passed, failed, well };
        let told = slis(&[result("etcd", "readyz", 3, 1, false), result("ping", "livez", 2, 0, true)]);
        let lines: Vec<&str> = told.lines().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 0",
                "kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1",
                "kubernetes_healthchecks_total{name=\"etcd\",status=\"error\",type=\"readyz\"} 1",
                "kubernetes_healthchecks_total{name=\"etcd\",status=\"success\",type=\"readyz\"} 3",
                "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"livez\"} 2",
            ]
        );
    }
    #[test]
    fn statusz_tells_since_when_the_server_runs() {
        let started: Timestamp = "2026-03-05T04:05:06Z".parse().expect("a time");
        let now: Timestamp = "2026-03-05T06:08:10Z".parse().expect("a time");
        let told = statusz_text(started, now, &["/api".into(), "/api/v1".into(), "/version".into()]);
        for line in ["Started: Thu Mar  5 04:05:06 UTC 2026", "Up: 2 hr 03 min 04 sec", "Paths: /api /version"] {
            assert!(told.lines().any(|l| l == line), "{line}: {told}");
        }
    }
}
