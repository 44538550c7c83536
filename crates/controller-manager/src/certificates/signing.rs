//! Signs approved requests for the four built-in signers (rule: `certificates/signer/signer.go`).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use steersman_client::{Action, Client, Error, Event, Object, ObjectKey, Result, Store, WorkQueue};
use steersman_component::flags::Flags;
use steersman_pki::{Authority, Usage};

use super::{condition, is_approved, is_issued, request};
use crate::context::{Context, Run};

const WORKERS: usize = 5;
/// No certificate lives shorter, whatever a request says.
const SHORTEST: i64 = 600;

/// Signer, and the flag prefix of a certificate and key of its own.
const SIGNERS: &[(&str, &str)] = &[
    (request::KUBELET_SERVING, "cluster-signing-kubelet-serving"),
    (request::KUBELET_CLIENT, "cluster-signing-kubelet-client"),
    (request::APISERVER_CLIENT, "cluster-signing-kube-apiserver-client"),
    (request::LEGACY_UNKNOWN, "cluster-signing-legacy-unknown"),
];

/// Where a signer's authority is on disk; it is read for each signature, so that it may be replaced.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let authorities = authorities(&context.flags)?;
    if authorities.is_empty() {
        return Ok(None);
    }
    let requests = context.informers.get::<CertificateSigningRequest>();
    let queue = WorkQueue::<ObjectKey>::new();
    requests.add_handler({
        let queue = queue.clone();
        move |event| {
            if !matches!(event, Event::Deleted { .. }) {
                queue.add(event.object().key());
            }
        }
    });
    let controller = Arc::new(Controller {
        client: context.client.clone(),
        requests: requests.store().clone(),
        authorities,
        longest: context.flags.duration("cluster-signing-duration"),
    });
    Ok(Some(
        context.work(
            "csrsigning",
            queue,
            WORKERS,
            controller,
            |controller, key| async move { controller.sync(&key).await },
        ),
    ))
}

/// The authority of each signer: its own flags, else the common ones.
fn authorities(flags: &Flags) -> anyhow::Result<BTreeMap<&'static str, Files>> {
    let pair = |prefix: &str| {
        let (certificate, key) = (format!("{prefix}-cert-file"), format!("{prefix}-key-file"));
        match (flags.path(&certificate), flags.path(&key)) {
            (Some(certificate), Some(key)) => Ok(Some(Files { certificate, key })),
            (None, None) => Ok(None),
            _ => anyhow::bail!("--{certificate} and --{key} must be given together"),
        }
    };
    let any_own = SIGNERS.iter().any(|(_, prefix)| flags.path(&format!("{prefix}-cert-file")).is_some());
    let common = pair("cluster-signing")?;
    if any_own && common.is_some() {
        anyhow::bail!(
            "cannot specify --cluster-signing-cert-file/--cluster-signing-key-file and other --cluster-signing-*-file flags at the same time"
        );
    }
    let mut found = BTreeMap::new();
    for (signer, prefix) in SIGNERS {
        let own = pair(prefix)?;
        let shared = common.as_ref().map(|f| Files { certificate: f.certificate.clone(), key: f.key.clone() });
        if let Some(files) = own.or(shared) {
            Authority::read(&files.certificate, &files.key)
                .with_context(|| format!("failed to start the signer {signer}"))?;
            found.insert(*signer, files);
        }
    }
    Ok(found)
}

struct Controller {
    client: Client,
    requests: Store<CertificateSigningRequest>,
    authorities: BTreeMap<&'static str, Files>,
    longest: Duration,
}

impl Controller {
    async fn sync(&self, key: &ObjectKey) -> Result<Action> {
        let Some(csr) = self.requests.get(key) else { return Ok(Action::Done) };
        let Some(files) = self.authorities.get(csr.spec.signer_name.as_str()) else { return Ok(Action::Done) };
        if !is_approved(&csr) || is_issued(&csr) || condition(&csr, "Failed").is_some() {
            return Ok(Action::Done);
        }
        let pem = &csr.spec.request.0;
        let parsed = request::parse(pem).map_err(Error::Config)?;
        let usage = match csr.spec.signer_name.as_str() {
            request::KUBELET_SERVING if request::is_kubelet_serving(&parsed, &csr.spec) => Some(Usage::Server),
            request::KUBELET_CLIENT if request::is_kubelet_client(&parsed, &csr.spec) => Some(Usage::Client),
            request::APISERVER_CLIENT if request::is_client(&csr.spec) => Some(Usage::Client),
            request::LEGACY_UNKNOWN => Some(requested_usage(&csr)),
            _ => None,
        };
        let mut updated = (*csr).clone();
        let status = updated.status.get_or_insert_default();
        match usage {
            None => {
                let now = Some(Time(Timestamp::now()));
                status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                    type_: "Failed".to_owned(),
                    status: "True".to_owned(),
                    reason: Some("SignerValidationFailure".to_owned()),
                    message: Some(format!("the request is not one that {} signs", csr.spec.signer_name)),
                    last_update_time: now.clone(),
                    last_transition_time: now,
                });
            }
            Some(usage) => {
                let longest = self.longest.as_secs() as i64;
                let seconds = match csr.spec.expiration_seconds {
                    Some(wanted) => i64::from(wanted).clamp(SHORTEST, longest.max(SHORTEST)),
                    None => longest,
                };
                let text = String::from_utf8_lossy(pem).into_owned();
                let signed = Authority::read(&files.certificate, &files.key)
                    .and_then(|authority| authority.sign_request(&text, usage, seconds))
                    .map_err(|error| Error::Config(format!("error auto signing csr: {error}")))?;
                status.certificate = Some(ByteString(signed.into_bytes()));
            }
        }
        self.client.update_status(&updated).await?;
        Ok(Action::Done)
    }
}

fn requested_usage(csr: &CertificateSigningRequest) -> Usage {
    let wants = |wanted: &str| csr.spec.usages.iter().flatten().any(|usage| usage == wanted);
    match (wants("server auth"), wants("client auth")) {
        (true, true) => Usage::Both,
        (true, false) => Usage::Server,
        _ => Usage::Client,
    }
}
