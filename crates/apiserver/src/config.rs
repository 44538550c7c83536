//! What the flags say, checked and in the types that the server uses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use steersman_component::features::Gates;
use steersman_component::flags::Flags;
use steersman_registry::{ServerConfig, StorageConfig};

/// Port of HTTPS as clients inside the cluster see it: the service `kubernetes`.
pub const SERVICE_PORT: u16 = 443;

/// The server's settings.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Config {
    pub bind: SocketAddr,
    pub advertise: IpAddr,
    pub external_hostname: String,
    pub tls: TlsConfig,
    pub client_ca: Option<PathBuf>,
    pub request_header: RequestHeader,
    pub token_file: Option<PathBuf>,
    pub anonymous: bool,
    pub bootstrap_tokens: bool,
    pub service_account: ServiceAccount,
    pub authorization_modes: Vec<String>,
    pub admission: AdmissionConfig,
    pub storage: StorageConfig,
    pub storage_overrides: Vec<(String, String, Vec<String>)>,
    pub server: ServerConfig,
    pub service_ip: IpAddr,
    pub kubelet: KubeletConfig,
    pub proxy_client: Option<(PathBuf, PathBuf)>,
    pub inflight: (usize, usize),
    pub request_timeout: Duration,
    pub min_request_timeout: Duration,
    pub shutdown_delay: Duration,
    pub shutdown_retry_after: bool,
    pub goaway_chance: f64,
    pub max_streams: u32,
    pub http2: bool,
    pub hsts: Option<String>,
    pub cors: Vec<String>,
    pub runtime_config: Vec<(String, String)>,
    pub endpoint_reconciler: bool,
    pub kubernetes_node_port: u16,
    pub profiling: bool,
    pub gates: Gates,
    /// Every flag with its value, for `/flagz`.
    pub flags: Vec<(&'static str, String)>,
}

/// Where the serving certificates are.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct TlsConfig {
    pub cert: Option<(PathBuf, PathBuf)>,
    pub cert_dir: PathBuf,
    /// Certificate, key, and the domains it is for (empty: those in the certificate).
    pub sni: Vec<(PathBuf, PathBuf, Vec<String>)>,
    pub only_tls13: bool,
}

/// Who may name users in headers, and in which.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct RequestHeader {
    pub ca: Option<PathBuf>,
    pub names: Vec<String>,
    pub user: Vec<String>,
    pub uid: Vec<String>,
    pub group: Vec<String>,
    pub extra: Vec<String>,
}

/// Keys and issuers of service-account tokens.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ServiceAccount {
    pub keys: Vec<PathBuf>,
    pub signing_key: Option<PathBuf>,
    pub lookup: bool,
    pub jwks_uri: String,
    pub extend: bool,
}

/// Which plug-ins run.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct AdmissionConfig {
    pub enable: Vec<String>,
    pub disable: Vec<String>,
    pub config_file: Option<PathBuf>,
}

/// How kubelets are reached.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct KubeletConfig {
    pub ca: Option<PathBuf>,
    pub client: Option<(PathBuf, PathBuf)>,
    pub address_types: Vec<String>,
    pub port: u16,
    pub timeout: Duration,
}

impl Config {
    /// Reads the flags; the error is one line for the user.
    pub fn new(f: &Flags) -> Result<Self, String> {
        let mut errors = Vec::new();
        let ip = |name: &str| -> Option<IpAddr> { f.text(name).parse().ok() };
        let bind_ip = ip("bind-address").unwrap_or_else(|| {
            errors.push(format!(
                "invalid argument {:?} for \"--bind-address\" flag: failed to parse IP",
                f.text("bind-address")
            ));
            Ipv4Addr::UNSPECIFIED.into()
        });
        let advertise = match f.text("advertise-address") {
            "" if !bind_ip.is_unspecified() && !bind_ip.is_loopback() => bind_ip,
            "" => own_address().unwrap_or(Ipv4Addr::LOCALHOST.into()),
            s => s.parse().unwrap_or_else(|_| {
                errors.push(format!(
                    "invalid argument {s:?} for \"--advertise-address\" flag: failed to parse IP: {s:?}"
                ));
                Ipv4Addr::LOCALHOST.into()
            }),
        };
        let port = f.int("secure-port");
        let port = u16::try_from(port).unwrap_or_else(|_| {
            errors.push(format!(
                "--secure-port {port} must be between 1 and 65535, inclusive. It cannot be turned off with 0"
            ));
            0
        });
        let pair = |a: &str, b: &str| Some((f.path(a)?, f.path(b)?));
        if f.list("etcd-servers").is_empty() {
            errors.push("--etcd-servers must be specified".to_owned());
        }
        let issuers = f.list("service-account-issuer");
        if f.path("service-account-signing-key-file").is_some() && issuers.is_empty() {
            errors.push("service-account-issuer is a required flag, --service-account-issuer not specified".into());
        }
        let cidrs = match f.list("service-cluster-ip-range") {
            l if l.is_empty() => vec!["10.0.0.0/24".to_owned()],
            l => l,
        };
        let service_ip = match cidrs[0].parse::<ipnet::IpNet>() {
            Ok(net) => first_ip(&net),
            Err(_) => {
                errors.push(format!("specified service-cluster-ip-range[0] {:?} is not a CIDR", cidrs[0]));
                Ipv4Addr::LOCALHOST.into()
            }
        };
        let node_ports = port_range(f.text("service-node-port-range")).unwrap_or_else(|| {
            errors.push(format!(
                "invalid argument {:?} for \"--service-node-port-range\" flag",
                f.text("service-node-port-range")
            ));
            (30000, 32767)
        });
        let modes = f.list("authorization-mode");
        for m in &modes {
            if !["AlwaysAllow", "AlwaysDeny", "ABAC", "Webhook", "RBAC", "Node"].contains(&m.as_str()) {
                errors.push(format!("authorization-mode {m:?} is not a valid mode"));
            }
        }
        let gates = Gates::parse(&f.map("feature-gates")).unwrap_or_else(|e| {
            errors.push(e);
            Gates::default()
        });
        if !errors.is_empty() {
            return Err(if errors.len() == 1 { errors.remove(0) } else { format!("[{}]", errors.join(", ")) });
        }
        let audiences = f.list("api-audiences");
        let keys: Vec<PathBuf> = f.list("service-account-key-file").into_iter().map(Into::into).collect();
        let (cert, key) = (f.path("tls-cert-file"), f.path("tls-private-key-file"));
        Ok(Self {
            bind: SocketAddr::new(bind_ip, port),
            advertise,
            external_hostname: f.text("external-hostname").to_owned(),
            tls: TlsConfig {
                cert: cert.zip(key),
                cert_dir: f.path("cert-dir").unwrap_or_default(),
                sni: sni(f)?,
                only_tls13: f.text("tls-min-version") == "VersionTLS13",
            },
            client_ca: f.path("client-ca-file"),
            request_header: RequestHeader {
                ca: f.path("requestheader-client-ca-file"),
                names: f.list("requestheader-allowed-names"),
                user: f.list("requestheader-username-headers"),
                uid: f.list("requestheader-uid-headers"),
                group: f.list("requestheader-group-headers"),
                extra: f.list("requestheader-extra-headers-prefix"),
            },
            token_file: f.path("token-auth-file"),
            anonymous: f.bool("anonymous-auth"),
            bootstrap_tokens: f.bool("enable-bootstrap-token-auth"),
            service_account: ServiceAccount {
                keys: if keys.is_empty() {
                    f.path("service-account-signing-key-file").into_iter().collect()
                } else {
                    keys
                },
                signing_key: f.path("service-account-signing-key-file"),
                lookup: f.bool("service-account-lookup"),
                jwks_uri: f.text("service-account-jwks-uri").to_owned(),
                extend: f.bool("service-account-extend-token-expiration"),
            },
            authorization_modes: if modes.is_empty() { vec!["AlwaysAllow".into()] } else { modes },
            admission: AdmissionConfig {
                enable: f.list("enable-admission-plugins"),
                disable: f.list("disable-admission-plugins"),
                config_file: f.path("admission-control-config-file"),
            },
            storage: StorageConfig {
                servers: f.list("etcd-servers"),
                prefix: f.text("etcd-prefix").to_owned(),
                ca_file: text(f, "etcd-cafile"),
                cert_file: text(f, "etcd-certfile"),
                key_file: text(f, "etcd-keyfile"),
                compaction_interval: f.duration("etcd-compaction-interval"),
                lease_reuse: Duration::from_secs(f.int("lease-reuse-duration-seconds").max(0) as u64),
                health_timeout: f.duration("etcd-healthcheck-timeout"),
            },
            storage_overrides: overrides(f)?,
            server: ServerConfig {
                service_cidrs: cidrs,
                node_ports,
                allow_privileged: f.bool("allow-privileged"),
                event_ttl: f.duration("event-ttl").as_secs(),
                api_audiences: if audiences.is_empty() { issuers.clone() } else { audiences },
                issuers,
                max_token_expiration: f.duration("service-account-max-token-expiration").as_secs(),
                default_toleration_seconds: (
                    f.int("default-not-ready-toleration-seconds"),
                    f.int("default-unreachable-toleration-seconds"),
                ),
            },
            service_ip,
            kubelet: KubeletConfig {
                ca: f.path("kubelet-certificate-authority"),
                client: pair("kubelet-client-certificate", "kubelet-client-key"),
                address_types: f.list("kubelet-preferred-address-types"),
                port: u16::try_from(f.int("kubelet-port")).unwrap_or(10250),
                timeout: f.duration("kubelet-timeout"),
            },
            proxy_client: pair("proxy-client-cert-file", "proxy-client-key-file"),
            inflight: (
                f.int("max-requests-inflight").max(0) as usize,
                f.int("max-mutating-requests-inflight").max(0) as usize,
            ),
            request_timeout: f.duration("request-timeout"),
            min_request_timeout: Duration::from_secs(f.int("min-request-timeout").max(0) as u64),
            shutdown_delay: f.duration("shutdown-delay-duration"),
            shutdown_retry_after: f.bool("shutdown-send-retry-after"),
            goaway_chance: f.float("goaway-chance").clamp(0.0, 0.02),
            max_streams: u32::try_from(f.int("http2-max-streams-per-connection")).unwrap_or(0),
            http2: !f.bool("disable-http2-serving"),
            hsts: Some(f.list("strict-transport-security-directives").join("; ")).filter(|s| !s.is_empty()),
            cors: f.list("cors-allowed-origins"),
            runtime_config: f.map("runtime-config"),
            endpoint_reconciler: f.text("endpoint-reconciler-type") != "none",
            kubernetes_node_port: u16::try_from(f.int("kubernetes-service-node-port")).unwrap_or(0),
            profiling: f.bool("profiling"),
            gates,
            flags: f.all(),
        })
    }
}

fn text(f: &Flags, name: &str) -> Option<String> {
    Some(f.text(name).to_owned()).filter(|s| !s.is_empty())
}

/// The first address of a range that a service may have: the one of the service `kubernetes`.
pub fn first_ip(net: &ipnet::IpNet) -> IpAddr {
    match net.network() {
        IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(u32::from(a).saturating_add(1))),
        IpAddr::V6(a) => IpAddr::V6(std::net::Ipv6Addr::from(u128::from(a).saturating_add(1))),
    }
}

/// The address that packets to the outside would leave from; no packet is sent.
fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|a| !a.is_unspecified())
}

/// `30000-32767`, `30000+100` or one port, as upstream's PortRange.
fn port_range(s: &str) -> Option<(u16, u16)> {
    let s = s.trim();
    let (low, high) = match (s.split_once('-'), s.split_once('+')) {
        (Some((a, b)), _) => (a.parse().ok()?, b.parse().ok()?),
        (None, Some((a, b))) => {
            let low: u16 = a.parse().ok()?;
            (low, low.checked_add(b.parse().ok()?)?)
        }
        (None, None) => (s.parse().ok()?, s.parse().ok()?),
    };
    (low <= high).then_some((low, high))
}

fn sni(f: &Flags) -> Result<Vec<(PathBuf, PathBuf, Vec<String>)>, String> {
    // The values hold commas themselves: pairs are put together again.
    let items = f.list("tls-sni-cert-key");
    let mut out: Vec<(PathBuf, PathBuf, Vec<String>)> = Vec::new();
    let mut items = items.into_iter();
    while let Some(cert) = items.next() {
        let Some(key) = items.next() else {
            return Err(format!(
                "invalid argument {cert:?} for \"--tls-sni-cert-key\" flag: expected comma separated certificate and key file paths"
            ));
        };
        let (key, domain) = key.split_once(':').map_or((key.as_str(), None), |(k, d)| (k, Some(d.to_owned())));
        out.push((cert.into(), key.into(), domain.into_iter().collect()));
    }
    Ok(out)
}

fn overrides(f: &Flags) -> Result<Vec<(String, String, Vec<String>)>, String> {
    f.list("etcd-servers-overrides")
        .into_iter()
        .map(|o| {
            let bad = || format!("--etcd-servers-overrides invalid, must be of format: group/resource#servers, where servers are URLs, semicolon separated: {o:?}");
            let (resource, servers) = o.split_once('#').ok_or_else(bad)?;
            let (group, resource) = resource.rsplit_once('/').ok_or_else(bad)?;
            Ok((group.to_owned(), resource.to_owned(), servers.split(';').map(str::to_owned).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FLAGS;
    use steersman_component::flags::COMMON;

    fn parse(args: &[&str]) -> Result<Config, String> {
        Config::new(&Flags::parse(&[FLAGS, COMMON], args.iter().map(ToString::to_string)).expect("flags parse"))
    }

    #[test]
    fn mistakes_are_one_line() {
        assert_eq!(parse(&[]).expect_err("refused"), "--etcd-servers must be specified");
        assert!(
            parse(&["--etcd-servers=http://x", "--authorization-mode=Nope"]).expect_err("refused").contains("Nope")
        );
        assert!(parse(&["--etcd-servers=http://x", "--secure-port=70000"]).is_err());
    }

    #[test]
    fn defaults_are_upstreams() {
        let c = parse(&["--etcd-servers=http://127.0.0.1:2379"]).expect("fine");
        assert_eq!(c.bind.to_string(), "0.0.0.0:6443");
        assert_eq!(c.service_ip.to_string(), "10.0.0.1");
        assert_eq!((c.inflight, c.server.node_ports), ((400, 200), (30000, 32767)));
        assert_eq!(port_range("80+3"), Some((80, 83)));
    }
}
