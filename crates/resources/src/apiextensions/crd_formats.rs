//! Formats of strings that nobody checks (rule: `pkg/registry/customresourcedefinition`, `pkg/apiserver/validation`).

use super::crd_schema;
use crate::fields::Fields;
use serde_json::Value;
use std::collections::BTreeSet;
use steersman_apimachinery::field::go_quote;
use steersman_registry::Context;

/// What is checked, without dashes, which do not count.
const KNOWN: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

fn unknown(definition: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    for version in definition.at("spec").items("versions") {
        crd_schema::each(version.at("schema").at("openAPIV3Schema"), &mut |schema| {
            let format = schema.s("format");
            if schema.s("type") == "string" && !format.is_empty() && !KNOWN.contains(&&*format.replace('-', "")) {
                found.push(format);
            }
        });
    }
    found
}

/// Warns of the formats that `old` did not have.
pub(super) fn warn(ctx: &Context, new: &Value, old: Option<&Value>) {
    let had: BTreeSet<&str> = old.map(unknown).unwrap_or_default().into_iter().collect();
    for format in unknown(new).into_iter().filter(|f| !had.contains(f)) {
        ctx.warn(format!("unrecognized format {}", go_quote(format)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(schema: Value) -> Vec<String> {
        let definition = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
        unknown(&definition).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn unknown_formats_of_strings_are_found_at_any_depth() {
        let odd = |name: &str| json!({"type": "string", "format": name});
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": odd("a")},
                "b": {"type": "object", "additionalProperties": odd("b")},
                "c": {"not": odd("c"), "anyOf": [odd("d")]},
            },
        });
        assert_eq!(of(schema), ["a", "b", "d", "c"]);
    }

    #[test]
    fn known_formats_and_other_types_are_fine() {
        for (kind, format) in [
            ("string", "date-time"),
            ("string", "k8s-short-name"),
            ("string", ""),
            ("integer", "int32"),
            ("integer", "odd"),
            ("", "odd"),
        ] {
            assert!(of(json!({"type": kind, "format": format})).is_empty(), "{kind} {format}");
        }
    }
}
