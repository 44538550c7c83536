//! List and watch without end: keeps a receiver of changes in step with one collection of the apiserver.

use std::time::{Duration, Instant};

use rand::Rng;
use tokio_util::sync::CancellationToken;

use crate::{Backoff, Client, Error, ListOptions, Object, Result, WatchEvent, client::type_path, object::ResourcePath};

/// Page size of lists.
const PAGE: u32 = 500;
/// A watch that ends sooner than this counts as a failure, lest a broken server be asked in a tight loop.
const SHORT_WATCH: Duration = Duration::from_secs(1);
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(10);
/// An apiserver that does not answer at all is asked more often: nothing is known until it is back, and it does not
/// notice.
const LAST_CONNECT_DELAY: Duration = Duration::from_secs(1);

/// What to watch: a collection, and which of its objects.
#[derive(Clone, Debug)]
pub struct Source {
    /// The URL path of the collection.
    pub path: String,
    /// Ask for metadata only.
    pub metadata: bool,
    /// A label selector, or empty.
    pub label_selector: String,
    /// A field selector, or empty.
    pub field_selector: String,
}

impl Source {
    /// All objects of type `K` in `namespace` (empty: in all namespaces).
    pub fn of<K: Object>(namespace: &str) -> Self {
        Self {
            path: type_path::<K>(namespace),
            metadata: false,
            label_selector: String::new(),
            field_selector: String::new(),
        }
    }

    /// The metadata of all objects of a resource.
    pub fn metadata(resource: &ResourcePath) -> Self {
        Self {
            path: resource.collection(""),
            metadata: true,
            label_selector: String::new(),
            field_selector: String::new(),
        }
    }
}

/// Receives what the reflector finds out.
pub(crate) trait Sink<K> {
    /// The collection holds exactly these objects.
    fn replace(&self, objects: Vec<K>);
    /// One object was added or has changed.
    fn upsert(&self, object: K);
    /// One object is gone; its last state.
    fn remove(&self, object: K);
    /// The apiserver cannot be reached or does not serve the collection.
    fn failed(&self, error: &Error);
}

/// Runs until cancelled.
pub(crate) async fn run<K: Object>(
    client: &Client,
    source: &Source,
    sink: &impl Sink<K>,
    shutdown: &CancellationToken,
) {
    let mut backoff = Backoff::new(FIRST_DELAY, LAST_DELAY);
    let mut position = Position { resource_version: None, stream_lists: true };
    loop {
        let started = Instant::now();
        let mut is_away = false;
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = step(client, source, sink, &mut position) => result,
        };
        match result {
            Ok(()) if started.elapsed() >= SHORT_WATCH => {
                backoff.reset();
                continue;
            }
            Ok(()) => {}
            Err(error) if error.is_gone() => {
                tracing::debug!(path = source.path, "the watch expired, listing again");
                position.resource_version = None;
            }
            Err(error) => {
                if started.elapsed() >= SHORT_WATCH {
                    backoff.reset();
                }
                match &error {
                    // A position that the server or we cannot make sense of is not worth keeping.
                    Error::Codec(_) => position.resource_version = None,
                    _ if error.is_invalid() || error.code() == 400 => position.resource_version = None,
                    _ => {}
                }
                tracing::debug!(path = source.path, %error, "list and watch failed");
                sink.failed(&error);
                is_away = error.is_transport();
            }
        }
        let delay = backoff.next_delay();
        let delay = if is_away { delay.min(LAST_CONNECT_DELAY) } else { delay };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

struct Position {
    /// Where to resume the watch; `None` asks for a list first.
    resource_version: Option<String>,
    /// Whether the server is believed to serve `sendInitialEvents`.
    stream_lists: bool,
}

/// One list, if it is due, and one watch to its end.
async fn step<K: Object>(client: &Client, source: &Source, sink: &impl Sink<K>, position: &mut Position) -> Result<()> {
    let base = ListOptions {
        label_selector: source.label_selector.clone(),
        field_selector: source.field_selector.clone(),
        ..ListOptions::default()
    };
    let watch_options = |resource_version: &str| ListOptions {
        resource_version: resource_version.to_owned(),
        timeout_seconds: rand::rng().random_range(300..600),
        ..base.clone()
    };
    if position.resource_version.is_none() && position.stream_lists {
        let options = ListOptions {
            send_initial_events: true,
            resource_version_match: "NotOlderThan".to_owned(),
            ..watch_options("")
        };
        match client.watch_path::<K>(&source.path, source.metadata, &options).await {
            Ok(mut stream) => {
                let mut objects = Vec::new();
                while let Some(event) = stream.next().await? {
                    match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => objects.push(object),
                        WatchEvent::Deleted(object) => {
                            let key = object.key();
                            objects.retain(|kept: &K| kept.key() != key);
                        }
                        WatchEvent::Bookmark { resource_version, initial_events_end: true } => {
                            sink.replace(objects);
                            position.resource_version = Some(resource_version);
                            return follow(&mut stream, sink, position).await;
                        }
                        WatchEvent::Bookmark { .. } => {}
                    }
                }
                return Ok(());
            }
            Err(error) if error.is_invalid() || error.code() == 400 => position.stream_lists = false,
            Err(error) => return Err(error),
        }
    }
    let resource_version = match &position.resource_version {
        Some(version) => version.clone(),
        None => {
            let (objects, version) = list_all(client, source, &base).await?;
            sink.replace(objects);
            position.resource_version.insert(version).clone()
        }
    };
    let options = watch_options(&resource_version);
    let mut stream = client.watch_path::<K>(&source.path, source.metadata, &options).await?;
    follow(&mut stream, sink, position).await
}

async fn list_all<K: Object>(client: &Client, source: &Source, base: &ListOptions) -> Result<(Vec<K>, String)> {
    let mut objects = Vec::new();
    let mut options = ListOptions { limit: PAGE, ..base.clone() };
    loop {
        let page = client.list_path::<K>(&source.path, source.metadata, &options).await?;
        objects.extend(page.items);
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => options.continue_token = token,
            _ => return Ok((objects, page.metadata.resource_version.unwrap_or_default())),
        }
    }
}

async fn follow<K: Object>(
    stream: &mut crate::WatchStream<K>,
    sink: &impl Sink<K>,
    position: &mut Position,
) -> Result<()> {
    while let Some(event) = stream.next().await? {
        let version = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.resource_version().to_owned();
                sink.upsert(object);
                version
            }
            WatchEvent::Deleted(object) => {
                let version = object.resource_version().to_owned();
                sink.remove(object);
                version
            }
            WatchEvent::Bookmark { resource_version, .. } => resource_version,
        };
        position.resource_version = Some(version);
    }
    Ok(())
}
