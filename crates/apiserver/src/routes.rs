//! From a path to what serves it, with upstream's idea of which paths and methods there are
//! (rule: apiserver `pkg/endpoints/installer.go`).

use crate::metrics::Subject;
use crate::negotiate::{LIST_TYPES, OBJECT_TYPES, method_not_allowed, no_such_route};
use crate::request_info::RequestInfo;
use http::Method;
use steersman_apimachinery::Status;
use steersman_registry::{Found, Registry, ResourceInfo, SubBehaviour, Subresource};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    Get,
    List,
    /// The deprecated `/watch/` path.
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Connect,
}

/// What serves a request.
pub struct Route {
    /// The resource.
    pub found: Found,
    /// The subresource, if the path names one.
    pub sub: Option<&'static Subresource>,
    /// What is done.
    pub action: Action,
    /// The media types that the route can answer with.
    pub produces: &'static str,
}

impl Route {
    /// The facts of the resource.
    pub fn info(&self) -> &'static ResourceInfo {
        info(&self.found)
    }

    /// For metrics.
    pub fn subject(&self, request: &RequestInfo) -> Subject {
        let i = self.info();
        let verb = match self.action {
            Action::Connect => "CONNECT",
            _ => match request.verb.as_str() {
                "get" => "GET",
                "list" => "LIST",
                "watch" => "WATCH",
                "create" => "POST",
                "update" => "PUT",
                "patch" => "PATCH",
                "delete" => "DELETE",
                "deletecollection" => "DELETECOLLECTION",
                _ => "OTHER",
            },
        };
        let scope = if !request.name.is_empty() || verb == "POST" && self.sub.is_none() {
            "resource"
        } else if !request.namespace.is_empty() {
            "namespace"
        } else {
            "cluster"
        };
        Subject {
            verb,
            group: i.group,
            version: i.version,
            resource: i.resource,
            subresource: self.sub.map_or("", |s| s.name),
            scope,
            component: "apiserver",
        }
    }
}

fn info(found: &Found) -> &'static ResourceInfo {
    match found {
        Found::Stored(s) => s.info(),
        Found::Virtual(v) => (*v).info(),
    }
}

/// Finds the route, or answers as the router would: 404, or 405 where there is the path but not the method.
pub fn find(registry: &Registry, r: &RequestInfo, method: &Method) -> Result<Route, Status> {
    if r.special == Some("proxy") {
        return Err(no_such_route());
    }
    let found = registry.find(&r.group, &r.version, &r.resource).ok_or_else(no_such_route)?;
    let facts = info(&found);
    let in_namespace = r.resource != "namespaces" && !r.namespace.is_empty();
    if in_namespace && !facts.namespaced {
        return Err(no_such_route());
    }
    let all_namespaces = facts.namespaced && !in_namespace;
    let has = |verb: &str| facts.verbs.contains(&verb);
    if r.special == Some("watch") {
        if !has("watch") || r.parts.len() > 2 || (r.parts.len() == 2 && all_namespaces) {
            return Err(no_such_route());
        }
        let route = Route { found, sub: None, action: Action::Watch, produces: LIST_TYPES };
        return if method == Method::GET { Ok(route) } else { Err(method_not_allowed()) };
    }
    if r.parts.len() >= 3 {
        return if all_namespaces { Err(no_such_route()) } else { subresource(found, r, method) };
    }
    let of_collection = |m: &Method| match m.as_str() {
        "GET" => Some((Action::List, "list")),
        "POST" => Some((Action::Create, "create")),
        "DELETE" => Some((Action::DeleteCollection, "deletecollection")),
        _ => None,
    };
    let of_object = |m: &Method| match m.as_str() {
        "GET" => Some((Action::Get, "get")),
        "PUT" => Some((Action::Update, "update")),
        "PATCH" => Some((Action::Patch, "patch")),
        "DELETE" => Some((Action::Delete, "delete")),
        _ => None,
    };
    let (wanted, there) = if r.parts.len() == 1 {
        let there =
            if all_namespaces { has("list") } else { ["list", "create", "deletecollection"].iter().any(|v| has(v)) };
        (of_collection(method).filter(|(a, _)| !all_namespaces || *a == Action::List), there)
    } else {
        (of_object(method), !all_namespaces && ["get", "update", "patch", "delete"].iter().any(|v| has(v)))
    };
    match wanted {
        _ if !there => Err(no_such_route()),
        Some((action, verb)) if has(verb) => {
            let produces = if action == Action::List { LIST_TYPES } else { OBJECT_TYPES };
            Ok(Route { found, sub: None, action, produces })
        }
        _ => Err(method_not_allowed()),
    }
}

fn subresource(found: Found, r: &RequestInfo, method: &Method) -> Result<Route, Status> {
    let Found::Stored(store) = &found else { return Err(no_such_route()) };
    let sub = store.subresource(&r.parts[2]).ok_or_else(no_such_route)?;
    let connect = matches!(sub.behaviour, SubBehaviour::Connect);
    if r.parts.len() > 3 && !(connect && sub.name == "proxy") {
        return Err(no_such_route());
    }
    let (action, verb) = match method.as_str() {
        _ if connect && sub.name == "proxy" => (Action::Connect, "get"),
        "GET" if connect => (Action::Connect, "get"),
        "POST" if connect => (Action::Connect, "create"),
        "GET" => (Action::Get, "get"),
        "POST" => (Action::Create, "create"),
        "PUT" => (Action::Update, "update"),
        "PATCH" => (Action::Patch, "patch"),
        "DELETE" => (Action::Delete, "delete"),
        _ => return Err(method_not_allowed()),
    };
    if !sub.verbs.contains(&verb) {
        return Err(method_not_allowed());
    }
    let produces = match (connect, sub.name) {
        (true, "log") => "text/plain, application/json, application/yaml, application/vnd.kubernetes.protobuf",
        (true, _) => "*/*",
        _ => OBJECT_TYPES,
    };
    Ok(Route { found, sub: Some(sub), action, produces })
}
