//! Types of values (rule: cel-go `common/types/types.go`, `checker/format.go`).

use std::fmt;
use std::sync::Arc;

/// The type of a value. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    /// Known only when the expression is evaluated.
    Dyn,
    /// The same, declared for values of an object.
    Any,
    /// Stands where a mistake was told already.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    /// A type with declared fields.
    Object(Arc<str>),
    /// A type that only functions look into, with its parameters.
    Opaque(Arc<str>, Arc<[Type]>),
    /// The type of a type.
    Of(Arc<Type>),
    /// What a signature leaves open; numbered anew for each use.
    Param(Arc<str>, u32),
}

/// The name of optional values' type.
pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    /// A list.
    pub fn list(of: Type) -> Self {
        Self::List(Arc::new(of))
    }
    /// A map.
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new((key, value)))
    }
    /// An object type of that name.
    pub fn object(name: &str) -> Self {
        Self::Object(name.into())
    }
    pub(crate) fn optional(of: Type) -> Self {
        Self::Opaque(OPTIONAL.into(), [of].into())
    }
    /// What is in an optional value.
    pub(crate) fn in_optional(&self) -> Option<&Type> {
        match self {
            Self::Opaque(name, of) if **name == *OPTIONAL => of.first(),
            _ => None,
        }
    }
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any | Self::Error)
    }
    /// The name as Go's `Type.String` has it, which is not quite what mistakes of types say.
    pub fn go_name(&self) -> String {
        match self {
            Self::Null => "null_type".into(),
            Self::Any => "google.protobuf.Any".into(),
            Self::Duration => "google.protobuf.Duration".into(),
            Self::Timestamp => "google.protobuf.Timestamp".into(),
            Self::List(of) => format!("list({})", of.go_name()),
            Self::Map(of) => format!("map({}, {})", of.0.go_name(), of.1.go_name()),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Any => f.write_str("any"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(of) => write!(f, "map({}, {})", of.0, of.1),
            Self::Object(name) => f.write_str(name),
            Self::Opaque(name, of) if of.is_empty() => f.write_str(name),
            Self::Opaque(name, of) => {
                write!(f, "{name}(")?;
                for (i, t) in of.iter().enumerate() {
                    write!(f, "{}{t}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::Of(of) => write!(f, "type({of})"),
            Self::Param(name, _) => f.write_str(name),
        }
    }
}
