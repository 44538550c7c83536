//! Types as OpenAPI schemas.

use crate::descriptions::Descriptions;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use steersman_schema::{Field, Kind, ListType, MapType, Presence, Type, TypeRef};

/// Which OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Swagger 2.0: references `#/definitions/...`, no defaults.
    V2,
    /// OpenAPI 3.0: references `#/components/schemas/...`.
    V3,
}

impl Dialect {
    /// A reference to a definition.
    pub fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// The definition names of types that are no objects.
mod scalar {
    pub const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
    pub const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
    pub const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
    pub const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
    pub const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
    pub const FIELDS_V1: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
    pub const JSON: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
    pub const OR_ARRAY: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray";
    pub const OR_BOOL: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool";
    pub const OR_STRINGS: &str =
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray";
}

/// Types that are discriminated unions: the discriminator (maybe none) and the fields it chooses among.
const UNIONS: &[(&str, &str, &[(&str, &str)])] = &[
    ("io.k8s.api.core.v1.AppArmorProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.core.v1.PodSchedulingGroup", "", &[("podGroupName", "PodGroupName")]),
    ("io.k8s.api.core.v1.SeccompProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.flowcontrol.v1.LimitResponse", "type", &[("queuing", "Queuing")]),
    (
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec",
        "type",
        &[("exempt", "Exempt"), ("limited", "Limited")],
    ),
    (
        "io.k8s.api.flowcontrol.v1.Subject",
        "kind",
        &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")],
    ),
    ("io.k8s.api.scheduling.v1alpha2.PodGroupSchedulingPolicy", "", &[("basic", "Basic"), ("gang", "Gang")]),
    ("io.k8s.api.scheduling.v1alpha2.PodGroupTemplateReference", "", &[("workload", "Workload")]),
];

/// Types whose required fields are not in the order of their protobuf numbers.
const REQUIRED_ORDER: &[(&str, &[&str])] = &[
    ("io.k8s.api.networking.v1.HTTPIngressPath", &["pathType", "backend"]),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.APIResource", &["name", "singularName", "namespaced", "kind", "verbs"]),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference", &["apiVersion", "kind", "name", "uid"]),
    (
        "io.k8s.apimachinery.pkg.version.Info",
        &[
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ],
    ),
];

/// Collects the definitions that a document needs.
pub struct Definitions {
    dialect: Dialect,
    /// Only kinds of this group and version are told of types that belong to many; `None`: all.
    only: Option<(String, String)>,
    descriptions: Descriptions,
    done: BTreeMap<String, Value>,
    wanted: BTreeSet<&'static str>,
}

impl Definitions {
    /// None yet.
    pub fn new(dialect: Dialect, only: Option<(String, String)>) -> Self {
        Self { dialect, only, descriptions: Descriptions::load(), done: BTreeMap::new(), wanted: BTreeSet::new() }
    }

    /// A reference to a built-in definition, which is collected together with all that it refers to.
    pub fn built_in(&mut self, name: &str) -> Value {
        if !self.done.contains_key(name)
            && let Some(ty) = steersman_schema::definition(name)
        {
            self.add(&ty);
        }
        self.dialect.reference(name)
    }

    /// A reference to the definition of a type.
    fn object(&mut self, ty: &TypeRef) -> Value {
        self.add(ty);
        self.dialect.reference(&ty.name)
    }

    fn add(&mut self, ty: &Type) {
        if self.done.contains_key(&*ty.name) {
            return;
        }
        // Types may refer to themselves: take the place first.
        self.done.insert(ty.name.clone().into_owned(), Value::Null);
        let definition = self.definition(ty);
        self.done.insert(ty.name.clone().into_owned(), definition);
    }

    /// All that were collected, those of scalars included.
    pub fn finish(mut self) -> BTreeMap<String, Value> {
        for name in std::mem::take(&mut self.wanted) {
            self.done.insert(name.to_owned(), self.scalar(name));
        }
        self.done
    }

    fn definition(&mut self, ty: &Type) -> Value {
        let mut out = Map::new();
        out.extend(self.description(&ty.name, ""));
        let mut properties = Map::new();
        for field in ty.fields.iter() {
            let schema = self.field(&ty.name, field);
            properties.insert(field.name.clone().into_owned(), schema);
        }
        if !properties.is_empty() {
            out.insert("properties".into(), properties.into());
        }
        let mut required: Vec<&Field> = ty.fields.iter().filter(|f| f.required).collect();
        match REQUIRED_ORDER.iter().find(|(name, _)| *name == ty.name) {
            Some((_, order)) => required.sort_by_key(|f| order.iter().position(|name| *name == f.name)),
            None => required.sort_by_key(|f| *f.via.first().unwrap_or(&f.number)),
        }
        if !required.is_empty() {
            out.insert("required".into(), required.iter().map(|f| Value::from(f.name.as_ref())).collect());
        }
        out.insert("type".into(), "object".into());
        let gvks: Vec<Value> = ty
            .gvks
            .iter()
            .filter(|gvk| {
                ty.gvks.len() == 1
                    || self.only.as_ref().is_none_or(|(group, version)| *group == gvk.group && *version == gvk.version)
            })
            .map(|gvk| json!({"group": gvk.group, "kind": gvk.kind, "version": gvk.version}))
            .collect();
        if !gvks.is_empty() {
            out.insert("x-kubernetes-group-version-kind".into(), gvks.into());
        }
        if ty.map_atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if let Some((_, discriminator, fields)) = UNIONS.iter().find(|(name, ..)| *name == ty.name) {
            let fields: Map<String, Value> = fields.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
            let mut union = json!({"fields-to-discriminateBy": fields});
            if !discriminator.is_empty() {
                union["discriminator"] = Value::from(*discriminator);
            }
            out.insert("x-kubernetes-unions".into(), json!([union]));
        }
        Value::Object(out)
    }

    /// The member of a schema that says what the definition or its field is for.
    fn description(&self, definition: &str, field: &str) -> Option<(String, Value)> {
        Some(("description".to_owned(), self.descriptions.of(definition, field)?.into()))
    }

    fn field(&mut self, definition: &str, field: &Field) -> Value {
        let mut schema = self.kind(&field.kind);
        let mut more = Map::new();
        more.extend(self.description(definition, &field.name));
        if self.dialect == Dialect::V3
            && let Some(default) = default(field)
        {
            more.insert("default".into(), default);
        }
        match field.list {
            ListType::Unset => {}
            ListType::Atomic => drop(more.insert("x-kubernetes-list-type".into(), "atomic".into())),
            ListType::Set => drop(more.insert("x-kubernetes-list-type".into(), "set".into())),
            ListType::Map => {
                let keys: Value = field.list_keys.iter().map(|k| Value::from(k.as_ref())).collect();
                more.insert("x-kubernetes-list-map-keys".into(), keys);
                more.insert("x-kubernetes-list-type".into(), "map".into());
            }
        }
        match field.map {
            MapType::Unset => {}
            MapType::Atomic => drop(more.insert("x-kubernetes-map-type".into(), "atomic".into())),
            MapType::Granular => drop(more.insert("x-kubernetes-map-type".into(), "granular".into())),
        }
        if !field.merge_key.is_empty() {
            more.insert("x-kubernetes-patch-merge-key".into(), field.merge_key.as_ref().into());
        }
        let strategy = field.strategy;
        let strategies: Vec<&str> =
            [(strategy.merge, "merge"), (strategy.replace, "replace"), (strategy.retain_keys, "retainKeys")]
                .into_iter()
                .filter_map(|(set, name)| set.then_some(name))
                .collect();
        if !strategies.is_empty() {
            more.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
        }
        if more.is_empty() {
            return schema;
        }
        // OpenAPI 3.0 ignores what stands beside a reference.
        if self.dialect == Dialect::V3 && schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        if let Value::Object(object) = &mut schema {
            object.extend(more);
        }
        schema
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        let name = match kind {
            Kind::Bool => return json!({"type": "boolean"}),
            Kind::Int32 => return json!({"type": "integer", "format": "int32"}),
            Kind::Int64 => return json!({"type": "integer", "format": "int64"}),
            Kind::Float64 => return json!({"type": "number", "format": "double"}),
            Kind::String | Kind::Duration => return json!({"type": "string"}),
            Kind::Bytes => return json!({"type": "string", "format": "byte"}),
            Kind::List(item) | Kind::WrappedList(item) => return json!({"type": "array", "items": self.kind(item)}),
            Kind::Map(value) => return json!({"type": "object", "additionalProperties": self.kind(value)}),
            Kind::Object(ty) => return self.object(ty),
            Kind::Time => scalar::TIME,
            Kind::MicroTime => scalar::MICRO_TIME,
            Kind::Quantity => scalar::QUANTITY,
            Kind::IntOrString => scalar::INT_OR_STRING,
            Kind::RawExtension => scalar::RAW_EXTENSION,
            Kind::FieldsV1 => scalar::FIELDS_V1,
            Kind::JsonAny => scalar::JSON,
            Kind::SchemaOrArray(_) => scalar::OR_ARRAY,
            Kind::SchemaOrBool(_) => scalar::OR_BOOL,
            Kind::SchemaOrStrings(_) => scalar::OR_STRINGS,
        };
        self.wanted.insert(name);
        self.dialect.reference(name)
    }

    fn scalar(&self, name: &str) -> Value {
        let mut schema = self.scalar_type(name);
        if let Value::Object(schema) = &mut schema {
            schema.extend(self.description(name, ""));
        }
        schema
    }

    fn scalar_type(&self, name: &str) -> Value {
        match (name, self.dialect) {
            (scalar::QUANTITY, Dialect::V2) => json!({"type": "string"}),
            (scalar::QUANTITY, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            (scalar::INT_OR_STRING, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
            (scalar::INT_OR_STRING, Dialect::V3) => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            (scalar::TIME | scalar::MICRO_TIME, _) => json!({"type": "string", "format": "date-time"}),
            (scalar::RAW_EXTENSION | scalar::FIELDS_V1, _) => json!({"type": "object"}),
            _ => json!({}),
        }
    }
}

/// What Go writes where the field is not given, if it is no pointer (rule: kube-openapi's generator).
fn default(field: &Field) -> Option<Value> {
    match (field.presence, &field.kind) {
        (Presence::Struct, _) => Some(json!({})),
        (Presence::Always, Kind::String) => Some(json!("")),
        (Presence::Always, Kind::Int32 | Kind::Int64) => Some(json!(0)),
        (Presence::Always, Kind::Bool) => Some(json!(false)),
        _ => None,
    }
}
