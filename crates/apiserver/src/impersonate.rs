//! Acting as someone else (rule: apiserver `pkg/endpoints/filters/impersonation`): each mode is tried in turn, the
//! narrow ones before the one that always was.

use crate::authz;
use crate::request_info::RequestInfo;
use http::HeaderMap;
use std::collections::BTreeMap;
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::validation::{dns_subdomain, domain_prefixed_path};
use steersman_apimachinery::{ErrorList, Path, Status};
use steersman_auth::authenticate::percent_decode;
use steersman_auth::{Attributes, Authorizer, UserInfo};

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const PRIVILEGED: &str = "system:masters";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// From so many values on, the right to all of them is asked for before that to each.
const MANY: usize = 4;

/// A way to act as someone, with verbs of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

const MODES: &[Mode] = &[Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    fn applies(self, wanted: &UserInfo, requestor: &UserInfo) -> bool {
        let node = node_name(&wanted.name);
        let only_name = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        match self {
            Self::AssociatedNode => {
                let bound = requestor.extra.get("authentication.kubernetes.io/node-name");
                only_name
                    && service_account(&requestor.name).is_some()
                    && node.is_some_and(|n| bound.is_some_and(|b| b[..] == [n]))
            }
            Self::ArbitraryNode => only_name && node.is_some(),
            Self::ServiceAccount => only_name && service_account(&wanted.name).is_some(),
            Self::UserInfo => node.is_none() && service_account(&wanted.name).is_none(),
            Self::Legacy => true,
        }
    }
}

/// Whether a request asks to be someone else.
pub fn asked(headers: &HeaderMap) -> bool {
    headers.keys().any(|n| n.as_str().starts_with("impersonate-"))
}

/// Whom `user` may act as in a request, by its `Impersonate-*` headers.
pub async fn impersonate(
    user: UserInfo,
    headers: &HeaderMap,
    info: &RequestInfo,
    authorizer: &dyn Authorizer,
) -> Result<UserInfo, Status> {
    let Some(wanted) = wanted(headers)? else { return Ok(user) };
    let mut first = None;
    for &mode in MODES.iter().filter(|m| m.applies(&wanted, &user)) {
        match (Attempt { mode, requestor: requestor(mode, &user), info, authorizer }).check(&wanted).await {
            Ok(found) => return Ok(found),
            Err(e) => first = first.or(Some(e)),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

/// The requestor as authorisers see it: one that is bound to a node shall be judged alike on all nodes.
fn requestor(mode: Mode, user: &UserInfo) -> UserInfo {
    let mut user = user.clone();
    if mode == Mode::AssociatedNode {
        let keys = user.extra.keys().cloned().collect();
        user.extra = BTreeMap::from([("authentication.kubernetes.io/associated-node-keys".to_owned(), keys)]);
    }
    user
}

/// What the headers ask for, as it stands there.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    let first = |n: &str| headers.get(n).map(text).unwrap_or_default();
    let mut wanted = UserInfo {
        name: first("impersonate-user"),
        uid: first("impersonate-uid"),
        groups: headers.get_all("impersonate-group").iter().map(text).collect(),
        extra: BTreeMap::new(),
    };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
            wanted.extra.entry(percent_decode(key)).or_default().push(text(value));
        }
    }
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == UserInfo::default() { Ok(None) } else { Err(Status::bad_request(nameless(&wanted))) }
}

/// One mode's checks.
struct Attempt<'a> {
    mode: Mode,
    requestor: UserInfo,
    info: &'a RequestInfo,
    authorizer: &'a dyn Authorizer,
}

impl Attempt<'_> {
    async fn check(&self, wanted: &UserInfo) -> Result<UserInfo, Status> {
        let constrained = self.mode != Mode::Legacy;
        if constrained {
            let verb = format!("impersonate-on:{}:{}", self.mode.name(), self.info.verb);
            let of_request = authz::attributes(&self.requestor, self.info);
            authz::require(&Attributes { verb: &verb, ..of_request }, self.authorizer).await?;
        }
        let group = if constrained { AUTHENTICATION } else { "" };
        let mut user = wanted.clone();
        match (service_account(&wanted.name), node_name(&wanted.name).filter(|_| constrained)) {
            (Some((namespace, account)), _) => {
                if wanted.groups.is_empty() {
                    user.groups = steersman_auth::service_account::groups(namespace);
                }
                self.require(group, "serviceaccounts", "", namespace, account).await?;
            }
            (None, Some(node)) => {
                user.groups = vec!["system:nodes".to_owned()];
                let node = if self.mode == Mode::AssociatedNode { "*" } else { node };
                self.require(group, "nodes", "", "", node).await?;
            }
            (None, None) => self.require(group, "users", "", "", &wanted.name).await?,
        }
        if !wanted.uid.is_empty() {
            self.require(AUTHENTICATION, "uids", "", "", &wanted.uid).await?;
        }
        self.groups(group, &wanted.groups).await?;
        self.extra(&wanted.extra).await?;
        let has = |g: &str| user.groups.iter().any(|x| x == g);
        let implied = if user.name == "system:anonymous" { UNAUTHENTICATED } else { AUTHENTICATED };
        if !has(implied) && !has(UNAUTHENTICATED) {
            user.groups.push(implied.to_owned());
        }
        Ok(user)
    }

    async fn groups(&self, group: &str, wanted: &[String]) -> Result<(), Status> {
        if self.mode != Mode::Legacy {
            let refuse = |name: &str, why: &str| {
                self.with(group, "groups", "", "", name, |a| Err(steersman_auth::forbidden(a, why)))
            };
            if wanted.iter().any(String::is_empty) {
                return refuse("", "impersonating the empty string group is not allowed");
            }
            if wanted.iter().any(|g| g == PRIVILEGED) {
                return refuse(PRIVILEGED, "impersonating the system:masters group is not allowed");
            }
            if wanted.len() >= MANY && self.require(group, "groups", "", "", "*").await.is_ok() {
                return Ok(());
            }
        }
        for g in wanted {
            self.require(group, "groups", "", "", g).await?;
        }
        Ok(())
    }

    async fn extra(&self, wanted: &BTreeMap<String, Vec<String>>) -> Result<(), Status> {
        if self.mode != Mode::Legacy {
            if let Some(why) = unfit(wanted) {
                return self
                    .with(AUTHENTICATION, "userextras", "", "", "", |a| Err(steersman_auth::forbidden(a, &why)));
            }
            let many = wanted.values().map(Vec::len).sum::<usize>() >= MANY;
            if many && self.require(AUTHENTICATION, "userextras", "*", "", "*").await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in wanted {
            for value in values {
                self.require(AUTHENTICATION, "userextras", key, "", value).await?;
            }
        }
        Ok(())
    }

    fn with<T>(
        &self,
        group: &str,
        resource: &str,
        sub: &str,
        namespace: &str,
        name: &str,
        then: impl FnOnce(&Attributes<'_>) -> T,
    ) -> T {
        let verb = self.verb();
        then(&self.attributes(&verb, group, resource, sub, namespace, name))
    }

    async fn require(&self, group: &str, resource: &str, sub: &str, namespace: &str, name: &str) -> Result<(), Status> {
        let verb = self.verb();
        authz::require(&self.attributes(&verb, group, resource, sub, namespace, name), self.authorizer).await
    }

    fn verb(&self) -> String {
        if self.mode == Mode::Legacy { "impersonate".to_owned() } else { format!("impersonate:{}", self.mode.name()) }
    }

    fn attributes<'a>(
        &'a self,
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
        subresource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> Attributes<'a> {
        Attributes {
            user: &self.requestor,
            verb,
            namespace,
            group,
            version: "v1",
            resource,
            subresource,
            name,
            resource_request: true,
            path: "",
        }
    }
}

/// What the narrow modes do not let through.
fn unfit(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    extra.iter().find_map(|(key, values)| {
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".to_owned());
        }
        let mut errors = ErrorList::new();
        domain_prefixed_path(&mut errors, &Path::new("extra").child("key"), key);
        if !errors.is_empty() {
            return Some(format!("impersonating an invalid key in extra is not allowed: {}", errors.joined()));
        }
        if *key != key.to_lowercase() {
            return Some(format!("impersonating a non-lowercase key in extra is not allowed: {}", go_quote(key)));
        }
        let empty = values.iter().any(String::is_empty);
        empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
    })
}

/// What a request without a name asks for, as Go prints it.
fn nameless(wanted: &UserInfo) -> String {
    let strings = |all: &[String]| {
        let quoted: Vec<String> = all.iter().map(|s| go_quote(s)).collect();
        if quoted.is_empty() { "[]string(nil)".to_owned() } else { format!("[]string{{{}}}", quoted.join(", ")) }
    };
    let keys: Vec<String> = wanted.extra.iter().map(|(k, v)| format!("{}:{}", go_quote(k), strings(v))).collect();
    let extra = if keys.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", keys.join(", ")) };
    format!(
        "requested &user.DefaultInfo{{Name:\"\", UID:{}, Groups:{}, Extra:map[string][]string{extra}}} without impersonating a user name",
        go_quote(&wanted.uid),
        strings(&wanted.groups)
    )
}

/// The node of a node's user name.
fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|n| dns_subdomain(n, false).is_empty())
}

/// Namespace and name of a service account's user name.
fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, account) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !account.is_empty() && !account.contains(':')).then_some((namespace, account))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue, Method};
    use steersman_auth::{Decision, Rules};

    /// Allows what it lists, as `<verb> <resource>/<name>`.
    struct Listed(&'static [&'static str]);

    #[async_trait::async_trait]
    impl Authorizer for Listed {
        async fn authorize(&self, a: &Attributes<'_>) -> (Decision, String) {
            let asked = format!("{} {}/{}", a.verb, a.resource, a.name);
            let allowed = self.0.iter().any(|l| *l == asked || *l == "*");
            (if allowed { Decision::Allow } else { Decision::NoOpinion }, String::new())
        }
        async fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
            Rules::default()
        }
    }

    async fn check(allowed: &'static [&'static str], headers: &[(&'static str, &str)], want: &str) {
        let user = UserInfo { name: "jo".into(), ..UserInfo::default() };
        let mut map = HeaderMap::new();
        for (k, v) in headers {
            map.append(HeaderName::from_static(k), HeaderValue::from_str(v).expect("a value"));
        }
        let info = RequestInfo::new(&Method::GET, "/api/v1/pods", &crate::query::Query::parse(""));
        let got = match impersonate(user, &map, &info, &Listed(allowed)).await {
            Ok(u) => format!("{} {}", u.name, u.groups.join(",")),
            Err(e) => e.message,
        };
        assert_eq!(got, want, "{allowed:?} {headers:?}");
    }

    #[tokio::test]
    async fn modes_are_tried_in_turn() {
        check(&[], &[], "jo ").await;
        check(
            &[],
            &[("impersonate-user", "al")],
            "pods is forbidden: User \"jo\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" at the cluster scope",
        )
        .await;
        check(
            &["impersonate-on:user-info:list pods/"],
            &[("impersonate-user", "al")],
            "users.authentication.k8s.io \"al\" is forbidden: User \"jo\" cannot impersonate:user-info resource \"users\" in API group \"authentication.k8s.io\" at the cluster scope",
        )
        .await;
        check(&["impersonate users/al"], &[("impersonate-user", "al")], "al system:authenticated").await;
        check(&["*"], &[("impersonate-user", "system:anonymous")], "system:anonymous system:unauthenticated").await;
        check(&["*"], &[("impersonate-user", "system:node:n")], "system:node:n system:nodes,system:authenticated")
            .await;
        check(
            &["impersonate users/system:node:n"],
            &[("impersonate-user", "system:node:n")],
            "system:node:n system:authenticated",
        )
        .await;
        check(
            &["*"],
            &[("impersonate-user", "system:serviceaccount:a:b")],
            "system:serviceaccount:a:b system:serviceaccounts,system:serviceaccounts:a,system:authenticated",
        )
        .await;
        check(
            &["*"],
            &[("impersonate-user", "al"), ("impersonate-group", PRIVILEGED)],
            "al system:masters,system:authenticated",
        )
        .await;
        check(
            &[],
            &[("impersonate-group", "a"), ("impersonate-extra-k", "1"), ("impersonate-extra-a%2fb", "2"), ("impersonate-extra-k", "3")],
            r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"a"}, Extra:map[string][]string{"a/b":[]string{"2"}, "k":[]string{"1", "3"}}} without impersonating a user name"#,
        )
        .await;
        check(
            &[],
            &[("impersonate-uid", "u")],
            r#"requested &user.DefaultInfo{Name:"", UID:"u", Groups:[]string(nil), Extra:map[string][]string(nil)} without impersonating a user name"#,
        )
        .await;
    }
}
