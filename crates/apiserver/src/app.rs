//! From flags to a running server, and its orderly end.

use crate::api::Api;
use crate::bootstrap::{self, Hooks};
use crate::config::Config;
use crate::connect::Kubelets;
use crate::discovery::Discovery;
use crate::inflight::Inflight;
use crate::metrics::Instruments;
use crate::peer::ClientCas;
use crate::server::{Connection, Handler, Server};
use crate::{openapi, tls, tokens};
use anyhow::{Context as _, anyhow};
use http::Request;
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use steersman_auth::authenticate::{Authenticators, RequestHeader, read_token_file};
use steersman_auth::authorizers::{AlwaysAllow, AlwaysDeny, Union};
use steersman_auth::service_account::Tokens;
use steersman_auth::{Authorizer, Lookup, node::Node, rbac::Rbac};
use steersman_component::health::{Endpoint, Health};
use steersman_component::metrics::Metrics;
use steersman_pki::token::{Signer, Verifier};
use steersman_registry::{Registry, Resource};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

/// How often etcd is asked whether it is well.
const PROBE: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;

/// Runs the server until `stop`.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = listen(&config)?;
    let server_tls = tls::server_config(&config).context("serving certificate")?;
    let client_cas = ClientCas::new(config.client_ca.clone(), config.request_header.ca.clone()).context("client CA")?;
    let configurations = match &config.admission.config_file {
        Some(file) => crate::admission::read(file)?,
        None => steersman_admission::plugins::Configurations::new(),
    };
    let (enable, disable) = (&config.admission.enable, &config.admission.disable);
    let chain = steersman_admission::plugins::chain(enable, disable, &configurations).map_err(|e| anyhow!(e))?;
    let resources =
        crate::runtime_config::served(steersman_resources::table().map(line).collect(), &config.runtime_config)
            .map_err(|e| anyhow!(e))?;
    let resources: &'static [Resource] = resources.leak();
    steersman_resources::shared::pod::set_allow_privileged(config.server.allow_privileged);
    let registry = Registry::start(steersman_registry::Config {
        resources,
        storage: config.storage.clone(),
        overrides: config.storage_overrides.clone(),
        server: config.server.clone(),
    })
    .await
    .context("etcd")?;
    let lookup: Arc<dyn Lookup> = registry.clone();
    let authorizer = authorizer(&config, &lookup);
    let read_keys = || -> anyhow::Result<Option<Verifier>> {
        let keys = &config.service_account.keys;
        if keys.is_empty() { Ok(None) } else { Ok(Some(Verifier::read(keys).context("service-account keys")?)) }
    };
    let issuer = match &config.service_account.signing_key {
        Some(path) => Some(tokens::issuer(Signer::read(path).context("service-account signing key")?)),
        None => None,
    };
    let authenticators = Arc::new(authenticators(&config, &lookup, read_keys()?)?);
    registry.set_authorizer(authorizer.clone());
    registry.set_tokens(issuer.clone(), Some(tokens::authenticator(authenticators.clone())));

    let metrics = Metrics::new(&config.gates);
    let instruments = Instruments::new(&metrics);
    registry.set_admission(chain.observed_by(&instruments));
    let health = Health::new();
    let going_down = Arc::new(AtomicBool::new(false));
    checks(&health, &registry, &going_down);
    let hooks = Hooks::register(&health);
    let api = Arc::new(Api {
        started: jiff::Timestamp::now(),
        discovery: Discovery::new(resources.iter()),
        kubelets: Kubelets::new(config.kubelet.clone()).context("kubelet client certificate")?,
        inflight: Inflight::new(config.inflight, |mutating| instruments.inflight(mutating)),
        verifier: read_keys()?,
        openapi: openapi::documents(resources.iter()),
        authenticators,
        authorizer,
        issuer,
        instruments,
        metrics,
        health,
        going_down,
        registry,
        config,
    });
    let background = CancellationToken::new();
    let boot = tokio::spawn(bootstrap::run(api.clone(), hooks, background.clone()));
    let closing = CancellationToken::new();
    let handler: Handler = {
        let api = api.clone();
        Arc::new(move |request: Request<Incoming>, connection: Arc<Connection>| {
            Box::pin(api.clone().answer(request, connection))
        })
    };
    let server = Server { tls: server_tls, client_cas, max_streams: api.config.max_streams, handler };
    tracing::info!(address = %listener.local_addr()?, "serving");
    let serving = tokio::spawn(server.run(listener, closing.clone(), api.config.request_timeout));

    stop.cancelled().await;
    // First readiness goes, so that balancers look elsewhere; then, after the delay, the doors close.
    api.going_down.store(true, Ordering::Release);
    tokio::time::sleep(api.config.shutdown_delay).await;
    background.cancel();
    if tokio::time::timeout(Duration::from_secs(5), boot).await.is_err() {
        tracing::warn!("background work did not end in time");
    }
    closing.cancel();
    serving.await?;
    Ok(())
}

/// A line of the table, which holds references only.
fn line(resource: &Resource) -> Resource {
    match resource {
        Resource::Stored(s) => Resource::Stored(*s),
        Resource::Virtual(v) => Resource::Virtual(*v),
    }
}

fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let socket = if config.bind.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    let failed = || format!("failed to create listener: failed to listen on {}", config.bind);
    socket.bind(config.bind).with_context(failed)?;
    socket.listen(BACKLOG).with_context(failed)
}

fn authorizer(config: &Config, lookup: &Arc<dyn Lookup>) -> Arc<dyn Authorizer> {
    let members = config.authorization_modes.iter().filter_map(|mode| -> Option<Box<dyn Authorizer>> {
        match mode.as_str() {
            "AlwaysAllow" => Some(Box::new(AlwaysAllow)),
            "AlwaysDeny" => Some(Box::new(AlwaysDeny)),
            "RBAC" => Some(Box::new(Rbac::new(lookup.clone()))),
            "Node" => Some(Box::new(Node::new(lookup.clone()))),
            other => {
                tracing::warn!(mode = other, "this authorization mode is not built in: it has no opinion");
                None
            }
        }
    });
    Arc::new(Union::new(members.collect()))
}

fn authenticators(config: &Config, lookup: &Arc<dyn Lookup>, keys: Option<Verifier>) -> anyhow::Result<Authenticators> {
    let token_file = match &config.token_file {
        Some(path) => read_token_file(path).with_context(|| path.display().to_string())?,
        None => std::collections::HashMap::new(),
    };
    let rh = &config.request_header;
    let service_accounts = keys.map(|k| {
        Arc::new(Tokens::new(k, config.server.issuers.clone(), config.server.api_audiences.clone(), lookup.clone()))
    });
    Ok(Authenticators {
        request_header: rh.ca.is_some().then(|| RequestHeader {
            allowed_names: rh.names.clone(),
            username_headers: rh.user.clone(),
            uid_headers: rh.uid.clone(),
            group_headers: rh.group.clone(),
            extra_prefixes: rh.extra.clone(),
        }),
        token_file,
        service_accounts,
        bootstrap: config.bootstrap_tokens.then(|| lookup.clone()),
        anonymous: config.anonymous,
    })
}

/// The checks besides those of the post-start hooks.
fn checks(health: &Health, registry: &Arc<Registry>, going_down: &Arc<AtomicBool>) {
    let everywhere = [Endpoint::Healthz, Endpoint::Livez, Endpoint::Readyz];
    health.add("log", &everywhere, Arc::new(|| Ok(())));
    let state = Arc::new(arc_swap::ArcSwap::from_pointee(Err::<(), String>("not asked yet".into())));
    let probe = (registry.clone(), state.clone());
    tokio::spawn(async move {
        loop {
            let answer = probe.0.healthy().await;
            let well = answer.is_ok();
            probe.1.store(Arc::new(answer));
            tokio::time::sleep(if well { PROBE } else { PROBE / 10 }).await;
        }
    });
    let etcd: steersman_component::health::Check = Arc::new(move || Result::clone(&state.load()));
    health.add("etcd", &everywhere, etcd.clone());
    health.add("etcd-readiness", &[Endpoint::Readyz], etcd);
    let caches = registry.clone();
    let synced = Arc::new(move || if caches.synced() { Ok(()) } else { Err("watch caches are not filled".into()) });
    health.add("informer-sync", &[Endpoint::Readyz], synced.clone());
    health.add("poststarthook/storage-readiness", &everywhere, synced);
    let going = going_down.clone();
    let down = move || if going.load(Ordering::Acquire) { Err("process is shutting down".into()) } else { Ok(()) };
    health.add("shutdown", &[Endpoint::Readyz], Arc::new(down));
}
