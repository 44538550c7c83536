//! A Swagger document as the protobuf that older clients ask for (rule: gnostic `openapiv2/OpenAPIv2.proto`).

use serde_json::{Map, Value};

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A string, where the member is one.
    fn text(&mut self, number: u32, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, value: Option<&Value>) {
        for text in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    /// A boolean, where it is set.
    fn flag(&mut self, number: u32, value: Option<&Value>) {
        if value.and_then(Value::as_bool) == Some(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    fn integer(&mut self, number: u32, value: Option<&Value>) {
        if let Some(n) = value.and_then(Value::as_i64) {
            self.varint(u64::from(number) << 3);
            self.varint(n.cast_unsigned());
        }
    }

    fn double(&mut self, number: u32, value: Option<&Value>) {
        if let Some(f) = value.and_then(Value::as_f64) {
            self.varint(u64::from(number) << 3 | 1);
            self.0.extend_from_slice(&f.to_le_bytes());
        }
    }

    fn message(&mut self, number: u32, message: &Self) {
        self.bytes(number, &message.0);
    }

    /// Any value, as YAML: JSON is YAML.
    fn any(&mut self, number: u32, value: Option<&Value>) {
        if let Some(value) = value {
            let mut any = Self::default();
            any.bytes(2, value.to_string().as_bytes());
            self.message(number, &any);
        }
    }

    /// A name and a message.
    fn named(&mut self, number: u32, name: &str, value: &Self) {
        let mut named = Self::default();
        named.bytes(1, name.as_bytes());
        named.message(2, value);
        self.message(number, &named);
    }

    /// The members that begin with `x-`.
    fn extensions(&mut self, number: u32, object: &Map<String, Value>) {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Self::default();
            any.bytes(2, value.to_string().as_bytes());
            self.named(number, name, &any);
        }
    }
}

/// The document.
pub fn encode(swagger: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, swagger.get("swagger"));
    let mut info = Message::default();
    info.text(1, swagger["info"].get("title"));
    info.text(2, swagger["info"].get("version"));
    out.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in members(swagger.get("paths")) {
        paths.named(2, path, &path_item(item));
    }
    out.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in members(swagger.get("definitions")) {
        definitions.named(1, name, &schema(definition));
    }
    out.message(9, &definitions);
    let mut parameters = Message::default();
    for (name, value) in members(swagger.get("parameters")) {
        parameters.named(1, name, &parameter(value));
    }
    out.message(10, &parameters);
    for requirement in swagger["security"].as_array().into_iter().flatten() {
        let mut security = Message::default();
        for (name, scopes) in members(Some(requirement)) {
            let mut list = Message::default();
            list.texts(1, Some(scopes));
            security.named(1, name, &list);
        }
        out.message(12, &security);
    }
    let mut securities = Message::default();
    for (name, definition) in members(swagger.get("securityDefinitions")) {
        let mut key = Message::default();
        for (number, member) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
            key.text(number, definition.get(member));
        }
        let mut item = Message::default();
        item.message(2, &key);
        securities.named(1, name, &item);
    }
    out.message(13, &securities);
    out.0
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    let methods = [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];
    for (number, method) in methods {
        if let Some(operation) = item.get(method).and_then(Value::as_object) {
            out.message(number, &self::operation(operation));
        }
    }
    for value in item["parameters"].as_array().into_iter().flatten() {
        out.message(9, &parameters_item(value));
    }
    out
}

fn operation(object: &Map<String, Value>) -> Message {
    let mut out = Message::default();
    out.texts(1, object.get("tags"));
    out.text(3, object.get("description"));
    out.text(5, object.get("operationId"));
    out.texts(6, object.get("produces"));
    out.texts(7, object.get("consumes"));
    for value in object.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        out.message(8, &parameters_item(value));
    }
    let mut responses = Message::default();
    for (status, response) in members(object.get("responses")) {
        let mut message = Message::default();
        message.text(1, response.get("description"));
        if let Some(value) = response.get("schema") {
            let mut item = Message::default();
            item.message(1, &schema(value));
            message.message(2, &item);
        }
        let mut value = Message::default();
        value.message(1, &message);
        responses.named(1, status, &value);
    }
    out.message(9, &responses);
    out.texts(10, object.get("schemes"));
    out.flag(11, object.get("deprecated"));
    out.extensions(13, object);
    out
}

fn parameters_item(value: &Value) -> Message {
    let mut out = Message::default();
    match value.get("$ref") {
        Some(reference) => {
            let mut json = Message::default();
            json.text(1, Some(reference));
            out.message(2, &json);
        }
        None => out.message(1, &parameter(value)),
    }
    out
}

fn parameter(value: &Value) -> Message {
    let mut inner = Message::default();
    let mut out = Message::default();
    match value["in"].as_str() {
        Some("body") => {
            inner.text(2, value.get("name"));
            inner.text(3, value.get("in"));
            inner.flag(4, value.get("required"));
            if let Some(body) = value.get("schema") {
                inner.message(5, &schema(body));
            }
            out.message(1, &inner);
        }
        place => {
            inner.flag(1, value.get("required"));
            inner.text(2, value.get("in"));
            inner.text(4, value.get("name"));
            let mut other = Message::default();
            if place == Some("path") {
                inner.text(5, value.get("type"));
                inner.flag(19, value.get("uniqueItems"));
                other.message(4, &inner);
            } else {
                inner.text(6, value.get("type"));
                inner.flag(20, value.get("uniqueItems"));
                other.message(3, &inner);
            }
            out.message(2, &other);
        }
    }
    out
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    let Some(object) = value.as_object() else { return out };
    let get = |name: &str| object.get(name);
    out.text(1, get("$ref"));
    out.text(2, get("format"));
    out.text(3, get("title"));
    out.text(4, get("description"));
    out.any(5, get("default"));
    out.double(6, get("multipleOf"));
    out.double(7, get("maximum"));
    out.flag(8, get("exclusiveMaximum"));
    out.double(9, get("minimum"));
    out.flag(10, get("exclusiveMinimum"));
    out.integer(11, get("maxLength"));
    out.integer(12, get("minLength"));
    out.text(13, get("pattern"));
    out.integer(14, get("maxItems"));
    out.integer(15, get("minItems"));
    out.flag(16, get("uniqueItems"));
    out.integer(17, get("maxProperties"));
    out.integer(18, get("minProperties"));
    out.texts(19, get("required"));
    for choice in get("enum").and_then(Value::as_array).into_iter().flatten() {
        out.any(20, Some(choice));
    }
    if let Some(additional) = get("additionalProperties") {
        let mut item = Message::default();
        match additional {
            Value::Bool(_) => item.flag(2, Some(additional)),
            other => item.message(1, &schema(other)),
        }
        out.message(21, &item);
    }
    if let Some(kind) = get("type") {
        let mut item = Message::default();
        item.text(1, Some(kind));
        out.message(22, &item);
    }
    if let Some(items) = get("items") {
        let mut item = Message::default();
        item.message(1, &schema(items));
        out.message(23, &item);
    }
    for part in get("allOf").and_then(Value::as_array).into_iter().flatten() {
        out.message(24, &schema(part));
    }
    if let Some(properties) = get("properties") {
        let mut message = Message::default();
        for (name, property) in members(Some(properties)) {
            message.named(1, name, &schema(property));
        }
        out.message(25, &message);
    }
    out.extensions(31, object);
    out
}
