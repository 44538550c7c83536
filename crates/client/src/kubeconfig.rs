//! The kubeconfig file format, as far as components need it: one file, tokens, certificates, no credential plug-ins.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Deserialize;

use crate::{Config, Error, Identity, Result, TokenSource};

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    #[serde(default)]
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    #[serde(default)]
    context: Context,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<String>,
}

/// Reads the named, or else the current, context of the file at `path`.
pub(crate) fn load(path: &Path, context: Option<&str>) -> Result<Config> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::Config(format!("cannot read kubeconfig {}: {error}", path.display())))?;
    parse(&text, path.parent().unwrap_or(Path::new(".")), context)
        .map_err(|error| Error::Config(format!("invalid kubeconfig {}: {error}", path.display())))
}

/// Parses a kubeconfig; relative paths in it start at `folder`.
fn parse(text: &str, folder: &Path, context: Option<&str>) -> Result<Config, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let context_name = context.unwrap_or(&file.current_context);
    let context = match file.contexts.iter().find(|c| c.name == context_name) {
        Some(found) => &found.context,
        None => return Err(format!("context \"{context_name}\" does not exist")),
    };
    let cluster = match file.clusters.iter().find(|c| c.name == context.cluster) {
        Some(found) => &found.cluster,
        None => return Err(format!("cluster \"{}\" does not exist", context.cluster)),
    };
    let no_user = User::default();
    let user = match file.users.iter().find(|u| u.name == context.user) {
        Some(found) => &found.user,
        None if context.user.is_empty() => &no_user,
        None => return Err(format!("user \"{}\" does not exist", context.user)),
    };
    let pem = |data: &Option<String>, path: &Option<PathBuf>| material(folder, data.as_deref(), path.as_deref());
    let certificate = pem(&user.client_certificate_data, &user.client_certificate)?;
    let key = pem(&user.client_key_data, &user.client_key)?;
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        _ => return Err("a client certificate and its key must be given together".to_owned()),
    };
    let token = match (&user.token, &user.token_file) {
        (_, Some(path)) => Some(TokenSource::file(folder.join(path))),
        (Some(token), None) if !token.is_empty() => Some(TokenSource::fixed(token.clone())),
        _ => None,
    };
    Ok(Config {
        server: cluster.server.clone(),
        ca: pem(&cluster.certificate_authority_data, &cluster.certificate_authority)?.unwrap_or_default(),
        insecure: cluster.insecure_skip_tls_verify,
        tls_server_name: cluster.tls_server_name.clone().filter(|name| !name.is_empty()),
        identity,
        token,
        basic: user.username.clone().map(|name| (name, user.password.clone().unwrap_or_default())),
        namespace: context.namespace.clone(),
        user_agent: String::new(),
    })
}

/// Inline data wins over a file (rule: client-go `clientcmd`).
fn material(folder: &Path, data: Option<&str>, path: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    match (data.filter(|d| !d.is_empty()), path.filter(|p| !p.as_os_str().is_empty())) {
        (Some(data), _) => {
            let compact: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(compact);
            Ok(Some(bytes.map_err(|error| format!("illegal base64 data: {error}"))?))
        }
        (None, Some(path)) => {
            let path = folder.join(path);
            Ok(Some(std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r"
apiVersion: v1
kind: Config
current-context: a
clusters:
- name: c
  cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: Q0E=, tls-server-name: kubernetes}
contexts:
- name: a
  context: {cluster: c, user: u, namespace: work}
- name: lost
  context: {cluster: nowhere, user: u}
- name: half
  context: {cluster: c, user: half}
users:
- name: u
  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}
- name: half
  user: {client-certificate-data: Q0VSVA==}
";

    #[test]
    fn reads_the_current_context() {
        let config = parse(FILE, Path::new("."), None).unwrap();
        assert_eq!(config.server, "https://127.0.0.1:6443");
        assert_eq!(config.ca, b"CA");
        assert_eq!(config.namespace, "work");
        assert_eq!(config.tls_server_name.as_deref(), Some("kubernetes"));
        assert_eq!(config.identity, Some(Identity { certificate: b"CERT".to_vec(), key: b"KEY".to_vec() }));
    }

    #[test]
    fn says_what_is_missing() {
        let check = |context, expect: &str| {
            assert_eq!(parse(FILE, Path::new("."), Some(context)).unwrap_err(), expect);
        };
        check("none", "context \"none\" does not exist");
        check("lost", "cluster \"nowhere\" does not exist");
        check("half", "a client certificate and its key must be given together");
    }
}
