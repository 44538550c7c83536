//! The options that come with requests: decoded from the query, or from the body of a deletion, and checked
//! (rule: apimachinery `pkg/apis/meta/v1/validation`, `pkg/apis/meta/internalversion/validation`).

use crate::query::{Query, parse_int};
use serde_json::Value;
use steersman_apimachinery::field::{ErrorType, FieldError, Shown, go_quote};
use steersman_apimachinery::gvk::GroupKind;
use steersman_apimachinery::options::{
    CreateOptions, DeleteOptions, FieldValidation, GetOptions, ListOptions, Propagation, UpdateOptions, VersionMatch,
};
use steersman_apimachinery::selector::{FieldSelector, LabelSelector};
use steersman_apimachinery::validation::field_manager;
use steersman_apimachinery::{ErrorList, Path, Status};

/// What a LIST or WATCH asks for.
#[derive(Clone, Debug, Default)]
pub struct ListRequest {
    /// For the registry.
    pub options: ListOptions,
    /// Whether it is a watch.
    pub watch: bool,
}

/// The options of GET; those of its table are read elsewhere.
pub fn get(query: &Query) -> GetOptions {
    GetOptions { resource_version: query.first("resourceVersion").unwrap_or("").to_owned() }
}

/// The options of LIST, WATCH and DELETE of a collection. `name` is the name that the path carries, if any; `fields`
/// refuses selectors on fields that the kind does not offer.
pub fn list(
    query: &Query,
    name: &str,
    fields: impl Fn(&FieldSelector) -> Result<(), Status>,
) -> Result<ListRequest, Status> {
    let bad = |why: String| Status::bad_request(why);
    let mut o = ListOptions {
        allow_watch_bookmarks: query.flag("allowWatchBookmarks"),
        resource_version: query.first("resourceVersion").unwrap_or("").to_owned(),
        timeout_seconds: query.int("timeoutSeconds").map_err(bad)?,
        limit: query.int("limit").map_err(bad)?.unwrap_or(0),
        continue_token: query.first("continue").unwrap_or("").to_owned(),
        send_initial_events: query.maybe_flag("sendInitialEvents"),
        ..ListOptions::default()
    };
    // The deprecated `/watch/` paths leave this unset: what they ask for is checked as a list.
    let watch = query.flag("watch");
    o.label_selector = LabelSelector::parse(query.first("labelSelector").unwrap_or("")).map_err(bad)?;
    o.field_selector = FieldSelector::parse(query.first("fieldSelector").unwrap_or("")).map_err(bad)?;
    let asked = query.first("resourceVersionMatch").unwrap_or("");
    let mut matching = asked;
    // A watch that begins with the state is a streamed list (rule: `SetListOptionsDefaults` with WatchList on).
    if watch && o.send_initial_events.is_none() && asked.is_empty() && matches!(o.resource_version.as_str(), "" | "0") {
        o.send_initial_events = Some(true);
        matching = "NotOlderThan";
    }
    let errors = check_list(&o, watch, matching);
    if !errors.is_empty() {
        return Err(invalid("ListOptions", &errors));
    }
    o.resource_version_match = match matching {
        "NotOlderThan" => VersionMatch::NotOlderThan,
        "Exact" => VersionMatch::Exact,
        _ => VersionMatch::Unset,
    };
    fields(&o.field_selector)?;
    if !name.is_empty() {
        if o.field_selector.is_empty() {
            o.field_selector = FieldSelector::equals("metadata.name", name);
        } else if o.field_selector.requires_exact("metadata.name") != Some(name) {
            return Err(bad("fieldSelector metadata.name doesn't match requested name".into()));
        }
    }
    Ok(ListRequest { options: o, watch })
}

fn check_list(o: &ListOptions, watch: bool, matching: &str) -> ErrorList {
    let mut e = ErrorList::new();
    let path = Path::new("resourceVersionMatch");
    if watch {
        if o.send_initial_events.is_some() && matching != "NotOlderThan" {
            e.forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if !matching.is_empty() {
            if o.send_initial_events.is_none() {
                e.forbidden(&path, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            if matching != "NotOlderThan" {
                not_supported(&mut e, &path, matching, &["NotOlderThan"]);
            }
            if !o.continue_token.is_empty() {
                e.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
            }
        }
        return e;
    }
    if !matching.is_empty() {
        if o.resource_version.is_empty() {
            e.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !o.continue_token.is_empty() {
            e.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            not_supported(&mut e, &path, matching, &["Exact", "NotOlderThan", ""]);
        }
        if matching == "Exact" && o.resource_version == "0" {
            e.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if o.send_initial_events.is_some() {
        e.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
    }
    e
}

/// The options of POST.
pub fn create(query: &Query) -> Result<CreateOptions, Status> {
    let w = writing(query, "CreateOptions", ErrorList::new())?;
    Ok(CreateOptions { dry_run: w.0, field_manager: w.1, field_validation: w.2 })
}

/// The options of PUT.
pub fn update(query: &Query) -> Result<UpdateOptions, Status> {
    let w = writing(query, "UpdateOptions", ErrorList::new())?;
    Ok(UpdateOptions { dry_run: w.0, field_manager: w.1, field_validation: w.2, force: None })
}

/// The options of PATCH; `apply` for server-side apply.
pub fn patch(query: &Query, apply: bool) -> Result<UpdateOptions, Status> {
    let force = query.maybe_flag("force");
    let mut e = ErrorList::new();
    if apply {
        if query.first("fieldManager").unwrap_or("").is_empty() {
            e.required(&Path::new("fieldManager"), "is required for apply patch");
        }
    } else if force.is_some() {
        e.forbidden(&Path::new("force"), "may not be specified for non-apply patch");
    }
    let w = writing(query, "PatchOptions", e)?;
    Ok(UpdateOptions { dry_run: w.0, field_manager: w.1, field_validation: w.2, force })
}

fn writing(query: &Query, kind: &'static str, mut e: ErrorList) -> Result<(bool, String, FieldValidation), Status> {
    let manager = query.first("fieldManager").unwrap_or("");
    field_manager(&mut e, manager, &Path::new("fieldManager"));
    let dry_run: Vec<&str> = query.all("dryRun").collect();
    check_dry_run(&mut e, &dry_run);
    let validation = match query.first("fieldValidation").unwrap_or("") {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            not_supported(&mut e, &Path::new("fieldValidation"), other, &["", "Ignore", "Strict", "Warn"]);
            FieldValidation::Warn
        }
    };
    if e.is_empty() { Ok((!dry_run.is_empty(), manager.to_owned(), validation)) } else { Err(invalid(kind, &e)) }
}

fn check_dry_run(e: &mut ErrorList, values: &[&str]) {
    if values.iter().any(|v| *v != "All") {
        let shown = values.iter().map(|v| go_quote(v)).collect::<Vec<_>>().join(",");
        push_not_supported(e, &Path::new("dryRun"), &format!("[{shown}]"), &["All"]);
    }
}

/// The options of DELETE, of one object and of a collection: from the body (already read into JSON) or else from the
/// query.
pub fn delete(query: &Query, body: Option<&Value>) -> Result<DeleteOptions, Status> {
    let (mut o, mut e) = (DeleteOptions::default(), ErrorList::new());
    let (dry_run, propagation): (Vec<String>, Option<String>);
    match body {
        Some(body) => {
            dry_run = strings(body.get("dryRun"));
            propagation = body.get("propagationPolicy").and_then(Value::as_str).map(str::to_owned);
            o.grace_period_seconds = body.get("gracePeriodSeconds").and_then(Value::as_i64);
            o.orphan_dependents = body.get("orphanDependents").and_then(Value::as_bool);
            let pre = |key: &str| body.get("preconditions")?.get(key)?.as_str().map(str::to_owned);
            o.precondition_uid = pre("uid");
            o.precondition_resource_version = pre("resourceVersion");
        }
        None => {
            dry_run = query.all("dryRun").map(str::to_owned).collect();
            propagation = query.first("propagationPolicy").map(str::to_owned);
            o.grace_period_seconds =
                query.first("gracePeriodSeconds").map(parse_int).transpose().map_err(Status::bad_request)?;
            o.orphan_dependents = query.maybe_flag("orphanDependents");
            // These two are parameters of their own (rule: `Convert_url_Values_To_v1_DeleteOptions`).
            let pre = |key: &str| query.first(key).filter(|v| !v.is_empty()).map(str::to_owned);
            o.precondition_uid = pre("uid");
            o.precondition_resource_version = pre("resourceVersion");
        }
    }
    let path = Path::new("propagationPolicy");
    if let Some(p) = &propagation {
        if o.orphan_dependents.is_some() {
            e.invalid(&path, p, "orphanDependents and deletionPropagation cannot be both set");
        }
        o.propagation = match p.as_str() {
            "Foreground" => Some(Propagation::Foreground),
            "Background" => Some(Propagation::Background),
            "Orphan" => Some(Propagation::Orphan),
            other => {
                not_supported(&mut e, &path, other, &["Foreground", "Background", "Orphan", "nil"]);
                None
            }
        };
    }
    let dry: Vec<&str> = dry_run.iter().map(String::as_str).collect();
    check_dry_run(&mut e, &dry);
    o.dry_run = !dry.is_empty();
    if e.is_empty() { Ok(o) } else { Err(invalid("DeleteOptions", &e)) }
}

fn strings(v: Option<&Value>) -> Vec<String> {
    v.and_then(Value::as_array).into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// `Unsupported value` with the values in the order given, as upstream lists those of options.
fn not_supported(e: &mut ErrorList, path: &Path, value: &str, supported: &[&str]) {
    push_not_supported(e, path, &value.shown(), supported);
}

fn push_not_supported(e: &mut ErrorList, path: &Path, shown: &str, supported: &[&str]) {
    let list = supported.iter().map(|v| go_quote(v)).collect::<Vec<_>>().join(", ");
    let body = format!("Unsupported value: {shown}: supported values: {list}");
    e.0.push(FieldError { field: path.clone(), kind: ErrorType::NotSupported, body });
}

fn invalid(kind: &'static str, errors: &ErrorList) -> Status {
    Status::invalid(&GroupKind::from_static("meta.k8s.io", kind), "", errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: std::fmt::Debug>(got: Result<T, Status>, want: &str) {
        assert_eq!(got.expect_err("is refused").message, want);
    }

    #[test]
    fn list_options_are_refused_in_upstreams_words() {
        let unknown = |f: &FieldSelector| {
            if f.requires_exact("data").is_some() { Err(Status::bad_request("unknown field")) } else { Ok(()) }
        };
        let l = |q: &str| list(&Query::parse(q), "", unknown);
        let named = |q: &str| list(&Query::parse(q), "a", unknown);
        check(named("fieldSelector=data%3Dx"), "unknown field");
        check(named("fieldSelector=metadata.name%3Db"), "fieldSelector metadata.name doesn't match requested name");
        check(
            l("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=1"),
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        );
        check(l("limit=x"), "strconv.ParseInt: parsing \"x\": invalid syntax");
        check(
            l("resourceVersion=0&resourceVersionMatch=Exact"),
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        );
        check(
            l("resourceVersion=1&resourceVersionMatch=Newer"),
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"Newer\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
        );
        check(
            l("watch=1&sendInitialEvents=true"),
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        );
        let streamed = l("watch=1").expect("fine").options;
        assert_eq!(
            (streamed.send_initial_events, streamed.resource_version_match),
            (Some(true), VersionMatch::NotOlderThan)
        );
        assert!(l("limit=-1&resourceVersion=5&resourceVersionMatch=Exact").is_ok());
    }

    #[test]
    fn write_options_are_refused_in_upstreams_words() {
        let q = Query::parse;
        check(
            create(&q("dryRun=yes")),
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"yes\"]: supported values: \"All\"",
        );
        check(
            patch(&q("fieldManager=a%07b"), true),
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\ab\": invalid character U+0007 (at position 1)",
        );
        check(
            patch(&q(""), true),
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        );
        check(
            patch(&q("force=1"), false),
            "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
        );
        check(
            delete(&q("propagationPolicy=Sideways"), None),
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        );
        let body = serde_json::json!({"gracePeriodSeconds": 3, "preconditions": {"uid": "u"}});
        let o = delete(&q("gracePeriodSeconds=9"), Some(&body)).expect("fine");
        assert_eq!((o.grace_period_seconds, o.precondition_uid.as_deref()), (Some(3), Some("u")));
        let o = delete(&q("uid=u&resourceVersion=5"), None).expect("fine");
        assert_eq!((o.precondition_uid.as_deref(), o.precondition_resource_version.as_deref()), (Some("u"), Some("5")));
        check(
            update(&q("fieldManager=a%C2%A0b")),
            "UpdateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\u00a0b\": invalid character U+00A0 (at position 1)",
        );
    }
}
