//! What all requests share, and the way of a request through the filters in upstream's order
//! (rule: apiserver `pkg/server/config.go`, `DefaultBuildHandlerChain`).

use crate::body::Body;
use crate::config::Config;
use crate::connect::Kubelets;
use crate::discovery::Discovery;
use crate::inflight::Inflight;
use crate::metrics::{Instruments, Subject};
use crate::query::{self, Query};
use crate::request_info::RequestInfo;
use crate::respond::{self, Asked, Reply};
use crate::server::Connection;
use crate::{authn, authz, handlers, impersonate, negotiate, nonresource, routes, warnings};
use futures::FutureExt;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use http_body::Body as _;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use steersman_admission::cluster::TokenIssuer;
use steersman_apimachinery::Status;
use steersman_auth::Authorizer;
use steersman_auth::authenticate::Authenticators;
use steersman_component::health::Health;
use steersman_component::metrics::Metrics;
use steersman_pki::token::Verifier;
use steersman_registry::{Context, Registry};
use uuid::Uuid;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const PRIVILEGED: &str = "system:masters";

/// What all requests share.
pub struct Api {
    /// When the server began.
    pub started: jiff::Timestamp,
    /// The settings.
    pub config: Config,
    /// The resources.
    pub registry: Arc<Registry>,
    /// The documents about them.
    pub discovery: Discovery,
    /// Who asks.
    pub authenticators: Arc<Authenticators>,
    /// Whether they may.
    pub authorizer: Arc<dyn Authorizer>,
    /// Public keys of service-account tokens.
    pub verifier: Option<Verifier>,
    /// Signs service-account tokens.
    pub issuer: Option<Arc<dyn TokenIssuer>>,
    /// Limits of requests at once.
    pub inflight: Inflight,
    /// What is counted.
    pub instruments: Instruments,
    /// All metrics.
    pub metrics: Metrics,
    /// All checks.
    pub health: Health,
    /// The way to kubelets, pods and services.
    pub kubelets: Kubelets,
    /// OpenAPI documents.
    pub openapi: steersman_openapi::OpenApi,
    /// Set when the server is going down.
    pub going_down: Arc<AtomicBool>,
}

/// A request after its head was read.
pub struct Incomings {
    /// Method, target, headers.
    pub parts: Parts,
    /// The query.
    pub query: Query,
    /// What it means.
    pub info: RequestInfo,
    /// The body, until someone takes it.
    pub body: Option<Incoming>,
    /// Where it came in.
    pub connection: Arc<Connection>,
}

impl Incomings {
    /// What decides how it is answered.
    pub fn asked(&self) -> Asked<'_> {
        Asked { headers: &self.parts.headers, query: &self.query }
    }
    /// The request's.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }
}

/// What was learnt of a request on its way, for headers and metrics.
#[derive(Default)]
pub struct Learnt {
    /// What it was about.
    pub subject: Subject,
    /// Whether nothing was to be stored.
    pub dry_run: bool,
    /// For the `Warning` headers.
    pub warnings: Vec<String>,
}

impl Api {
    /// Answers a request. Never fails: whatever goes wrong becomes an answer.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, connection: Arc<Connection>) -> Reply {
        let started = Instant::now();
        let audit_id = audit_id(request.headers());
        let mut learnt = Learnt::default();
        let answered = AssertUnwindSafe(self.filtered(request, connection, &mut learnt)).catch_unwind().await;
        let mut reply = answered.unwrap_or_else(|_| {
            self.instruments.panicked();
            respond::text(500, "This request caused apiserver to panic. Look in the logs for details.\n")
        });
        let headers = reply.headers_mut();
        headers.insert(AUDIT_ID, audit_id);
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        if let Some(hsts) = self.config.hsts.as_deref().and_then(|h| HeaderValue::from_str(h).ok()) {
            headers.insert(http::header::STRICT_TRANSPORT_SECURITY, hsts);
        }
        warnings::add(headers, &learnt.warnings);
        if learnt.subject.verb.is_empty() {
            learnt.subject.verb = "OTHER";
        }
        let size = reply.body().size_hint().exact();
        self.instruments.answered(&learnt.subject, learnt.dry_run, reply.status().as_u16(), started.elapsed(), size);
        reply
    }

    async fn filtered(
        self: &Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
        learnt: &mut Learnt,
    ) -> Reply {
        let (parts, body) = request.into_parts();
        let target = parts.uri.path();
        if !query::well_escaped(target) {
            return respond::text(400, "400 Bad Request");
        }
        let Ok(path) = percent_decode_str(target).decode_utf8() else {
            return respond::text(400, "400 Bad Request");
        };
        if path.contains('\0') {
            return respond::text(400, "400 Bad Request");
        }
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let info = RequestInfo::new(&parts.method, &path, &query);
        if info.malformed {
            return respond::internal_error(&parts.uri, &info.failure());
        }
        let mut request = Incomings { parts, query, info, body: Some(body), connection };
        if self.going_down.load(Ordering::Relaxed) && self.config.shutdown_retry_after {
            let mut reply = respond::text(429, "The apiserver is shutting down, please try again later.\n");
            reply.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("5"));
            return reply;
        }
        self.maybe_go_away(&request);
        if let Some(preflight) = crate::cors::preflight(&self.config, &request) {
            return preflight;
        }
        let mut reply = if request.info.long_running() {
            match self.within(&mut request, learnt).await {
                Ok(reply) => reply,
                Err(e) => request.asked().status(&e),
            }
        } else {
            match self.deadline(&request) {
                Err(e) => request.asked().status(&e),
                Ok(limit) => match tokio::time::timeout(limit, self.within(&mut request, learnt)).await {
                    Ok(Ok(reply)) => reply,
                    Ok(Err(e)) => request.asked().status(&e),
                    Err(_) => {
                        self.instruments.terminated(&learnt.subject, 504);
                        let mut late = Status::timeout("request did not complete within the allotted timeout", 0);
                        late.details.get_or_insert_default();
                        request.asked().status(&late)
                    }
                },
            }
        };
        crate::cors::allow(&self.config, &request, &mut reply);
        reply
    }

    /// Authentication, impersonation, limits, authorisation, and then the handler.
    async fn within(self: &Arc<Self>, request: &mut Incomings, learnt: &mut Learnt) -> Result<Reply, Status> {
        let headers = &request.parts.headers;
        let Some(user) = authn::authenticate(&self.authenticators, &request.connection, headers) else {
            return Err(Status::unauthorized());
        };
        let user = if impersonate::asked(headers) {
            impersonate::impersonate(user, headers, &request.info, &*self.authorizer).await?
        } else {
            user
        };
        let _permit = if request.info.long_running() {
            None
        } else {
            let mutating = !matches!(request.info.verb.as_str(), "get" | "list" | "watch" | "head" | "options");
            match self.inflight.enter(mutating) {
                Some(permit) => Some(permit),
                None if user.groups.iter().any(|g| g == PRIVILEGED) => None,
                None => {
                    self.instruments.terminated(&learnt.subject, 429);
                    let mut reply = respond::text(429, "Too many requests, please try again later.\n");
                    reply.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
                    return Ok(reply);
                }
            }
        };
        authz::authorize(&user, &request.info, &*self.authorizer).await?;
        let mut context = Context::new(user);
        context.verb.clone_from(&request.info.verb);
        if let Some(agent) = request.parts.headers.get(USER_AGENT) {
            context.user_agent = String::from_utf8_lossy(agent.as_bytes()).into_owned();
        }
        let answered = self.serve(request, &context, learnt).await;
        learnt.warnings = context.warnings();
        answered
    }

    async fn serve(
        self: &Arc<Self>,
        request: &mut Incomings,
        context: &Context,
        learnt: &mut Learnt,
    ) -> Result<Reply, Status> {
        if !request.info.is_resource || !self.is_served(&request.info) {
            return nonresource::serve(self, request, context).await;
        }
        let route = routes::find(&self.registry, &request.info, &request.parts.method)?;
        learnt.subject = route.subject(&request.info);
        learnt.dry_run = request.query.first("dryRun").is_some();
        if warnings::of_deprecated(context, route.info()) {
            self.instruments.asked_for_deprecated(&learnt.subject);
        }
        if request.parts.method == Method::PATCH && route.action == routes::Action::Patch {
            handlers::check_patch_type(&request.parts.headers)?;
        }
        negotiate::route_accepts(&request.parts.headers, &request.parts.method, route.produces)?;
        handlers::serve(self, request, context, route, &learnt.subject).await
    }

    /// Whether the API answers below a path, or nobody does (`404 page not found`).
    fn is_served(&self, info: &RequestInfo) -> bool {
        info.prefix == "api" || self.discovery.group.contains_key(&info.group)
    }

    /// `--request-timeout`, or less where `?timeout=` says so.
    fn deadline(&self, request: &Incomings) -> Result<Duration, Status> {
        let most = self.config.request_timeout;
        match request.query.first("timeout") {
            None | Some("") => Ok(most),
            Some(text) => match steersman_codec::time::parse_duration(text) {
                Err(why) => Err(Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))),
                // Nothing, or less, is as good as none.
                Ok(nanos) => {
                    Ok(u64::try_from(nanos).ok().filter(|n| *n > 0).map_or(most, |n| Duration::from_nanos(n).min(most)))
                }
            },
        }
    }

    fn maybe_go_away(&self, request: &Incomings) {
        let chance = self.config.goaway_chance;
        if chance > 0.0 && request.parts.version == http::Version::HTTP_2 && rand::random::<f64>() < chance {
            request.connection.go_away.notify_one();
        }
    }
}

/// The client's id for the audit log, or a new one.
fn audit_id(headers: &HeaderMap) -> HeaderValue {
    headers.get(AUDIT_ID).filter(|v| !v.is_empty()).cloned().unwrap_or_else(|| {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        HeaderValue::from_str(Uuid::hyphenated(id).encode_lower(&mut text)).unwrap_or(HeaderValue::from_static(""))
    })
}

/// An answer without a body.
pub fn empty(code: u16) -> Reply {
    let mut reply = Reply::new(Body::empty());
    *reply.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    reply
}
