//! Sets of fields, in the very form in which `managedFields` carries them (rule: structured-merge-diff `fieldpath`).
//!
//! A set is a JSON object. A key is a step: `f:<field>`, `k:{<keys of a list's element>}`, `v:<element of a set>` or
//! `i:<index>`. Its value is an object: empty where the step is in the set and nothing below it is; otherwise the steps
//! below, with `.` among them where the step itself is in the set too. Working on this form, nothing has to be parsed
//! or printed: what a request does not touch is never looked at.

use serde_json::{Map, Value};

/// The steps below a node.
pub type Steps = Map<String, Value>;

/// What says that a node is in the set itself.
const SELF: &str = ".";

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(Steps);

/// Why a client's field set was refused.
#[derive(Debug, thiserror::Error)]
#[error("invalid field set: {0}")]
pub struct Malformed(String);

/// Whether a node is in the set itself.
pub(crate) fn is_member(node: &Value) -> bool {
    node.as_object().is_none_or(|m| m.is_empty() || m.contains_key(SELF))
}
/// The steps below a node, with the mark of its own membership among them.
fn below(node: &Value) -> Option<&Steps> {
    node.as_object().filter(|m| !m.is_empty())
}
fn steps(m: &Steps) -> impl Iterator<Item = (&String, &Value)> {
    m.iter().filter(|(k, _)| *k != SELF)
}
fn has_steps(m: &Steps) -> bool {
    m.len() > usize::from(m.contains_key(SELF))
}
/// A node from its parts; `None` where it would say nothing.
pub(crate) fn node(member: bool, mut below: Steps) -> Option<Value> {
    below.remove(SELF);
    if below.is_empty() {
        return member.then_some(Value::Object(below));
    }
    if member {
        below.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    Some(Value::Object(below))
}

impl FieldSet {
    /// From steps that are known to be canonical: our own, or those of a stored object.
    pub fn from_steps(steps: Steps) -> Self {
        Self(steps)
    }
    /// From what a client wrote: keys are brought into canonical form, steps of unknown kinds are dropped.
    pub fn parse(fields: &Value) -> Result<Self, Malformed> {
        match fields {
            Value::Null => Ok(Self::default()),
            Value::Object(m) => canonical(m).map(Self),
            other => Err(Malformed(other.to_string())),
        }
    }
    /// From dotted paths of fields, such as `metadata.labels`.
    pub fn from_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self::default();
        for path in paths {
            let keys: Vec<String> = path.split('.').map(|f| format!("f:{f}")).collect();
            set.insert(&keys);
        }
        set
    }
    /// The value of `fieldsV1`.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
    /// The steps at its root, owned.
    pub fn into_steps(self) -> Steps {
        self.0
    }
    /// The steps at its root.
    pub fn steps(&self) -> &Steps {
        &self.0
    }
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether the node that these steps lead to is in it.
    pub fn contains<S: AsRef<str>>(&self, path: &[S]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut at = &self.0;
        for step in parents {
            match at.get(step.as_ref()).and_then(below) {
                Some(m) => at = m,
                None => return false,
            }
        }
        at.get(last.as_ref()).is_some_and(is_member)
    }
    /// Adds the node that these steps lead to.
    pub fn insert<S: AsRef<str>>(&mut self, path: &[S]) {
        insert(&mut self.0, path);
    }
    /// Adds a node and what is below it where these steps lead to.
    pub(crate) fn graft<S: AsRef<str>>(&mut self, path: &[S], node: Value) {
        graft(&mut self.0, path, node);
    }
    /// Takes the nodes of `other` away; what is below them stays, unless `other` has it too.
    pub fn subtract(&mut self, other: &Self) {
        subtract(&mut self.0, &other.0);
    }
    /// Takes the nodes of `other` away with all that is below them.
    pub fn subtract_recursively(&mut self, other: &Self) {
        subtract_recursively(&mut self.0, &other.0);
    }
    /// Adds the nodes of `other`.
    pub fn unite(&mut self, other: &Self) {
        unite(&mut self.0, &other.0);
    }
    /// Adds the nodes of `other`, which is given away.
    pub fn absorb(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        } else {
            self.unite(&other);
        }
    }
    /// The nodes that both have.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(intersect(&self.0, &other.0))
    }
    /// Every node's path, as messages print it: `.spec.containers[name="web"].image`. Parents come before children.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        list_paths(&self.0, "", &mut out);
        out
    }
}

fn insert<S: AsRef<str>>(at: &mut Steps, path: &[S]) {
    let Some((first, rest)) = path.split_first() else { return };
    let fresh = !at.contains_key(first.as_ref());
    let Value::Object(m) = at.entry(first.as_ref()).or_insert_with(|| Value::Object(Map::new())) else { return };
    let marks = if rest.is_empty() { !fresh && !m.is_empty() } else { !fresh && m.is_empty() };
    if marks {
        m.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    insert(m, rest);
}

fn graft<S: AsRef<str>>(at: &mut Steps, path: &[S], node: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        match at.get_mut(first.as_ref()) {
            Some(there) if *there != node => {
                let ours = Steps::from_iter([(first.as_ref().to_owned(), node)]);
                unite(at, &ours);
            }
            Some(_) => {}
            None => {
                at.insert(first.as_ref().to_owned(), node);
            }
        }
        return;
    }
    let fresh = !at.contains_key(first.as_ref());
    let Value::Object(m) = at.entry(first.as_ref()).or_insert_with(|| Value::Object(Map::new())) else { return };
    if !fresh && m.is_empty() {
        m.insert(SELF.to_owned(), Value::Object(Map::new()));
    }
    graft(m, rest, node);
}

fn subtract(a: &mut Steps, b: &Steps) {
    for (key, theirs) in steps(b) {
        let Some(Value::Object(ours)) = a.get_mut(key) else { continue };
        let mut member = ours.is_empty() || ours.contains_key(SELF);
        if let (Some(theirs), false) = (below(theirs), ours.is_empty()) {
            subtract(ours, theirs);
        }
        if is_member(theirs) {
            member = false;
            ours.remove(SELF);
        }
        if member && !has_steps(ours) {
            ours.clear();
        } else if ours.is_empty() {
            a.remove(key);
        }
    }
}

fn subtract_recursively(a: &mut Steps, b: &Steps) {
    for (key, theirs) in steps(b) {
        if is_member(theirs) {
            a.remove(key);
            continue;
        }
        let Some(Value::Object(ours)) = a.get_mut(key) else { continue };
        let member = ours.is_empty() || ours.contains_key(SELF);
        if let Some(theirs) = below(theirs) {
            subtract_recursively(ours, theirs);
        }
        if member && !has_steps(ours) {
            ours.clear();
        } else if ours.is_empty() {
            a.remove(key);
        }
    }
}

fn unite(a: &mut Steps, b: &Steps) {
    for (key, theirs) in steps(b) {
        let Some(Value::Object(ours)) = a.get_mut(key) else {
            a.insert(key.clone(), theirs.clone());
            continue;
        };
        let member = ours.is_empty() || ours.contains_key(SELF) || is_member(theirs);
        if let Some(theirs) = below(theirs) {
            unite(ours, theirs);
        }
        if member && has_steps(ours) && !ours.contains_key(SELF) {
            ours.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
    }
}

fn intersect(a: &Steps, b: &Steps) -> Steps {
    let mut out = Steps::new();
    for (key, ours) in steps(a) {
        let Some(theirs) = b.get(key) else { continue };
        let common = match (below(ours), below(theirs)) {
            (Some(ours), Some(theirs)) => intersect(ours, theirs),
            _ => Steps::new(),
        };
        if let Some(n) = node(is_member(ours) && is_member(theirs), common) {
            out.insert(key.clone(), n);
        }
    }
    out
}

fn list_paths(at: &Steps, prefix: &str, out: &mut Vec<String>) {
    let named: Vec<(String, &Value)> = steps(at).map(|(k, n)| (format!("{prefix}{}", show_step(k)), n)).collect();
    out.extend(named.iter().filter(|(_, n)| is_member(n)).map(|(p, _)| p.clone()));
    for (path, n) in &named {
        if let Some(m) = below(n) {
            list_paths(m, path, out);
        }
    }
}

/// A step as messages print it: `.name`, `[name="web"]`, `[="x"]`, `[3]`.
pub fn show_step(key: &str) -> String {
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    match key.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("i", index)) => format!("[{index}]"),
        Some(("v", value)) => format!("[={}]", show_scalar(&json(value))),
        Some(("k", keys)) => {
            let keys = json(keys);
            let pairs = keys.as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", show_scalar(v)));
            format!("[{}]", pairs.collect::<Vec<_>>().join(","))
        }
        _ => key.to_owned(),
    }
}

fn show_scalar(v: &Value) -> String {
    match v {
        Value::Null => "null".to_owned(),
        Value::String(s) => steersman_apimachinery::field::go_quote(s),
        v => crate::go::print(v),
    }
}

fn canonical(m: &Steps) -> Result<Steps, Malformed> {
    let mut out = Steps::new();
    for (key, value) in m {
        let key = match key.split_once(':') {
            _ if key == SELF => key.clone(),
            Some(("f", _)) => key.clone(),
            Some(("i", index)) => {
                let index: i64 = index.parse().map_err(|_| Malformed(key.clone()))?;
                format!("i:{index}")
            }
            Some((kind @ ("k" | "v"), json)) => {
                let parsed: Value = serde_json::from_str(json).map_err(|_| Malformed(key.clone()))?;
                if kind == "k" && !parsed.is_object() {
                    return Err(Malformed(key.clone()));
                }
                format!("{kind}:{parsed}")
            }
            Some(_) => continue,
            None => return Err(Malformed(key.clone())),
        };
        let below = match value {
            Value::Object(m) => canonical(m)?,
            Value::Null => Steps::new(),
            other => return Err(Malformed(other.to_string())),
        };
        if key == SELF {
            out.insert(key, Value::Object(Map::new()));
        } else if let Some(n) = node(below.is_empty() || below.contains_key(SELF), below) {
            out.insert(key, n);
        }
    }
    Ok(out)
}

/// What of a change a writer through some resource or subresource may own (rule: upstream's `GetResetFields` and
/// `GetResetFieldsFilter`).
#[derive(Clone, Debug, Default)]
pub struct FieldFilter {
    exclude: FieldSet,
    /// Steps that lead to what may be owned, `*` for any; empty: everything.
    include: Vec<Vec<String>>,
}

impl FieldFilter {
    /// From dotted paths that are never owned; a path that begins with `+` names something that alone may be owned,
    /// with `*` for any element: `+spec.containers.*.resources`.
    pub fn parse(paths: &[&str]) -> Self {
        let exclude = FieldSet::from_paths(paths.iter().copied().filter(|p| !p.starts_with('+')));
        let include = paths.iter().filter_map(|p| p.strip_prefix('+'));
        let step = |s: &str| if s == "*" { s.to_owned() } else { format!("f:{s}") };
        Self { exclude, include: include.map(|p| p.split('.').map(step).collect()).collect() }
    }
    /// Takes away what may not be owned.
    pub fn apply(&self, set: &mut FieldSet) {
        if !self.exclude.is_empty() {
            set.subtract_recursively(&self.exclude);
        }
        if !self.include.is_empty() {
            let patterns: Vec<&[String]> = self.include.iter().map(Vec::as_slice).collect();
            set.0 = matching(&set.0, &patterns);
        }
    }
}

/// The nodes below the ends of the patterns, and those at the ends.
fn matching(at: &Steps, patterns: &[&[String]]) -> Steps {
    let mut out = Steps::new();
    for (key, n) in steps(at) {
        let next = patterns.iter().filter_map(|p| p.split_first()).filter(|(s, _)| *s == "*" || *s == key);
        let next: Vec<&[String]> = next.map(|(_, rest)| rest).collect();
        if next.iter().any(|rest| rest.is_empty()) {
            out.insert(key.clone(), n.clone());
        } else if let (false, Some(m)) = (next.is_empty(), below(n))
            && let Some(n) = node(false, matching(m, &next))
        {
            out.insert(key.clone(), n);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(v: Value) -> FieldSet {
        FieldSet::parse(&v).unwrap()
    }

    #[test]
    fn algebra() {
        let a = set(json!({"f:a": {}, "f:b": {".": {}, "f:c": {}}, "f:d": {"f:e": {}}}));
        let b = set(json!({"f:a": {"f:x": {}}, "f:b": {}, "f:d": {"f:e": {}}}));
        let mut d = a.clone();
        d.subtract(&b);
        assert_eq!(d, set(json!({"f:a": {}, "f:b": {"f:c": {}}})));
        let mut r = a.clone();
        r.subtract_recursively(&b);
        assert_eq!(r, set(json!({"f:a": {}})));
        let mut u = a.clone();
        u.unite(&b);
        assert_eq!(u, set(json!({"f:a": {".": {}, "f:x": {}}, "f:b": {".": {}, "f:c": {}}, "f:d": {"f:e": {}}})));
        assert_eq!(a.intersection(&b), set(json!({"f:b": {}, "f:d": {"f:e": {}}})));
    }

    #[test]
    fn paths_and_keys() {
        let s = set(json!({"f:l": {"k:{\"b\": 1, \"a\":\"x\"}": {".": {}, "f:n": {}}, "v:\"s\"": {}}, "z:future": {}}));
        assert_eq!(s.paths(), [".l[a=\"x\",b=1]", ".l[=\"s\"]", ".l[a=\"x\",b=1].n"]);
        assert!(FieldSet::parse(&json!({"k:nonsense": {}})).is_err());
        assert!(s.contains(&["f:l", "v:\"s\""]) && !s.contains(&["f:l"]));
    }

    #[test]
    fn filters() {
        let filter = FieldFilter::parse(&["status", "metadata.labels"]);
        let mut s = set(json!({"f:status": {"f:x": {}}, "f:metadata": {"f:labels": {"f:a": {}}, "f:annotations": {}}}));
        filter.apply(&mut s);
        assert_eq!(s, set(json!({"f:metadata": {"f:annotations": {}}})));
        let filter = FieldFilter::parse(&["+spec.containers.*.resources"]);
        let container = json!({".": {}, "f:image": {}, "f:resources": {".": {}, "f:limits": {}}});
        let mut s = set(json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": container}, "f:x": {}}}));
        filter.apply(&mut s);
        let kept = json!({"f:resources": {".": {}, "f:limits": {}}});
        assert_eq!(s, set(json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": kept}}})));
    }
}
