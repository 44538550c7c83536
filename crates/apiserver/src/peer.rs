//! Client certificates: asked for, never required, and checked after the handshake, so that a bad one is a 401 and not
//! a broken connection (rule: apiserver `pkg/authentication/request/x509`).

use arc_swap::ArcSwapOption;
use rustls::DistinguishedName;
use rustls::SignatureScheme;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use steersman_auth::UserInfo;
use steersman_auth::authenticate::certificate_user;

/// Whom a client's certificate names.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// Whether there was one that should have been good for something but is not.
    pub refused: bool,
    /// Common name and organisations, if `--client-ca-file` signed it.
    pub user: Option<UserInfo>,
    /// The certificate in DER, if `--requestheader-client-ca-file` signed it.
    pub proxy: Option<Vec<u8>>,
}

/// The two CA bundles, followed on disk.
#[derive(Default)]
pub struct ClientCas {
    users: Option<Bundle>,
    proxies: Option<Bundle>,
}

impl ClientCas {
    /// Reads both files.
    pub fn new(users: Option<PathBuf>, proxies: Option<PathBuf>) -> Result<Self, steersman_pki::Error> {
        let open = |p: Option<PathBuf>| p.map(Bundle::new).transpose();
        Ok(Self { users: open(users)?, proxies: open(proxies)? })
    }
    /// Whom these certificates (the client's first) name.
    pub fn identify(&self, chain: &[CertificateDer<'_>]) -> Peer {
        let Some((own, between)) = chain.split_first() else { return Peer::default() };
        let mut peer = Peer::default();
        if self.users.as_ref().is_some_and(|b| b.signed(own, between)) {
            peer.user = certificate_user(own);
        }
        if self.proxies.as_ref().is_some_and(|b| b.signed(own, between)) {
            peer.proxy = Some(own.to_vec());
        }
        peer.refused = self.users.is_some() && peer.user.is_none() && peer.proxy.is_none();
        peer
    }
}

struct Bundle {
    path: PathBuf,
    state: ArcSwapOption<State>,
}

struct State {
    verifier: Arc<dyn ClientCertVerifier>,
    modified: Option<std::time::SystemTime>,
}

impl Bundle {
    fn new(path: PathBuf) -> Result<Self, steersman_pki::Error> {
        let state = ArcSwapOption::from(Some(Arc::new(load(&path)?)));
        Ok(Self { path, state })
    }

    /// Whether a certificate is good for a client and leads to this bundle. Follows the file: handshakes are rare
    /// enough to look at it each time.
    fn signed(&self, own: &CertificateDer<'_>, between: &[CertificateDer<'_>]) -> bool {
        let mut state = self.state.load_full();
        if state.as_ref().is_none_or(|s| s.modified != modified(&self.path)) {
            match load(&self.path) {
                Ok(new) => {
                    state = Some(Arc::new(new));
                    self.state.store(state.clone());
                }
                Err(e) => tracing::warn!(error = %e, "CA bundle not reloaded, the old one stays"),
            }
        }
        match state {
            None => false,
            Some(s) => match s.verifier.verify_client_cert(own, between, UnixTime::now()) {
                Ok(_) => true,
                Err(e) => {
                    tracing::debug!(error = %e, ca = %self.path.display(), "client certificate not verified");
                    false
                }
            },
        }
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn load(path: &Path) -> Result<State, steersman_pki::Error> {
    let modified = modified(path);
    let mut roots = rustls::RootCertStore::empty();
    for cert in steersman_pki::files::certificates(path)? {
        roots.add(cert)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
    Ok(State { verifier, modified })
}

/// Takes any client certificate; whether it is any good is looked at later.
#[derive(Debug)]
pub struct AnyClientCert(pub Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClientCert {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn verify_client_cert(
        &self,
        _own: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
