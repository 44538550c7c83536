//! The environment of a container (rule: kubelet `makeEnvironmentVariables`).

use std::{collections::BTreeMap, sync::Arc};

use steersman_volumes::{Objects, fieldref};

use super::expand::expand;
use crate::{
    api::*,
    pods::spec::{PodExt, spec},
};

/// The services a pod gets to know: those of its own namespace, and the API server's.
pub fn service_variables(pod: &Pod, services: &[Arc<Service>]) -> BTreeMap<String, String> {
    let links = spec(pod).enable_service_links.unwrap_or(true);
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let Some(name) = service.metadata.name.as_deref() else { continue };
        let ns = service.metadata.namespace.as_deref().unwrap_or_default();
        let ip = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()).unwrap_or_default();
        if ip.is_empty() || ip == "None" {
            continue;
        }
        let own = ns == pod.ns() && links;
        let master = ns == "default" && name == "kubernetes";
        if own || master && !chosen.contains_key(name) {
            chosen.insert(name, service);
        }
    }
    let mut out = BTreeMap::new();
    for (name, service) in chosen {
        let Some(spec) = &service.spec else { continue };
        let ip = spec.cluster_ip.clone().unwrap_or_default();
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
        let prefix = name.replace('-', "_").to_ascii_uppercase();
        for (i, port) in spec.ports.iter().flatten().enumerate() {
            if i == 0 {
                out.insert(format!("{prefix}_SERVICE_HOST"), ip.clone());
                out.insert(format!("{prefix}_SERVICE_PORT"), port.port.to_string());
            }
            if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
                let port_name = port_name.replace('-', "_").to_ascii_uppercase();
                out.insert(format!("{prefix}_SERVICE_PORT_{port_name}"), port.port.to_string());
            }
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let (upper, lower) = (protocol.to_ascii_uppercase(), protocol.to_ascii_lowercase());
            let url = format!("{lower}://{host}:{}", port.port);
            if i == 0 {
                out.insert(format!("{prefix}_PORT"), url.clone());
            }
            let base = format!("{prefix}_PORT_{}_{upper}", port.port);
            out.insert(base.clone(), url);
            out.insert(format!("{base}_PROTO"), lower);
            out.insert(format!("{base}_PORT"), port.port.to_string());
            out.insert(format!("{base}_ADDR"), ip.clone());
        }
    }
    out
}

/// What the environment is made of.
pub struct Sources<'a> {
    /// The pod; its status holds the addresses.
    pub pod: &'a Pod,
    /// ConfigMaps and Secrets.
    pub objects: &'a dyn Objects,
    /// Services, for their variables.
    pub services: &'a [Arc<Service>],
    /// Limits of containers that set none.
    pub node: &'a fieldref::NodeResources,
}

/// All variables in the order they are set; the error text appears as `CreateContainerConfigError`.
pub async fn variables(cx: &Sources<'_>, container: &Container) -> Result<Vec<(String, String)>, String> {
    let mut known = service_variables(cx.pod, cx.services);
    let mut order: Vec<String> = known.keys().cloned().collect();
    let mut put = |known: &mut BTreeMap<String, String>, name: String, value: String| {
        if known.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    };
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let values = from_source(cx, from).await?;
        for (key, value) in values {
            put(&mut known, format!("{prefix}{key}"), value);
        }
    }
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (_, Some(from)) => match value_from(cx, container, from).await? {
                Some(value) => value,
                None => continue,
            },
            (Some(text), None) => expand(text, &known),
            (None, None) => String::new(),
        };
        put(&mut known, var.name.clone(), value);
    }
    Ok(order.into_iter().map(|name| (name.clone(), known.remove(&name).unwrap_or_default())).collect())
}

async fn from_source(cx: &Sources<'_>, from: &EnvFromSource) -> Result<BTreeMap<String, String>, String> {
    let ns = cx.pod.ns();
    if let Some(r) = &from.config_map_ref {
        return match cx.objects.config_map(ns, &r.name).await.map_err(|e| e.to_string())? {
            Some(map) => Ok(map.data.unwrap_or_default()),
            None if r.optional.unwrap_or(false) => Ok(BTreeMap::new()),
            None => Err(format!("configmap {:?} not found", r.name)),
        };
    }
    if let Some(r) = &from.secret_ref {
        return match cx.objects.secret(ns, &r.name).await.map_err(|e| e.to_string())? {
            Some(secret) => Ok(secret.data.into_iter().flatten().map(|(k, v)| (k, text(v))).collect()),
            None if r.optional.unwrap_or(false) => Ok(BTreeMap::new()),
            None => Err(format!("secret {:?} not found", r.name)),
        };
    }
    Ok(BTreeMap::new())
}

fn text(bytes: ByteString) -> String {
    String::from_utf8_lossy(&bytes.0).into_owned()
}

/// `None` leaves the variable unset.
async fn value_from(cx: &Sources<'_>, container: &Container, from: &EnvVarSource) -> Result<Option<String>, String> {
    let ns = cx.pod.ns();
    if let Some(field) = &from.field_ref {
        return fieldref::pod_field(cx.pod, &field.field_path).map(Some);
    }
    if let Some(r) = &from.resource_field_ref {
        let other = r.container_name.as_deref().filter(|n| !n.is_empty());
        return match other {
            Some(name) => fieldref::container_resource(cx.pod, name, r, cx.node).map(Some),
            None => {
                fieldref::resource(container, &r.resource, r.divisor.as_ref().map(|d| d.0.as_str()), cx.node).map(Some)
            }
        };
    }
    if let Some(r) = &from.config_map_key_ref {
        let optional = r.optional.unwrap_or(false);
        return match cx.objects.config_map(ns, &r.name).await.map_err(|e| e.to_string())? {
            None if optional => Ok(None),
            None => Err(format!("configmap {:?} not found", r.name)),
            Some(map) => match map.data.and_then(|mut d| d.remove(&r.key)) {
                Some(value) => Ok(Some(value)),
                None if optional => Ok(None),
                None => Err(format!("couldn't find key {} in ConfigMap {ns}/{}", r.key, r.name)),
            },
        };
    }
    if let Some(r) = &from.secret_key_ref {
        let optional = r.optional.unwrap_or(false);
        return match cx.objects.secret(ns, &r.name).await.map_err(|e| e.to_string())? {
            None if optional => Ok(None),
            None => Err(format!("secret {:?} not found", r.name)),
            Some(secret) => match secret.data.and_then(|mut d| d.remove(&r.key)) {
                Some(value) => Ok(Some(text(value))),
                None if optional => Ok(None),
                None => Err(format!("couldn't find key {} in Secret {ns}/{}", r.key, r.name)),
            },
        };
    }
    Ok(Some(String::new()))
}
