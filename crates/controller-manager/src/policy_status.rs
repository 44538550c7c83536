//! Notes that a ValidatingAdmissionPolicy was looked at (rule: `pkg/controller/validatingadmissionpolicystatus`).

use std::sync::Arc;

use serde_json::json;
use steersman_api::k8s_openapi::api::admissionregistration::v1::{TypeChecking, ValidatingAdmissionPolicy};
use steersman_client::{Action, Client, Object, ObjectKey, Result, Store, WorkQueue};

use crate::context::{Context, Run};

const MANAGER: &str = "validatingadmissionpolicy-status";

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let policies = context.informers.get::<ValidatingAdmissionPolicy>();
    let queue = WorkQueue::<ObjectKey>::new();
    policies.add_handler({
        let queue = queue.clone();
        move |event| queue.add(event.object().key())
    });
    let controller = Arc::new((context.client.clone(), policies.store().clone()));
    let workers = context.workers("concurrent-validating-admission-policy-status-syncs");
    Ok(Some(context.work("validatingadmissionpolicy-status", queue, workers, controller, |shared, key| async move {
        sync(&shared.0, &shared.1, &key).await
    })))
}

async fn sync(client: &Client, policies: &Store<ValidatingAdmissionPolicy>, key: &ObjectKey) -> Result<Action> {
    let Some(policy) = policies.get(key) else { return Ok(Action::Done) };
    let observed = policy.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
    if observed >= policy.generation() {
        return Ok(Action::Done);
    }
    // Expressions are compiled when the policy is admitted: what is stored compiles.
    let status = json!({"observedGeneration": policy.generation(), "typeChecking": TypeChecking::default()});
    let body = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": policy.name()},
        "status": status,
    });
    let options = steersman_client::PatchOptions { field_manager: MANAGER.to_owned(), force: true, dry_run: false };
    let patch = steersman_client::Patch::Apply(body);
    client.patch_with::<ValidatingAdmissionPolicy>("", policy.name(), "status", &patch, &options).await?;
    Ok(Action::Done)
}
