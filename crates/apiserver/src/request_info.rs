//! What a request means, read from its path (rule: apiserver `pkg/endpoints/request/requestinfo.go`).

use crate::query::Query;
use http::Method;
use steersman_apimachinery::selector::FieldSelector;

/// A request's meaning, for authorisation, metrics and routing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether the path names a resource.
    pub is_resource: bool,
    /// The path, percent-decoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, ... for resources; else the lower-case method.
    pub verb: String,
    /// `api` or `apis`.
    pub prefix: &'static str,
    /// Empty for the core group.
    pub group: String,
    /// `v1`, ...
    pub version: String,
    /// Empty for cluster scope and for all namespaces.
    pub namespace: String,
    /// Plural.
    pub resource: String,
    /// `status`, `log`, ... or empty.
    pub subresource: String,
    /// Empty where the path names none.
    pub name: String,
    /// The parts of the path from the resource on: resource, name, subresource, rest of the path.
    pub parts: Vec<String>,
    /// The deprecated `/watch/` or the removed `/proxy/` prefix.
    pub special: Option<&'static str>,
    /// A path of one of the special forms that names nothing.
    pub malformed: bool,
}

impl RequestInfo {
    /// Reads it from the method, the decoded path and the query.
    pub fn new(method: &Method, path: &str, query: &Query) -> Self {
        let mut info = Self { path: path.to_owned(), verb: method.as_str().to_ascii_lowercase(), ..Self::default() };
        let mut parts = path.trim_matches('/').split('/');
        let prefix = match parts.next() {
            Some("api") => "api",
            Some("apis") => "apis",
            _ => return info,
        };
        let mut rest: Vec<&str> = parts.collect();
        if rest.len() < 2 {
            return info;
        }
        info.prefix = prefix;
        if prefix == "apis" {
            if rest.len() < 3 {
                return info;
            }
            info.group = rest.remove(0).to_owned();
        }
        info.is_resource = true;
        info.version = rest.remove(0).to_owned();
        if let special @ ("watch" | "proxy") = rest[0] {
            let special = if special == "watch" { "watch" } else { "proxy" };
            if rest.len() < 2 {
                info.malformed = true;
                info.is_resource = false;
                return info;
            }
            info.special = Some(special);
            info.verb = special.to_owned();
            rest.remove(0);
        } else {
            info.verb = match method.as_str() {
                "POST" => "create",
                "GET" | "HEAD" => "get",
                "PUT" => "update",
                "PATCH" => "patch",
                "DELETE" => "delete",
                _ => "",
            }
            .to_owned();
        }
        if rest[0] == "namespaces" && rest.len() > 1 {
            info.namespace = rest[1].to_owned();
            if rest.len() > 2 && !matches!(rest[2], "status" | "finalize") {
                rest.drain(..2);
            }
        }
        info.parts = rest.iter().map(|s| (*s).to_owned()).collect();
        if rest.len() >= 3 && info.special.is_none() {
            info.subresource = rest[2].to_owned();
        }
        if rest.len() >= 2 {
            info.name = rest[1].to_owned();
        }
        info.resource = rest[0].to_owned();
        if info.name.is_empty() && info.verb == "get" {
            info.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
            if let Some(name) = query.first("fieldSelector").and_then(name_of_selector) {
                info.name = name;
            }
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection".to_owned();
        }
        info
    }

    /// Why a [malformed](Self::malformed) path means nothing.
    pub fn failure(&self) -> String {
        format!("failed to create RequestInfo: unable to determine kind and namespace from url: {}", self.path)
    }

    /// Whether the answer may take as long as the client likes: such requests have no deadline and no in-flight limit
    /// (rule: upstream's `BasicLongRunningRequestCheck`).
    pub fn long_running(&self) -> bool {
        self.is_resource
            && (matches!(self.verb.as_str(), "watch" | "proxy")
                || matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward"))
            || !self.is_resource && self.path.starts_with("/debug/pprof/")
    }
}

/// The name that a field selector asks for, if it asks for exactly one valid name.
fn name_of_selector(text: &str) -> Option<String> {
    let selector = FieldSelector::parse(text).ok()?;
    let name = selector.requires_exact("metadata.name")?;
    let valid = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']);
    valid.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, want: &str) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let i = RequestInfo::new(&method.parse().expect("method"), path, &Query::parse(query));
        let got = if i.is_resource {
            format!(
                "{} {}/{} ns={} {}/{}/{}",
                i.verb, i.group, i.version, i.namespace, i.resource, i.name, i.subresource
            )
        } else {
            format!("{} {}", i.verb, i.path)
        };
        assert_eq!(got, want, "{method} {uri}");
    }

    #[test]
    fn paths_mean_what_upstream_takes_them_for() {
        check("GET", "/", "get /");
        check("GET", "/api/v1", "get /api/v1");
        check("GET", "/apis/apps/v1", "get /apis/apps/v1");
        check("GET", "/api/v1/pods", "list /v1 ns= pods//");
        check("GET", "/api/v1/pods?watch=true", "watch /v1 ns= pods//");
        check("GET", "/api/v1/pods?watch=0", "list /v1 ns= pods//");
        check("GET", "/api/v1/namespaces/a/pods/p", "get /v1 ns=a pods/p/");
        check("GET", "/api/v1/namespaces/a", "get /v1 ns=a namespaces/a/");
        check("PUT", "/api/v1/namespaces/a/finalize", "update /v1 ns=a namespaces/a/finalize");
        check("POST", "/api/v1/namespaces/a/pods/p/binding", "create /v1 ns=a pods/p/binding");
        check("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps/v1 ns=a deployments//");
        check("GET", "/api/v1/watch/namespaces/a/pods/p", "watch /v1 ns=a pods/p/");
        check("GET", "/api/v1/nodes/n/proxy/a/b", "get /v1 ns= nodes/n/proxy");
        check("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list /v1 ns= pods/x/");
        check("OPTIONS", "/api/v1/pods", " /v1 ns= pods//");
    }
}
