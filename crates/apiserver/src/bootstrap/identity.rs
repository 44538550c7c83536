//! The Lease by which other servers know this one (rule: `pkg/controlplane`, APIServerIdentity).

use crate::api::Api;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use steersman_apimachinery::status::Reason;
use steersman_apimachinery::{Status, object};
use steersman_registry::{Cluster, Context};
use tokio_util::sync::CancellationToken;

const RENEW: Duration = Duration::from_secs(10);
const SECONDS: i64 = 3600;
/// Label of such Leases.
const IDENTITY: &str = "apiserver.kubernetes.io/identity";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Renews the Lease until `stop`.
pub async fn keep(api: &Api, stop: CancellationToken) {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let name = format!("apiserver-{}", hash(&host));
    let holder = format!("{name}_{}", uuid::Uuid::new_v4());
    loop {
        if let Err(e) = renew(api, &name, &holder, &host).await {
            tracing::warn!(error = %e, "identity lease not renewed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RENEW) => {}
        }
    }
}

/// The first 26 characters of the base32 of the host name's SHA-256.
fn hash(host: &str) -> String {
    let digest = Sha256::digest(host);
    let bit = |i: usize| digest[i / 8] >> (7 - i % 8) & 1;
    (0..26).map(|c| char::from(BASE32[(0..5).fold(0, |n, b| n << 1 | bit(c * 5 + b)) as usize])).collect()
}

async fn renew(api: &Api, name: &str, holder: &str, host: &str) -> Result<(), Status> {
    let cluster: &dyn Cluster = &*api.registry;
    let ctx = Context::loopback();
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let place = ("kube-system", name);
    let mut change = |o: &mut Value| {
        object::set(o, &["spec", "renewTime"], now.as_str());
        object::set(o, &["spec", "holderIdentity"], holder);
        object::set(o, &["spec", "leaseDurationSeconds"], SECONDS);
        Ok(())
    };
    match cluster.update(&ctx, ("coordination.k8s.io", "leases", ""), place, false, &mut change).await {
        Err(e) if e.reason == Reason::NotFound => {}
        other => return other.map(drop),
    }
    let labels = json!({IDENTITY: "kube-apiserver", "kubernetes.io/hostname": host});
    let lease = json!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": name, "namespace": "kube-system", "labels": labels},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": SECONDS, "renewTime": now},
    });
    cluster.create(&ctx, "coordination.k8s.io", "leases", lease, false).await.map(drop)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_base32() {
        let h = super::hash("node-1");
        assert_eq!(h.len(), 26);
        assert!(h.bytes().all(|b| super::BASE32.contains(&b)));
    }
}
