//! `prioritylevelconfigurations` (rule: `pkg/registry/flowcontrol/prioritylevelconfiguration`,
//! `pkg/apis/flowcontrol/validation`).

use super::flowschemas::status;
use super::{GROUP, columns};
use crate::common::{
    age_cell, carry_over, default_value, first_generation, keep_metadata, next_generation, object_subresource, same,
};
use crate::fields::Fields;
use crate::shared::internal::{Field, Show, Type};
use crate::shared::print;
use crate::{checks, cluster_scoped};
use serde_json::{Value, json};
use steersman_apimachinery::{ErrorList, Path, object};
use steersman_registry::{Column, Context, ResourceInfo, Strategy, Subresource};

static INFO: ResourceInfo = cluster_scoped(
    GROUP,
    "v1",
    "prioritylevelconfigurations",
    "prioritylevelconfiguration",
    "PriorityLevelConfiguration",
);

const MOST_QUEUES: i64 = 10_000_000;
/// The bits of the hash that hands of queues are dealt by.
const HASH_BITS: i64 = 60;

const QUEUING: &[Field] =
    &[Field("queues", Type::Int), Field("handSize", Type::Int), Field("queueLengthLimit", Type::Int)];
const LIMITED: &[Field] = &[
    Field("nominalConcurrencyShares", Type::Int),
    Field("limitResponse", Type::Struct(&[Field("type", Type::Text), Field("queuing", Type::Pointer(QUEUING))])),
    Field("lendablePercent", Type::Plain),
    Field("borrowingLimitPercent", Type::Plain),
];
const EXEMPT: &[Field] = &[Field("nominalConcurrencyShares", Type::Plain), Field("lendablePercent", Type::Plain)];
const SPEC: &[Field] =
    &[Field("type", Type::Text), Field("limited", Type::Pointer(LIMITED)), Field("exempt", Type::Pointer(EXEMPT))];

fn defaults(obj: &mut Value) {
    let spec = obj.at("spec");
    let (limited, exempt) = (spec.sub("limited").is_some(), spec.sub("exempt").is_some());
    if limited {
        default_value(obj, &["spec", "limited", "nominalConcurrencyShares"], 30);
        default_value(obj, &["spec", "limited", "lendablePercent"], 0);
        if let Some(queuing) = obj.pointer_mut("/spec/limited/limitResponse/queuing").filter(|q| q.is_object()) {
            for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                if queuing.int(field).unwrap_or(0) == 0 {
                    object::set(queuing, &[field], value);
                }
            }
        }
    }
    if exempt {
        default_value(obj, &["spec", "exempt", "nominalConcurrencyShares"], 0);
        default_value(obj, &["spec", "exempt", "lendablePercent"], 0);
    }
}

fn queuing(e: &mut ErrorList, path: &Path, q: &Value) {
    let get = |field: &str| q.int(field).unwrap_or(0);
    let (queues, hand, limit) = (get("queues"), get("handSize"), get("queueLengthLimit"));
    if limit <= 0 {
        e.invalid(&path.child("queueLengthLimit"), limit, "must be positive");
    }
    if queues <= 0 {
        e.invalid(&path.child("queues"), queues, "must be positive");
    } else if queues > MOST_QUEUES {
        e.invalid(&path.child("queues"), queues, format!("must not be greater than {MOST_QUEUES}"));
    }
    let at = path.child("handSize");
    if hand <= 0 {
        e.invalid(&at, hand, "must be positive");
    } else if hand > queues {
        e.invalid(&at, hand, format!("should not be greater than queues ({queues})"));
    } else {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        let bits = ((queues as f64).log2() * hand as f64).ceil() as i64;
        if bits > HASH_BITS {
            let why = format!(
                "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
            );
            e.invalid(&at, hand, why);
        }
    }
}

fn limited(e: &mut ErrorList, path: &Path, l: &Value) {
    shares(e, path, l);
    let (response, at) = (l.at("limitResponse"), path.child("limitResponse"));
    let q = response.sub("queuing");
    match response.s("type") {
        "Reject" => {
            if q.is_some() {
                e.forbidden(&at.child("queuing"), "must be nil if limited.limitResponse.type is not Limited");
            }
        }
        "Queue" => match q {
            None => e.required(&at.child("queuing"), "must not be empty if limited.limitResponse.type is Limited"),
            Some(q) => queuing(e, &at.child("queuing"), q),
        },
        other => e.not_supported(&at.child("type"), other, &["Queue", "Reject"]),
    }
    lendable(e, path, l);
    if let Some(b) = l.int("borrowingLimitPercent").filter(|b| *b < 0) {
        e.invalid(&path.child("borrowingLimitPercent"), b, "if specified, must be a non-negative integer");
    }
}

fn shares(e: &mut ErrorList, path: &Path, level: &Value) {
    if let Some(s) = level.int("nominalConcurrencyShares").filter(|s| *s < 0) {
        e.invalid(&path.child("nominalConcurrencyShares"), s, "must be a non-negative integer");
    }
}

fn lendable(e: &mut ErrorList, path: &Path, level: &Value) {
    if let Some(p) = level.int("lendablePercent").filter(|p| !(0..=100).contains(p)) {
        e.invalid(&path.child("lendablePercent"), p, "must be between 0 and 100, inclusive");
    }
}

fn check(obj: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let (spec, path, name) = (obj.at("spec"), Path::new("spec"), object::name(obj));
    let kind = spec.s("type");
    if (name == "exempt") != (kind == "Exempt") {
        e.invalid(&path.child("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind {
        "Exempt" => {
            if spec.sub("limited").is_some() {
                e.forbidden(&path.child("limited"), "must be nil if the type is Exempt");
            }
            if let Some(exempt) = spec.sub("exempt") {
                shares(&mut e, &path.child("exempt"), exempt);
                lendable(&mut e, &path.child("exempt"), exempt);
            }
        }
        "Limited" => {
            if spec.sub("exempt").is_some() {
                e.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
            }
            match spec.sub("limited") {
                None => e.required(&path.child("limited"), "must not be empty when type is Limited"),
                Some(l) => limited(&mut e, &path.child("limited"), l),
            }
        }
        other => checks::one_of(&mut e, &path.child("type"), other, &["Exempt", "Limited"]),
    }
    let fixed = json!({
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}},
    });
    if name == "catch-all" && spec != &fixed {
        e.invalid(&path, Show(SPEC, spec), format!("spec of '{name}' must equal the fixed value"));
    }
    e
}

/// The strategy of `prioritylevelconfigurations`.
pub struct PriorityLevelConfigurations;

impl Strategy for PriorityLevelConfigurations {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn checks_finalizers(&self) -> bool {
        true
    }
    fn revalidates_metadata(&self) -> bool {
        true
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_create(&self, _ctx: &Context, obj: &mut Value) {
        object::set(obj, &["status"], json!({}));
        first_generation(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["status"]);
        let changed = !same(new, old, &["spec"]);
        next_generation(new, old, changed);
    }
    fn validate(&self, _ctx: &Context, obj: &Value) -> ErrorList {
        check(obj)
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        check(new)
    }
    fn columns(&self) -> &'static [Column] {
        columns::PRIORITYLEVELCONFIGURATIONS
    }
    fn cells(&self, obj: &Value, now: jiff::Timestamp) -> Vec<Value> {
        let spec = obj.at("spec");
        let shares = spec.at("limited").int("nominalConcurrencyShares");
        let queuing = spec.at("limited").at("limitResponse").at("queuing");
        let or_none = |n: Option<i64>| n.map_or_else(|| Value::from("<none>"), Value::from);
        vec![
            print::name(obj),
            spec.s("type").into(),
            or_none(shares),
            or_none(queuing.int("queues")),
            or_none(queuing.int("handSize")),
            or_none(queuing.int("queueLengthLimit")),
            age_cell(obj, now),
        ]
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const SUBRESOURCES: &[Subresource] = &[object_subresource("status", &PriorityLevelConfigurationStatus)];
        SUBRESOURCES
    }
}

/// The strategy of `prioritylevelconfigurations/status`.
pub struct PriorityLevelConfigurationStatus;

impl Strategy for PriorityLevelConfigurationStatus {
    fn info(&self) -> &'static ResourceInfo {
        &INFO
    }
    fn compares_metadata(&self) -> bool {
        false
    }
    fn default(&self, obj: &mut Value) {
        defaults(obj);
    }
    fn prepare_for_update(&self, _ctx: &Context, new: &mut Value, old: &Value) {
        carry_over(new, old, &["spec"]);
        keep_metadata(new, old);
    }
    fn validate_update(&self, _ctx: &Context, new: &Value, _old: &Value) -> ErrorList {
        status(new)
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        &["metadata", "spec"]
    }
}
