//! What can go wrong with etcd.

/// What can go wrong with etcd.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Flags or files that cannot work.
    #[error("{0}")]
    Config(String),
    /// etcd does not answer, or has no leader.
    #[error("{0}")]
    Unavailable(String),
    /// etcd did not answer in time; whether a write took place is not known.
    #[error("context deadline exceeded")]
    Timeout,
    /// The value is larger than etcd takes.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// etcd's database is full.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The revision is older than what etcd still has.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is yet to come.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    /// Anything else that etcd says.
    #[error("{0}")]
    Etcd(String),
}

impl Error {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout)
    }
}

impl From<etcd_client::Error> for Error {
    fn from(e: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &e else { return Self::Unavailable(e.to_string()) };
        let message = status.message();
        // gRPC codes by number, so that tonic need not be a dependency: 4 deadline exceeded, 14 unavailable, 1 cancelled.
        let code = status.code() as i32;
        if message.contains("request is too large") || message.contains("larger than max") {
            Self::TooLarge
        } else if message.contains("has been compacted") {
            Self::Compacted
        } else if message.contains("is a future revision") {
            Self::FutureRevision
        } else if message.contains("database space exceeded") {
            Self::NoSpace
        } else if code == 4 || message.contains("request timed out") {
            Self::Timeout
        } else if matches!(code, 1 | 2 | 14) {
            Self::Unavailable(message.to_owned())
        } else {
            Self::Etcd(message.to_owned())
        }
    }
}
