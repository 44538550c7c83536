//! Events about objects, as users see them in `kubectl describe` (rule: client-go `tools/record`).
//!
//! Equal events become one with a count; many similar ones are combined; an object that is talked about too much is
//! rate limited. All of that and the requests happen in a task of its own: recording never waits.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ahash::HashMap;
use jiff::Timestamp;
use serde_json::json;
use steersman_api::k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Client, Error, Object, Patch, Result};

/// Events that may wait to be sent; more are dropped.
const BACKLOG: usize = 1000;
/// So many similar events (all equal but the message) within [`SIMILAR_PERIOD`] are combined into one.
const SIMILAR_LIMIT: usize = 10;
const SIMILAR_PERIOD: Duration = Duration::from_secs(600);
/// Each object may be talked about so often at once, then once per [`REFILL`].
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// What the correlator remembers at most.
const MEMORY: usize = 4096;

/// Whether something happened as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// It did.
    Normal,
    /// It did not.
    Warning,
}

/// Records events; cheap to clone.
#[derive(Clone)]
pub struct EventRecorder {
    component: String,
    host: String,
    sender: mpsc::Sender<Event>,
}

/// A reference to a typed object.
pub fn object_reference<K: Object>(object: &K) -> ObjectReference {
    let text = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
    ObjectReference {
        api_version: text(K::API_VERSION),
        kind: text(K::KIND),
        namespace: text(object.namespace()),
        name: text(object.name()),
        uid: text(object.uid()),
        resource_version: text(object.resource_version()),
        field_path: None,
    }
}

impl EventRecorder {
    /// A recorder for `component` on `host` (which may be empty), whose task runs until cancelled.
    pub fn new(client: Client, component: &str, host: &str, shutdown: &CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(send_all(client, receiver, shutdown.clone()));
        Self { component: component.to_owned(), host: host.to_owned(), sender }
    }

    /// The same recorder for another component's name.
    pub fn with_component(&self, component: &str) -> Self {
        Self { component: component.to_owned(), ..self.clone() }
    }

    /// Records an event about a typed object.
    pub fn event<K: Object>(&self, about: &K, type_: EventType, reason: &str, message: impl Into<String>) {
        self.event_ref(object_reference(about), type_, reason, message);
    }

    /// Records an event about a referenced object.
    pub fn event_ref(&self, about: ObjectReference, type_: EventType, reason: &str, message: impl Into<String>) {
        let now = Timestamp::now();
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let mut event = Event {
            count: Some(1),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            message: Some(message.into()),
            reason: Some(reason.to_owned()),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone()),
            source: Some(EventSource {
                component: Some(self.component.clone()),
                host: Some(self.host.clone()).filter(|host| !host.is_empty()),
            }),
            type_: Some(format!("{type_:?}")),
            ..Event::default()
        };
        event.metadata.namespace = Some(namespace);
        event.metadata.name = Some(format!("{}.{:x}", about.name.as_deref().unwrap_or(""), now.as_nanosecond()));
        event.involved_object = about;
        if self.sender.try_send(event).is_err() {
            tracing::debug!(reason, "too many events wait to be sent: one was dropped");
        }
    }
}

async fn send_all(client: Client, mut receiver: mpsc::Receiver<Event>, shutdown: CancellationToken) {
    let mut correlator = Correlator::default();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => break,
            event = receiver.recv() => match event {
                Some(event) => event,
                None => return,
            },
        };
        send(&client, &mut correlator, event).await;
    }
    // What was recorded before the end still goes out, unless the apiserver is away.
    while let Ok(event) = receiver.try_recv() {
        let sent = tokio::time::timeout(Duration::from_secs(1), send(&client, &mut correlator, event)).await;
        if sent.is_err() {
            return;
        }
    }
}

async fn send(client: &Client, correlator: &mut Correlator, event: Event) {
    let Some(event) = correlator.correlate(event, Instant::now()) else { return };
    for attempt in 0..3 {
        match write(client, &event).await {
            Ok(stored) => return correlator.sent(&event, stored.name()),
            Err(Error::Transport(_)) if attempt < 2 => tokio::time::sleep(Duration::from_secs(1)).await,
            Err(error) => {
                if !error.is_namespace_terminating() {
                    tracing::debug!(%error, reason = event.reason, "the event was not accepted");
                }
                return;
            }
        }
    }
}

async fn write(client: &Client, event: &Event) -> Result<Event> {
    if event.count.unwrap_or(1) > 1 {
        let patch = Patch::Merge(json!({
            "count": event.count,
            "lastTimestamp": event.last_timestamp,
            "message": event.message,
        }));
        match client.patch(event.namespace(), event.name(), &patch).await {
            Err(error) if error.is_not_found() => {}
            result => return result,
        }
    }
    client.create(event.namespace(), event).await
}

/// Everything that makes two events equal but their message and time.
type SimilarKey = (String, String, String, String);

#[derive(Default)]
struct Correlator {
    similar: HashMap<SimilarKey, (Instant, VecDeque<String>)>,
    /// Count, name and first time of the stored event for a key with its message.
    counts: HashMap<(SimilarKey, String), (i32, String, Option<Time>)>,
    buckets: HashMap<String, (f64, Instant)>,
}

impl Correlator {
    /// What to store for `event`, if anything (rule: `EventCorrelator.EventCorrelate`).
    fn correlate(&mut self, mut event: Event, now: Instant) -> Option<Event> {
        self.limit_memory();
        let about = &event.involved_object;
        let object = format!(
            "{}/{}/{}/{}/{}",
            about.kind.as_deref().unwrap_or(""),
            about.namespace.as_deref().unwrap_or(""),
            about.name.as_deref().unwrap_or(""),
            about.uid.as_deref().unwrap_or(""),
            about.field_path.as_deref().unwrap_or(""),
        );
        let component = event.reporting_component.clone().unwrap_or_default();
        let key: SimilarKey = (
            component.clone(),
            object.clone(),
            event.type_.clone().unwrap_or_default(),
            event.reason.clone().unwrap_or_default(),
        );
        let message = event.message.clone().unwrap_or_default();
        let (last, messages) = self.similar.entry(key.clone()).or_insert_with(|| (now, VecDeque::new()));
        if now.duration_since(*last) > SIMILAR_PERIOD {
            messages.clear();
        }
        *last = now;
        if !messages.contains(&message) {
            messages.push_back(message.clone());
        }
        let combined = messages.len() >= SIMILAR_LIMIT;
        if combined {
            messages.pop_front();
            event.message = Some(format!("(combined from similar events): {message}"));
        }
        let (tokens, filled) = self.buckets.entry(format!("{component}/{object}")).or_insert((BURST, now));
        *tokens = (*tokens + now.duration_since(*filled).as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        *filled = now;
        if *tokens < 1.0 {
            return None;
        }
        *tokens -= 1.0;
        let count_key = (key, if combined { String::new() } else { message });
        if let Some((count, name, first)) = self.counts.get(&count_key) {
            event.count = Some(count + 1);
            event.metadata.name = Some(name.clone());
            event.first_timestamp = first.clone();
        }
        let entry =
            (event.count.unwrap_or(1), event.metadata.name.clone().unwrap_or_default(), event.first_timestamp.clone());
        self.counts.insert(count_key, entry);
        Some(event)
    }

    /// A stored event may have got another name than the one that was asked for.
    fn sent(&mut self, event: &Event, name: &str) {
        if event.name() != name {
            for (_, known, _) in self.counts.values_mut().filter(|(_, known, _)| known == event.name()) {
                *known = name.to_owned();
            }
        }
    }

    fn limit_memory(&mut self) {
        if self.similar.len() > MEMORY || self.counts.len() > MEMORY || self.buckets.len() > MEMORY {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: &str) -> Event {
        Event {
            message: Some(message.to_owned()),
            reason: Some("Failed".to_owned()),
            count: Some(1),
            ..Event::default()
        }
    }

    #[test]
    fn counts_combines_and_limits() {
        let mut correlator = Correlator::default();
        let now = Instant::now();
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(correlator.correlate(event("a"), now).unwrap().count.unwrap());
        }
        assert_eq!(seen, [1, 2, 3]);
        for n in 0..8 {
            correlator.correlate(event(&n.to_string()), now);
        }
        let combined = correlator.correlate(event("z"), now).unwrap();
        assert_eq!(combined.message.as_deref(), Some("(combined from similar events): z"));
        let left = (0..50).filter(|_| correlator.correlate(event("a"), now).is_some()).count();
        assert_eq!(left, 25 - 12);
        assert!(correlator.correlate(event("a"), now + REFILL).is_some(), "a token came back");
    }
}
