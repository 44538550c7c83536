//! `secrets` (rule: `pkg/registry/core/secret`).

use super::configmaps::{MAX_SIZE, check_immutable, decoded_len};
use super::{columns, tls_secrets};
use crate::common::{age_cell, default_str};
use crate::fields::Fields;
use crate::namespaced;
use crate::shared::print;
use crate::shared::rules::known_finalizers;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use steersman_apimachinery::{ErrorList, Path, object, validation};
use steersman_registry::{Column, Context, ResourceInfo, Strategy};

static INFO: ResourceInfo = namespaced("", "v1", "secrets", "secret", "Secret");

const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.name";

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    known_finalizers(&mut e, obj);
    let data = Path::new("data");
    let mut total = 0;
    for (key, value) in obj.entries("data") {
        crate::checks::invalid_each(&mut e, &data.key(key), key, validation::config_map_key(key));
        total += value.as_str().map_or(0, decoded_len);
    }
    if total > MAX_SIZE {
        e.too_long(&data, MAX_SIZE);
    }
    let absent = |key: &str| obj.at("data").opt_s(key).is_none();
    match obj.s("type") {
        "kubernetes.io/service-account-token" if object::annotation(obj, SERVICE_ACCOUNT).is_none_or(str::is_empty) => {
            e.required(&Path::new("metadata").child("annotations").key(SERVICE_ACCOUNT), "");
        }
        "kubernetes.io/dockercfg" => check_json(&mut e, obj, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => check_json(&mut e, obj, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if absent("username") && absent("password") => {
            e.required(&data.key("username"), "");
            e.required(&data.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if obj.at("data").s("ssh-privatekey").is_empty() => {
            e.required(&data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if absent(key) {
                    e.required(&data.key(key), "");
                }
            }
        }
        _ => {}
    }
    e
}

fn check_json(e: &mut ErrorList, obj: &Value, key: &str) {
    let path = Path::new("data").key(key);
    let Some(text) = obj.at("data").opt_s(key) else {
        e.required(&path, "");
        return;
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let why = match steersman_codec::check_json(&bytes) {
        Ok(()) => match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(_) | Value::Null) | Err(_) => return,
            Ok(other) => {
                format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", go_kind(&other))
            }
        },
        Err(why) => why,
    };
    e.invalid(&path, "<secret contents redacted>", why);
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        _ => "number",
    }
}

/// The strategy of `secrets`.
pub struct Secrets;

impl Strategy for Secrets {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn default(&self, obj: &mut Value) {
        default_str(obj, &["type"], "Opaque");
        // What comes as text is kept encoded, and wins over what comes encoded (rule: `Convert_v1_Secret_To_core_Secret`).
        if let Some(Value::Object(text)) = object::remove(obj, &["stringData"]) {
            let data = object::entry(obj, &["data"]);
            for (key, value) in text {
                data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
            }
        }
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        if new.s("type").is_empty() {
            object::set(new, &["type"], old.s("type"));
        }
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, old: &Value) -> ErrorList {
        let mut e = ErrorList::new();
        known_finalizers(&mut e, new);
        crate::checks::immutable(&mut e, &Path::new("type"), new.at("type"), old.at("type"));
        check_immutable(&mut e, new, old, &["data"]);
        e.extend(check(new));
        e
    }
    fn warn_on_create(&self, ctx: &Context, obj: &Value) {
        warn_about_tls(ctx, obj);
    }
    fn warn_on_update(&self, ctx: &Context, new: &Value, _old: &Value) {
        warn_about_tls(ctx, new);
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }
    fn selectable_field(&self, obj: &Value, _field: &str) -> String {
        obj.s("type").to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        columns::SECRETS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        vec![print::name(obj), obj.s("type").into(), obj.entries("data").len().into(), age_cell(obj, now)]
    }
}

/// A key pair that does not fit is stored, but said (rule: `pkg/api/secret/warnings.go`).
fn warn_about_tls(ctx: &Context, obj: &Value) {
    if obj.s("type") != "kubernetes.io/tls" {
        return;
    }
    let part = |key: &str| STANDARD.decode(obj.at("data").s(key)).unwrap_or_default();
    if let Some(problem) = tls_secrets::problem(&part("tls.crt"), &part("tls.key")) {
        ctx.warn(problem);
    }
}
