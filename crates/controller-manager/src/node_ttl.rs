//! Tells kubelets how long they may cache Secrets and ConfigMaps: longer in larger clusters (rule: `pkg/controller/ttl`).

use std::sync::Arc;

use serde_json::json;
use steersman_api::k8s_openapi::api::core::v1::Node;
use steersman_client::{Action, Client, Event, Object, ObjectKey, Patch, Result, Store, WorkQueue};

use crate::context::{Context, Run};

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";
/// Clusters up to a size, and the seconds that their kubelets may cache.
const STEPS: &[(usize, u32)] = &[(100, 0), (500, 15), (1000, 30), (2000, 60), (usize::MAX, 300)];

pub fn start(context: &Context) -> anyhow::Result<Option<Run>> {
    let nodes = context.informers.get::<Node>();
    let queue = WorkQueue::<ObjectKey>::new();
    nodes.add_handler({
        let (queue, nodes) = (queue.clone(), nodes.store().clone());
        move |event| {
            let grown = matches!(event, Event::Added(_) | Event::Deleted { .. });
            let size = nodes.len();
            // Only a step changes something for the others.
            let before = if matches!(event, Event::Added(_)) { size.saturating_sub(1) } else { size + 1 };
            if grown && seconds(before) != seconds(size) {
                nodes.keys().into_iter().for_each(|key| queue.add(key));
            }
            if !matches!(event, Event::Deleted { .. }) {
                queue.add(event.object().key());
            }
        }
    });
    let controller = Arc::new((context.client.clone(), nodes.store().clone()));
    Ok(Some(context.work(
        "ttl",
        queue,
        5,
        controller,
        |shared, key| async move { sync(&shared.0, &shared.1, &key).await },
    )))
}

fn seconds(nodes: usize) -> u32 {
    STEPS.iter().find(|(size, _)| nodes <= *size).map_or(0, |(_, seconds)| *seconds)
}

async fn sync(client: &Client, nodes: &Store<Node>, key: &ObjectKey) -> Result<Action> {
    let Some(node) = nodes.get(key) else { return Ok(Action::Done) };
    let wanted = seconds(nodes.len()).to_string();
    if node.annotations().get(ANNOTATION) != Some(&wanted) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {ANNOTATION: wanted}}}));
        match client.patch::<Node>("", node.name(), &patch).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(Action::Done)
}
