//! Events about pods and their containers.

use steersman_client::{EventRecorder, EventType, object_reference};

use super::spec::Kind;
use crate::api::*;

/// Records events, or just logs them where there is no API server.
#[derive(Clone)]
pub struct Events(pub Option<EventRecorder>);

impl Events {
    /// Something happened to a pod as it should.
    pub fn normal(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.record(pod, None, EventType::Normal, reason, message.into());
    }

    /// Something went wrong with a pod.
    pub fn warning(&self, pod: &Pod, reason: &str, message: impl Into<String>) {
        self.record(pod, None, EventType::Warning, reason, message.into());
    }

    /// Something happened to a container.
    pub fn container(
        &self,
        pod: &Pod,
        container: (Kind, &str),
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.record(pod, Some(container), kind, reason, message.into());
    }

    fn record(&self, pod: &Pod, container: Option<(Kind, &str)>, kind: EventType, reason: &str, message: String) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        tracing::debug!(pod = name, reason, message, "event");
        let Some(recorder) = &self.0 else { return };
        let mut about = object_reference(pod);
        about.field_path = container.map(|(kind, name)| match kind {
            Kind::Init => format!("spec.initContainers{{{name}}}"),
            Kind::Regular => format!("spec.containers{{{name}}}"),
            Kind::Ephemeral => format!("spec.ephemeralContainers{{{name}}}"),
        });
        recorder.event_ref(about, kind, reason, message);
    }
}
