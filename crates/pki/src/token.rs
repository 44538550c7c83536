//! Service-account tokens: signing, checking, and the public keys as JWKS.

use crate::{Error, files};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;
use x509_parser::prelude::FromDer;

/// Signs with one private key.
pub struct Signer {
    key: EncodingKey,
    header: Header,
}

/// Checks against public keys.
pub struct Verifier {
    keys: Vec<PublicKey>,
}

struct PublicKey {
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
    jwk: Value,
}

impl Signer {
    /// From a PEM private key, RSA or ECDSA P-256 or P-384.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let pem = files::read(path)?;
        let public = public_from_private(&pem, path)?;
        let key = match public.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(&pem),
            _ => EncodingKey::from_ec_pem(&pem),
        }
        .map_err(|e| Error::Token(e.to_string()))?;
        let mut header = Header::new(public.algorithm);
        // Upstream's header carries no type.
        header.typ = None;
        header.kid = Some(public.id);
        Ok(Self { key, header })
    }
    /// The JWT of these claims.
    pub fn sign(&self, claims: &Value) -> Result<String, Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key).map_err(|e| Error::Token(e.to_string()))
    }
}

impl Verifier {
    /// From PEM files with public or private keys or certificates.
    pub fn read(paths: &[std::path::PathBuf]) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for path in paths {
            let pem = files::read(path)?;
            keys.push(public_from_private(&pem, path).or_else(|_| public_from_public(&pem, path))?);
        }
        Ok(Self { keys })
    }
    /// The claims of a token that one of the keys signed; lifetime, issuer and audience are not looked at.
    pub fn claims(&self, token: &str) -> Result<Value, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|e| Error::Token(e.to_string()))?;
        let mut last = Error::Token("no key fits".into());
        for k in self.keys.iter().filter(|k| header.kid.as_ref().is_none_or(|id| *id == k.id)) {
            let mut rules = Validation::new(k.algorithm);
            rules.required_spec_claims.clear();
            (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
            match jsonwebtoken::decode::<Value>(token, &k.key, &rules) {
                Ok(data) => return Ok(data.claims),
                Err(e) => last = Error::Token(e.to_string()),
            }
        }
        Err(last)
    }
    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(|k| &k.jwk).collect::<Vec<_>>() })
    }
    /// The signing algorithms of the keys, as the discovery document lists them.
    pub fn algorithms(&self) -> Vec<String> {
        let mut names: Vec<String> = self.keys.iter().map(|k| format!("{:?}", k.algorithm)).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn public_from_private(pem: &[u8], path: &Path) -> Result<PublicKey, Error> {
    let missing = || Error::Missing { path: path.display().to_string(), what: "private key" };
    let pair = rcgen::KeyPair::from_pem(std::str::from_utf8(pem).map_err(|_| missing())?).map_err(|_| missing())?;
    use rcgen::PublicKeyData;
    public_key(&pair.subject_public_key_info())
}

fn public_from_public(pem: &[u8], path: &Path) -> Result<PublicKey, Error> {
    let missing = || Error::Missing { path: path.display().to_string(), what: "public key" };
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| missing())?;
    if block.label == "CERTIFICATE" {
        let cert = block.parse_x509().map_err(|_| missing())?;
        return public_key(cert.public_key().raw);
    }
    public_key(&block.contents)
}

/// From a DER SubjectPublicKeyInfo. The key's id is the URL-safe base64 of its SHA-256, as upstream's.
fn public_key(spki: &[u8]) -> Result<PublicKey, Error> {
    let bad = |e: String| Error::Token(format!("public key: {e}"));
    let id = URL_SAFE_NO_PAD.encode(Sha256::digest(spki));
    let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(spki).map_err(|e| bad(e.to_string()))?;
    let b64 = |b: &[u8]| URL_SAFE_NO_PAD.encode(b);
    let (algorithm, key, mut jwk) = match info.parsed().map_err(|e| bad(e.to_string()))? {
        x509_parser::public_key::PublicKey::RSA(rsa) => {
            let strip = |b: &[u8]| b.iter().copied().skip_while(|x| *x == 0).collect::<Vec<u8>>();
            let (n, e) = (strip(rsa.modulus), strip(rsa.exponent));
            let jwk = json!({ "kty": "RSA", "n": b64(&n), "e": b64(&e) });
            (Algorithm::RS256, DecodingKey::from_rsa_raw_components(&n, &e), jwk)
        }
        x509_parser::public_key::PublicKey::EC(point) => {
            let data = point.data();
            let half = data.len().saturating_sub(1) / 2;
            let (algorithm, curve) = match half {
                32 => (Algorithm::ES256, "P-256"),
                48 => (Algorithm::ES384, "P-384"),
                _ => return Err(bad("unsupported curve".into())),
            };
            let (x, y) = (b64(&data[1..=half]), b64(&data[half + 1..]));
            let key = DecodingKey::from_ec_components(&x, &y).map_err(|e| bad(e.to_string()))?;
            (algorithm, key, json!({ "kty": "EC", "crv": curve, "x": x, "y": y }))
        }
        _ => return Err(bad("neither RSA nor ECDSA".into())),
    };
    jwk["use"] = "sig".into();
    jwk["kid"] = id.clone().into();
    jwk["alg"] = format!("{algorithm:?}").into();
    Ok(PublicKey { id, algorithm, key, jwk })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_forgeries_fail() {
        let dir = std::env::temp_dir().join(format!("steersman-token-{}", std::process::id()));
        let key = rcgen::KeyPair::generate().expect("key");
        let path = dir.join("sa.key");
        files::write_private(&path, key.serialize_pem().as_bytes()).expect("writes");
        let public = dir.join("sa.pub");
        files::write_public(&public, key.public_key_pem().as_bytes()).expect("writes");
        let token = Signer::read(&path).expect("reads").sign(&json!({ "sub": "x" })).expect("signs");
        for p in [&path, &public] {
            let verifier = Verifier::read(std::slice::from_ref(p)).expect("reads");
            assert_eq!(verifier.claims(&token).expect("checks")["sub"], "x");
            assert!(verifier.claims(&format!("{}x", &token[..token.len() - 1])).is_err());
            assert!(verifier.claims("a.b.c").is_err());
        }
        std::fs::remove_dir_all(dir).expect("cleans up");
    }
}
