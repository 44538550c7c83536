//! What stands at a place of an object.

use serde_json::Value;
use steersman_apimachinery::gvk::Str;
use steersman_schema::{Field, Kind, ListType, MapType, Type};

/// The scalars that a type can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Boolean,
    Numeric,
    String,
    Untyped,
}

/// A place of an object, as its type describes it.
#[derive(Clone, Copy)]
pub(crate) enum Node<'a> {
    /// An object of a type.
    Struct { ty: &'a Type, atomic: bool },
    /// A map of values of one kind.
    Map { value: &'a Kind, atomic: bool },
    /// A list.
    List { item: &'a Kind, relation: Relation<'a> },
    /// A scalar.
    Scalar(Scalar),
    /// Nothing is known: objects are granular, lists are atomic.
    Deduced,
}

/// How the elements of a list relate.
#[derive(Clone, Copy)]
pub(crate) enum Relation<'a> {
    /// The list is one value.
    Atomic,
    /// Each element stands for itself.
    Set,
    /// The keys tell the elements apart.
    Keyed(&'a [Str]),
}

/// What a walk does at a place, once the value has had its say where the type says nothing.
#[derive(Clone, Copy)]
pub(crate) enum Shape<'a> {
    /// An object that is owned in parts.
    Map(Node<'a>),
    /// A list that is owned in parts.
    List(&'a Kind, Relation<'a>),
    /// A scalar.
    Scalar,
    /// An object that is one value.
    AtomicMap,
    /// A list that is one value.
    AtomicList,
}

impl<'a> Node<'a> {
    /// The root of an object.
    pub fn root(ty: Option<&'a Type>) -> Self {
        ty.map_or(Self::Deduced, |ty| Self::Struct { ty, atomic: ty.map_atomic })
    }
    fn of_field(field: &'a Field) -> Self {
        match Self::of_kind(&field.kind) {
            Self::Struct { ty, atomic } => Self::Struct { ty, atomic: atomic || field.map == MapType::Atomic },
            Self::Map { value, .. } => Self::Map { value, atomic: field.map == MapType::Atomic },
            Self::List { item, .. } => {
                let relation = match field.list {
                    ListType::Set => Relation::Set,
                    ListType::Map => Relation::Keyed(&field.list_keys),
                    ListType::Atomic | ListType::Unset => Relation::Atomic,
                };
                Self::List { item, relation }
            }
            other => other,
        }
    }
    /// An element of a list or a value of a map.
    pub fn of_kind(kind: &'a Kind) -> Self {
        match kind {
            Kind::Bool => Self::Scalar(Scalar::Boolean),
            Kind::Int32 | Kind::Int64 | Kind::Float64 => Self::Scalar(Scalar::Numeric),
            Kind::String | Kind::Bytes | Kind::Time | Kind::MicroTime | Kind::Duration => Self::Scalar(Scalar::String),
            Kind::Quantity | Kind::IntOrString => Self::Scalar(Scalar::Untyped),
            Kind::Object(ty) => Self::Struct { ty, atomic: ty.map_atomic },
            Kind::Map(value) => Self::Map { value, atomic: false },
            Kind::List(item) | Kind::WrappedList(item) => Self::List { item, relation: Relation::Atomic },
            _ => Self::Deduced,
        }
    }
    /// The member of an object; `None` where the type has no such field.
    pub fn member(self, name: &str) -> Option<Self> {
        match self {
            Self::Struct { ty, .. } => match ty.field(name) {
                Some(field) => Some(Self::of_field(field)),
                None => ty.preserve_unknown.then_some(Self::Deduced),
            },
            Self::Map { value, .. } => Some(Self::of_kind(value)),
            _ => Some(Self::Deduced),
        }
    }
    /// The member of an object that was decoded by its type, so that there is nothing unknown in it.
    pub fn member_or_deduced(self, name: &str) -> Self {
        self.member(name).unwrap_or(Self::Deduced)
    }
    /// Whether a member is a field that the type names.
    pub fn names(self, name: &str) -> bool {
        matches!(self, Self::Struct { ty, .. } if ty.field(name).is_some())
    }
    /// What to do here; `value` decides where the type does not.
    pub fn shape(self, value: Option<&Value>) -> Shape<'a> {
        match self {
            Self::Struct { atomic: true, .. } | Self::Map { atomic: true, .. } => Shape::AtomicMap,
            Self::Struct { .. } | Self::Map { .. } => Shape::Map(self),
            Self::List { relation: Relation::Atomic, .. } => Shape::AtomicList,
            Self::List { item, relation } => Shape::List(item, relation),
            Self::Scalar(_) => Shape::Scalar,
            Self::Deduced => match value {
                None | Some(Value::Null | Value::Object(_)) => Shape::Map(self),
                Some(Value::Array(_)) => Shape::AtomicList,
                Some(_) => Shape::Scalar,
            },
        }
    }
}
