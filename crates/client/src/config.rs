//! Where the apiserver is and how to prove who we are.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};

use crate::{Error, Result, kubeconfig};

/// The folder in which pods find their service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a token that was read from a file is used before the file is read again (rule: client-go `transport`).
const TOKEN_FILE_PERIOD: Duration = Duration::from_secs(60);

/// A client certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by intermediate ones.
    pub certificate: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

/// A bearer token that may change while the client lives.
#[derive(Clone, Debug)]
pub struct TokenSource(Arc<TokenState>);

#[derive(Debug)]
enum TokenState {
    Shared(RwLock<String>),
    File { path: PathBuf, cached: Mutex<Option<(Instant, String)>> },
}

impl TokenSource {
    /// A token that [`TokenSource::set`] can replace; all clones see the change.
    pub fn fixed(token: impl Into<String>) -> Self {
        Self(Arc::new(TokenState::Shared(RwLock::new(token.into()))))
    }

    /// A token in a file that somebody else keeps fresh; it is read again every minute.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Arc::new(TokenState::File { path: path.into(), cached: Mutex::new(None) }))
    }

    /// Replaces a fixed token; without effect on a token in a file.
    pub fn set(&self, token: impl Into<String>) {
        if let TokenState::Shared(current) = &*self.0 {
            *current.write() = token.into();
        }
    }

    /// The token as of now; empty if there is none yet.
    pub(crate) fn get(&self) -> Result<String> {
        match &*self.0 {
            TokenState::Shared(token) => Ok(token.read().clone()),
            TokenState::File { path, cached } => {
                let mut cached = cached.lock();
                if let Some((read_at, token)) = &*cached
                    && read_at.elapsed() < TOKEN_FILE_PERIOD
                {
                    return Ok(token.clone());
                }
                match std::fs::read_to_string(path) {
                    Ok(text) => {
                        let token = text.trim().to_owned();
                        *cached = Some((Instant::now(), token.clone()));
                        Ok(token)
                    }
                    // An old token is better than none while the file is being replaced.
                    Err(error) => match &*cached {
                        Some((_, token)) => Ok(token.clone()),
                        None => Err(Error::Config(format!("cannot read token file {}: {error}", path.display()))),
                    },
                }
            }
        }
    }
}

/// Where the apiserver is and how to prove who we are.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The base URL, such as `https://10.0.0.1:6443`; without a scheme, `http://` is meant.
    pub server: String,
    /// PEM certificates that the server's certificate must chain to; empty trusts no server.
    pub ca: Vec<u8>,
    /// Accept any server certificate.
    pub insecure: bool,
    /// The name that the server's certificate must have, if not the host in `server`.
    pub tls_server_name: Option<String>,
    /// Our client certificate.
    pub identity: Option<Identity>,
    /// Our bearer token.
    pub token: Option<TokenSource>,
    /// Basic authentication, for proxies in front of an apiserver.
    pub basic: Option<(String, String)>,
    /// The namespace of the current context; empty means `default`.
    pub namespace: String,
    /// The User-Agent header; empty stands for the name of the binary.
    pub user_agent: String,
}

impl Config {
    /// Reads the current context of a kubeconfig file.
    pub fn from_kubeconfig(path: impl AsRef<Path>) -> Result<Self> {
        kubeconfig::load(path.as_ref(), None)
    }

    /// Reads a named context of a kubeconfig file.
    pub fn from_kubeconfig_context(path: impl AsRef<Path>, context: &str) -> Result<Self> {
        kubeconfig::load(path.as_ref(), Some(context))
    }

    /// The configuration that a pod finds in its environment and its service account's folder.
    pub fn in_cluster() -> Result<Self> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| {
                Error::Config(
                    "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
                        .to_owned(),
                )
            })
        };
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let folder = Path::new(SERVICE_ACCOUNT);
        let read = |name: &str| {
            std::fs::read(folder.join(name))
                .map_err(|error| Error::Config(format!("cannot read {}: {error}", folder.join(name).display())))
        };
        let token = TokenSource::file(folder.join("token"));
        token.get()?;
        Ok(Self {
            server: format!("https://{host}:{port}"),
            ca: read("ca.crt")?,
            token: Some(token),
            namespace: read("namespace").map(|n| String::from_utf8_lossy(&n).trim().to_owned()).unwrap_or_default(),
            ..Self::default()
        })
    }

    /// What a component's `--kubeconfig` and `--master` flags mean: the file if one is named (with the server
    /// overridden by `master`), else `master` alone, else the in-cluster configuration.
    pub fn from_flags(kubeconfig: &str, master: &str) -> Result<Self> {
        let mut config = match (kubeconfig, master) {
            ("", "") => Self::in_cluster()?,
            ("", _) => Self::default(),
            (path, _) => Self::from_kubeconfig(path)?,
        };
        if !master.is_empty() {
            config.server = master.to_owned();
        }
        Ok(config)
    }
}
