//! Compaction of etcd's history, shared by all apiservers of a cluster (rule: `storage/etcd3/compact.go`).
//!
//! The version of one key is a clock that all apiservers tick together: who finds it as he left it may compact to the
//! revision he saw a tick before; the others take over the new time.

use crate::Error;
use crate::etcd::{Etcd, within};
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use std::time::Duration;

/// The key of the clock; upstream's.
pub(crate) const KEY: &str = "compact_rev_key";

/// Compacts every `interval`, for ever.
pub(crate) async fn run(etcd: Etcd, interval: Duration) {
    let (mut time, mut revision) = (0, 0);
    loop {
        tokio::time::sleep(interval).await;
        match tick(&etcd, time, revision).await {
            Ok(next) => (time, revision) = next,
            Err(e) => tracing::warn!(error = %e, "etcd could not be compacted"),
        }
    }
}

/// One tick: the time and the revision to come back with.
pub(crate) async fn tick(etcd: &Etcd, time: i64, revision: i64) -> Result<(i64, i64), Error> {
    let limit = Duration::from_secs(10);
    let mut kv = etcd.client().kv_client();
    let txn = Txn::new()
        .when([Compare::version(KEY, CompareOp::Equal, time)])
        .and_then([TxnOp::put(KEY, revision.to_string(), None)])
        .or_else([TxnOp::get(KEY, None)]);
    let response = within(limit, kv.txn(txn)).await?;
    let now = response.header().map_or(0, etcd_client::ResponseHeader::revision);
    if !response.succeeded() {
        let version = response.op_responses().into_iter().find_map(|r| match r {
            TxnOpResponse::Get(g) => g.kvs().first().map(etcd_client::KeyValue::version),
            _ => None,
        });
        return Ok((version.unwrap_or(0), now));
    }
    if revision > 0 {
        match within(limit, kv.compact(revision, None)).await {
            Ok(_) => tracing::info!(revision, "etcd is compacted"),
            Err(Error::Compacted) => {}
            Err(e) => return Err(e),
        }
    }
    Ok((time + 1, now))
}
