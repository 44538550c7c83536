//! Certificates, signing requests, token keys, and their reload from disk.
//!
//! Entry points: [`Authority`] (issues certificates), [`reload::ReloadingCert`] (a serving certificate that follows its
//! files), [`token::Signer`] and [`token::Verifier`] (service-account JWTs), [`cluster::create`] (the whole PKI of a new
//! cluster), [`files`] (PEM on disk, private parts 0600).
//!
//! Invariant: this crate never knows API types; tokens are claims in JSON.

mod any_server;
pub mod authority;
pub mod cluster;
pub mod files;
pub mod reload;
pub mod token;

pub use any_server::AnyServer;
pub use authority::{Authority, Issued, Request, Usage};

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{path}: {error}")]
    File { path: String, error: std::io::Error },
    #[error("{path}: no {what} in it")]
    Missing { path: String, what: &'static str },
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("token: {0}")]
    Token(String),
    #[error("signing request: {0}")]
    Request(String),
}

impl Error {
    pub(crate) fn file(path: &std::path::Path, error: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), error }
    }
}
