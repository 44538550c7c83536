//! `serviceaccounts/token`: tokens that are bound to an audience, a time and maybe an object
//! (rule: `pkg/registry/core/serviceaccount/storage/token.go`, `pkg/serviceaccount/claims.go`).

use crate::common::default_value;
use crate::fields::Fields;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::{ErrorList, GroupResource, Path, Reason, Status, object};
use steersman_registry::{Cluster, Context, CreateSubresource};

/// Tokens of pods ask for this many seconds; such a token lives on for [`EXTENDED`] while its use is only warned of.
const WARN_ONLY: i64 = 3607;
const EXTENDED: i64 = 24 * 365 * 3600;
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;

const KIND: GroupKind = GroupKind::from_static("authentication.k8s.io", "TokenRequest");

/// The subresource.
pub(super) struct Tokens;

/// What a token is bound to.
#[derive(Default)]
struct Bound {
    pod: Option<Value>,
    node: Option<Value>,
    secret: Option<Value>,
}

/// A reference to an object in the claims.
fn reference(obj: &Value) -> Value {
    let mut m = Map::new();
    m.insert("name".into(), object::name(obj).into());
    if !object::uid(obj).is_empty() {
        m.insert("uid".into(), object::uid(obj).into());
    }
    Value::Object(m)
}

fn check(spec: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let path = Path::new("spec").child("expirationSeconds");
    let seconds = spec.int("expirationSeconds").unwrap_or(0);
    if seconds < SHORTEST {
        e.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > LONGEST {
        e.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    e
}

async fn bind(cluster: &dyn Cluster, namespace: &str, account: &str, target: &Value) -> Result<Bound, Status> {
    let (api_version, kind, name) = (target.s("apiVersion"), target.s("kind"), target.s("name"));
    // What is no version of a group counts as none (rule: `schema.FromAPIVersionAndKind`).
    let (group, version) = match api_version.split_once('/') {
        None => ("", api_version),
        Some((_, version)) if version.contains('/') => ("", ""),
        Some(parts) => parts,
    };
    let mut bound = Bound::default();
    let uid = match (group, kind) {
        ("", "Pod") => {
            let pod = cluster.get_live("", "pods", namespace, name).await?;
            if pod.at("spec").s("serviceAccountName") != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount \"{account}\" to pod running with different serviceaccount name."
                )));
            }
            let node = pod.at("spec").s("nodeName");
            if !node.is_empty() {
                bound.node = Some(match cluster.get_live("", "nodes", "", node).await {
                    Ok(n) => n,
                    Err(s) if s.reason == Reason::NotFound => json!({"metadata": {"name": node}}),
                    Err(s) => return Err(Status::internal(s)),
                });
            }
            let uid = object::uid(&pod).to_owned();
            bound.pod = Some(pod);
            uid
        }
        ("", "Node") => {
            let node = cluster.get_live("", "nodes", "", name).await?;
            let uid = object::uid(&node).to_owned();
            bound.node = Some(node);
            uid
        }
        ("", "Secret") => {
            let secret = cluster.get_live("", "secrets", namespace, name).await?;
            let uid = object::uid(&secret).to_owned();
            bound.secret = Some(secret);
            uid
        }
        _ => {
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    let wanted = target.s("uid");
    if !wanted.is_empty() && wanted != uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&GroupResource::new(group.to_owned(), kind.to_owned()), name, why));
    }
    Ok(bound)
}

fn claims(
    issuer: &str,
    account: &Value,
    bound: &Bound,
    audiences: &Value,
    now: i64,
    lifetime: i64,
    warn_after: i64,
) -> Value {
    let (namespace, name) = (object::namespace(account), object::name(account));
    let mut private = Map::new();
    private.insert("namespace".into(), namespace.into());
    private.insert("serviceaccount".into(), reference(account));
    for (key, obj) in [("pod", &bound.pod), ("node", &bound.node), ("secret", &bound.secret)] {
        if let Some(obj) = obj {
            private.insert(key.into(), reference(obj));
        }
    }
    if warn_after != 0 {
        private.insert("warnafter".into(), (now + warn_after).into());
    }
    json!({
        "aud": audiences,
        "exp": now + lifetime,
        "iat": now,
        "iss": issuer,
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": private,
        "nbf": now,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    })
}

#[async_trait]
impl CreateSubresource for Tokens {
    async fn create(
        &self,
        ctx: &Context,
        cluster: &dyn Cluster,
        namespace: &str,
        name: &str,
        mut body: Value,
        _dry_run: bool,
    ) -> Result<Value, Status> {
        default_value(&mut body, &["spec", "expirationSeconds"], 3600);
        for (field, given, want) in
            [("name", object::name(&body), name), ("namespace", object::namespace(&body), namespace)]
        {
            if !given.is_empty() && given != want {
                let mut e = ErrorList::new();
                let why = format!("must match the service account {field} if specified");
                e.invalid(&Path::new("metadata").child(field), given, why);
                return Err(Status::invalid(&KIND, name, &e));
            }
        }
        let account = cluster.get_live("", "serviceaccounts", namespace, name).await?;
        let config = cluster.config();
        if !body.at("spec").has("audiences") {
            object::set(&mut body, &["spec", "audiences"], json!(config.api_audiences));
        }
        object::set(&mut body, &["metadata", "name"], name);
        object::set(&mut body, &["metadata", "namespace"], namespace);
        object::set(&mut body, &["metadata", "creationTimestamp"], time(ctx.now.as_second()));
        object::set(&mut body, &["metadata", "uid"], object::uid(&account));
        let errors = check(body.at("spec"));
        if !errors.is_empty() {
            return Err(Status::invalid(&KIND, "", &errors));
        }
        let bound = match body.at("spec").sub("boundObjectRef") {
            Some(target) => bind(cluster, namespace, name, target).await?,
            None => Bound::default(),
        };
        let mut seconds = body.at("spec").int("expirationSeconds").unwrap_or(3600);
        let longest = i64::try_from(config.max_token_expiration).unwrap_or(i64::MAX);
        if longest > 0 && seconds > longest {
            ctx.warn(format!("requested expiration of {seconds} seconds shortened to {longest} seconds"));
            seconds = longest;
            object::set(&mut body, &["spec", "expirationSeconds"], seconds);
        }
        let audiences = body.at("spec").at("audiences").clone();
        let ours = body.at("spec").strings("audiences").iter().all(|a| config.api_audiences.iter().any(|x| x == a));
        let (mut lifetime, mut warn_after) = (seconds, 0);
        if bound.pod.is_some() && seconds == WARN_ONLY && ours {
            warn_after = seconds;
            lifetime = EXTENDED;
        }
        let Some(issuer) = cluster.token_issuer() else {
            return Err(Status::failure(404, Reason::NotFound, "the server could not find the requested resource"));
        };
        let iss = config.issuers.first().map(String::as_str).unwrap_or_default();
        let now = ctx.now.as_second();
        let token = issuer.sign(&claims(iss, &account, &bound, &audiences, now, lifetime, warn_after))?;
        object::set(&mut body, &["status"], json!({"token": token, "expirationTimestamp": time(now + seconds)}));
        if body.at("spec").sub("boundObjectRef").is_none() {
            object::set(&mut body, &["spec", "boundObjectRef"], Value::Null);
        }
        Ok(body)
    }
}

/// Seconds since 1970 as upstream writes times.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_name_what_the_token_is_bound_to() {
        let account = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}});
        let bound = Bound { pod: Some(json!({"metadata": {"name": "p", "uid": "v"}})), ..Bound::default() };
        let mut c = claims("iss", &account, &bound, &json!(["x"]), 100, 50, 7);
        assert!(c.as_object_mut().and_then(|m| m.remove("jti")).is_some());
        let want = json!({
            "aud": ["x"], "exp": 150, "iat": 100, "iss": "iss", "nbf": 100, "sub": "system:serviceaccount:n:a",
            "kubernetes.io": {
                "namespace": "n", "pod": {"name": "p", "uid": "v"}, "serviceaccount": {"name": "a", "uid": "u"}, "warnafter": 107,
            },
        });
        assert_eq!(c, want);
    }
}
