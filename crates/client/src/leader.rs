//! Leader election on a Lease (rule: client-go `tools/leaderelection`).

use std::time::Duration;

use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Client, Error, Result};

/// How much longer a non-leader may wait between attempts, as a factor.
const JITTER: f64 = 1.2;

/// The parameters of an election; upstream's flags `--leader-elect-*`.
#[derive(Clone, Debug)]
pub struct LeaderElectionConfig {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// Who we are: unique among candidates, see [`leader_identity`].
    pub identity: String,
    /// Others may take over when the Lease was not renewed for so long.
    pub lease_duration: Duration,
    /// The leader gives up when it could not renew for so long.
    pub renew_deadline: Duration,
    /// The time between attempts.
    pub retry_period: Duration,
    /// Give the Lease back when the work ends, so that another can take over at once.
    pub release_on_cancel: bool,
}

impl LeaderElectionConfig {
    /// The default times: 15 s, 10 s, 2 s.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: leader_identity(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            release_on_cancel: true,
        }
    }
}

/// The host name and a random part, as upstream's components call themselves.
pub fn leader_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim().to_lowercase(), uuid::Uuid::new_v4())
}

/// Why an election ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum LeaderElectionError {
    /// The Lease could not be renewed in time: the process must stop its work and should exit.
    #[error("leaderelection lost")]
    Lost,
}

/// One candidate.
pub struct LeaderElector {
    client: Client,
    config: LeaderElectionConfig,
    /// The last Lease seen, and when its content last changed by our own clock: other machines' clocks are not trusted.
    observed: Option<(Lease, Instant)>,
}

impl LeaderElector {
    /// A candidate that has not yet asked for anything.
    pub fn new(client: Client, config: LeaderElectionConfig) -> Self {
        Self { client, config, observed: None }
    }

    /// Waits to become the leader, then runs `lead` until it ends by itself or `shutdown` is cancelled. The token that
    /// `lead` gets is cancelled at shutdown and when leadership is lost; it must then finish.
    ///
    /// # Errors
    /// [`LeaderElectionError::Lost`] if leadership was lost.
    pub async fn run<F, R>(mut self, shutdown: &CancellationToken, lead: F) -> Result<(), LeaderElectionError>
    where
        F: FnOnce(CancellationToken) -> R,
        R: Future<Output = ()>,
    {
        let key = format!("{}/{}", self.config.namespace, self.config.name);
        tracing::info!(lock = key, "Attempting to acquire leader lease...");
        while !self.attempt().await {
            let delay = self.config.retry_period.mul_f64(1.0 + rand::random::<f64>() * JITTER);
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(delay) => {}
            }
        }
        tracing::info!(lock = key, "Successfully acquired lease");
        let leading = shutdown.child_token();
        let mut work = std::pin::pin!(lead(leading.clone()));
        let lost = {
            let mut renewing = std::pin::pin!(self.renew());
            tokio::select! {
                () = &mut work => false,
                () = &mut renewing => true,
                () = shutdown.cancelled() => {
                    // The work ends on its own token; keep the Lease meanwhile.
                    tokio::select! {
                        () = &mut work => false,
                        () = &mut renewing => true,
                    }
                }
            }
        };
        if lost {
            leading.cancel();
            tracing::error!(lock = key, "Failed to renew lease");
            work.await;
            return Err(LeaderElectionError::Lost);
        }
        if self.config.release_on_cancel {
            self.release().await;
        }
        Ok(())
    }

    /// Renews the Lease; returns when that failed for longer than the deadline.
    async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.config.retry_period).await;
            let deadline = renewed + self.config.renew_deadline;
            match tokio::time::timeout_at(deadline, self.attempt()).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) if Instant::now() < deadline => {}
                _ => return,
            }
        }
    }

    /// One attempt to take or to keep the Lease; whether we hold it now.
    async fn attempt(&mut self) -> bool {
        match self.try_acquire_or_renew().await {
            Ok(leads) => leads,
            Err(error) => {
                if !error.is_conflict() {
                    tracing::warn!(lock = self.config.name, %error, "error retrieving or updating the leader lease");
                }
                false
            }
        }
    }

    async fn try_acquire_or_renew(&mut self) -> Result<bool> {
        let config = &self.config;
        // While we hold a valid Lease, nobody else should have touched it: update without reading.
        if let Some((lease, _)) = &self.observed
            && holder(lease) == config.identity
        {
            let renewed = self.renewed(lease);
            match self.client.update(&renewed).await {
                Ok(stored) => {
                    self.observed = Some((stored, Instant::now()));
                    return Ok(true);
                }
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let config = &self.config;
        let found = match self.client.get::<Lease>(&config.namespace, &config.name).await {
            Ok(lease) => lease,
            Err(error) if error.is_not_found() => {
                let mut lease = Lease::default();
                lease.metadata.name = Some(config.name.clone());
                lease.metadata.namespace = Some(config.namespace.clone());
                let lease = self.renewed(&lease);
                let stored = self.client.create(&config.namespace, &lease).await?;
                self.observed = Some((stored, Instant::now()));
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let unchanged = self.observed.as_ref().is_some_and(|(known, _)| known.spec == found.spec);
        let since = match &self.observed {
            Some((_, since)) if unchanged => *since,
            _ => Instant::now(),
        };
        self.observed = Some((found.clone(), since));
        let held = !holder(&found).is_empty() && holder(&found) != config.identity;
        // A holder's own lease duration counts, as written by it.
        let seconds = found.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0).max(0);
        if held && Instant::now() < since + Duration::from_secs(seconds as u64) {
            return Ok(false);
        }
        let stored = self.client.update(&self.renewed(&found)).await?;
        self.observed = Some((stored, Instant::now()));
        Ok(true)
    }

    /// The Lease as we want it: held by us as of now.
    fn renewed(&self, lease: &Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = lease.spec.clone().unwrap_or_default();
        let ours = holder(lease) == self.config.identity;
        let transitions = match (ours, &lease.metadata.resource_version) {
            (true, _) | (_, None) => old.lease_transitions.unwrap_or(0),
            (false, Some(_)) => old.lease_transitions.unwrap_or(0) + 1,
        };
        let spec = LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(self.config.lease_duration.as_secs() as i32),
            acquire_time: if ours { old.acquire_time.clone() } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..old
        };
        Lease { spec: Some(spec), ..lease.clone() }
    }

    async fn release(&mut self) {
        let Some((lease, _)) = self.observed.take() else { return };
        if holder(&lease) != self.config.identity {
            return;
        }
        let mut lease = self.renewed(&lease);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.acquire_time = spec.renew_time.clone();
        }
        let result: Result<Lease, Error> = self.client.update(&lease).await;
        match result {
            Ok(_) => tracing::info!(lock = self.config.name, "released the leader lease"),
            Err(error) => tracing::info!(lock = self.config.name, %error, "cannot release the leader lease"),
        }
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or("")
}
