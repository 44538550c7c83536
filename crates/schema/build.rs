//! Turns `facts/*.facts` into static tables. The notation is described in `facts/README.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// One `type` line and the field lines below it.
struct Type {
    package: String,
    name: String,
    kinds: Vec<(String, String, String)>,
    atomic: bool,
    fields: Vec<Field>,
}

/// One field line.
struct Field {
    name: String,
    expression: String,
    number: u32,
    flags: Vec<String>,
}

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    println!("cargo:rerun-if-changed=facts");
    println!("cargo:rerun-if-changed=build.rs");
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("facts"))
        .expect("the facts folder is part of the crate")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "facts"))
        .collect();
    files.sort();
    let mut types = Vec::new();
    let mut retired = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("facts files are UTF-8");
        if file.file_stem().is_some_and(|stem| stem == "retired") {
            retired = read_retired(&text);
        } else {
            read_package(file, &text, &mut types);
        }
    }
    types.sort_by_key(|ty| format!("{}.{}", ty.package, ty.name));
    fs::write(out.join("tables.rs"), Tables::new(&types).write(&retired)).expect("the output folder is writable");
}

/// Lines `<group>/<version> <Kind> <Kind>...`.
fn read_retired(text: &str) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (group, version) = words.next().and_then(|gv| gv.split_once('/')).expect("a group and a version");
        out.extend(words.map(|kind| (group.to_owned(), version.to_owned(), kind.to_owned())));
    }
    out.sort();
    out
}

fn read_package(file: &Path, text: &str, types: &mut Vec<Type>) {
    let mut package = String::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |what: &str| -> ! { panic!("{}:{}: {what}: {line}", file.display(), at + 1) };
        let mut words = line.split_whitespace();
        if line.starts_with("  ") {
            let (Some(name), Some(expression), Some(number)) = (words.next(), words.next(), words.next()) else {
                wrong("a field line is: name type number flags")
            };
            let field = Field {
                name: name.into(),
                expression: expression.into(),
                number: number.parse().unwrap_or_else(|_| wrong("no number")),
                flags: words.map(str::to_owned).collect(),
            };
            let Some(ty) = types.last_mut() else { wrong("a field before any type") };
            ty.fields.push(field);
            continue;
        }
        match words.next() {
            None | Some("#") => {}
            Some("package") => package = words.next().unwrap_or_else(|| wrong("no package name")).into(),
            Some("type") => {
                let name = words.next().unwrap_or_else(|| wrong("no type name")).to_owned();
                let mut ty =
                    Type { package: package.clone(), name, kinds: Vec::new(), atomic: false, fields: Vec::new() };
                for flag in words {
                    match flag.split_once('=') {
                        Some(("kind", list)) => ty.kinds = list.split(',').map(|gv| kind_of(gv, &ty.name)).collect(),
                        None if flag == "atomic" => ty.atomic = true,
                        _ => wrong("unknown flag of a type"),
                    }
                }
                types.push(ty);
            }
            Some(_) => wrong("unknown line"),
        }
    }
}

/// `group/version` or `group/version/Kind`.
fn kind_of(text: &str, name: &str) -> (String, String, String) {
    let mut parts = text.split('/');
    let mut next = || parts.next().map(str::to_owned);
    let (group, version, kind) = (next(), next(), next());
    (group.unwrap_or_default(), version.unwrap_or_default(), kind.unwrap_or_else(|| name.to_owned()))
}

/// Writes the tables as Rust source.
struct Tables<'a> {
    types: &'a [Type],
    /// Full name to position.
    positions: BTreeMap<String, usize>,
    /// Short package (`core.v1`) to package.
    packages: BTreeMap<String, &'a str>,
    /// The source of a kind that is referred to, to its number.
    kinds: BTreeMap<String, usize>,
}

impl<'a> Tables<'a> {
    fn new(types: &'a [Type]) -> Self {
        let positions = types.iter().enumerate().map(|(i, ty)| (format!("{}.{}", ty.package, ty.name), i)).collect();
        let packages = types.iter().map(|ty| (short(&ty.package), ty.package.as_str())).collect();
        Self { types, positions, packages, kinds: BTreeMap::new() }
    }

    fn write(mut self, retired: &[(String, String, String)]) -> String {
        let mut out = String::new();
        for (i, ty) in self.types.iter().enumerate() {
            let (mut fields, mut mandatory) = (String::new(), String::new());
            let (mut signatures, mut numbers) = (String::new(), String::new());
            for (at, field) in ty.fields.iter().enumerate() {
                let row = self.field(ty, field);
                if ["PointerAlways", "Always", "Struct"].iter().any(|p| row.contains(&format!("Presence::{p},"))) {
                    write!(mandatory, "{at}, ").expect("writing to a string");
                }
                write!(signatures, "signature({:?}), ", field.name).expect("writing to a string");
                let embedded = field.flags.iter().any(|flag| flag.starts_with("in="));
                write!(numbers, "{}, ", if embedded { 0 } else { field.number }).expect("writing to a string");
                writeln!(fields, "    {row},").expect("writing to a string");
            }
            let gvks: String = ty
                .kinds
                .iter()
                .map(|(g, v, k)| format!("GroupVersionKind::from_static({g:?}, {v:?}, {k:?}), "))
                .collect();
            let full = format!("{}.{}", ty.package, ty.name);
            let go = format!("{}.{}", ty.package.rsplit('.').next().unwrap_or_default(), ty.name);
            write!(
                out,
                "static F{i}: [Field; {}] = [\n{fields}];\nstatic G{i}: [GroupVersionKind; {}] = [{gvks}];\n\
                 static T{i}: Type = Type {{ name: Cow::Borrowed({full:?}), go_name: Cow::Borrowed({go:?}), \
                 fields: Cow::Borrowed(&F{i}), signatures: Cow::Borrowed(&[{signatures}]), \
                 numbers: Cow::Borrowed(&[{numbers}]), mandatory: Cow::Borrowed(&[{mandatory}]), gvks: Cow::Borrowed(&G{i}), map_atomic: {}, preserve_unknown: false }};\n",
                ty.fields.len(),
                ty.kinds.len(),
                ty.atomic
            )
            .expect("writing to a string");
        }
        for (source, n) in &self.kinds {
            writeln!(out, "static K{n}: Kind = {source};").expect("writing to a string");
        }
        let list: String = (0..self.types.len()).map(|i| format!("&T{i}, ")).collect();
        writeln!(out, "static DEFINITIONS: [&Type; {}] = [{list}];", self.types.len()).expect("writing to a string");
        let mut served: Vec<_> =
            self.types.iter().enumerate().flat_map(|(i, ty)| ty.kinds.iter().map(move |k| (k, i))).collect();
        served.sort();
        writeln!(out, "static SERVED: [Served; {}] = [", served.len()).expect("writing to a string");
        for ((group, version, kind), i) in served {
            writeln!(out, "    Served {{ group: {group:?}, version: {version:?}, kind: {kind:?}, ty: &T{i} }},")
                .expect("writing to a string");
        }
        writeln!(out, "];\nstatic RETIRED: [(&str, &str, &str); {}] = {retired:?};", retired.len())
            .expect("writing to a string");
        out
    }

    fn field(&mut self, ty: &Type, field: &Field) -> String {
        let expression = field.expression.as_str();
        let (expression, mark) = match expression.as_bytes().last() {
            Some(b'!' | b'~' | b'?') => expression.split_at(expression.len() - 1),
            _ => (expression, ""),
        };
        let (pointer, expression) = match expression.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, expression),
        };
        let kind = self.kind(ty, expression);
        let presence = match (pointer, mark) {
            (true, "!") => "PointerAlways",
            (true, _) => "Pointer",
            (false, "~") => "OmitZero",
            (false, "?") => "OmitAbsent",
            (false, _) if kind.starts_with("Kind::Object") => "Struct",
            (false, "!") => "Always",
            (false, _) => "OmitEmpty",
        };
        let (mut list, mut keys, mut key, mut go) = ("Unset", String::new(), "", "");
        let (mut required, mut map, mut via) = (false, "Unset", String::new());
        let mut typed = false;
        let (mut merge, mut replace, mut retain) = (false, false, false);
        for flag in &field.flags {
            match flag.split_once('=').unwrap_or((flag, "")) {
                ("required", _) => required = true,
                ("atomic", _) => map = "Atomic",
                ("granular", _) => map = "Granular",
                ("typed", _) => typed = true,
                ("in", numbers) => via = numbers.replace('.', ", "),
                ("key", name) => key = name,
                ("go", name) => go = name,
                ("list", "atomic") => list = "Atomic",
                ("list", "set") => list = "Set",
                ("list", map) => {
                    list = "Map";
                    let names = map.strip_prefix("map:").unwrap_or_else(|| panic!("list type {map}"));
                    keys = names.split(',').map(|k| format!("Cow::Borrowed({k:?}), ")).collect();
                }
                ("patch", strategies) => {
                    for strategy in strategies.split(',') {
                        match strategy {
                            "merge" => merge = true,
                            "replace" => replace = true,
                            "retainKeys" => retain = true,
                            other => panic!("patch strategy {other}"),
                        }
                    }
                }
                (other, _) => panic!("flag {other} of {}.{}", ty.name, field.name),
            }
        }
        format!(
            "Field {{ name: Cow::Borrowed({:?}), kind: {kind}, number: {}, via: Cow::Borrowed(&[{via}]), \
             presence: Presence::{presence}, required: {required}, list: ListType::{list}, \
             list_keys: Cow::Borrowed(&[{keys}]), merge_key: Cow::Borrowed({key:?}), \
             strategy: PatchStrategy {{ merge: {merge}, replace: {replace}, retain_keys: {retain} }}, \
             map: MapType::{map}, go_type: Cow::Borrowed({go:?}), typed_items: {typed} }}",
            field.name, field.number
        )
    }

    /// The source of a kind.
    fn kind(&mut self, ty: &Type, expression: &str) -> String {
        if let Some(item) = expression.strip_prefix("[]") {
            return format!("Kind::List({})", self.shared(ty, item));
        }
        if let Some(item) = expression.strip_prefix("wrapped[]") {
            return format!("Kind::WrappedList({})", self.shared(ty, item));
        }
        if let Some(value) = expression.strip_prefix("map[string]") {
            return format!("Kind::Map({})", self.shared(ty, value));
        }
        let plain = match expression {
            "bool" => "Bool",
            "int32" => "Int32",
            "int64" => "Int64",
            "float64" => "Float64",
            "string" => "String",
            "bytes" => "Bytes",
            "JSON" => "JsonAny",
            "Time" | "MicroTime" | "Duration" | "Quantity" | "IntOrString" | "RawExtension" | "FieldsV1" => expression,
            "SchemaOrArray" | "SchemaOrBool" | "SchemaOrStrings" => {
                return format!("Kind::{expression}(Ref::Static(&T{}))", self.position(ty, "JSONSchemaProps"));
            }
            name => return format!("Kind::Object(Ref::Static(&T{}))", self.position(ty, name)),
        };
        format!("Kind::{plain}")
    }

    /// A reference to a kind, which gets a static of its own.
    fn shared(&mut self, ty: &Type, expression: &str) -> String {
        let source = self.kind(ty, expression);
        let next = self.kinds.len();
        format!("Ref::Static(&K{})", self.kinds.entry(source).or_insert(next))
    }

    /// The position of a type named from the package of `ty`: `Probe`, or `meta.v1.ObjectMeta` of another package.
    fn position(&self, ty: &Type, name: &str) -> usize {
        let full = match name.rsplit_once('.') {
            None => format!("{}.{name}", ty.package),
            Some((package, name)) => format!("{}.{name}", self.packages.get(package).copied().unwrap_or(package)),
        };
        *self.positions.get(&full).unwrap_or_else(|| panic!("{} names {full}, which is no type", ty.name))
    }
}

/// `io.k8s.api.core.v1` → `core.v1`: the last two parts.
fn short(package: &str) -> String {
    let parts: Vec<&str> = package.split('.').collect();
    parts[parts.len().saturating_sub(2)..].join(".")
}
