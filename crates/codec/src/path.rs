//! Where in an object a decoder stands, as upstream's errors tell it.

use std::fmt::Write as _;
use steersman_schema::{Field, Kind, Type};

/// One step from the root; steps are linked from the innermost outwards, so walking costs no allocation.
#[derive(Clone, Copy)]
pub enum Path<'p> {
    /// The object itself.
    Root,
    /// A field of a type.
    Field(&'p Path<'p>, &'p Type, &'p Field),
    /// A key of a map, or of an object without a type.
    Key(&'p Path<'p>, &'p str),
    /// A position in a list.
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// The form of strict errors: `spec.containers[0].image`.
    pub fn strict(&self) -> String {
        let mut out = String::new();
        self.write_strict(&mut out);
        out
    }

    fn write_strict(&self, out: &mut String) {
        match self {
            Self::Root => {}
            Self::Field(parent, _, field) => {
                parent.write_strict(out);
                dot(out, &field.name);
            }
            Self::Key(parent, key) => {
                parent.write_strict(out);
                dot(out, key);
            }
            Self::Index(parent, at) => {
                parent.write_strict(out);
                write!(out, "[{at}]").expect("writing to a string");
            }
        }
    }

    /// The form of Go's type errors: the innermost struct and the fields from the root,
    /// `Container.spec.containers.image`; empty at the root.
    fn go(&self) -> String {
        let mut at = self;
        let (mut owner, mut fields) = ("", Vec::new());
        loop {
            match at {
                Self::Root => break,
                Self::Field(parent, ty, field) => {
                    if owner.is_empty() {
                        owner = ty.short_name();
                    }
                    fields.push(&*field.name);
                    at = parent;
                }
                Self::Key(parent, _) | Self::Index(parent, _) => at = parent,
            }
        }
        if fields.is_empty() {
            return String::new();
        }
        fields.reverse();
        format!("{owner}.{}", fields.join("."))
    }

    /// `json: cannot unmarshal <got> into Go struct field <here> of type <want>`.
    pub fn type_error(&self, got: &str, want: &str) -> String {
        match self.go() {
            here if here.is_empty() => format!("json: cannot unmarshal {got} into Go value of type {want}"),
            here => format!("json: cannot unmarshal {got} into Go struct field {here} of type {want}"),
        }
    }

    /// The Go type's name of a value of this kind standing here.
    pub fn go_type(&self, kind: &Kind) -> String {
        let named = match self {
            Self::Field(_, _, field) => &*field.go_type,
            Self::Index(Self::Field(_, _, field), _) | Self::Key(Self::Field(_, _, field), _) => &*field.go_type,
            _ => "",
        };
        go_type(kind, named)
    }
}

fn dot(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push('.');
    }
    out.push_str(name);
}

/// The Go name of a kind; `named` is that of the innermost scalar where it is not the plain one.
fn go_type(kind: &Kind, named: &str) -> String {
    let plain = |name: &str| if named.is_empty() { name.to_owned() } else { named.to_owned() };
    match kind {
        Kind::Bool => "bool".into(),
        Kind::Int32 => plain("int32"),
        Kind::Int64 => plain("int64"),
        Kind::Float64 => "float64".into(),
        Kind::String | Kind::Time | Kind::MicroTime | Kind::Duration => plain("string"),
        Kind::IntOrString => "int32".into(),
        Kind::Bytes => "[]uint8".into(),
        Kind::Quantity => "resource.Quantity".into(),
        Kind::RawExtension => "runtime.RawExtension".into(),
        Kind::JsonAny => "v1.JSON".into(),
        Kind::FieldsV1 => "v1.FieldsV1".into(),
        Kind::Object(ty) | Kind::SchemaOrArray(ty) | Kind::SchemaOrBool(ty) | Kind::SchemaOrStrings(ty) => {
            ty.go_name.clone().into_owned()
        }
        Kind::List(item) => format!("[]{}", go_type(item, named)),
        Kind::WrappedList(_) => "v1.ExtraValue".into(),
        Kind::Map(value) if matches!(**value, Kind::Quantity) => "v1.ResourceList".into(),
        Kind::Map(value) => format!("map[string]{}", go_type(value, named)),
    }
}
