//! From the body of a request to an object: kind and version checks, strict decoding, and upstream's words for what is
//! wrong (rule: apiserver `pkg/endpoints/handlers/{create,update,rest}.go`, apimachinery
//! `pkg/runtime/serializer/json/json.go`, `versioning.go`).

use crate::json::parse::{self, Fail};
use crate::json::scan;
use crate::media::MediaType;
use crate::strict::Notes;
use crate::{normalise as normaliser, protobuf, yaml};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;
use steersman_apimachinery::field::go_quote;
use steersman_apimachinery::object::json_type;
use steersman_apimachinery::options::FieldValidation;
use steersman_apimachinery::{GroupVersion, GroupVersionKind, Status};
use steersman_schema::{Type, TypeRef, is_registered, lookup};

/// What upstream calls its scheme of built-in kinds.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";
/// What upstream calls the scheme of request options.
const OPTIONS_SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";

/// A decoded object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, as Go would write it; `kind` and `apiVersion` are set where they are known.
    pub value: Value,
    /// What the body said of its kind, with the defaults filled in.
    pub gvk: GroupVersionKind,
    /// Unknown and duplicate fields, each a warning for the client; empty unless the validation is `Warn`.
    pub warnings: Vec<String>,
}

/// Decodes an object of a known type; nothing is checked of its kind and version. The error is in upstream's words,
/// without the kind in front.
pub fn decode(
    body: &[u8],
    media: MediaType,
    ty: &Type,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), String> {
    let strict = validation != FieldValidation::Ignore;
    let (value, errors) = match media {
        MediaType::Json => typed_json(body, ty, strict)?,
        MediaType::Yaml => typed_yaml(&yaml::read(body)?, ty, strict)?,
        MediaType::Protobuf => (protobuf::decode_as(body, ty).map_err(|e| e.to_string())?, Vec::new()),
    };
    warnings_of(errors, validation).map(|warnings| (value, warnings))
}

/// Makes a value that is already parsed, e.g. the outcome of a patch, what decoding its JSON would make of it.
/// Gives the unknown fields as warnings, or as the error `strict decoding error: ...`, as `validation` says.
pub fn normalise(value: Value, ty: &Type, validation: FieldValidation) -> Result<(Value, Vec<String>), String> {
    let mut notes = Notes { strict: validation != FieldValidation::Ignore, ..Notes::default() };
    let value = normaliser::object(value, ty, &mut notes)?;
    warnings_of(notes.errors, validation).map(|warnings| (value, warnings))
}

/// Decodes the body of a create or an update of a built-in kind.
///
/// `expected` is what the path says; bodies without kind or version get it. `accepted` are further versions that the
/// endpoint takes (evictions). Everything that is wrong becomes a 400 in upstream's words.
pub fn decode_object(
    body: &[u8],
    media: MediaType,
    expected: &GroupVersionKind,
    accepted: &[GroupVersion],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let source = Source::read(body, media).map_err(|why| unrecognised(&expected.kind, &why, body))?;
    let (api_version, kind) = source.interpret().map_err(|why| unrecognised(&expected.kind, &why, body))?;
    let Some(said) = GroupVersion::parse(&api_version) else {
        let why = format!("unexpected GroupVersion string: {api_version}");
        return Err(unrecognised(&expected.kind, &why, body));
    };
    let gvk = with_defaults(said, &kind, expected);
    let wrong = |why: &str| match source.syntax_error() {
        // Upstream checks the syntax of the whole body when it looks for the kind.
        Some(why) => unrecognised(&expected.kind, &why, body),
        None => Status::bad_request(format!(
            "{} in version {} cannot be handled as a {}: {why}",
            gvk.kind,
            go_quote(&gvk.version),
            expected.kind
        )),
    };
    let known = lookup(&gvk.group, &gvk.version, &gvk.kind);
    if known.is_none() && !is_registered(&gvk.group, &gvk.version, &gvk.kind) {
        return Err(wrong(&not_registered(&gvk, SCHEME)));
    }
    let same = gvk == *expected || (gvk.kind == expected.kind && accepted.contains(&gvk.group_version()));
    let ty: Option<TypeRef> = match known {
        Some(ty) => Some(ty),
        None if same => lookup(&expected.group, &expected.version, &expected.kind),
        None => None,
    };
    let mut decoded = (Value::Null, Vec::new());
    if let Some(ty) = &ty {
        decoded = source.typed(ty, validation != FieldValidation::Ignore).map_err(|why| wrong(&why))?;
    }
    if !same && !converts(&gvk, expected) {
        let (from, to) = (gvk.version.as_ref(), internal_package(&expected.group));
        return Err(wrong(&format!(
            "converting ({from}.{}) to ({to}.{}): unknown conversion",
            gvk.kind, expected.kind
        )));
    }
    let (mut value, errors) = decoded;
    let warnings = warnings_of(errors, validation).map_err(|why| wrong(&why))?;
    if !same {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            gvk.group_version(),
            expected.group_version()
        )));
    }
    set_type(&mut value, expected);
    Ok(Decoded { value, gvk, warnings })
}

/// Decodes the options in the body of a deletion. Options have no version of their own: any is taken.
pub fn decode_options(body: &[u8], media: MediaType, expected: &GroupVersionKind) -> Result<Value, Status> {
    let source = Source::read(body, media).map_err(Status::bad_request)?;
    let (api_version, kind) = source.interpret().map_err(Status::bad_request)?;
    let Some(said) = GroupVersion::parse(&api_version) else {
        return Err(Status::bad_request(format!("unexpected GroupVersion string: {api_version}")));
    };
    let gvk = with_defaults(said, &kind, expected);
    let Some(ty) = lookup(&expected.group, &expected.version, &expected.kind).filter(|_| gvk.kind == expected.kind)
    else {
        let why = source.syntax_error().unwrap_or_else(|| not_registered(&gvk, OPTIONS_SCHEME));
        return Err(Status::bad_request(why));
    };
    let typed = source.typed(&ty, false).map(|(value, _)| value);
    typed.map_err(|why| Status::bad_request(source.syntax_error().unwrap_or(why)))
}

/// Decodes a custom object: any JSON, repeated keys noted. `expected` is what the path says; unlike built-in kinds, the
/// body must name its kind and version. Whether they fit is for the caller to say, as is what the schema makes of the
/// fields.
pub fn decode_unstructured(
    body: &[u8],
    media: MediaType,
    expected: &GroupVersionKind,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let source = Source::read(body, media).map_err(|why| unrecognised(&expected.kind, &why, body))?;
    let (api_version, kind) = source.interpret().map_err(|why| unrecognised(&expected.kind, &why, body))?;
    let Some(said) = GroupVersion::parse(&api_version) else {
        let why = format!("unexpected GroupVersion string: {api_version}");
        return Err(unrecognised(&expected.kind, &why, body));
    };
    let mut notes = Notes { strict: validation != FieldValidation::Ignore, ..Notes::default() };
    let text = source.json();
    let value = parse::any(&text, &mut notes).map_err(|fail| {
        let (Fail::Syntax(why) | Fail::Data(why)) = fail;
        unrecognised(&expected.kind, &source.syntax_error().unwrap_or(why), body)
    })?;
    let shown = String::from_utf8_lossy(body);
    if kind.is_empty() {
        return Err(unrecognised(&expected.kind, &format!("Object 'Kind' is missing in '{shown}'"), body));
    }
    let gvk = GroupVersionKind { group: said.group, version: said.version, kind: kind.into_owned().into() };
    let wrong = |why: &str| {
        Status::bad_request(format!(
            "{} in version {} cannot be handled as a {}: {why}",
            gvk.kind,
            go_quote(&gvk.version),
            expected.kind
        ))
    };
    if gvk.version.is_empty() {
        return Err(wrong(&format!("Object 'apiVersion' is missing in '{shown}'")));
    }
    let mut errors = source.duplicates(validation != FieldValidation::Ignore);
    errors.extend(notes.errors);
    let warnings = warnings_of(errors, validation).map_err(|why| wrong(&why))?;
    Ok(Decoded { value, gvk, warnings })
}

/// The strict errors as warnings, or as one error. What a YAML reader found is one error of several lines.
fn warnings_of(errors: Vec<String>, validation: FieldValidation) -> Result<Vec<String>, String> {
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Strict if !errors.is_empty() => Err(format!("strict decoding error: {}", errors.join(", "))),
        _ => Ok(errors
            .into_iter()
            .flat_map(|error| match error.strip_prefix(YAML_ERRORS) {
                Some(lines) => lines.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect(),
                None => vec![error],
            })
            .collect()),
    }
}

const YAML_ERRORS: &str = "yaml: unmarshal errors:";

/// Puts kind and version where they belong.
fn set_type(value: &mut Value, gvk: &GroupVersionKind) {
    if let Value::Object(object) = value {
        object.insert("kind".into(), Value::from(gvk.kind.as_ref()));
        object.insert("apiVersion".into(), Value::from(gvk.api_version()));
    }
}

/// A body whose syntax may be checked and whose kind may be asked for.
enum Source<'b> {
    Json(&'b [u8]),
    Yaml(yaml::Yaml),
    Protobuf(protobuf::Envelope<'b>),
}

impl<'b> Source<'b> {
    fn read(body: &'b [u8], media: MediaType) -> Result<Self, String> {
        match media {
            MediaType::Json => Ok(Self::Json(body)),
            MediaType::Yaml => yaml::read(body).map(Self::Yaml),
            MediaType::Protobuf => protobuf::Envelope::read(body).map(Self::Protobuf).map_err(|e| e.to_string()),
        }
    }

    /// What is wrong with the syntax of a JSON body, as upstream says it.
    fn syntax_error(&self) -> Option<String> {
        match self {
            Self::Json(text) => scan::check(text).err().map(no_kind),
            Self::Yaml(_) | Self::Protobuf(_) => None,
        }
    }

    /// `apiVersion` and `kind` as the body says them.
    fn interpret(&self) -> Result<(Cow<'_, str>, Cow<'_, str>), String> {
        match self {
            Self::Json(text) => interpret(text).map_err(no_kind),
            Self::Yaml(yaml) => match &yaml.value {
                Value::Object(object) => {
                    let get = |name: &str| match object.get(name) {
                        None | Some(Value::Null) => Ok(Cow::Borrowed("")),
                        Some(Value::String(s)) => Ok(Cow::Borrowed(s.as_str())),
                        Some(other) => Err(no_kind(wrong_member(name, other))),
                    };
                    Ok((get("apiVersion")?, get("kind")?))
                }
                Value::Null => Ok((Cow::Borrowed(""), Cow::Borrowed(""))),
                other => Err(no_object(json_type(other))),
            },
            Self::Protobuf(envelope) => Ok((Cow::Borrowed(envelope.api_version), Cow::Borrowed(envelope.kind))),
        }
    }

    fn typed(&self, ty: &Type, strict: bool) -> Result<(Value, Vec<String>), String> {
        match self {
            Self::Json(text) => typed_json(text, ty, strict),
            Self::Yaml(yaml) => typed_yaml(yaml, ty, strict),
            Self::Protobuf(envelope) => envelope.decode(ty).map(|value| (value, Vec::new())).map_err(|e| e.to_string()),
        }
    }

    fn json(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Json(text) => Cow::Borrowed(text),
            Self::Yaml(yaml) => Cow::Owned(yaml.value.to_string().into_bytes()),
            Self::Protobuf(envelope) => Cow::Borrowed(envelope.raw),
        }
    }

    fn duplicates(&self, strict: bool) -> Vec<String> {
        match self {
            Self::Yaml(yaml) if strict => yaml_errors(yaml).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

fn no_kind(why: String) -> String {
    format!("couldn't get version/kind; json parse error: {why}")
}

fn typed_json(text: &[u8], ty: &Type, strict: bool) -> Result<(Value, Vec<String>), String> {
    let mut notes = Notes { strict, ..Notes::default() };
    match parse::object(text, ty, &mut notes) {
        Ok(value) => Ok((value, notes.errors)),
        Err(Fail::Syntax(why) | Fail::Data(why)) => Err(why),
    }
}

fn typed_yaml(yaml: &yaml::Yaml, ty: &Type, strict: bool) -> Result<(Value, Vec<String>), String> {
    let mut notes = Notes { strict, ..Notes::default() };
    let value = normaliser::object(yaml.value.clone(), ty, &mut notes)?;
    let mut errors = Vec::new();
    if strict {
        errors.extend(yaml_errors(yaml));
    }
    errors.extend(notes.errors);
    Ok((value, errors))
}

/// What a strict YAML reader says, as one error.
fn yaml_errors(yaml: &yaml::Yaml) -> Option<String> {
    if yaml.duplicates.is_empty() {
        return None;
    }
    let mut message = YAML_ERRORS.to_owned();
    for line in &yaml.duplicates {
        write!(message, "\n  {line}").expect("writing to a string");
    }
    Some(message)
}

/// Fills in what the body does not say (rule: `gvkWithDefaults`).
fn with_defaults(said: GroupVersion, kind: &str, default: &GroupVersionKind) -> GroupVersionKind {
    let kind = if kind.is_empty() { default.kind.clone() } else { kind.to_owned().into() };
    let (group, version) = match (said.group.is_empty(), said.version.is_empty()) {
        (true, true) => (default.group.clone(), default.version.clone()),
        (false, true) if said.group == default.group => (said.group, default.version.clone()),
        _ => (said.group, said.version),
    };
    GroupVersionKind { group, version, kind }
}

fn not_registered(gvk: &GroupVersionKind, scheme: &str) -> String {
    format!(
        "no kind {} is registered for version {} in scheme {scheme:?}",
        go_quote(&gvk.kind),
        go_quote(&gvk.api_version())
    )
}

/// Whether upstream converts one into the other by way of the internal type: other versions of the group, and the
/// groups that kinds have moved between.
fn converts(from: &GroupVersionKind, to: &GroupVersionKind) -> bool {
    fn family(gvk: &GroupVersionKind) -> &str {
        match (gvk.group.as_ref(), gvk.kind.as_ref()) {
            (_, "Scale") => "autoscaling",
            ("events.k8s.io", _) => "",
            ("extensions", "Ingress" | "NetworkPolicy") => "networking.k8s.io",
            ("extensions", _) => "apps",
            (group, _) => group,
        }
    }
    from.kind == to.kind && family(from) == family(to)
}

/// The package of the internal types of a group.
fn internal_package(group: &str) -> &str {
    match group.split('.').next().unwrap_or("") {
        "" | "events" => "core",
        "internal" => "apiserverinternal",
        first => first,
    }
}

/// A body of which not even the kind can be told.
fn unrecognised(kind: &str, why: &str, body: &[u8]) -> Status {
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({})",
        summary(body)
    ))
}

/// The beginning of a body: as it is where it looks like JSON, else in hexadecimal (rule: `summarizeData`).
fn summary(body: &[u8]) -> String {
    const LENGTH: usize = 30;
    let head = &body[..body.len().min(LENGTH)];
    let more = if body.len() > LENGTH { " ..." } else { "" };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => {
            let mut out = String::with_capacity(head.len() * 2 + more.len());
            for byte in head {
                write!(out, "{byte:02x}").expect("writing to a string");
            }
            out + more
        }
    }
}

const META_TYPE: &str =
    r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

fn wrong_document(got: &str) -> String {
    format!("json: cannot unmarshal {got} into Go value of type {META_TYPE}")
}

/// What upstream says of a document of which the kind cannot be told, for it is no object but `got`.
pub fn no_object(got: &str) -> String {
    no_kind(wrong_document(got))
}

fn wrong_member(name: &str, got: &Value) -> String {
    format!("json: cannot unmarshal {} into Go struct field .{name} of type string", json_type(got))
}

/// `apiVersion` and `kind` of a JSON text, found without reading the rest. Go matches these two names whatever their
/// case, and the last one counts.
fn interpret(text: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), String> {
    let quick = Quick { text, at: 0 }.members();
    match quick {
        Some(found) => Ok(found),
        None => {
            // Something is odd: let the real scanner say what, and read again the slow way.
            scan::check(text)?;
            let value: Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
            let Value::Object(object) = &value else {
                return match &value {
                    Value::Null => Ok((Cow::Borrowed(""), Cow::Borrowed(""))),
                    other => Err(wrong_document(json_type(other))),
                };
            };
            let mut found = [String::new(), String::new()];
            for (key, value) in object {
                for (slot, name) in found.iter_mut().zip(["apiVersion", "kind"]) {
                    if key.eq_ignore_ascii_case(name) {
                        match value {
                            Value::String(s) => *slot = s.clone(),
                            Value::Null => {}
                            other => return Err(wrong_member(name, other)),
                        }
                    }
                }
            }
            let [api_version, kind] = found;
            Ok((Cow::Owned(api_version), Cow::Owned(kind)))
        }
    }
}

/// A walk over the top level that trusts the syntax: the typed reader checks it later. Gives up on anything unusual.
struct Quick<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Quick<'t> {
    fn space(&mut self) -> Option<u8> {
        loop {
            match *self.text.get(self.at)? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                c => return Some(c),
            }
        }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'t str> {
        if self.space()? != b'"' {
            return None;
        }
        let start = self.at + 1;
        let rest = &self.text[start..];
        let end = memchr::memchr2(b'"', b'\\', rest)?;
        if rest[end] == b'\\' {
            return None;
        }
        self.at = start + end + 1;
        std::str::from_utf8(&rest[..end]).ok()
    }

    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.text.get(self.at..)?)?;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Some(());
            }
            self.at += 2;
        }
    }

    fn skip(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.space()? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if depth == 0 && matches!(self.space()?, b',' | b'}') {
                return Some(());
            }
        }
    }

    fn members(mut self) -> Option<(Cow<'t, str>, Cow<'t, str>)> {
        if self.space()? != b'{' {
            return None;
        }
        self.at += 1;
        let (mut api_version, mut kind) = ("", "");
        if self.space()? == b'}' {
            self.at += 1;
        } else {
            loop {
                let key = self.string()?;
                if self.space()? != b':' {
                    return None;
                }
                self.at += 1;
                if key.eq_ignore_ascii_case("kind") {
                    self.space()?;
                    kind = self.string()?;
                } else if key.eq_ignore_ascii_case("apiVersion") {
                    self.space()?;
                    api_version = self.string()?;
                } else {
                    self.skip()?;
                }
                let c = self.space()?;
                self.at += 1;
                match c {
                    b',' => {}
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        // Whatever follows is an error that the scanner words.
        match self.space() {
            None => Some((Cow::Borrowed(api_version), Cow::Borrowed(kind))),
            Some(_) => None,
        }
    }
}
