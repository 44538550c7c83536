//! Authenticators in upstream's order: front proxy, client certificate, token file, service account, bootstrap token,
//! anonymous.

use crate::service_account::Tokens;
use crate::{Lookup, UserInfo};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use x509_parser::prelude::FromDer;

/// The parts of a request that say who asks.
pub struct Credentials<'a> {
    /// DER of the client's certificate, which TLS has verified against the client CA.
    pub certificate: Option<&'a [u8]>,
    /// DER of the client's certificate, verified against the front-proxy CA.
    pub proxy_certificate: Option<&'a [u8]>,
    /// The value of `Authorization`.
    pub authorization: Option<&'a str>,
    /// All values of a header, by its lower-case name.
    pub headers: &'a (dyn Fn(&str) -> Vec<String> + Sync),
    /// Names and values of all headers that begin with a lower-case prefix.
    pub prefixed: &'a (dyn Fn(&str) -> Vec<(String, String)> + Sync),
}

/// `--requestheader-*`.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct RequestHeader {
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

/// All that are on.
#[derive(Default)]
pub struct Authenticators {
    /// Front proxies.
    pub request_header: Option<RequestHeader>,
    /// `--token-auth-file`.
    pub token_file: HashMap<String, UserInfo>,
    /// Service accounts.
    pub service_accounts: Option<Arc<Tokens>>,
    /// `--enable-bootstrap-token-auth`: where the token Secrets are.
    pub bootstrap: Option<Arc<dyn Lookup>>,
    /// `--anonymous-auth`.
    pub anonymous: bool,
}

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

impl Authenticators {
    /// Who asks; `None` is answered with 401. A bad token is refused even where anonymous requests are not.
    pub fn authenticate(&self, c: &Credentials<'_>) -> Option<UserInfo> {
        if let Some(user) = self.request_header.as_ref().and_then(|rh| rh.user(c)) {
            return Some(with_group(user, AUTHENTICATED));
        }
        if let Some(user) = c.certificate.and_then(certificate_user) {
            return Some(with_group(user, AUTHENTICATED));
        }
        if let Some(token) = c.authorization.and_then(bearer) {
            return match self.token(token, &[]) {
                Ok(Some((user, _))) => Some(user),
                Ok(None) => None,
                Err(e) => {
                    tracing::debug!(error = e, "token refused");
                    None
                }
            };
        }
        let anonymous = || UserInfo {
            name: "system:anonymous".into(),
            groups: vec![UNAUTHENTICATED.into()],
            ..UserInfo::default()
        };
        self.anonymous.then(anonymous)
    }

    /// Who a token belongs to, and the audiences it is good for.
    pub fn token(&self, token: &str, audiences: &[String]) -> Result<Option<(UserInfo, Vec<String>)>, String> {
        if let Some(user) = self.token_file.get(token) {
            return Ok(Some((with_group(user.clone(), AUTHENTICATED), audiences.to_vec())));
        }
        if let Some(tokens) = &self.service_accounts
            && let Some((user, good)) = tokens.authenticate(token, audiences)?
        {
            return Ok(Some((with_group(user, AUTHENTICATED), good)));
        }
        let of_bootstrap = self.bootstrap.as_ref().and_then(|lookup| bootstrap_user(lookup.as_ref(), token));
        Ok(of_bootstrap.map(|user| (with_group(user, AUTHENTICATED), audiences.to_vec())))
    }
}

fn with_group(mut user: UserInfo, group: &str) -> UserInfo {
    if !user.groups.iter().any(|g| g == group || g == UNAUTHENTICATED) {
        user.groups.push(group.to_owned());
    }
    user
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|t| !t.is_empty())
}

/// The common name is the user, the organisations are the groups (rule: apiserver `request/x509`).
pub fn certificate_user(der: &[u8]) -> Option<UserInfo> {
    let (_, cert) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    let name = cert.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let groups = cert.subject().iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    let fingerprint = hex(&sha256(der));
    let extra = BTreeMap::from([(
        "authentication.kubernetes.io/credential-id".to_owned(),
        vec![format!("X509SHA256={fingerprint}")],
    )]);
    Some(UserInfo { name, groups, extra, uid: String::new() })
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl RequestHeader {
    fn user(&self, c: &Credentials<'_>) -> Option<UserInfo> {
        let proxy = certificate_user(c.proxy_certificate?)?;
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy.name) {
            return None;
        }
        let first =
            |names: &[String]| names.iter().flat_map(|n| (c.headers)(&n.to_ascii_lowercase())).find(|v| !v.is_empty());
        let name = first(&self.username_headers)?;
        let groups = self.group_headers.iter().flat_map(|n| (c.headers)(&n.to_ascii_lowercase())).collect();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            let prefix = prefix.to_ascii_lowercase();
            for (header, value) in (c.prefixed)(&prefix) {
                let key = percent_decode(&header[prefix.len()..]);
                extra.entry(key).or_default().push(value);
            }
        }
        Some(UserInfo { name, uid: first(&self.uid_headers).unwrap_or_default(), groups, extra })
    }
}

/// Undoes `%2F` and the like; what is no escape stays.
pub fn percent_decode(s: &str) -> String {
    let (bytes, mut out, mut i) = (s.as_bytes(), Vec::with_capacity(s.len()), 0);
    while i < bytes.len() {
        let escaped =
            (bytes[i] == b'%').then(|| s.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok())).flatten();
        match escaped {
            Some(b) => {
                out.push(b);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads `--token-auth-file`: `token,user,uid,"group1,group2"` a line.
pub fn read_token_file(path: &Path) -> std::io::Result<HashMap<String, UserInfo>> {
    let text = std::fs::read_to_string(path)?;
    let mut out = HashMap::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let fields = split_csv(line);
        let [token, name, rest @ ..] = fields.as_slice() else {
            tracing::warn!("a line of the token file has fewer than three columns");
            continue;
        };
        let groups = rest
            .get(1)
            .map(|g| g.split(',').map(|g| g.trim().to_owned()).filter(|g| !g.is_empty()).collect())
            .unwrap_or_default();
        let user = UserInfo {
            name: name.clone(),
            uid: rest.first().cloned().unwrap_or_default(),
            groups,
            ..UserInfo::default()
        };
        out.insert(token.clone(), user);
    }
    Ok(out)
}

fn split_csv(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => {
                if let Some(last) = fields.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    fields.iter().map(|f| f.trim().to_owned()).collect()
}

/// `<6>.<16>` against the Secret `kube-system/bootstrap-token-<6>` (rule: upstream `plugin/pkg/auth/authenticator/token/bootstrap`).
fn bootstrap_user(lookup: &dyn Lookup, token: &str) -> Option<UserInfo> {
    use base64::Engine;
    let (id, secret) = token.split_once('.')?;
    let fits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !fits(id, 6) || !fits(secret, 16) {
        return None;
    }
    let stored = lookup.get("", "secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    if stored["type"] != "bootstrap.kubernetes.io/token" || stored["metadata"]["deletionTimestamp"].is_string() {
        return None;
    }
    let data = |k: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(stored["data"][k].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let expired =
        data("expiration").and_then(|e| e.parse::<jiff::Timestamp>().ok()).is_some_and(|t| t < jiff::Timestamp::now());
    let same = data("token-secret").is_some_and(|s| constant_time_eq(s.as_bytes(), secret.as_bytes()));
    if expired
        || !same
        || data("token-id").as_deref() != Some(id)
        || data("usage-bootstrap-authentication").as_deref() != Some("true")
    {
        return None;
    }
    let mut groups = vec!["system:bootstrappers".to_owned()];
    if let Some(extra) = data("auth-extra-groups") {
        groups.extend(extra.split(',').map(str::to_owned).filter(|g| g.starts_with("system:bootstrappers:")));
    }
    Some(UserInfo { name: format!("system:bootstrap:{id}"), groups, ..UserInfo::default() })
}

/// Compares without telling by its time where the difference lies.
fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_anonymous() {
        let path = std::env::temp_dir().join(format!("steersman-tokens-{}", std::process::id()));
        std::fs::write(&path, "t1,alice,1,\"dev,ops\"\nshort\n").expect("writes");
        let a = Authenticators {
            token_file: read_token_file(&path).expect("reads"),
            anonymous: true,
            ..Authenticators::default()
        };
        std::fs::remove_file(&path).expect("cleans up");
        let who = |authorization: Option<&str>| {
            let c = Credentials {
                certificate: None,
                proxy_certificate: None,
                authorization,
                headers: &|_| vec![],
                prefixed: &|_| vec![],
            };
            a.authenticate(&c).map(|u| (u.name, u.groups.join(" ")))
        };
        assert_eq!(who(Some("Bearer t1")), Some(("alice".into(), "dev ops system:authenticated".into())));
        assert_eq!(who(None), Some(("system:anonymous".into(), "system:unauthenticated".into())));
        assert_eq!(who(Some("Bearer nope")), None);
    }

    #[test]
    fn percent_escapes() {
        assert_eq!(percent_decode("a%2Fb%zz"), "a/b%zz");
    }
}
