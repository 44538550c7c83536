//! HTTP to pods, services and nodes: `.../proxy/<path>`.

use super::forward::{self, Target};
use crate::api::{self, Api, Incomings};
use crate::respond::Reply;
use http::header::{HeaderValue, LOCATION};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use steersman_apimachinery::options::GetOptions;
use steersman_apimachinery::{Status, object};
use steersman_registry::{Cluster, Context, Store};

/// Passes the request on to what its path names.
pub async fn serve(
    api: &Arc<Api>,
    request: &mut Incomings,
    ctx: &Context,
    store: &Store,
    resource: &str,
) -> Result<Reply, Status> {
    let rest = rest_of_path(request.parts.uri.path());
    if rest.is_empty() && forward::upgrade_of(request.headers()).is_none() {
        // Relative links of the page behind need the slash.
        let query = request.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default();
        let mut reply = api::empty(301);
        if let Ok(to) = HeaderValue::from_str(&format!("{}/{query}", request.parts.uri.path())) {
            reply.headers_mut().insert(LOCATION, to);
        }
        return Ok(reply);
    }
    let path = if rest.is_empty() { "/".to_owned() } else { rest };
    let path = request.parts.uri.query().map_or(path.clone(), |q| format!("{path}?{q}"));
    let id = request.info.name.clone();
    let (scheme, name, port) = split(&id)
        .ok_or_else(|| Status::bad_request(format!("invalid {} request {id:?}", resource.trim_end_matches('s'))))?;
    let (host, port, kubelet) = match resource {
        "pods" => of_pod(&get(ctx, store, &request.info.namespace, name).await?, port)?,
        "services" => of_service(api, ctx, store, &request.info.namespace, (&id, name, port), scheme).await?,
        _ => of_node(api, &get(ctx, store, "", name).await?, port)?,
    };
    let tls = match (kubelet, scheme) {
        (true, _) => Some(api.kubelets.tls.clone()),
        (false, "https") => Some(api.kubelets.plain_tls.clone()),
        _ => None,
    };
    let target = Target { host, port, tls, path };
    let method = request.parts.method.clone();
    forward::forward(request, &target, method).await
}

/// What follows `/proxy` in a path, as it was sent.
fn rest_of_path(path: &str) -> String {
    let mut parts = path.split('/');
    // The name may itself be "proxy": the marker is the part after it.
    let skip = if path.contains("/namespaces/") { 7 } else { 5 };
    for _ in 0..=skip {
        parts.next();
    }
    let rest: Vec<&str> = parts.collect();
    if rest.is_empty() { String::new() } else { format!("/{}", rest.join("/")) }
}

/// `[scheme:]name[:port]` (rule: apimachinery `pkg/util/net.SplitSchemeNamePort`).
fn split(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts[..] {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme @ ("http" | "https" | ""), name, port] => (scheme, name, port),
        _ => return None,
    };
    (!name.is_empty()).then_some((scheme, name, port))
}

async fn get(ctx: &Context, store: &Store, namespace: &str, name: &str) -> Result<Value, Status> {
    store.get(ctx, namespace, name, &GetOptions::default()).await?.to_value()
}

/// Addresses that no proxying may lead to: this host and its link.
fn proxiable(ip: &str) -> Result<(), Status> {
    let refused = || Status::bad_request("address not allowed");
    let ip: IpAddr = ip.parse().map_err(|_| refused())?;
    let local = match ip {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || local { Err(refused()) } else { Ok(()) }
}

fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|p| *p > 0)
}

fn of_pod(pod: &Value, port: &str) -> Result<(String, u16, bool), Status> {
    let ip = object::str(pod, &["status", "podIP"]);
    proxiable(ip)?;
    let containers = object::list(pod, &["spec", "containers"]);
    let ports = || containers.iter().flat_map(|c| object::list(c, &["ports"]));
    let port = if port.is_empty() {
        ports().next().and_then(|p| object::int(p, &["containerPort"])).and_then(|p| u16::try_from(p).ok()).or(Some(80))
    } else {
        number(port).or_else(|| {
            let named = ports().find(|p| object::str(p, &["name"]) == port)?;
            u16::try_from(object::int(named, &["containerPort"])?).ok()
        })
    };
    let port = port.ok_or_else(|| Status::bad_request(format!("invalid pod request {:?}", object::name(pod))))?;
    Ok((ip.to_owned(), port, false))
}

async fn of_service(
    api: &Api,
    ctx: &Context,
    store: &Store,
    namespace: &str,
    (id, name, port): (&str, &str, &str),
    _scheme: &str,
) -> Result<(String, u16, bool), Status> {
    let none = |of: &str| Status::unavailable(format!("no endpoints available for service {of:?}"));
    let mut wanted = port.to_owned();
    // A number is that of the Service, which knows the name by which its endpoints have the port.
    if let Ok(n) = port.parse::<i64>() {
        let service = get(ctx, store, namespace, name).await?;
        let declared = object::list(&service, &["spec", "ports"]).iter().find(|p| object::int(p, &["port"]) == Some(n));
        let declared =
            declared.ok_or_else(|| Status::unavailable(format!("no service port {n} found for service {name:?}")))?;
        wanted = object::str(declared, &["name"]).to_owned();
    }
    let endpoints = Cluster::get(&*api.registry, "", "endpoints", namespace, name)
        .ok_or_else(|| Status::not_found(&steersman_apimachinery::GroupResource::from_static("", "endpoints"), name))?;
    let subsets = object::list(&endpoints, &["subsets"]);
    if subsets.is_empty() {
        return Err(none(name));
    }
    let start = rand::random_range(0..subsets.len());
    for subset in subsets.iter().cycle().skip(start).take(subsets.len()) {
        let port = object::list(subset, &["ports"]).iter().find(|p| object::str(p, &["name"]) == wanted);
        let port = port.and_then(|p| object::int(p, &["port"])).and_then(|p| u16::try_from(p).ok());
        let real: Vec<&str> = object::list(subset, &["addresses"])
            .iter()
            .filter(|a| is_of_a_pod(api, namespace, a))
            .map(|a| object::str(a, &["ip"]))
            .collect();
        if let (Some(port), false) = (port, real.is_empty()) {
            return Ok((real[rand::random_range(0..real.len())].to_owned(), port, false));
        }
    }
    Err(none(id))
}

/// Whether an address belongs to the pod that it names: others could lead anywhere (rule: service storage
/// `isValidAddress`).
fn is_of_a_pod(api: &Api, namespace: &str, address: &Value) -> bool {
    let target = |field| object::str(address, &["targetRef", field]);
    if target("namespace") != namespace {
        return false;
    }
    let ip = object::str(address, &["ip"]);
    Cluster::get(&*api.registry, "", "pods", namespace, target("name"))
        .is_some_and(|pod| object::list(&pod, &["status", "podIPs"]).iter().any(|p| object::str(p, &["ip"]) == ip))
}

fn of_node(api: &Api, node: &Value, port: &str) -> Result<(String, u16, bool), Status> {
    let kubelet = api.kubelets.address(node)?;
    if kubelet.host.parse::<IpAddr>().is_ok() {
        proxiable(&kubelet.host)?;
    }
    if port.is_empty() || number(port) == Some(kubelet.port) {
        return Ok((kubelet.host, kubelet.port, true));
    }
    let port =
        number(port).ok_or_else(|| Status::bad_request(format!("invalid node request {:?}", object::name(node))))?;
    Ok((kubelet.host, port, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_schemes_and_ports() {
        assert_eq!(split("a"), Some(("", "a", "")));
        assert_eq!(split("a:80"), Some(("", "a", "80")));
        assert_eq!(split("https:a:"), Some(("https", "a", "")));
        assert_eq!(split("ftp:a:1"), None);
        assert_eq!(split(":80"), None);
    }

    #[test]
    fn the_rest_of_the_path_is_kept_as_sent() {
        assert_eq!(rest_of_path("/api/v1/namespaces/n/services/s/proxy"), "");
        assert_eq!(rest_of_path("/api/v1/namespaces/n/services/s/proxy/a%2Fb/"), "/a%2Fb/");
        assert_eq!(rest_of_path("/api/v1/nodes/n/proxy/metrics"), "/metrics");
    }

    #[test]
    fn own_addresses_are_out_of_reach() {
        for ip in ["127.0.0.1", "169.254.169.254", "::1", "", "0.0.0.0"] {
            assert!(proxiable(ip).is_err(), "{ip}");
        }
        assert!(proxiable("10.0.0.7").is_ok());
    }
}
