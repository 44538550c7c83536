//! The verbs over HTTP: options, bodies and answers around the registry's stores
//! (rule: apiserver `pkg/endpoints/handlers`).

use crate::api::{Api, Incomings};
use crate::decode;
use crate::lists;
use crate::metrics::Subject;
use crate::negotiate::{self, Endpoint, Transform, Wanted};
use crate::options;
use crate::respond::{Reply, status_value};
use crate::routes::{Action, Route};
use crate::transform::{Include, View};
use crate::watch;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::Map;
use std::sync::Arc;
use std::time::Duration;
use steersman_apimachinery::options::FieldValidation;
use steersman_apimachinery::selector::FieldSelector;
use steersman_apimachinery::status::Reason;
use steersman_apimachinery::{GroupVersion, GroupVersionKind, Status, object};
use steersman_registry::{Context, DeletedBody, Found, List, PatchType, Store, Subresource, Virtual, gr};

const PATCHES: &[(&str, PatchType)] = &[
    ("application/json-patch+json", PatchType::Json),
    ("application/merge-patch+json", PatchType::Merge),
    ("application/strategic-merge-patch+json", PatchType::Strategic),
    ("application/apply-patch+yaml", PatchType::Apply),
];

/// Serves a request that the router has placed.
pub async fn serve(
    api: &Arc<Api>,
    request: &mut Incomings,
    ctx: &Context,
    route: Route,
    subject: &Subject,
) -> Result<Reply, Status> {
    let Route { found, sub, action, .. } = route;
    match found {
        Found::Virtual(v) => computed(api, request, ctx, v, action).await,
        Found::Stored(store) => {
            if let (Action::Connect, Some(sub)) = (action, sub) {
                return crate::connect::serve(api, request, ctx, &store, sub).await;
            }
            let verb = Verb { api, request, ctx, store: &store, sub, subject };
            match action {
                Action::Get => verb.get().await,
                Action::List => verb.list(false).await,
                Action::Watch => verb.list(true).await,
                Action::Create => verb.create().await,
                Action::Update => verb.update().await,
                Action::Patch => verb.patch().await,
                Action::Delete => verb.delete().await,
                Action::DeleteCollection => verb.delete_collection().await,
                Action::Connect => Err(negotiate::method_not_allowed()),
            }
        }
    }
}

/// The router's check of the content type of a patch.
pub fn check_patch_type(headers: &HeaderMap) -> Result<(), Status> {
    patch_type(headers).map(drop)
}

fn patch_type(headers: &HeaderMap) -> Result<PatchType, Status> {
    let given = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media = given.split(';').next().unwrap_or("").trim();
    let found = PATCHES.iter().find(|p| p.0 == media);
    found
        .map(|p| p.1)
        .ok_or_else(|| negotiate::from_router(415, Reason::UnsupportedMediaType, "415: Unsupported Media Type"))
}

/// One verb on one stored resource or subresource.
struct Verb<'a> {
    api: &'a Arc<Api>,
    request: &'a mut Incomings,
    ctx: &'a Context,
    store: &'a Arc<Store>,
    sub: Option<&'static Subresource>,
    subject: &'a Subject,
}

impl Verb<'_> {
    fn wanted(&self, endpoint: Endpoint) -> Result<Wanted, Status> {
        negotiate::wanted(self.request.headers(), &self.request.query, endpoint)
    }
    fn view(&self) -> View<'static> {
        View::stored(self.store.strategy(), self.ctx.now)
    }
    /// The kind of the bodies of this resource or subresource.
    fn kind(&self) -> GroupVersionKind {
        let i = self.store.info();
        match self.sub.map(|s| s.kind) {
            Some((_, "", kind)) if !kind.is_empty() => GroupVersionKind::from_static(i.group, i.version, kind),
            Some((group, version, kind)) if !kind.is_empty() => GroupVersionKind::from_static(group, version, kind),
            _ => GroupVersionKind::from_static(i.group, i.version, i.kind),
        }
    }

    /// Further versions that bodies may have: upstream still takes evictions of policy/v1beta1.
    fn accepted(&self) -> &'static [GroupVersion] {
        const EVICTIONS: &[GroupVersion] = &[GroupVersion::from_static("policy", "v1beta1")];
        if self.sub.is_some_and(|s| s.kind.2 == "Eviction") { EVICTIONS } else { &[] }
    }

    async fn get(self) -> Result<Reply, Status> {
        let wanted = self.wanted(Endpoint::Resource)?;
        let o = options::get(&self.request.query);
        let (ns, name) = (&self.request.info.namespace, &self.request.info.name);
        let ns = if self.store.info().namespaced { ns.as_str() } else { "" };
        let object = match self.sub {
            None => self.store.get(self.ctx, ns, name, &o).await?,
            Some(sub) => self.store.get_subresource(self.ctx, sub, ns, name, &o).await?,
        };
        self.request.asked().object(200, &object, &wanted, &self.view())
    }

    async fn list(self, by_path: bool) -> Result<Reply, Status> {
        let query = &self.request.query;
        let plain = match self.wanted(Endpoint::Resource) {
            // Only watches know of `stream=watch`.
            Err(e) if by_path || query.flag("watch") => self.wanted(Endpoint::Watch).map_err(|_| e)?,
            other => other?,
        };
        let listing = options::list(query, &self.request.info.name, |f| self.store.check_fields(f))?;
        let mut o = listing.options;
        let ns = self.namespace();
        if !listing.watch && !by_path {
            let list = self.store.list(self.ctx, ns, &o).await?;
            return lists::reply(&self.request.asked(), list, &plain, self.view()).await;
        }
        if !self.store.info().verbs.contains(&"watch") {
            return Err(Status::method_not_supported(&gr(self.store.info()), "watch"));
        }
        if o.timeout_seconds.unwrap_or(0) == 0 {
            let least = self.api.config.min_request_timeout.max(Duration::from_secs(1));
            o.timeout_seconds = Some(least.mul_f64(1.0 + rand::random::<f64>()).as_secs() as i64);
        }
        let watch = self.store.watch(self.ctx, ns, &o).await?;
        let include = if plain.transform == Transform::Table { Include::parse(query)? } else { Include::Metadata };
        let wanted = self.wanted(Endpoint::Watch)?;
        let upgrade = crate::websocket::wanted(self.request.headers());
        let writer = watch::Writer::new(wanted, self.view(), include, self.empty(), upgrade);
        let i = self.store.info();
        let counted = watch::Counted {
            open: self.api.instruments.long_running(self.subject),
            events: self.api.instruments.watch_events(i.group, i.version, i.kind),
        };
        let closing = self.request.connection.closing.clone();
        let events = watch::stream(watch, writer, closing, counted);
        if upgrade {
            return crate::websocket::serve(self.request, events, wanted.format);
        }
        Ok(watch::reply(events, wanted.format))
    }

    /// What an empty object of the kind has besides its metadata.
    fn empty(&self) -> Map<String, serde_json::Value> {
        let kind = self.kind();
        let ty = steersman_schema::lookup(&kind.group, &kind.version, &kind.kind);
        let empty = ty.and_then(|t| steersman_codec::normalise(Map::new().into(), &t, FieldValidation::Ignore).ok());
        match empty {
            Some((serde_json::Value::Object(fields), _)) => fields,
            _ => Map::new(),
        }
    }

    fn namespace(&self) -> &str {
        if self.store.info().namespaced { &self.request.info.namespace } else { "" }
    }

    async fn create(self) -> Result<Reply, Status> {
        let wanted = self.wanted(Endpoint::Resource)?;
        let format = negotiate::body_format(self.request.headers())?;
        let body = decode::read(self.request).await?;
        let o = options::create(&self.request.query)?;
        let kind = self.kind();
        let object = decode::object(self.ctx, &body, format, &kind, self.accepted(), o.field_validation)?;
        drop(body);
        let Some(sub) = self.sub else {
            let object = self.store.create(self.ctx, self.namespace(), object, &o).await?;
            return self.request.asked().object(201, &object, &wanted, &self.view());
        };
        let mut made =
            self.store.create_subresource(self.ctx, sub, self.namespace(), &self.request.info.name, object, &o).await?;
        if made.get("kind").is_some_and(|k| k == "Status") && made.get("code").is_none() {
            made["code"] = 201.into();
        }
        self.request.asked().tree(201, made, &wanted, &self.view())
    }

    async fn update(self) -> Result<Reply, Status> {
        let wanted = self.wanted(Endpoint::Resource)?;
        let format = negotiate::body_format(self.request.headers())?;
        let body = decode::read(self.request).await?;
        let o = options::update(&self.request.query)?;
        let object = decode::object(self.ctx, &body, format, &self.kind(), self.accepted(), o.field_validation)?;
        drop(body);
        let name = &self.request.info.name;
        let (object, created) = self.store.update(self.ctx, self.sub, self.namespace(), name, object, &o).await?;
        self.request.asked().object(if created { 201 } else { 200 }, &object, &wanted, &self.view())
    }

    async fn patch(self) -> Result<Reply, Status> {
        let kind = patch_type(self.request.headers())?;
        let wanted = self.wanted(Endpoint::Resource)?;
        let body = decode::read(self.request).await?;
        let o = options::patch(&self.request.query, kind == PatchType::Apply)?;
        let name = &self.request.info.name;
        let (object, created) = self.store.patch(self.ctx, self.sub, self.namespace(), name, kind, body, &o).await?;
        self.request.asked().object(if created { 201 } else { 200 }, &object, &wanted, &self.view())
    }

    async fn delete(self) -> Result<Reply, Status> {
        let wanted = self.wanted(Endpoint::Resource)?;
        let body = decode::read(self.request).await?;
        let o = decode::delete_options(self.request, &body)?;
        let o = options::delete(&self.request.query, o.as_ref())?;
        let deleted = self.store.delete(self.ctx, self.namespace(), &self.request.info.name, o).await?;
        match deleted.body {
            DeletedBody::Object(object) => self.request.asked().object(deleted.code, &object, &wanted, &self.view()),
            DeletedBody::Status(s) => Ok(self.request.asked().value(deleted.code, &status_value(&s), &wanted)),
        }
    }

    async fn delete_collection(self) -> Result<Reply, Status> {
        let wanted = self.wanted(Endpoint::Resource)?;
        let body = decode::read(self.request).await?;
        let list = options::list(&self.request.query, "", |f| self.store.check_fields(f))?.options;
        let o = decode::delete_options(self.request, &body)?;
        let o = options::delete(&self.request.query, o.as_ref())?;
        let gone: List = self.store.delete_collection(self.ctx, self.namespace(), &list, o).await?;
        lists::reply(&self.request.asked(), gone, &wanted, self.view()).await
    }
}

/// Resources that are computed: reviews, component statuses, bindings.
async fn computed(
    api: &Arc<Api>,
    request: &mut Incomings,
    ctx: &Context,
    v: &'static dyn Virtual,
    action: Action,
) -> Result<Reply, Status> {
    let wanted = negotiate::wanted(request.headers(), &request.query, Endpoint::Resource)?;
    let view = View::of_virtual(v, ctx.now);
    let i = v.info();
    let cluster = api.registry.as_ref();
    match action {
        Action::Create => {
            let format = negotiate::body_format(request.headers())?;
            let body = decode::read(request).await?;
            let o = options::create(&request.query)?;
            let kind = GroupVersionKind::from_static(i.group, i.version, i.kind);
            let object = decode::object(ctx, &body, format, &kind, &[], o.field_validation)?;
            let mut made = v.create(ctx, cluster, &request.info.namespace, object, o.dry_run).await?;
            if made.get("kind").is_some_and(|k| k == "Status") && made.get("code").is_none() {
                made["code"] = 201.into();
            }
            request.asked().tree(201, made, &wanted, &view)
        }
        Action::Get => {
            let made = v.get(ctx, cluster, &request.info.namespace, &request.info.name).await?;
            request.asked().tree(200, made, &wanted, &view)
        }
        Action::List => {
            let asked = options::list(&request.query, &request.info.name, known_fields)?;
            if asked.watch {
                return Err(Status::method_not_supported(&gr(i), "watch"));
            }
            let mut items = v.list(ctx, cluster, &request.info.namespace).await?;
            let (labels, fields) = (&asked.options.label_selector, &asked.options.field_selector);
            items.retain(|o| {
                labels.matches_object(o) && fields.matches(|f| object::str(o, &f.split('.').collect::<Vec<_>>()))
            });
            request.asked().trees(items, &wanted, &view)
        }
        _ => Err(negotiate::method_not_allowed()),
    }
}

/// Refuses selectors on fields that computed objects do not offer.
fn known_fields(fields: &FieldSelector) -> Result<(), Status> {
    match fields.requirements().iter().find(|r| !matches!(r.field.as_str(), "metadata.name" | "metadata.namespace")) {
        None => Ok(()),
        Some(r) => Err(Status::bad_request(format!(
            "\"{}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            r.field
        ))),
    }
}
