//! A serving certificate that follows its files: looked at anew when a handshake comes and a second has passed.

use crate::{Error, files};
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Resolves to the certificate in the files, as they are now.
pub struct ReloadingCert {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    seen: AtomicU64,
    looked: AtomicU64,
}

impl std::fmt::Debug for ReloadingCert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReloadingCert({})", self.certificate.display())
    }
}

impl ReloadingCert {
    /// Reads both files.
    pub fn new(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, Error> {
        let current = ArcSwap::from_pointee(load(&certificate, &key)?);
        let seen = AtomicU64::new(modified(&certificate));
        Ok(Arc::new(Self { certificate, key, current, seen, looked: AtomicU64::new(now()) }))
    }

    /// The certificate as its files are now.
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.look();
        self.current.load_full()
    }

    fn look(&self) {
        let now = now();
        if self.looked.swap(now, Ordering::Relaxed) == now {
            return;
        }
        let modified = modified(&self.certificate);
        if modified == self.seen.load(Ordering::Relaxed) {
            return;
        }
        match load(&self.certificate, &self.key) {
            Ok(new) => {
                self.current.store(Arc::new(new));
                self.seen.store(modified, Ordering::Relaxed);
                tracing::info!(file = %self.certificate.display(), "serving certificate reloaded");
            }
            // Half-written pairs do not match; the next handshake tries again.
            Err(e) => tracing::warn!(error = %e, "serving certificate not reloaded, the old one stays"),
        }
    }
}

impl ResolvesServerCert for ReloadingCert {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn load(certificate: &std::path::Path, key: &std::path::Path) -> Result<CertifiedKey, Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(CertifiedKey::from_der(files::certificates(certificate)?, files::private_key(key)?, &provider)?)
}

fn modified(path: &std::path::Path) -> u64 {
    let time = std::fs::metadata(path).and_then(|m| m.modified()).unwrap_or(UNIX_EPOCH);
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
