//! Requests to the apiserver.

use std::{sync::Arc, time::Duration};

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use steersman_api::k8s_openapi::{
    Resource,
    api::{core::v1::Binding, policy::v1::Eviction},
};

use crate::{
    Config, DeleteOptions, Error, GetOptions, Identity, List, ListOptions, Object, ObjectKey, Patch, PatchOptions,
    Result, TokenSource, WatchStream, WriteOptions,
    object::{collection_path, escape},
    params::Query,
    transport::{Transport, WatchSlot},
};

/// How often a request is repeated when the server asks for it with Retry-After (rule: client-go `rest.Request`).
const MAX_RETRIES: u32 = 10;
const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// A client of one apiserver; cheap to clone, clones share connections.
///
/// Typed methods take the namespace first; it is empty for cluster-scoped types and, in lists, for all namespaces.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    /// Scheme, host, port and an optional path prefix, without a slash at the end.
    base: String,
    transport: Arc<Transport>,
    user_agent: HeaderValue,
}

impl Client {
    /// A client for `config`; connects on first use.
    pub fn new(mut config: Config) -> Result<Self> {
        let base = config.server.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        base.parse::<http::Uri>()
            .map_err(|error| Error::Config(format!("invalid server \"{}\": {error}", config.server)))?;
        if config.user_agent.is_empty() {
            let binary = std::env::args().next().unwrap_or_default();
            let name = binary.rsplit('/').next().unwrap_or_default();
            config.user_agent = format!("{name}/v1.36.2 ({}/{})", std::env::consts::OS, std::env::consts::ARCH);
        }
        let transport = Arc::new(Transport::new(&config, base.starts_with("https://"))?);
        Ok(Self { inner: Arc::new(Inner { user_agent: agent(&config.user_agent)?, config, base, transport }) })
    }

    /// The configuration that this client was made from.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The same client, sharing connections, under another User-Agent.
    pub fn with_user_agent(&self, user_agent: &str) -> Result<Self> {
        let config = Config { user_agent: user_agent.to_owned(), ..self.inner.config.clone() };
        Ok(self.sharing(config, agent(user_agent)?))
    }

    /// The same client, sharing connections, with another bearer token. A client certificate would win over it: see
    /// [`Client::anonymous`].
    pub fn with_token(&self, token: TokenSource) -> Self {
        let config = Config { token: Some(token), ..self.inner.config.clone() };
        self.sharing(config, self.inner.user_agent.clone())
    }

    /// A client of the same server, with connections of its own that carry no credentials.
    pub fn anonymous(&self) -> Result<Self> {
        Self::new(Config { identity: None, token: None, basic: None, ..self.inner.config.clone() })
    }

    /// A client of the same server with a new client certificate, for rotation.
    pub fn with_identity(&self, identity: Identity) -> Result<Self> {
        Self::new(Config { identity: Some(identity), ..self.inner.config.clone() })
    }

    fn sharing(&self, config: Config, user_agent: HeaderValue) -> Self {
        let (base, transport) = (self.inner.base.clone(), self.inner.transport.clone());
        Self { inner: Arc::new(Inner { config, base, transport, user_agent }) }
    }

    // ---- typed requests

    /// Reads one object, at its newest state.
    pub async fn get<K: Object>(&self, namespace: &str, name: &str) -> Result<K> {
        self.get_with(namespace, name, &GetOptions::default()).await
    }

    /// Reads one object.
    pub async fn get_with<K: Object>(&self, namespace: &str, name: &str, options: &GetOptions) -> Result<K> {
        let mut query = Query::default();
        query.add("resourceVersion", &options.resource_version);
        self.json(Method::GET, &object_path::<K>(namespace, name, ""), &query.into_string(), None).await
    }

    /// Reads one object, `None` if it is not there.
    pub async fn get_opt<K: Object>(&self, namespace: &str, name: &str) -> Result<Option<K>> {
        match self.get(namespace, name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists objects: one page if the options set a limit.
    pub async fn list<K: Object>(&self, namespace: &str, options: &ListOptions) -> Result<List<K>> {
        self.json(Method::GET, &type_path::<K>(namespace), &options.query(false), None).await
    }

    /// Creates an object; its name may be left to `generateName`.
    pub async fn create<K: Object>(&self, namespace: &str, object: &K) -> Result<K> {
        self.create_with(namespace, object, &WriteOptions::default()).await
    }

    /// Creates an object.
    pub async fn create_with<K: Object>(&self, namespace: &str, object: &K, options: &WriteOptions) -> Result<K> {
        self.json(Method::POST, &type_path::<K>(namespace), &options.query(), Some(encode(object)?)).await
    }

    /// Replaces an object; with its resource version set, only if it has not changed since.
    pub async fn update<K: Object>(&self, object: &K) -> Result<K> {
        self.update_with(object, "", &WriteOptions::default()).await
    }

    /// Replaces the status of an object.
    pub async fn update_status<K: Object>(&self, object: &K) -> Result<K> {
        self.update_with(object, "status", &WriteOptions::default()).await
    }

    /// Replaces an object or, if `subresource` is not empty, its subresource of the same type.
    pub async fn update_with<K: Object>(&self, object: &K, subresource: &str, options: &WriteOptions) -> Result<K> {
        let path = object_path::<K>(object.namespace(), object.name(), subresource);
        self.json(Method::PUT, &path, &options.query(), Some(encode(object)?)).await
    }

    /// Patches an object.
    pub async fn patch<K: Object>(&self, namespace: &str, name: &str, patch: &Patch) -> Result<K> {
        self.patch_with(namespace, name, "", patch, &PatchOptions::default()).await
    }

    /// Patches the status of an object.
    pub async fn patch_status<K: Object>(&self, namespace: &str, name: &str, patch: &Patch) -> Result<K> {
        self.patch_with(namespace, name, "status", patch, &PatchOptions::default()).await
    }

    /// Patches an object or, if `subresource` is not empty, its subresource of the same type.
    pub async fn patch_with<K: Object>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Result<K> {
        let path = object_path::<K>(namespace, name, subresource);
        decode(&self.patch_raw(&path, &options.query(), patch).await?)
    }

    /// Server-side apply of a partial object under `field_manager`.
    pub async fn apply<K: Object>(
        &self,
        namespace: &str,
        name: &str,
        object: Value,
        field_manager: &str,
        force: bool,
    ) -> Result<K> {
        let options = PatchOptions { field_manager: field_manager.to_owned(), force, dry_run: false };
        self.patch_with(namespace, name, "", &Patch::Apply(object), &options).await
    }

    /// Begins the deletion of an object.
    pub async fn delete<K: Object>(&self, namespace: &str, name: &str, options: &DeleteOptions) -> Result<()> {
        let body = encode(&options.body())?;
        self.bytes(Method::DELETE, &object_path::<K>(namespace, name, ""), "", JSON, Some((JSON, body))).await?;
        Ok(())
    }

    /// Begins the deletion of all selected objects of a namespace.
    pub async fn delete_collection<K: Object>(
        &self,
        namespace: &str,
        select: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<()> {
        let body = encode(&options.body())?;
        self.bytes(Method::DELETE, &type_path::<K>(namespace), &select.query(false), JSON, Some((JSON, body))).await?;
        Ok(())
    }

    /// Creates at a subresource whose type may differ from the object's: `token`, `scale`, `approval` and the like.
    pub async fn create_subresource<K: Object, B: Serialize, R: DeserializeOwned>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        body: &B,
    ) -> Result<R> {
        let path = object_path::<K>(namespace, name, subresource);
        self.json(Method::POST, &path, "", Some(encode(body)?)).await
    }

    /// Reads a subresource.
    pub async fn get_subresource<K: Object, R: DeserializeOwned>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
    ) -> Result<R> {
        self.json(Method::GET, &object_path::<K>(namespace, name, subresource), "", None).await
    }

    /// Binds a pod to the node named in the binding.
    pub async fn bind(&self, binding: &Binding) -> Result<()> {
        let (namespace, name) = (binding.namespace(), binding.name());
        let path = format!("{}/{}/binding", collection_path("", "v1", "pods", namespace), escape(name));
        self.bytes(Method::POST, &path, "", JSON, Some((JSON, encode(binding)?))).await?;
        Ok(())
    }

    /// Asks to evict a pod; fails with 429 while a disruption budget forbids it.
    pub async fn evict(&self, eviction: &Eviction) -> Result<()> {
        let (namespace, name) = (eviction.namespace(), eviction.name());
        let path = format!("{}/{}/eviction", collection_path("", "v1", "pods", namespace), escape(name));
        self.bytes(Method::POST, &path, "", JSON, Some((JSON, encode(eviction)?))).await?;
        Ok(())
    }

    /// Watches objects from `options.resource_version` on.
    pub async fn watch<K: Object>(&self, namespace: &str, options: &ListOptions) -> Result<WatchStream<K>> {
        self.watch_path(&type_path::<K>(namespace), false, options).await
    }

    // ---- requests by path

    /// Watches the collection at `path`; with `metadata`, the server sends only the objects' metadata.
    pub async fn watch_path<K: DeserializeOwned>(
        &self,
        path: &str,
        metadata: bool,
        options: &ListOptions,
    ) -> Result<WatchStream<K>> {
        let accept = if metadata { METADATA } else { JSON };
        let request = self.build(&Method::GET, path, &options.query(true), accept, None)?;
        let (answer, slot): (_, WatchSlot) = self.inner.transport.send_watch(request);
        let response = answer.await?;
        if response.status().is_success() {
            return Ok(WatchStream::new(response.into_body(), slot));
        }
        let code = response.status().as_u16();
        Err(Error::api(code, &read(response).await?))
    }

    /// Lists the collection at `path`; with `metadata`, the server sends only the objects' metadata.
    pub async fn list_path<K: DeserializeOwned>(
        &self,
        path: &str,
        metadata: bool,
        options: &ListOptions,
    ) -> Result<List<K>> {
        let accept = if metadata { METADATA_LIST } else { JSON };
        decode(&self.bytes(Method::GET, path, &options.query(false), accept, None).await?)
    }

    /// Reads the metadata of the object at `path`.
    pub async fn get_metadata_path<K: DeserializeOwned>(&self, path: &str) -> Result<K> {
        decode(&self.bytes(Method::GET, path, "", METADATA, None).await?)
    }

    /// Deletes the object or the collection at `path`.
    pub async fn delete_path(&self, path: &str, options: &DeleteOptions) -> Result<()> {
        let body = encode(&options.body())?;
        self.bytes(Method::DELETE, path, "", JSON, Some((JSON, body))).await?;
        Ok(())
    }

    /// Patches the object at `path` and returns the answer as bytes.
    pub async fn patch_raw(&self, path: &str, query: &str, patch: &Patch) -> Result<Bytes> {
        let body = encode(patch.value())?;
        self.bytes(Method::PATCH, path, query, JSON, Some((patch.content_type(), body))).await
    }

    /// Any request with a JSON body, or none, and a JSON answer.
    pub async fn json<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<Bytes>,
    ) -> Result<R> {
        decode(&self.bytes(method, path, query, JSON, body.map(|body| (JSON, body))).await?)
    }

    /// Any request: `accept` is the Accept header, `body` a content type and bytes. Follows Retry-After.
    pub async fn bytes(
        &self,
        method: Method,
        path: &str,
        query: &str,
        accept: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Bytes> {
        let mut attempt = 0;
        loop {
            let request = self.build(&method, path, query, accept, body.clone())?;
            let response = self.inner.transport.send(request).await?;
            let status = response.status();
            if status.is_success() {
                return read(response).await;
            }
            let delay = retry_after(&response).filter(|_| attempt < MAX_RETRIES && path_may_retry(path, status));
            let bytes = read(response).await?;
            let Some(delay) = delay else { return Err(Error::api(status.as_u16(), &bytes)) };
            attempt += 1;
            tokio::time::sleep(delay).await;
        }
    }

    /// Any request, its answer unread: for streams such as logs. Does not retry.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        self.inner.transport.send(request).await
    }

    /// A request with this client's base URL, credentials and User-Agent.
    pub fn build(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        accept: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Request<Full<Bytes>>> {
        let inner = &*self.inner;
        let separator = if query.is_empty() { "" } else { "?" };
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("{}{path}{separator}{query}", inner.base))
            .header(header::ACCEPT, accept)
            .header(header::USER_AGENT, &inner.user_agent);
        if let Some(value) = authorization(&inner.config)? {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        let body = match body {
            Some((content_type, bytes)) => {
                builder = builder.header(header::CONTENT_TYPE, content_type);
                bytes
            }
            None => Bytes::new(),
        };
        builder.body(Full::new(body)).map_err(|error| Error::Config(format!("invalid request: {error}")))
    }
}

/// The path of the object `key` of type `K`.
pub(crate) fn type_path<K: Resource>(namespace: &str) -> String {
    collection_path(K::GROUP, K::VERSION, K::URL_PATH_SEGMENT, namespace)
}

fn object_path<K: Resource>(namespace: &str, name: &str, subresource: &str) -> String {
    let collection = type_path::<K>(namespace);
    let separator = if subresource.is_empty() { "" } else { "/" };
    format!("{collection}/{}{separator}{subresource}", escape(name))
}

fn authorization(config: &Config) -> Result<Option<HeaderValue>> {
    let text = if let Some(token) = &config.token {
        let token = token.get()?;
        if token.is_empty() {
            return Ok(None);
        }
        format!("Bearer {token}")
    } else if let Some((user, password)) = &config.basic {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    } else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| Error::Config("the token is not printable".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn agent(user_agent: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(user_agent).map_err(|_| Error::Config(format!("invalid user agent {user_agent:?}")))
}

/// Evictions are refused with Retry-After on purpose: their caller decides when to try again.
fn path_may_retry(path: &str, status: StatusCode) -> bool {
    (status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()) && !path.ends_with("/eviction")
}

fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn read(response: Response<Incoming>) -> Result<Bytes> {
    let body = response.into_body().collect().await.map_err(|error| Error::Transport(error.to_string()))?;
    Ok(body.to_bytes())
}

fn encode<T: Serialize>(object: &T) -> Result<Bytes> {
    Ok(Bytes::from(serde_json::to_vec(object)?))
}

fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R> {
    Ok(serde_json::from_slice(bytes)?)
}

impl ObjectKey {
    /// The URL path of the object of type `K` with this key.
    pub fn path<K: Resource>(&self) -> String {
        object_path::<K>(self.namespace(), self.name(), "")
    }
}
