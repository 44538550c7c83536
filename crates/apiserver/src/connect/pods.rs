//! Logs of a container, and commands, attachments and forwarded ports, by way of the pod's kubelet.

use super::forward::{self, Target};
use crate::api::{self, Api, Incomings};
use crate::authz;
use crate::query::Query;
use crate::request_info::RequestInfo;
use crate::respond::Reply;
use http::Method;
use http::header::CONTENT_TYPE;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::sync::Arc;
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::options::GetOptions;
use steersman_apimachinery::{ErrorList, Path, Status, object};
use steersman_registry::{Cluster, Context, Store};

/// Options of logs that are passed on as they are.
const LOG_OPTIONS: &[&str] =
    &["follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes"];

/// GET of `log`.
pub async fn log(api: &Arc<Api>, request: &mut Incomings, ctx: &Context, store: &Store) -> Result<Reply, Status> {
    let info = &request.info;
    check_log_options(&request.query, &info.name)?;
    let pod = pod(ctx, store, info).await?;
    let container = container(&pod, request.query.first("container").unwrap_or(""))?;
    if object::str(&pod, &["spec", "nodeName"]).is_empty() {
        // Not on any node yet: there is nothing to read.
        return Ok(api::empty(204));
    }
    let mut query = Vec::new();
    for name in LOG_OPTIONS {
        if let Some(value) = request.query.first(name) {
            let flag = matches!(*name, "follow" | "previous" | "timestamps");
            match (flag, request.query.flag(name)) {
                (true, false) => {}
                (true, true) => query.push(pair(name, "true")),
                (false, _) => query.push(pair(name, value)),
            }
        }
    }
    let path = format!("/containerLogs/{}/{}/{container}", info.namespace, info.name);
    let target = to_kubelet(api, &pod, &path, query)?;
    let mut reply = forward::forward(request, &target, Method::GET).await?;
    if !reply.status().is_success() {
        return Err(refusal(reply).await);
    }
    reply.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(reply)
}

/// `exec`, `attach`, `portforward`.
pub async fn stream(
    api: &Arc<Api>,
    request: &mut Incomings,
    ctx: &Context,
    store: &Store,
    sub: &str,
) -> Result<Reply, Status> {
    let upgrade = forward::upgrade_of(request.headers());
    // A WebSocket comes as GET; it may do no more than a POST may (rule: AuthorizePodWebsocketUpgradeCreatePermission).
    if request.info.verb == "get" && upgrade.as_ref().is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        let create = RequestInfo { verb: "create".into(), ..request.info.clone() };
        authz::authorize(&ctx.user, &create, &*api.authorizer).await?;
    }
    let info = &request.info;
    let pod = pod(ctx, store, info).await?;
    if object::str(&pod, &["spec", "nodeName"]).is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", info.name)));
    }
    let mut query = Vec::new();
    let path = if sub == "portforward" {
        query.extend(request.query.all("ports").map(|p| pair("port", p)));
        format!("/portForward/{}/{}", info.namespace, info.name)
    } else {
        let container = container(&pod, request.query.first("container").unwrap_or(""))?;
        for (name, as_kubelet) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
            if request.query.flag(name) {
                query.push(pair(as_kubelet, "1"));
            }
        }
        if sub == "exec" {
            query.extend(request.query.all("command").map(|c| pair("command", c)));
        }
        format!("/{sub}/{}/{}/{container}", info.namespace, info.name)
    };
    if upgrade.is_none() {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let target = to_kubelet(api, &pod, &path, query)?;
    let method = request.parts.method.clone();
    forward::forward(request, &target, method).await
}

async fn pod(ctx: &Context, store: &Store, info: &RequestInfo) -> Result<Value, Status> {
    store.get(ctx, &info.namespace, &info.name, &GetOptions::default()).await?.to_value()
}

fn pair(name: &str, value: &str) -> String {
    format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
}

fn to_kubelet(api: &Api, pod: &Value, path: &str, query: Vec<String>) -> Result<Target, Status> {
    let name = object::str(pod, &["spec", "nodeName"]);
    let gr = steersman_apimachinery::GroupResource::from_static("", "nodes");
    let node = Cluster::get(&*api.registry, "", "nodes", "", name).ok_or_else(|| Status::not_found(&gr, name))?;
    let address = api.kubelets.address(&node)?;
    let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
    Ok(Target { host: address.host, port: address.port, tls: Some(api.kubelets.tls.clone()), path })
}

/// What a kubelet refused with becomes the answer, as upstream does it (rule: `pkg/registry/core/pod/rest/log.go`).
async fn refusal(reply: Reply) -> Status {
    use http_body_util::{BodyExt, Limited};
    let code = reply.status().as_u16();
    let body = Limited::new(reply.into_body(), 64 << 10)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    if let Ok(status) = serde_json::from_slice::<Status>(&body)
        && status.status == "Failure"
    {
        return status;
    }
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    match code {
        400 => Status::bad_request(text),
        404 => Status::failure(
            404,
            steersman_apimachinery::status::Reason::NotFound,
            format!("the server could not find the requested resource: {text}"),
        ),
        _ => Status::internal(text),
    }
}

/// The container that a request means (rule: `pkg/registry/core/pod/strategy.go` validateContainer).
fn container(pod: &Value, asked: &str) -> Result<String, Status> {
    let names = |list: &'static str| object::list(pod, &["spec", list]).iter().map(|c| object::str(c, &["name"]));
    let all: Vec<&str> =
        names("initContainers").chain(names("containers")).chain(names("ephemeralContainers")).collect();
    let name = object::name(pod);
    if !asked.is_empty() {
        return if all.contains(&asked) {
            Ok(asked.to_owned())
        } else {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
        };
    }
    let mut regular = names("containers");
    match (regular.next(), regular.next()) {
        (Some(only), None) => Ok(only.to_owned()),
        (None, _) => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        _ => Err(Status::bad_request(format!(
            "a container name must be specified for pod {name}, choose one of: [{}]",
            all.join(" ")
        ))),
    }
}

fn check_log_options(query: &Query, pod: &str) -> Result<(), Status> {
    let int = |name: &str| query.int(name).map_err(Status::bad_request);
    // Old clients send null for no time (rule: `Time.UnmarshalQueryParameter`).
    if let Some(text) = query.first("sinceTime").filter(|t| !t.is_empty() && *t != "null") {
        steersman_codec::time::parse(text).map_err(Status::bad_request)?;
    }
    let mut e = ErrorList::new();
    if let Some(n) = int("tailLines")?.filter(|n| *n < 0) {
        e.invalid(&Path::new("tailLines"), n, "must be greater than or equal to 0");
    }
    if let Some(n) = int("limitBytes")?.filter(|n| *n < 1) {
        e.invalid(&Path::new("limitBytes"), n, "must be greater than 0");
    }
    let seconds = int("sinceSeconds")?;
    if seconds.is_some() && query.first("sinceTime").is_some() {
        e.forbidden(&Path::root(), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    } else if let Some(n) = seconds.filter(|n| *n < 1) {
        e.invalid(&Path::new("sinceSeconds"), n, "must be greater than 0");
    }
    // Unless the feature gate PodLogsQuerySplitStreams is on, which no release has on by default.
    if query.first("stream").is_some() {
        e.forbidden(&Path::new("stream"), "may not be specified");
    }
    if e.is_empty() { Ok(()) } else { Err(Status::invalid(&GroupKind::from_static("", "PodLogOptions"), pod, &e)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_are_chosen_as_upstream_chooses() {
        let two = json!({"metadata": {"name": "p"}, "spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]}});
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}]}});
        let check = |pod: &Value, asked: &str, want: Result<&str, &str>| {
            assert_eq!(container(pod, asked).map_err(|e| e.message), want.map(str::to_owned).map_err(str::to_owned));
        };
        check(&one, "", Ok("a"));
        check(&two, "i", Ok("i"));
        check(&two, "x", Err("container x is not valid for pod p"));
        check(&two, "", Err("a container name must be specified for pod p, choose one of: [i a b]"));
    }

    #[test]
    fn log_options_are_checked() {
        let check = |q: &str, want: &str| {
            assert_eq!(check_log_options(&Query::parse(q), "p").expect_err("refused").message, want)
        };
        check(
            "tailLines=-1",
            "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        );
        check("sinceTime=x", "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"");
        check("stream=Stdout", "PodLogOptions \"p\" is invalid: stream: Forbidden: may not be specified");
        check("limitBytes=x", "strconv.ParseInt: parsing \"x\": invalid syntax");
        assert!(check_log_options(&Query::parse("tailLines=0&follow=true"), "p").is_ok());
    }
}
