//! Who asks: the authenticators over what a connection and its requests carry
//! (rule: apiserver `pkg/endpoints/filters/authentication.go`).

use crate::server::Connection;
use http::HeaderMap;
use steersman_auth::UserInfo;
use steersman_auth::authenticate::{Authenticators, Credentials};

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
