//! A certificate authority: makes itself, is read from disk, issues certificates, and signs requests.

use crate::{Error, files};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::net::IpAddr;
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS servers.
    Server,
    /// TLS clients.
    Client,
    /// Both (kubelets, peers).
    Both,
}

/// What is to be issued.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The user's name, or the server's.
    pub common_name: &'a str,
    /// The user's groups.
    pub organizations: &'a [&'a str],
    /// DNS names and IP addresses of a server.
    pub hosts: &'a [String],
    /// What for.
    pub usage: Usage,
    /// How long, in days.
    pub days: i64,
}

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Issued {
    /// Writes `<base>.crt` and `<base>.key` (0600).
    pub fn write(&self, base: &Path) -> Result<(), Error> {
        let (certificate, key) = files::pair(base);
        files::write_public(&certificate, self.certificate.as_bytes())?;
        files::write_private(&key, self.key.as_bytes())
    }
}

/// A certificate authority.
pub struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// A new one, good for ten years.
    pub fn create(common_name: &str) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        params.subject_alt_names = vec![dns(common_name)?];
        valid_for(&mut params, 3650);
        let certificate = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { certificate, key: key_pem, issuer: Issuer::new(params, key) })
    }

    /// From `<certificate>` and `<key>` on disk.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let text = |p: &Path| files::read(p).map(|b| String::from_utf8_lossy(&b).into_owned());
        let (certificate, key) = (text(certificate)?, text(key)?);
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&key)?)?;
        Ok(Self { certificate, key, issuer })
    }

    /// The certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Certificate and key, to be written.
    pub fn issued(&self) -> Issued {
        Issued { certificate: self.certificate.clone(), key: self.key.clone() }
    }

    /// Issues a certificate with a new key.
    pub fn issue(&self, request: &Request<'_>) -> Result<Issued, Error> {
        let key = KeyPair::generate()?;
        let certificate = params(request)?.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }

    /// Signs a PEM request as it stands, for `usage`, for `seconds`; the answer is a PEM certificate.
    pub fn sign_request(&self, pem: &str, usage: Usage, seconds: i64) -> Result<String, Error> {
        let mut request = CertificateSigningRequestParams::from_pem(pem).map_err(|e| Error::Request(e.to_string()))?;
        request.params.is_ca = IsCa::NoCa;
        request.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        request.params.extended_key_usages = purposes(usage);
        request.params.not_before = OffsetDateTime::now_utc() - Duration::minutes(5);
        request.params.not_after = OffsetDateTime::now_utc() + Duration::seconds(seconds);
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

/// A certificate that vouches for itself, with a new key.
pub fn self_signed(request: &Request<'_>) -> Result<Issued, Error> {
    let key = KeyPair::generate()?;
    let certificate = params(request)?.self_signed(&key)?.pem();
    Ok(Issued { certificate, key: key.serialize_pem() })
}

/// A signing request with a new key: PEM request, PEM key.
pub fn signing_request(request: &Request<'_>) -> Result<Issued, Error> {
    let key = KeyPair::generate()?;
    let mut p = CertificateParams::default();
    p.distinguished_name = name(request.common_name, request.organizations);
    p.subject_alt_names = sans(request.hosts)?;
    let csr = p.serialize_request(&key)?.pem()?;
    Ok(Issued { certificate: csr, key: key.serialize_pem() })
}

fn params(request: &Request<'_>) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(request.common_name, request.organizations);
    params.subject_alt_names = sans(request.hosts)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = purposes(request.usage);
    params.use_authority_key_identifier_extension = true;
    valid_for(&mut params, request.days);
    Ok(params)
}

fn purposes(usage: Usage) -> Vec<ExtendedKeyUsagePurpose> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    match usage {
        Usage::Server => vec![ServerAuth],
        Usage::Client => vec![ClientAuth],
        Usage::Both => vec![ServerAuth, ClientAuth],
    }
}

fn valid_for(params: &mut CertificateParams, days: i64) {
    // Clocks of new machines may lag a little.
    params.not_before = OffsetDateTime::now_utc() - Duration::minutes(5);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
}

fn name(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for o in organizations {
        name.push(DnType::OrganizationName, *o);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn sans(hosts: &[String]) -> Result<Vec<SanType>, Error> {
    hosts.iter().map(|h| h.parse::<IpAddr>().map_or_else(|_| dns(h), |ip| Ok(SanType::IpAddress(ip)))).collect()
}

fn dns(name: &str) -> Result<SanType, Error> {
    Ok(SanType::DnsName(name.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_signed_by_an_authority_read_back() {
        let dir = std::env::temp_dir().join(format!("steersman-pki-{}", std::process::id()));
        let ca = Authority::create("test-ca").expect("creates");
        ca.issued().write(&dir.join("ca")).expect("writes");
        let again = Authority::read(&dir.join("ca.crt"), &dir.join("ca.key")).expect("reads");
        let request = Request {
            common_name: "system:node:a",
            organizations: &["system:nodes"],
            hosts: &["a".into(), "10.0.0.1".into()],
            usage: Usage::Client,
            days: 1,
        };
        let csr = signing_request(&request).expect("requests");
        let pem = again.sign_request(&csr.certificate, Usage::Client, 3600).expect("signs");
        let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
        let cert = parsed.parse_x509().expect("X.509");
        assert_eq!(cert.subject().to_string(), "O=system:nodes, CN=system:node:a");
        assert!(again.sign_request("nonsense", Usage::Client, 1).is_err());
        std::fs::remove_dir_all(dir).expect("cleans up");
    }
}
