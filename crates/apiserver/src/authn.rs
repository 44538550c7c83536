//! Who asks: the authenticators over what a connection and its requests carry, and impersonation
//! (rule: apiserver `pkg/endpoints/filters/{authentication,impersonation}.go`).

use crate::authz;
use crate::server::Connection;
use http::HeaderMap;
use std::collections::BTreeMap;
use steersman_apimachinery::Status;
use steersman_apimachinery::field::go_quote;
use steersman_auth::authenticate::{Authenticators, Credentials, percent_decode};
use steersman_auth::{Attributes, Authorizer, UserInfo};

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Who asks, before impersonation; `None` is 401.
pub fn authenticate(all: &Authenticators, connection: &Connection, headers: &HeaderMap) -> Option<UserInfo> {
    let peer = &connection.peer;
    // The usual case: nothing but a certificate, read once for the whole connection.
    if let (Some(user), None) = (&peer.user, &peer.proxy) {
        return Some(with_group(user.clone()));
    }
    let authorization = headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    let credentials = Credentials {
        certificate: None,
        proxy_certificate: peer.proxy.as_deref(),
        authorization,
        headers: &|name| headers.get_all(name).iter().map(text).collect(),
        prefixed: &|prefix| {
            let mine = headers.iter().filter(|(n, _)| n.as_str().starts_with(prefix));
            mine.map(|(n, v)| (n.as_str().to_owned(), text(v))).collect()
        },
    };
    let user = all.authenticate(&credentials)?;
    if user.groups.iter().any(|g| g == UNAUTHENTICATED) {
        if let Some(user) = &peer.user {
            return Some(with_group(user.clone()));
        }
        if peer.refused {
            return None;
        }
    }
    Some(user)
}

fn with_group(mut user: UserInfo) -> UserInfo {
    if !user.groups.iter().any(|g| g == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// Whether a request asks to be someone else.
pub fn impersonates(headers: &HeaderMap) -> bool {
    headers.keys().any(|n| n.as_str().starts_with("impersonate-"))
}

/// Whom `user` may act as, by the `Impersonate-*` headers.
pub async fn impersonate(user: UserInfo, headers: &HeaderMap, authorizer: &dyn Authorizer) -> Result<UserInfo, Status> {
    let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    let first = |n: &str| headers.get(n).map(text).filter(|s| !s.is_empty());
    let groups: Vec<String> = headers.get_all("impersonate-group").iter().map(text).collect();
    let extra: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(n, v)| Some((percent_decode(n.as_str().strip_prefix("impersonate-extra-")?), text(v))))
        .collect();
    let uid = first("impersonate-uid");
    let Some(name) = first("impersonate-user") else {
        if groups.is_empty() && extra.is_empty() && uid.is_none() {
            return Ok(user);
        }
        return Err(Status::bad_request(nameless(uid.as_deref().unwrap_or(""), &groups, &extra)));
    };
    let mut target = UserInfo { name: name.clone(), uid: uid.clone().unwrap_or_default(), ..UserInfo::default() };
    let check = async |group: &str, version: &str, resource: &str, sub: &str, namespace: &str, name: &str| {
        let attributes = Attributes {
            user: &user,
            verb: "impersonate",
            namespace,
            group,
            version,
            resource,
            subresource: sub,
            name,
            resource_request: true,
            path: "",
        };
        authz::require(&attributes, authorizer).await
    };
    let mut of_account = None;
    match service_account(&name) {
        Some((namespace, account)) => {
            check("", "v1", "serviceaccounts", "", namespace, account).await?;
            of_account = Some(steersman_auth::service_account::groups(namespace));
        }
        None => check("", "v1", "users", "", "", &name).await?,
    }
    for g in &groups {
        check("", "v1", "groups", "", "", g).await?;
    }
    for (k, v) in &extra {
        check("authentication.k8s.io", "v1", "userextras", k, "", v).await?;
        target.extra.entry(k.clone()).or_default().push(v.clone());
    }
    if let Some(uid) = &uid {
        check("authentication.k8s.io", "v1", "uids", "", "", uid).await?;
    }
    target.groups = if groups.is_empty() { of_account.unwrap_or_default() } else { groups };
    let has = |g: &str| target.groups.iter().any(|x| x == g);
    if name == "system:anonymous" {
        if !has(UNAUTHENTICATED) {
            target.groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !has(AUTHENTICATED) && !has(UNAUTHENTICATED) {
        target.groups.push(AUTHENTICATED.to_owned());
    }
    Ok(target)
}

/// What a request without a name asks for, as Go prints it (rule: `impersonation/constrained_impersonation.go`).
fn nameless(uid: &str, groups: &[String], extra: &[(String, String)]) -> String {
    let strings = |all: &[&str]| {
        let quoted: Vec<String> = all.iter().map(|s| go_quote(s)).collect();
        if quoted.is_empty() { "[]string(nil)".to_owned() } else { format!("[]string{{{}}}", quoted.join(", ")) }
    };
    let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (k, v) in extra {
        keys.entry(k).or_default().push(v);
    }
    let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{}:{}", go_quote(k), strings(v))).collect();
    let extra = if keys.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", keys.join(", ")) };
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    format!(
        "requested &user.DefaultInfo{{Name:\"\", UID:{}, Groups:{}, Extra:map[string][]string{extra}}} without impersonating a user name",
        go_quote(uid),
        strings(&groups)
    )
}

/// Namespace and name of a service account's user name.
fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, account) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !account.is_empty() && !account.contains(':')).then_some((namespace, account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_impersonated_without_a_name() {
        let check = |uid: &str, groups: &[&str], extra: &[(&str, &str)], want: &str| {
            let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
            let extra: Vec<(String, String)> = extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let want = format!("requested &user.DefaultInfo{{{want}}} without impersonating a user name");
            assert_eq!(nameless(uid, &groups, &extra), want);
        };
        check("", &["a", "b"], &[], r#"Name:"", UID:"", Groups:[]string{"a", "b"}, Extra:map[string][]string(nil)"#);
        check(
            "u",
            &[],
            &[("k", "1"), ("a/b", "2"), ("k", "3")],
            r#"Name:"", UID:"u", Groups:[]string(nil), Extra:map[string][]string{"a/b":[]string{"2"}, "k":[]string{"1", "3"}}"#,
        );
    }
}
