//! Objects as messages show them: in the form of upstream's internal structs, whose members have Go's names and order
//! and are all there, `null` where there is nothing. Also the differences of two such forms.

use serde_json::Value;
use std::fmt::Write;
use steersman_apimachinery::field::Shown;

/// A member of an internal struct, by the name that it has in JSON.
#[derive(Debug)]
pub struct Field(pub &'static str, pub Type);

/// What a member is in Go.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// A string.
    Text,
    /// A number, or an int-or-string.
    Int,
    /// A truth value.
    Bool,
    /// A pointer, list or map of what JSON shows the same way in all versions.
    Plain,
    /// A label selector.
    Selector,
    /// A struct that is always there.
    Struct(&'static [Field]),
    /// A struct that may be missing.
    Pointer(&'static [Field]),
    /// A list of structs.
    List(&'static [Field]),
    /// A struct whose members count as the holder's.
    Embedded(&'static [Field]),
}

/// Go names that are not just the JSON name with a capital.
const GO_NAMES: &[(&str, &str)] = &[
    ("apiGroup", "APIGroup"),
    ("apiGroups", "APIGroups"),
    ("apiVersion", "APIVersion"),
    ("chapAuthDiscovery", "DiscoveryCHAPAuth"),
    ("chapAuthSession", "SessionCHAPAuth"),
    ("awsElasticBlockStore", "AWSElasticBlockStore"),
    ("cephfs", "CephFS"),
    ("csi", "CSI"),
    ("dnsConfig", "DNSConfig"),
    ("dnsPolicy", "DNSPolicy"),
    ("fc", "FC"),
    ("fsGroup", "FSGroup"),
    ("fsGroupChangePolicy", "FSGroupChangePolicy"),
    ("fsType", "FSType"),
    ("gcePersistentDisk", "GCEPersistentDisk"),
    ("gmsaCredentialSpec", "GMSACredentialSpec"),
    ("gmsaCredentialSpecName", "GMSACredentialSpecName"),
    ("grpc", "GRPC"),
    ("httpGet", "HTTPGet"),
    ("httpHeaders", "HTTPHeaders"),
    ("ip", "IP"),
    ("iqn", "IQN"),
    ("iscsi", "ISCSI"),
    ("iscsiInterface", "ISCSIInterface"),
    ("nfs", "NFS"),
    ("os", "OS"),
    ("pdID", "PdID"),
    ("pdName", "PDName"),
    ("rbd", "RBD"),
    ("scaleIO", "ScaleIO"),
    ("seLinuxChangePolicy", "SELinuxChangePolicy"),
    ("seLinuxOptions", "SELinuxOptions"),
    ("storageos", "StorageOS"),
    ("tcpSocket", "TCPSocket"),
    ("tty", "TTY"),
    ("uid", "UID"),
    ("wwids", "WWIDs"),
];

/// An object in the form of a struct.
pub struct Show<'a>(pub &'static [Field], pub &'a Value);

impl Shown for Show<'_> {
    fn shown(&self) -> String {
        render(Type::Struct(self.0), Some(self.1), None)
    }
}

/// A list in the form of structs.
pub struct ShowList<'a>(pub &'static [Field], pub &'a Value);

impl Shown for ShowList<'_> {
    fn shown(&self) -> String {
        render(Type::List(self.0), Some(self.1), None)
    }
}

/// A label selector with its members in Go's order, `null` where there is none.
pub struct ShowSelector<'a>(pub Option<&'a Value>);

impl Shown for ShowSelector<'_> {
    fn shown(&self) -> String {
        render(Type::Selector, self.0, None)
    }
}

/// What differs between two objects in the form of a struct, as upstream's `diff.Diff` prints it: the JSON, indented by
/// one space, as a unified diff with three lines of context.
pub fn diff(fields: &'static [Field], old: &Value, new: &Value) -> String {
    unified(&render(Type::Struct(fields), Some(old), Some(0)), &render(Type::Struct(fields), Some(new), Some(0)))
}

/// The same for lists.
pub fn diff_lists(fields: &'static [Field], old: &Value, new: &Value) -> String {
    unified(&render(Type::List(fields), Some(old), Some(0)), &render(Type::List(fields), Some(new), Some(0)))
}

/// Writes JSON, compact or indented.
struct Writer {
    out: String,
    indent: Option<usize>,
}

fn render(kind: Type, value: Option<&Value>, indent: Option<usize>) -> String {
    let mut w = Writer { out: String::new(), indent };
    w.value(kind, value);
    w.out
}

impl Writer {
    fn value(&mut self, kind: Type, value: Option<&Value>) {
        let value = value.filter(|v| !v.is_null());
        match (kind, value) {
            (Type::Struct(fields), v) => self.object(|w, first| w.members(fields, v, first)),
            (Type::Pointer(fields) | Type::Embedded(fields), Some(v)) => {
                self.object(|w, first| w.members(fields, Some(v), first));
            }
            (Type::List(fields), Some(Value::Array(items))) => self.list(items, Type::Struct(fields)),
            (Type::Selector, Some(v)) => self.object(|w, first| {
                for key in ["matchLabels", "matchExpressions"] {
                    if let Some(v) = v.get(key) {
                        w.key(key, first);
                        w.plain(v);
                    }
                }
            }),
            (Type::Text, None) => self.out.push_str("\"\""),
            (Type::Int, None) => self.out.push('0'),
            (Type::Bool, None) => self.out.push_str("false"),
            (_, None) => self.out.push_str("null"),
            (_, Some(v)) => self.plain(v),
        }
    }

    fn members(&mut self, fields: &'static [Field], value: Option<&Value>, first: &mut bool) {
        for Field(name, kind) in fields {
            if let Type::Embedded(inner) = kind {
                self.members(inner, value, first);
                continue;
            }
            self.key(&go_name(name), first);
            self.value(*kind, value.and_then(|v| v.get(*name)));
        }
    }

    fn plain(&mut self, value: &Value) {
        match value {
            Value::Array(items) => self.list(items, Type::Plain),
            Value::Object(members) => self.object(|w, first| {
                for (k, v) in members {
                    w.key(k, first);
                    w.plain(v);
                }
            }),
            other => {
                let text = other.to_string();
                for c in text.chars() {
                    match c {
                        '<' => self.out.push_str("\\u003c"),
                        '>' => self.out.push_str("\\u003e"),
                        '&' => self.out.push_str("\\u0026"),
                        c => self.out.push(c),
                    }
                }
            }
        }
    }

    fn list(&mut self, items: &[Value], kind: Type) {
        self.out.push('[');
        self.deeper(1);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push(',');
            }
            self.line();
            self.value(kind, Some(item));
        }
        self.deeper(-1);
        if !items.is_empty() {
            self.line();
        }
        self.out.push(']');
    }

    fn object(&mut self, members: impl FnOnce(&mut Self, &mut bool)) {
        self.out.push('{');
        self.deeper(1);
        let mut first = true;
        members(self, &mut first);
        self.deeper(-1);
        if !first {
            self.line();
        }
        self.out.push('}');
    }

    fn key(&mut self, name: &str, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(',');
        }
        self.line();
        let space = if self.indent.is_some() { " " } else { "" };
        let _ = write!(self.out, "{}:{space}", Value::from(name));
    }

    fn deeper(&mut self, by: isize) {
        self.indent = self.indent.map(|n| n.saturating_add_signed(by));
    }

    fn line(&mut self) {
        if let Some(n) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', n));
        }
    }
}

fn go_name(name: &str) -> String {
    if let Some((_, go)) = GO_NAMES.iter().find(|(json, _)| *json == name) {
        return (*go).to_owned();
    }
    let mut chars = name.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// A unified diff with three lines of context and without file names.
pub fn unified(old: &str, new: &str) -> String {
    const CONTEXT: usize = 3;
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let ops = line_ops(&a, &b);
    let mut out = String::new();
    let mut i = 0;
    while let Some(change) = (i..ops.len()).find(|&k| ops[k].0 != ' ') {
        let start = change.saturating_sub(CONTEXT).max(i);
        let mut end = change;
        let mut k = change;
        while k < ops.len() && k <= end + 2 * CONTEXT {
            if ops[k].0 != ' ' {
                end = k;
            }
            k += 1;
        }
        let stop = (end + CONTEXT + 1).min(ops.len());
        let count = |side: char| ops[start..stop].iter().filter(|(op, ..)| *op == ' ' || *op == side).count();
        let (olds, news) = (count('-'), count('+'));
        let _ = writeln!(out, "@@ -{} +{} @@", range(ops[start].1, olds), range(ops[start].2, news));
        for (op, at, to) in &ops[start..stop] {
            let line = if *op == '+' { b[*to] } else { a[*at] };
            let _ = writeln!(out, "{op}{line}");
        }
        i = stop;
    }
    out
}

fn range(start: usize, len: usize) -> String {
    match len {
        1 => (start + 1).to_string(),
        0 => format!("{start},0"),
        n => format!("{},{n}", start + 1),
    }
}

/// Every line kept (' '), dropped ('-') or added ('+'), with its place in the old and in the new text.
fn line_ops(a: &[&str], b: &[&str]) -> Vec<(char, usize, usize)> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (x, y) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let mut common = vec![vec![0u32; y.len() + 1]; x.len() + 1];
    for i in (0..x.len()).rev() {
        for j in (0..y.len()).rev() {
            common[i][j] = if x[i] == y[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let mut ops: Vec<(char, usize, usize)> = (0..head).map(|i| (' ', i, i)).collect();
    let (mut i, mut j) = (0, 0);
    while i < x.len() || j < y.len() {
        if i < x.len() && j < y.len() && x[i] == y[j] {
            ops.push((' ', head + i, head + j));
            (i, j) = (i + 1, j + 1);
        } else if j == y.len() || (i < x.len() && common[i + 1][j] >= common[i][j + 1]) {
            ops.push(('-', head + i, head + j));
            i += 1;
        } else {
            ops.push(('+', head + i, head + j));
            j += 1;
        }
    }
    ops.extend((0..tail).map(|k| (' ', a.len() - tail + k, b.len() - tail + k)));
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const INNER: &[Field] = &[Field("httpGet", Type::Pointer(&[Field("port", Type::Int)])), Field("name", Type::Text)];
    const OUTER: &[Field] =
        &[Field("list", Type::List(INNER)), Field("", Type::Embedded(INNER)), Field("labels", Type::Plain)];

    #[test]
    fn structs_have_all_members_in_go_order() {
        let v = json!({"name": "a<b", "list": [{"httpGet": {}}], "labels": {"x": "y"}});
        assert_eq!(
            Show(OUTER, &v).shown(),
            r#"{"List":[{"HTTPGet":{"Port":0},"Name":""}],"HTTPGet":null,"Name":"a\u003cb","Labels":{"x":"y"}}"#
        );
        assert_eq!(ShowList(INNER, &json!([])).shown(), "[]");
    }

    #[test]
    fn differences_have_three_lines_of_context() {
        let old: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
        let mut new = old.clone();
        new[4] = "five".into();
        new.remove(15);
        let got = unified(&old.join("\n"), &new.join("\n"));
        assert_eq!(
            got,
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n@@ -13,7 +13,6 @@\n 13\n 14\n 15\n-16\n 17\n 18\n 19\n"
        );
        assert_eq!(unified("a", "a"), "");
    }
}
