//! Getting images onto the node (rule: kubelet `images/image_manager.go`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use steersman_client::EventType;
use steersman_cri::{Runtime, v1};
use steersman_volumes::Objects;
use tokio::{sync::Semaphore, time::Instant};

use super::security::ImageUser;
use crate::{
    api::*,
    backoff::{Backoff, shown},
    pods::{
        events::Events,
        spec::{Kind, PodExt, spec},
    },
};

/// The first and the longest wait after a failed pull.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// Pulls images, one at a time unless configured otherwise.
pub struct Images {
    runtime: Arc<dyn Runtime>,
    events: Events,
    backoff: Backoff,
    slots: Semaphore,
    /// The last failure of each image of each pod, for the message while waiting.
    failures: parking_lot::Mutex<BTreeMap<String, String>>,
}

/// An image that is there.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// How the runtime calls it.
    pub reference: String,
    /// Who it runs as.
    pub user: ImageUser,
}

/// Why it is not.
#[derive(Debug, Clone)]
pub struct Missing {
    /// `ErrImagePull`, `ImagePullBackOff`, …
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When to try again.
    pub retry: Duration,
}

impl Images {
    /// Pulls at most `parallel` images at once.
    pub fn new(runtime: Arc<dyn Runtime>, events: Events, parallel: usize) -> Self {
        Images {
            runtime,
            events,
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
            slots: Semaphore::new(parallel.max(1)),
            failures: parking_lot::Mutex::default(),
        }
    }

    /// Makes sure that the image of `container` is on the node, as its pull policy says.
    pub async fn ensure(
        &self,
        pod: &Pod,
        kind: Kind,
        container: &Container,
        objects: &dyn Objects,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<Present, Missing> {
        let about = (kind, container.name.as_str());
        let image = with_tag(container.image.as_deref().unwrap_or_default());
        let runtime_error = |e: steersman_cri::Error| Missing {
            reason: "ImageInspectError",
            message: format!("Failed to inspect image {image:?}: {e}"),
            retry: BACKOFF.0,
        };
        if !is_valid(&image) {
            let message = format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
            );
            self.events.container(pod, about, EventType::Warning, "InspectFailed", message.clone());
            return Err(Missing { reason: "InvalidImageName", message, retry: BACKOFF.1 });
        }
        let image_spec = v1::ImageSpec {
            image: image.clone(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        };
        let present = self.runtime.image_status(image_spec.clone()).await.map_err(runtime_error)?;
        let policy = container.image_pull_policy.as_deref().unwrap_or(default_policy(&image));
        match (policy, present) {
            ("IfNotPresent" | "Never", Some(found)) => {
                let message =
                    format!("Container image {image:?} already present on machine and can be accessed by the pod");
                self.events.container(pod, about, EventType::Normal, "Pulled", message);
                return Ok(of_image(found));
            }
            ("Never", None) => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                self.events.container(pod, about, EventType::Warning, "ErrImageNeverPull", message.clone());
                return Err(Missing { reason: "ErrImageNeverPull", message, retry: BACKOFF.0 });
            }
            _ => {}
        }
        self.pull(pod, about, &image, image_spec, objects, sandbox).await
    }

    async fn pull(
        &self,
        pod: &Pod,
        about: (Kind, &str),
        image: &str,
        image_spec: v1::ImageSpec,
        objects: &dyn Objects,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<Present, Missing> {
        let key = format!("{}_{image}", pod.uid());
        let asked = Instant::now();
        if let Some((left, _)) = self.backoff.remaining(&key, None) {
            let why = self.failures.lock().get(&key).cloned().unwrap_or_default();
            let message = format!("Back-off pulling image {image:?}: {why}");
            self.events.container(pod, about, EventType::Normal, "BackOff", message.clone());
            return Err(Missing { reason: "ImagePullBackOff", message, retry: left });
        }
        let _slot = self.slots.acquire().await;
        self.events.container(pod, about, EventType::Normal, "Pulling", format!("Pulling image {image:?}"));
        let started = Instant::now();
        let mut credentials: Vec<Option<v1::AuthConfig>> =
            pull_secrets(pod, image, objects).await.into_iter().map(Some).collect();
        if credentials.is_empty() {
            credentials.push(None);
        }
        let mut last = String::new();
        for auth in credentials {
            match self.runtime.pull_image(image_spec.clone(), auth, Some(sandbox.clone())).await {
                Ok(reference) => {
                    let spec = v1::ImageSpec { image: reference.clone(), ..Default::default() };
                    let found = self.runtime.image_status(spec).await.ok().flatten().unwrap_or_default();
                    let message = format!(
                        "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {} bytes.",
                        precise(started.elapsed()),
                        precise(asked.elapsed()),
                        found.size
                    );
                    self.events.container(pod, about, EventType::Normal, "Pulled", message);
                    self.failures.lock().remove(&key);
                    self.backoff.forget(&key);
                    return Ok(Present { reference, ..of_image(found) });
                }
                Err(e) => last = e.to_string(),
            }
        }
        self.events.container(
            pod,
            about,
            EventType::Warning,
            "Failed",
            format!("Failed to pull image {image:?}: {last}"),
        );
        self.events.container(pod, about, EventType::Warning, "Failed", "Error: ErrImagePull");
        self.failures.lock().insert(key.clone(), format!("ErrImagePull: {last}"));
        self.backoff.next(&key, Instant::now());
        // The next look comes soon and finds the image backing off, which people then see.
        Err(Missing { reason: "ErrImagePull", message: last, retry: Duration::from_secs(2) })
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.backoff.forget(uid);
        self.failures.lock().retain(|key, _| !key.starts_with(uid));
    }
}

/// What is said of a container that waits because it ended too often.
pub fn back_off_message(container: &str, pod: &Pod, delay: Duration) -> String {
    format!("back-off {} restarting failed container={container} pod={}", shown(delay), pod.full())
}

fn precise(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{}ms", took.as_millis())
    } else {
        format!("{:.3}s", took.as_secs_f64())
    }
}

fn of_image(image: v1::Image) -> Present {
    Present { reference: image.id, user: ImageUser { uid: image.uid.map(|u| u.value), name: image.username } }
}

/// The part of an image name after the registry and path, where tag and digest are.
fn last_part(image: &str) -> &str {
    image.rsplit('/').next().unwrap_or(image)
}

/// Adds `:latest` where neither tag nor digest is given.
pub fn with_tag(image: &str) -> String {
    if image.is_empty() || last_part(image).contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

fn default_policy(image: &str) -> &'static str {
    if last_part(image).ends_with(":latest") { "Always" } else { "IfNotPresent" }
}

/// Whether the name has the shape of an image reference.
fn is_valid(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let (path, tag) = match last_part(name).split_once(':') {
        Some((last, tag)) => (format!("{}{last}", &name[..name.len() - last_part(name).len()]), Some(tag)),
        None => (name.to_owned(), None),
    };
    let tag_ok = tag.is_none_or(|t| {
        !t.is_empty() && t.len() <= 128 && t.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    });
    let digest_ok = digest.is_none_or(|d| d.split_once(':').is_some_and(|(a, h)| !a.is_empty() && h.len() >= 32));
    let mut parts = path.split('/').peekable();
    let has_registry =
        path.split('/').next().is_some_and(|h| h.contains(['.', ':']) || h == "localhost") && path.contains('/');
    if has_registry {
        parts.next();
    }
    let part_ok = |p: &str| {
        !p.is_empty()
            && p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
            && p.starts_with(|c: char| c.is_ascii_alphanumeric())
            && p.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    tag_ok && digest_ok && parts.all(part_ok)
}

/// The registry that an image comes from.
fn registry(image: &str) -> String {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host.to_owned(),
        _ => "docker.io".into(),
    }
}

/// Credentials for `image` in the pod's pull secrets; a secret that does not exist is passed over.
async fn pull_secrets(pod: &Pod, image: &str, objects: &dyn Objects) -> Vec<v1::AuthConfig> {
    let mut found = Vec::new();
    for secret in spec(pod).image_pull_secrets.iter().flatten() {
        let Ok(Some(secret)) = objects.secret(pod.ns(), &secret.name).await else { continue };
        let data = secret.data.unwrap_or_default();
        let file =
            data.get(".dockerconfigjson").map(|b| (b, true)).or_else(|| data.get(".dockercfg").map(|b| (b, false)));
        let Some((bytes, nested)) = file else { continue };
        let Ok(document) = serde_json::from_slice::<Value>(&bytes.0) else { continue };
        found.extend(credentials(if nested { &document["auths"] } else { &document }, image));
    }
    found
}

/// The entries of a docker configuration that match `image`, longest match first.
fn credentials(auths: &Value, image: &str) -> Vec<v1::AuthConfig> {
    let full = if image.starts_with(&registry(image)) { image.to_owned() } else { format!("docker.io/{image}") };
    let mut matching: Vec<(usize, v1::AuthConfig)> = Vec::new();
    for (server, entry) in auths.as_object().into_iter().flatten() {
        let plain = server.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        let plain = plain.trim_end_matches("/v1").trim_end_matches("/v2");
        let plain = if plain == "index.docker.io" { "docker.io" } else { plain };
        let fits = full == plain
            || full.strip_prefix(plain).is_some_and(|rest| rest.starts_with('/'))
            || plain
                .strip_prefix("*.")
                .is_some_and(|domain| registry(image).split_once('.').is_some_and(|(_, rest)| rest == domain));
        if !fits {
            continue;
        }
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let mut auth = v1::AuthConfig {
            username: text("username"),
            password: text("password"),
            identity_token: text("identitytoken"),
            server_address: server.clone(),
            ..Default::default()
        };
        if auth.username.is_empty()
            && let Ok(decoded) = STANDARD.decode(text("auth"))
            && let Some((user, password)) = String::from_utf8_lossy(&decoded).split_once(':')
        {
            user.clone_into(&mut auth.username);
            password.clone_into(&mut auth.password);
        }
        matching.push((plain.len(), auth));
    }
    matching.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    matching.into_iter().map(|(_, auth)| auth).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_images() {
        let check = |image: &str, tagged: &str, policy: &str, valid: bool| {
            let full = with_tag(image);
            assert_eq!((full.as_str(), default_policy(&full), is_valid(&full)), (tagged, policy, valid));
        };
        check("busybox", "busybox:latest", "Always", true);
        check("host:5000/a/b", "host:5000/a/b:latest", "Always", true);
        check("host:5000/a/b:1.2", "host:5000/a/b:1.2", "IfNotPresent", true);
        check(
            "a@sha256:0123456789abcdef0123456789abcdef",
            "a@sha256:0123456789abcdef0123456789abcdef",
            "IfNotPresent",
            true,
        );
        check("Bad:1", "Bad:1", "IfNotPresent", false);
        check("a//b:1", "a//b:1", "IfNotPresent", false);
        check("a:", "a:", "IfNotPresent", false);
    }

    #[test]
    fn the_longest_match_is_tried_first() {
        let auths = json!({
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:pw")},
            "reg.example.com": {"username": "u1", "password": "p"},
            "reg.example.com/team": {"username": "u2", "password": "p"}
        });
        let check = |image: &str, expect: &[&str]| {
            let users: Vec<String> = credentials(&auths, image).into_iter().map(|a| a.username).collect();
            assert_eq!(users, expect, "{image}");
        };
        check("busybox:1", &["hub"]);
        check("reg.example.com/team/app:1", &["u2", "u1"]);
        check("reg.example.com/teams/app:1", &["u1"]);
        check("other.example.com/app:1", &[]);
    }
}
