//! Approves what kubelets ask for to be clients, if they may (rule: `certificates/approver/sarapprove.go`).

use std::sync::Arc;

use jiff::Timestamp;
use steersman_api::k8s_openapi::{
    api::{
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        certificates::v1::{
            CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
        },
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use steersman_client::{Action, Client, Error, Event, Object, ObjectKey, Result, Store, WorkQueue, WriteOptions};

use super::{condition, is_issued, request};
use crate::context::{Context, Run};

const WORKERS: usize = 5;

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
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
    let controller = Arc::new((context.client.clone(), requests.store().clone()));
    Ok(Some(context.work("csrapproving", queue, WORKERS, controller, |shared, key| async move {
        sync(&shared.0, &shared.1, &key).await
    })))
}

async fn sync(client: &Client, requests: &Store<CertificateSigningRequest>, key: &ObjectKey) -> Result<Action> {
    let Some(csr) = requests.get(key) else { return Ok(Action::Done) };
    let decided = ["Approved", "Denied"].iter().any(|type_| condition(&csr, type_).is_some());
    if is_issued(&csr) || decided || csr.spec.signer_name != request::KUBELET_CLIENT {
        return Ok(Action::Done);
    }
    let parsed = request::parse(&csr.spec.request.0)
        .map_err(|error| Error::Config(format!("unable to parse csr \"{}\": {error}", csr.name())))?;
    if !request::is_kubelet_client(&parsed, &csr.spec) {
        return Ok(Action::Done);
    }
    // A node may renew its own; who holds a bootstrap token may ask for any node's.
    let own = csr.spec.username.as_deref() == Some(&parsed.common_name);
    let mut attempts = vec![("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")];
    if own {
        attempts
            .insert(0, ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."));
    }
    for (subresource, message) in attempts {
        if may_create(client, &csr.spec, subresource).await? {
            let now = Some(Time(Timestamp::now()));
            let mut approved = (*csr).clone();
            approved.status.get_or_insert_default().conditions.get_or_insert_default().push(
                CertificateSigningRequestCondition {
                    type_: "Approved".to_owned(),
                    status: "True".to_owned(),
                    reason: Some("AutoApproved".to_owned()),
                    message: Some(message.to_owned()),
                    last_update_time: now.clone(),
                    last_transition_time: now,
                },
            );
            client.update_with(&approved, "approval", &WriteOptions::default()).await?;
            return Ok(Action::Done);
        }
    }
    Err(Error::Config(format!(
        "recognized csr \"{}\" as [selfnodeclient nodeclient] but subject access review was not approved",
        csr.name()
    )))
}

async fn may_create(client: &Client, spec: &CertificateSigningRequestSpec, subresource: &str) -> Result<bool> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                subresource: Some(subresource.to_owned()),
                verb: Some("create".to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    Ok(client.create("", &review).await?.status.is_some_and(|status| status.allowed))
}
