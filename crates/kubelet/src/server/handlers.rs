//! Which path is answered how.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    Peer, Server, logs, metrics,
    reply::{Reply, error, json as document, text, typed},
    stats, streams,
};
use crate::{
    api::*,
    names::label,
    pods::spec::PodExt,
    runtime::observed::{Run, observe},
};

/// Files of the node below this folder may be read.
const NODE_LOGS: &str = "/var/log";
/// The text format of metrics.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The query, decoded, in order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(request: &Request<Incoming>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        Query(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
    }

    pub(super) fn flag(&self, names: &[&str]) -> bool {
        names.iter().any(|n| matches!(self.get(n), Some("1" | "true" | "True" | "TRUE" | "t")))
    }
}

pub(super) async fn answer(server: &Arc<Server>, request: Request<Incoming>, peer: &Peer, health_only: bool) -> Reply {
    let path = request.uri().path().to_owned();
    if health_only && !path.starts_with("/healthz") {
        return error(StatusCode::NOT_FOUND, "404 page not found");
    }
    if !peer.read_only
        && let Err(refused) = server.auth.check(peer, request.headers(), request.method(), &path).await
    {
        return refused;
    }
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(percent_decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let open = matches!(parts.first(), Some(&("healthz" | "pods" | "stats" | "metrics")));
    if peer.read_only && !open {
        return error(StatusCode::NOT_FOUND, "404 page not found");
    }
    let debugging = server.k.config.enable_debugging_handlers;
    let k = &server.k;
    match parts.as_slice() {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => health(server),
        ["pods"] => document(&pods(server)),
        ["runningpods"] if debugging => running_pods(server).await,
        ["configz"] => document(&json!({"kubeletconfig": k.document})),
        ["metrics"] => typed(StatusCode::OK, METRICS, metrics::kubelet(server).await),
        ["metrics", "cadvisor"] => typed(StatusCode::OK, METRICS, metrics::cadvisor(server).await),
        ["metrics", "resource"] => typed(StatusCode::OK, METRICS, metrics::resource(server).await),
        ["metrics", "probes"] => typed(StatusCode::OK, METRICS, metrics::probes(server)),
        ["metrics", "slis"] => typed(StatusCode::OK, METRICS, metrics::slis(server)),
        ["stats"] | ["stats", "summary"] => document(&stats::summary(server).await),
        _ if !debugging => error(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled."),
        ["containerLogs", ns, pod, container] => container_logs(server, &request, ns, pod, container).await,
        ["exec", ns, pod, container] | ["exec", ns, pod, _, container] => {
            let found = match running(server, ns, pod, container).await {
                Ok(found) => found,
                Err(refused) => return refused,
            };
            streams::exec(server, request, &found).await
        }
        ["attach", ns, pod, container] | ["attach", ns, pod, _, container] => {
            let found = match running(server, ns, pod, container).await {
                Ok(found) => found,
                Err(refused) => return refused,
            };
            streams::attach(server, request, &found).await
        }
        ["portForward", ns, pod] | ["portForward", ns, pod, _] => match k.workers.find(ns, pod) {
            Some(pod) => streams::port_forward(server, request, &pod).await,
            None => error(StatusCode::NOT_FOUND, "pod does not exist"),
        },
        ["run", ns, pod, container] | ["run", ns, pod, _, container] => run(server, &request, ns, pod, container).await,
        ["checkpoint", ns, pod, container] if request.method() == Method::POST => {
            checkpoint(server, &request, ns, pod, container).await
        }
        ["logs", rest @ ..] if k.config.enable_system_log_handler => node_logs(&rest.join("/")),
        _ => error(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn percent_decode(text: &str) -> String {
    // A form's rules differ from a path's only in the plus sign.
    let escaped = text.replace('+', "%2B");
    url::form_urlencoded::parse(escaped.as_bytes()).next().map(|(k, _)| k.into_owned()).unwrap_or_default()
}

fn health(server: &Server) -> Reply {
    match server.k.pleg.error() {
        Some(why) if !why.starts_with("pleg has yet") => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("[+]ping ok\n[+]log ok\n[-]syncloop failed: {why}\nhealthz check failed\n"),
        ),
        _ => text(StatusCode::OK, "ok"),
    }
}

fn pods(server: &Server) -> Value {
    let k = &server.k;
    let items: Vec<Value> = k
        .workers
        .list()
        .iter()
        .map(|pod| {
            let mut pod = (**pod).clone();
            if let Some(status) = k.status.get(pod.uid()) {
                pod.status = Some(status);
            }
            let mut value = serde_json::to_value(pod).unwrap_or_default();
            if let Value::Object(fields) = &mut value {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            value
        })
        .collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

async fn running_pods(server: &Server) -> Reply {
    let containers = match server.k.runtime.list_containers(None).await {
        Ok(containers) => containers,
        Err(e) => return error(StatusCode::INTERNAL_SERVER_ERROR, e),
    };
    let mut by_pod: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
    for c in containers.iter().filter(|c| c.state() == steersman_cri::v1::ContainerState::ContainerRunning) {
        let of = |key: &str| c.labels.get(key).cloned().unwrap_or_default();
        let pod = (of(label::POD_NAMESPACE), of(label::POD_NAME), of(label::POD_UID));
        let image = c.image.as_ref().map(|i| i.image.clone()).unwrap_or_default();
        by_pod
            .entry(pod)
            .or_default()
            .push(json!({"name": of(label::CONTAINER_NAME), "image": image, "resources": {}}));
    }
    let items: Vec<Value> = by_pod
        .into_iter()
        .map(|((ns, name, uid), containers)| {
            json!({"metadata": {"namespace": ns, "name": name, "uid": uid}, "spec": {"containers": containers}, "status": {}})
        })
        .collect();
    document(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// A pod and a run of one of its containers.
pub(super) struct Found {
    pub pod: Arc<Pod>,
    pub container: Container,
    pub id: String,
}

async fn running(server: &Server, ns: &str, pod: &str, container: &str) -> Result<Found, Reply> {
    let k = &server.k;
    let pod = k.workers.find(ns, pod).ok_or_else(|| error(StatusCode::NOT_FOUND, "pod does not exist"))?;
    let missing = || error(StatusCode::NOT_FOUND, format!("container not found ({container:?})"));
    let (_, spec) = pod.find_container(container).ok_or_else(missing)?;
    let seen = observe(k.runtime.as_ref(), pod.uid()).await.map_err(|e| error(StatusCode::INTERNAL_SERVER_ERROR, e))?;
    let run = seen.newest(container).filter(|r| r.is_running()).ok_or_else(missing)?;
    Ok(Found { id: run.id().to_owned(), container: spec, pod: pod.clone() })
}

async fn container_logs(
    server: &Arc<Server>,
    request: &Request<Incoming>,
    ns: &str,
    pod: &str,
    container: &str,
) -> Reply {
    let k = &server.k;
    let query = Query::of(request);
    let options = match logs::Options::parse(&query) {
        Ok(options) => options,
        Err(why) => return error(StatusCode::UNPROCESSABLE_ENTITY, why),
    };
    let Some(found) = k.workers.find(ns, pod) else {
        return error(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist"));
    };
    if found.find_container(container).is_none() {
        return error(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {pod:?}"));
    }
    let seen = match observe(k.runtime.as_ref(), found.uid()).await {
        Ok(seen) => seen,
        Err(e) => return error(StatusCode::INTERNAL_SERVER_ERROR, e),
    };
    let runs: Vec<&Run> = seen.runs.iter().filter(|r| r.name() == container).collect();
    let ended = |r: &&&Run| r.state() == crate::runtime::observed::State::ContainerExited;
    let run = if options.previous {
        let newest_runs = runs.first().is_some_and(|r| r.is_running());
        // While the container waits to be restarted, the run that ended last is the previous one.
        let waits = k.status.get(found.uid()).is_some_and(|s| is_waiting(&s, container));
        runs.iter().skip(usize::from(newest_runs || !waits)).find(ended)
    } else {
        runs.first()
    };
    let Some(run) = run else {
        let why = if options.previous {
            format!("previous terminated container {container:?} in pod {pod:?} not found")
        } else {
            let reason = k.status.get(found.uid()).and_then(|s| waiting_reason(&s, container)).unwrap_or_default();
            match reason.as_str() {
                "ErrImagePull" => {
                    format!("container {container:?} in pod {pod:?} is waiting to start: image can't be pulled")
                }
                "ImagePullBackOff" => {
                    format!(
                        "container {container:?} in pod {pod:?} is waiting to start: trying and failing to pull image"
                    )
                }
                reason => format!("container {container:?} in pod {pod:?} is waiting to start: {reason}"),
            }
        };
        return error(StatusCode::BAD_REQUEST, why);
    };
    let file =
        k.folders.logs(found.ns(), found.name(), found.uid()).join(crate::names::log_path(container, run.restarts()));
    logs::stream(server.k.clone(), file, run.id().to_owned(), options)
}

fn status_of<'a>(status: &'a PodStatus, container: &str) -> Option<&'a ContainerStatus> {
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flat_map(|l| l.iter().flatten()).find(|c| c.name == container)
}

fn is_waiting(status: &PodStatus, container: &str) -> bool {
    status_of(status, container).and_then(|c| c.state.as_ref()).is_some_and(|s| s.waiting.is_some())
}

fn waiting_reason(status: &PodStatus, container: &str) -> Option<String> {
    status_of(status, container)?.state.as_ref()?.waiting.as_ref()?.reason.clone()
}

async fn run(server: &Server, request: &Request<Incoming>, ns: &str, pod: &str, container: &str) -> Reply {
    let found = match running(server, ns, pod, container).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let command = Query::of(request).get("cmd").unwrap_or_default().split(' ').map(str::to_owned).collect();
    match server.k.runtime.exec_sync(&found.id, command, Duration::ZERO).await {
        Ok(out) if out.exit_code == 0 => {
            text(StatusCode::OK, String::from_utf8_lossy(&[out.stdout, out.stderr].concat()))
        }
        Ok(out) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(
                "command exited with {}: {}",
                out.exit_code,
                String::from_utf8_lossy(&[out.stdout, out.stderr].concat())
            ),
        ),
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, e),
    }
}

async fn checkpoint(server: &Server, request: &Request<Incoming>, ns: &str, pod: &str, container: &str) -> Reply {
    let k = &server.k;
    let found = match running(server, ns, pod, container).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    let dir = k.folders.root.join("checkpoints");
    if let Err(e) = std::fs::create_dir_all(&dir) {
        return error(StatusCode::INTERNAL_SERVER_ERROR, e);
    }
    let stamp = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let file = dir.join(format!("checkpoint-{}_{}-{container}-{stamp}.tar", found.pod.name(), found.pod.ns()));
    let timeout = Query::of(request).get("timeout").and_then(|t| t.parse().ok()).unwrap_or(0);
    let name = file.to_string_lossy().into_owned();
    match k.runtime.checkpoint_container(&found.id, &name, Duration::from_secs(timeout)).await {
        Ok(()) => document(&json!({"items": [name]})),
        Err(e) if e.is_unimplemented() => error(StatusCode::NOT_FOUND, e),
        Err(e) => {
            error(StatusCode::INTERNAL_SERVER_ERROR, format!("checkpointing of {ns}/{pod}/{container} failed ({e})"))
        }
    }
}

/// A file below `/var/log`, or the names in a folder there.
fn node_logs(path: &str) -> Reply {
    let root = Path::new(NODE_LOGS);
    let not_found = || error(StatusCode::NOT_FOUND, "404 page not found");
    let Ok(full) = root.join(path).canonicalize() else { return not_found() };
    if !full.starts_with(root) {
        return not_found();
    }
    if full.is_dir() {
        let entries = std::fs::read_dir(&full).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|e| format!("{}{}", e.file_name().to_string_lossy(), if e.path().is_dir() { "/" } else { "" }))
            .collect();
        names.sort();
        let lines: String = names.iter().map(|n| format!("<a href=\"{n}\">{n}</a>\n")).collect();
        return typed(StatusCode::OK, "text/html; charset=utf-8", format!("<!doctype html>\n<pre>\n{lines}</pre>\n"));
    }
    match std::fs::read(&full) {
        Ok(bytes) => typed(StatusCode::OK, "text/plain; charset=utf-8", bytes),
        Err(_) => not_found(),
    }
}
