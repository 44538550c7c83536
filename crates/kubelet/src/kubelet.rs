//! Everything one kubelet consists of, and how its parts are started.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use steersman_client::{Client, Event, EventRecorder, Informer, Store};
use steersman_component::flags::Flags;
use steersman_cri::Runtime;
use steersman_volumes::{Host, LinuxHost};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    api::*,
    backoff::Backoff,
    cgroups::{Cgroups, Driver, LinuxCgroups},
    config::{Configuration, Loaded},
    exits::Exits,
    names::Folders,
    node::{Facts, NodeState, facts, heartbeat},
    objects::ObjectCache,
    pleg::{self, Pleg},
    pods::{
        events::Events,
        mirror::Mirrors,
        spec::{PodExt, pod_total, requested},
        static_files,
        status_manager::StatusManager,
        worker::Workers,
    },
    probes::Probes,
    runtime::{images::Images, resources},
};

/// How long services may take to arrive before a container that needs them is delayed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the node is short of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk.
    pub disk: bool,
    /// Process ids.
    pub pids: bool,
}

/// One kubelet. Nothing in it is shared with others on the same machine.
#[allow(missing_docs)] // Each part is described where it is defined.
pub struct Kubelet {
    pub config: Configuration,
    pub document: serde_json::Value,
    pub node_name: String,
    pub node_labels: BTreeMap<String, String>,
    pub folders: Folders,
    pub runtime: Arc<dyn Runtime>,
    pub client: Option<Client>,
    pub events: Events,
    pub objects: Arc<ObjectCache>,
    pub host: Arc<dyn Host>,
    pub cgroups: Box<dyn Cgroups>,
    pub images: Images,
    pub crashes: Backoff,
    pub probes: Probes,
    pub exits: Exits,
    pub status: StatusManager,
    pub workers: Workers,
    pub mirrors: Mirrors,
    pub node: NodeState,
    pub pleg: Pleg,
    pub pressure: ArcSwap<Pressure>,
    pub registered: Notify,
    pub static_ready: AtomicBool,
    pub shutdown: CancellationToken,
    pod_informer: Option<Informer<Pod>>,
    service_informer: Option<Informer<Service>>,
    burstable_shares: AtomicI64,
}

impl Kubelet {
    /// Prepares everything; nothing runs yet.
    pub async fn new(
        flags: &Flags,
        loaded: Loaded,
        runtime: Arc<dyn Runtime>,
        client: Option<Client>,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>> {
        let config = loaded.typed;
        let node_name = node_name(flags);
        let root = flags.path("root-dir").context("--root-dir must not be empty")?;
        let folders = Folders::new(&root, config.pod_logs_dir.as_ref());
        std::fs::create_dir_all(folders.pods()).with_context(|| format!("cannot make {}", folders.pods().display()))?;
        std::fs::create_dir_all(&folders.pod_logs)
            .with_context(|| format!("cannot make {}", folders.pod_logs.display()))?;
        let version = wait_for_runtime(runtime.as_ref(), &config.container_runtime_endpoint, &shutdown).await?;
        let named = format!("{}://{}", version.runtime_name, version.runtime_version.trim_start_matches('v'));
        let facts = Facts::gather(&root, &flags.list("machine-id-file"), flags.text("boot-id-file"), named);
        if config.fail_swap_on && facts.swap > 0 {
            bail!("running with swap on is not supported, please disable swap or set --fail-swap-on flag to false");
        }
        let cgroups = LinuxCgroups::detect(
            "/sys/fs/cgroup".as_ref(),
            &config.cgroup_root,
            driver(runtime.as_ref(), &config).await,
            config.cgroups_per_qos,
        )
        .context("cannot use cgroups")?;
        let events = Events(client.clone().map(|c| EventRecorder::new(c, "kubelet", &node_name, &shutdown)));
        let node_informer =
            client.clone().map(|c| Informer::<Node>::builder(c).fields(format!("metadata.name={node_name}")).build());
        let pod_informer =
            client.clone().map(|c| Informer::<Pod>::builder(c).fields(format!("spec.nodeName={node_name}")).build());
        let service_informer = client.clone().map(|c| Informer::<Service>::builder(c).build());
        let ips = node_ips(flags.text("node-ip"))?;
        let node = NodeState::new(&node_name, &config, facts, ips, node_informer.clone());
        if let Some(informer) = &node_informer {
            informer.spawn(&shutdown);
        }
        let pods = pod_informer.as_ref().map_or_else(Store::new, |i| i.store().clone());
        let parallel =
            if config.serialize_image_pulls { 1 } else { config.max_parallel_image_pulls.unwrap_or(usize::MAX >> 4) };
        let longest = config.crash_loop_back_off.max_container_restart_period.map_or(Duration::from_secs(300), |s| s.0);
        let node_labels = flags.map("node-labels").into_iter().collect();
        Ok(Arc::new_cyclic(|this: &std::sync::Weak<Self>| {
            let this = this.clone();
            let poke = move |uid: &str| {
                if let Some(k) = this.upgrade() {
                    k.workers.poke(uid);
                }
            };
            Kubelet {
                objects: Arc::new(ObjectCache::new(client.clone(), Arc::new(poke))),
                images: Images::new(runtime.clone(), events.clone(), parallel),
                crashes: Backoff::new(Duration::from_secs(10), longest),
                status: StatusManager::new(client.clone(), pods),
                document: loaded.document,
                config,
                node_name,
                node_labels,
                folders,
                runtime,
                client,
                events,
                host: Arc::new(LinuxHost),
                cgroups: Box::new(cgroups),
                probes: Probes::default(),
                exits: Exits::default(),
                workers: Workers::default(),
                mirrors: Mirrors::default(),
                node,
                pleg: Pleg::default(),
                pressure: ArcSwap::default(),
                registered: Notify::new(),
                static_ready: AtomicBool::new(false),
                shutdown,
                pod_informer,
                service_informer,
                burstable_shares: AtomicI64::new(0),
            }
        }))
    }

    /// Starts all parts. They run until shutdown.
    pub async fn start(self: &Arc<Self>) {
        let k = self.clone();
        k.limit_all_pods();
        k.share_among_classes();
        if let Some(client) = &k.client {
            tokio::spawn(heartbeat::run_status(k.clone(), client.clone()));
            tokio::spawn(heartbeat::run_lease(k.clone(), client.clone()));
            tokio::spawn(k.status.clone().run(k.shutdown.clone()));
            tokio::spawn(Mirrors::run(k.clone()));
        } else {
            tokio::spawn(heartbeat::watch_runtime(k.clone()));
        }
        if let Some(services) = &k.service_informer {
            services.spawn(&k.shutdown);
        }
        k.node.synced().await;
        if let Some(pods) = &k.pod_informer {
            let this = k.clone();
            pods.add_handler(move |event| this.on_pod(event));
            pods.spawn(&k.shutdown);
        }
        if k.config.static_pod_path.is_empty() {
            k.static_ready.store(true, Ordering::Release);
        } else {
            tokio::spawn(static_files::run(k.clone(), k.config.static_pod_path.clone().into()));
        }
        tokio::spawn(pleg::run(k.clone()));
        tokio::spawn(crate::housekeeping::run(k.clone()));
    }

    fn on_pod(self: &Arc<Self>, event: &Event<Pod>) {
        let pod = event.object();
        if pod.is_mirror() {
            self.mirrors.touch(pod);
            if let Some(hash) = pod.annotation(crate::names::CONFIG_HASH) {
                self.status.touch(hash);
            }
            return;
        }
        if matches!(event, Event::Deleted { .. }) {
            self.workers.remove(pod.uid());
            return;
        }
        // A pod of the same name that was deleted and made anew while the watch was away.
        if let Some(old) = event.old()
            && old.uid() != pod.uid()
        {
            self.workers.remove(old.uid());
        }
        self.workers.update(self, pod.clone());
    }

    /// Whether all sources of pods have been heard, so that what is not known may be removed.
    pub fn sources_ready(&self) -> bool {
        self.static_ready.load(Ordering::Acquire) && self.pod_informer.as_ref().is_none_or(Informer::has_synced)
    }

    /// Tells about static pods again, since their mirrors have changed.
    pub fn status_of_all_static(&self) {
        for pod in self.mirrors.list() {
            self.status.touch(pod.uid());
        }
    }

    /// Holds all pods together to what the node has for them (rule: `enforceNodeAllocatable`).
    fn limit_all_pods(&self) {
        if !self.config.enforce_node_allocatable.iter().any(|what| what == "pods") {
            return;
        }
        // What eviction keeps free may be used for a moment; what is reserved may not.
        let mut config = self.config.clone();
        config.eviction_hard.clear();
        let left = crate::node::status::allocatable(&config, self.node.capacity());
        let of = |name: &str| left.get(name).copied().unwrap_or(0);
        if let Err(error) = self.cgroups.limit_all(resources::shares(of("cpu")), of("memory") / 1000) {
            tracing::warn!(%error, "cannot limit what all pods may use");
        }
    }

    /// Gives the burstable pods together the CPU shares they ask for.
    pub fn share_among_classes(&self) {
        let pods = self.workers.list();
        let burstable = pods.iter().filter(|p| p.qos() == "Burstable" && !p.is_terminal());
        let shares = resources::shares(burstable.map(|p| pod_total(p, "cpu", requested)).sum());
        if self.burstable_shares.swap(shares, Ordering::Relaxed) == shares {
            return;
        }
        if let Err(error) = self.cgroups.set_burstable_shares(shares) {
            tracing::warn!(%error, "cannot set the CPU shares of burstable pods");
        }
    }

    /// All services; an error while they are not known.
    pub async fn services(&self) -> Result<Vec<Arc<Service>>, String> {
        let Some(informer) = &self.service_informer else { return Ok(Vec::new()) };
        if tokio::time::timeout(PATIENCE, informer.synced()).await.is_err() {
            return Err("services have not yet been read at least once, cannot construct envs".into());
        }
        Ok(informer.store().list())
    }

    /// The runtime handler that a pod's RuntimeClass names.
    pub async fn runtime_handler(&self, pod: &Pod) -> Result<String, String> {
        let name = pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref()).unwrap_or_default();
        let (Some(client), false) = (&self.client, name.is_empty()) else { return Ok(String::new()) };
        match client.get_opt::<RuntimeClass>("", name).await {
            Ok(Some(class)) => Ok(class.handler),
            Ok(None) => Err(format!("failed to get sandbox runtime: RuntimeClass {name:?} not found")),
            Err(e) => Err(format!("failed to get sandbox runtime: {e}")),
        }
    }

    /// The node's own resolv.conf.
    pub fn host_resolv(&self) -> String {
        if self.config.resolv_conf.is_empty() {
            return String::new();
        }
        std::fs::read_to_string(&self.config.resolv_conf).unwrap_or_else(|error| {
            tracing::warn!(file = self.config.resolv_conf, %error, "cannot read the node's resolv.conf");
            String::new()
        })
    }
}

/// `--hostname-override`, or the host's name.
pub fn node_name(flags: &Flags) -> String {
    let given = flags.text("hostname-override").trim().to_ascii_lowercase();
    if given.is_empty() { facts::hostname() } else { given }
}

fn node_ips(flag: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for text in flag.split(',').map(str::trim).filter(|t| !t.is_empty()) {
        let ip: std::net::IpAddr = text.parse().map_err(|_| anyhow::anyhow!("bad --node-ip {text:?}"))?;
        if !ip.is_unspecified() {
            out.push(ip.to_string());
        }
    }
    if out.is_empty() {
        out.extend(facts::default_ip().map(|ip| ip.to_string()));
    }
    Ok(out)
}

async fn driver(runtime: &dyn Runtime, config: &Configuration) -> Driver {
    let configured = if config.cgroup_driver == "systemd" { Driver::Systemd } else { Driver::Cgroupfs };
    let told = runtime.runtime_config().await.ok().and_then(|c| c.linux).map(|l| l.cgroup_driver());
    match told {
        Some(steersman_cri::v1::CgroupDriver::Systemd) => Driver::Systemd,
        Some(steersman_cri::v1::CgroupDriver::Cgroupfs) => Driver::Cgroupfs,
        // Older runtimes do not say.
        None => configured,
    }
}

async fn wait_for_runtime(
    runtime: &dyn Runtime,
    endpoint: &str,
    shutdown: &CancellationToken,
) -> Result<steersman_cri::v1::VersionResponse> {
    let mut told = false;
    loop {
        match runtime.version().await {
            Ok(version) => return Ok(version),
            Err(error) if !told => {
                told = true;
                tracing::warn!(endpoint, %error, "waiting for the container runtime");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = shutdown.cancelled() => bail!("stopped while waiting for the container runtime at {endpoint}"),
        }
    }
}

#[cfg(test)]
impl Kubelet {
    /// A kubelet of its own below `root`, on stand-ins, without an API server.
    pub fn for_test(
        root: &std::path::Path,
        runtime: Arc<dyn Runtime>,
        cgroups: crate::doubles::FakeCgroups,
    ) -> Arc<Self> {
        let config = Configuration::default();
        let node = NodeState::new("n", &config, Facts { cpus: 2, ..Facts::default() }, vec!["192.0.2.1".into()], None);
        node.set_network(None);
        let events = Events(None);
        Arc::new(Kubelet {
            objects: Arc::new(ObjectCache::new(None, Arc::new(|_| {}))),
            images: Images::new(runtime.clone(), events.clone(), 1),
            crashes: Backoff::new(Duration::from_secs(10), Duration::from_secs(300)),
            status: StatusManager::new(None, Store::new()),
            document: serde_json::Value::Null,
            config,
            node_name: "n".into(),
            node_labels: BTreeMap::new(),
            folders: Folders::new(root, &root.join("logs/pods")),
            runtime,
            client: None,
            events,
            host: Arc::new(crate::doubles::FakeHost),
            cgroups: Box::new(cgroups),
            probes: Probes::default(),
            exits: Exits::default(),
            workers: Workers::default(),
            mirrors: Mirrors::default(),
            node,
            pleg: Pleg::default(),
            pressure: ArcSwap::default(),
            registered: Notify::new(),
            static_ready: AtomicBool::new(true),
            shutdown: CancellationToken::new(),
            pod_informer: None,
            service_informer: None,
            burstable_shares: AtomicI64::new(0),
        })
    }
}
