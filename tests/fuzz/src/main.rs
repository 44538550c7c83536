//! Fuzz targets for every parser that reads what a client sent: a line of [`TARGETS`] each. `FUZZ_TARGET` names the one
//! that runs. A target fails where a parser panics, or where it does not read what it wrote itself.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::sync::LazyLock;
use steersman_apimachinery::options::FieldValidation;
use steersman_apimachinery::quantity::Quantity;
use steersman_apimachinery::selector::{FieldSelector, LabelSelector};
use steersman_cel::{Env, Type, compile};
use steersman_codec::{MediaType, decode, yaml};
use steersman_patch::{fieldset::FieldSet, json, merge, strategic};
use steersman_schema::TypeRef;
use steersman_streaming::spdy;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("label-selector", label_selector),
    ("field-selector", field_selector),
    ("quantity", quantity),
    ("time", time),
    ("address", address),
    ("json", |data| object(data, MediaType::Json)),
    ("yaml", |data| object(data, MediaType::Yaml)),
    ("yaml-tree", |data| drop(yaml::read(data))),
    ("protobuf", |data| object(data, MediaType::Protobuf)),
    ("delete-options", delete_options),
    ("json-patch", json_patch),
    ("merge-patch", merge_patch),
    ("strategic-patch", strategic_patch),
    ("field-set", field_set),
    ("accept", accept),
    ("cel", cel),
    ("spdy", spdy_frames),
];

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|t| t.0 == name);
    found.map(|t| t.1).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|t| t.0).collect();
        eprintln!("FUZZ_TARGET names one of {}", names.join(" "));
        std::process::exit(2)
    })
});

static POD: LazyLock<TypeRef> = LazyLock::new(|| steersman_schema::lookup("", "v1", "Pod").expect("a built-in kind"));

fuzz_target!(|data: &[u8]| CHOSEN(data));

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// Two documents in one input, divided by a zero byte.
fn two(data: &[u8]) -> Option<(Value, Value)> {
    let middle = data.iter().position(|b| *b == 0)?;
    let read = |bytes: &[u8]| steersman_codec::parse(bytes, true).ok().map(|p| p.0);
    Some((read(&data[..middle])?, read(&data[middle + 1..])?))
}

fn label_selector(data: &[u8]) {
    let Some(parsed) = text(data).and_then(|t| LabelSelector::parse(t).ok()) else { return };
    let again = LabelSelector::parse(&parsed.to_string());
    assert_eq!(again.as_ref(), Ok(&parsed), "a selector does not read what it wrote");
}

fn field_selector(data: &[u8]) {
    let Some(parsed) = text(data).and_then(|t| FieldSelector::parse(t).ok()) else { return };
    let again = FieldSelector::parse(&parsed.to_string()).expect("a selector reads what it wrote");
    // Terms are sorted as they stand in the text, and `==` is written as `=`: so their order may change.
    let terms = |s: &FieldSelector| {
        let mut terms: Vec<String> = s.requirements().iter().map(|r| format!("{r:?}")).collect();
        terms.sort_unstable();
        terms
    };
    assert_eq!(terms(&again), terms(&parsed));
}

fn quantity(data: &[u8]) {
    let Some(parsed) = text(data).and_then(|t| t.parse::<Quantity>().ok()) else { return };
    let written = parsed.canonical();
    let again: Quantity = written.parse().expect("a canonical quantity reads");
    assert_eq!(again.canonical(), written);
}

fn time(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let _ = steersman_codec::time::canonical(text);
    let _ = steersman_codec::time::canonical_micro(text);
    if let Ok(nanos) = steersman_codec::time::parse_duration(text) {
        let written = steersman_codec::time::duration_text(nanos);
        assert_eq!(steersman_codec::time::parse_duration(&written), Ok(nanos), "{written}");
    }
}

fn address(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let _ = text.parse::<std::net::IpAddr>();
    let _ = steersman_codec::MediaType::of_body(text);
}

fn object(data: &[u8], media: MediaType) {
    let Ok((value, _)) = decode(data, media, &POD, FieldValidation::Warn) else { return };
    // What was read is read again as it is.
    let json = serde_json::to_vec(&value).expect("a tree is written");
    let (again, _) = decode(&json, MediaType::Json, &POD, FieldValidation::Ignore).expect("what was written is read");
    assert_eq!(again, value);
}

fn delete_options(data: &[u8]) {
    let gvk = steersman_apimachinery::GroupVersionKind::from_static("", "v1", "DeleteOptions");
    for media in [MediaType::Json, MediaType::Yaml, MediaType::Protobuf] {
        let _ = steersman_codec::decode_options(data, media, &gvk);
    }
}

fn json_patch(data: &[u8]) {
    let Some((document, patch)) = two(data) else { return };
    if let Ok(patch) = json::Patch::from_value(patch) {
        let _ = patch.apply(&document);
    }
}

fn merge_patch(data: &[u8]) {
    let Some((mut document, patch)) = two(data) else { return };
    if merge::check(&patch).is_ok() {
        merge::apply(&mut document, patch);
    }
}

fn strategic_patch(data: &[u8]) {
    let Some((document, patch)) = two(data) else { return };
    if strategic::check(&patch).is_ok() {
        let _ = strategic::apply(document, patch, &POD);
    }
}

fn field_set(data: &[u8]) {
    let Some(parsed) = steersman_codec::parse(data, true).ok().and_then(|p| FieldSet::parse(&p.0).ok()) else { return };
    let written = parsed.clone().into_value();
    assert_eq!(FieldSet::parse(&written).ok().map(FieldSet::into_value), Some(written));
}

fn accept(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for watch in [false, true] {
        let offer = steersman_codec::media::Offer { watch, list: watch, shapes: true, discovery: !watch };
        let _ = steersman_codec::media::negotiate(text, offer);
    }
}

fn cel(data: &[u8]) {
    static ENV: LazyLock<Env> = LazyLock::new(|| Env::kubernetes().variable("object", Type::Dyn));
    if let Some(Err(issues)) = text(data).map(|source| compile(&ENV, source)) {
        assert!(issues.to_string().starts_with("ERROR: <input>:"));
    }
}

fn spdy_frames(data: &[u8]) {
    let (mut decoder, mut input) = (spdy::Decoder::default(), BytesMut::from(data));
    while let Ok(Some(_)) = decoder.decode(&mut input) {}
}
