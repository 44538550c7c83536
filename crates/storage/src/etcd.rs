//! The calls to etcd, typed: guarded writes, reads, pages of a range.

use crate::{Error, StorageConfig};
use etcd_client::{Client, Compare, CompareOp, GetOptions, KvClient, PutOptions, Txn, TxnOp, TxnOpResponse};
use std::future::Future;
use std::time::Duration;

/// Nothing is waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// A value as etcd holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The value.
    pub value: Vec<u8>,
    /// The revision it was written at.
    pub revision: u64,
}

/// How a guarded write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It took place, at this revision.
    Done(u64),
    /// It did not: this is what is there.
    Conflict(Option<Raw>),
}

/// A page of a range.
pub(crate) struct Page {
    pub(crate) kvs: Vec<etcd_client::KeyValue>,
    pub(crate) more: bool,
    pub(crate) revision: u64,
}

/// A connection to a cluster. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Etcd {
    client: Client,
    kv: KvClient,
}

/// Gives a call a time limit and our errors.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(Error::from),
        Err(_) => Err(Error::Timeout),
    }
}

fn revision(header: Option<&etcd_client::ResponseHeader>) -> u64 {
    header.map_or(0, |h| h.revision().unsigned_abs())
}

impl Etcd {
    /// Does not wait until a server answers.
    pub(crate) async fn connect(config: &StorageConfig) -> Result<Self, Error> {
        let client = Client::connect(&config.servers, Some(config.connect_options()?)).await.map_err(|e| match e {
            etcd_client::Error::GRpcStatus(_) => Error::from(e),
            e => Error::Config(e.to_string()),
        })?;
        let kv = client
            .kv_client()
            .max_decoding_message_size(i32::MAX as usize)
            .max_encoding_message_size(i32::MAX as usize);
        Ok(Self { client, kv })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    async fn txn(&self, txn: Txn) -> Result<Written, Error> {
        let mut kv = self.kv.clone();
        let response = within(PATIENCE, kv.txn(txn)).await?;
        if response.succeeded() {
            return Ok(Written::Done(revision(response.header())));
        }
        let there = response.op_responses().into_iter().find_map(|r| match r {
            TxnOpResponse::Get(mut g) => g.take_kvs().into_iter().next(),
            _ => None,
        });
        Ok(Written::Conflict(there.map(raw)))
    }

    /// Writes a value if the key was last written at `expected` (0: is not there).
    pub(crate) async fn put(
        &self,
        key: &str,
        value: Vec<u8>,
        expected: u64,
        lease: Option<i64>,
    ) -> Result<Written, Error> {
        let options = lease.map(|id| PutOptions::new().with_lease(id));
        self.txn(guarded(key, expected, TxnOp::put(key, value, options))).await
    }

    /// Deletes a key if it was last written at `expected`.
    pub(crate) async fn delete(&self, key: &str, expected: u64) -> Result<Written, Error> {
        self.txn(guarded(key, expected, TxnOp::delete(key, None))).await
    }

    /// The value of a key, consistently.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Raw>, Error> {
        let mut kv = self.kv.clone();
        let mut response = within(PATIENCE, kv.get(key, None)).await?;
        Ok(response.take_kvs().into_iter().next().map(raw))
    }

    /// The newest revision, read through the quorum: nothing that happened before the call is after it.
    pub(crate) async fn current_revision(&self, limit: Duration) -> Result<u64, Error> {
        let mut kv = self.kv.clone();
        let options = GetOptions::new().with_count_only();
        let response = within(limit, kv.get(crate::compact::KEY, Some(options))).await?;
        Ok(revision(response.header()))
    }

    /// Keys from `start` to `end` (not included), at most `limit` (0: all); `at` 0: the newest.
    pub(crate) async fn range(&self, start: &str, end: &str, limit: i64, at: u64) -> Result<Page, Error> {
        let mut kv = self.kv.clone();
        let options =
            GetOptions::new().with_range(end).with_limit(limit).with_revision(i64::try_from(at).unwrap_or(i64::MAX));
        let mut response = within(PATIENCE * 6, kv.get(start, Some(options))).await?;
        Ok(Page { revision: revision(response.header()), more: response.more(), kvs: response.take_kvs() })
    }

    /// Number of keys from `start` to `end`.
    pub(crate) async fn count(&self, start: &str, end: &str, at: u64) -> Result<u64, Error> {
        let mut kv = self.kv.clone();
        let options =
            GetOptions::new().with_range(end).with_count_only().with_revision(i64::try_from(at).unwrap_or(i64::MAX));
        let response = within(PATIENCE, kv.get(start, Some(options))).await?;
        Ok(response.count().unsigned_abs())
    }

    /// Size of the database in bytes.
    pub(crate) async fn database_size(&self) -> Result<u64, Error> {
        let mut maintenance = self.client.maintenance_client();
        let status = within(PATIENCE, maintenance.status()).await?;
        Ok(status.db_size().unsigned_abs())
    }
}

/// Does `op` if the key was last written at `expected`, else reads it.
fn guarded(key: &str, expected: u64, op: TxnOp) -> Txn {
    let expected = i64::try_from(expected).unwrap_or(i64::MAX);
    let same = Compare::mod_revision(key, CompareOp::Equal, expected);
    Txn::new().when([same]).and_then([op]).or_else([TxnOp::get(key, None)])
}

fn raw(kv: etcd_client::KeyValue) -> Raw {
    let revision = kv.mod_revision().unsigned_abs();
    Raw { value: kv.into_key_value().1, revision }
}

/// The key just above all that begin with `prefix`, which ends in a slash.
pub(crate) fn prefix_end(prefix: &str) -> String {
    match prefix.strip_suffix('/') {
        Some(head) => format!("{head}0"),
        None => format!("{prefix}\u{10ffff}"),
    }
}
