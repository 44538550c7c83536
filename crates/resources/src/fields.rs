//! Reading a dynamic object the way Go reads a struct: what is absent is the zero value.

use serde_json::Value;

/// Accessors of the members of a JSON object; on anything else they find nothing.
pub trait Fields {
    /// The member where it is present and not null.
    fn sub(&self, key: &str) -> Option<&Value>;
    /// A string, empty where there is none.
    fn s(&self, key: &str) -> &str;
    /// A string where it is present, maybe empty.
    fn opt_s(&self, key: &str) -> Option<&str>;
    /// The elements of a list, none where it is absent.
    fn items(&self, key: &str) -> &[Value];
    /// The strings of a list.
    fn strings(&self, key: &str) -> Vec<&str>;
    /// A number where it is present.
    fn int(&self, key: &str) -> Option<i64>;
    /// A truth value where it is present.
    fn flag(&self, key: &str) -> Option<bool>;
    /// The entries of a map, sorted by key.
    fn entries(&self, key: &str) -> Vec<(&str, &Value)>;
    /// Whether the member is present, not null, and not an empty list or map.
    fn has(&self, key: &str) -> bool;
    /// The member, or null.
    fn at(&self, key: &str) -> &Value;
}

impl Fields for Value {
    fn sub(&self, key: &str) -> Option<&Value> {
        self.get(key).filter(|v| !v.is_null())
    }
    fn s(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }
    fn opt_s(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
    fn items(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
    fn strings(&self, key: &str) -> Vec<&str> {
        self.items(key).iter().filter_map(Value::as_str).collect()
    }
    fn int(&self, key: &str) -> Option<i64> {
        self.get(key).and_then(Value::as_i64)
    }
    fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }
    fn entries(&self, key: &str) -> Vec<(&str, &Value)> {
        self.get(key)
            .and_then(Value::as_object)
            .map(|m| m.iter().map(|(k, v)| (k.as_str(), v)).collect())
            .unwrap_or_default()
    }
    fn has(&self, key: &str) -> bool {
        match self.sub(key) {
            Some(Value::Array(a)) => !a.is_empty(),
            Some(Value::Object(m)) => !m.is_empty(),
            other => other.is_some(),
        }
    }
    fn at(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&Value::Null)
    }
}
