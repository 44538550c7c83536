//! The shapes in which the facts of a type are told: the same for generated tables and for types made at run time.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use steersman_apimachinery::GroupVersionKind;
use steersman_apimachinery::gvk::Str;

/// Something that is a constant for built-in types and shared for types made at run time.
#[derive(Debug)]
pub enum Ref<T: 'static> {
    /// Part of the generated tables.
    Static(&'static T),
    /// Made at run time, e.g. from a custom resource definition.
    Shared(Arc<T>),
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Static(t) => Self::Static(t),
            Self::Shared(t) => Self::Shared(t.clone()),
        }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Static(t) => t,
            Self::Shared(t) => t,
        }
    }
}

impl<T> From<T> for Ref<T> {
    fn from(t: T) -> Self {
        Self::Shared(Arc::new(t))
    }
}

/// A type, cheap to clone.
pub type TypeRef = Ref<Type>;
/// The kind of a list's items or of a map's values.
pub type KindRef = Ref<Kind>;

/// An object type: what OpenAPI calls a definition and Go a struct.
#[derive(Clone, Debug)]
pub struct Type {
    /// The OpenAPI definition name, e.g. `io.k8s.api.core.v1.Pod`.
    pub name: Str,
    /// The Go name with its package, e.g. `v1.Pod`, as decode errors tell it.
    pub go_name: Str,
    /// Sorted by name. Fields of embedded Go structs stand here too.
    pub fields: Cow<'static, [Field]>,
    /// What tells most names apart at a glance, in the order of `fields` (see [`signature`]).
    pub signatures: Cow<'static, [u32]>,
    /// The protobuf numbers in the order of `fields`; 0 for those of embedded messages.
    pub numbers: Cow<'static, [u32]>,
    /// The positions of the fields that Go writes even where they were not given.
    pub mandatory: Cow<'static, [u16]>,
    /// Where it is a kind: the groups and versions that serve it.
    pub gvks: Cow<'static, [GroupVersionKind]>,
    /// Server-side apply takes the object as one value.
    pub map_atomic: bool,
    /// Fields that no table names are kept (custom resources that preserve unknown fields).
    pub preserve_unknown: bool,
}

/// The length and three bytes of a name: finding equal ones among a few numbers is faster than comparing names.
pub const fn signature(name: &str) -> u32 {
    let b = name.as_bytes();
    match b.len() {
        0 => 0,
        n => u32::from_le_bytes([n as u8, b[0], b[n / 2], b[n - 1]]),
    }
}

impl Type {
    /// A type made at run time, from fields in any order.
    pub fn new(name: impl Into<Str>, mut fields: Vec<Field>) -> Self {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let mandatory = fields.iter().zip(0u16..).filter(|(f, _)| f.presence.is_mandatory()).map(|(_, at)| at);
        let name = name.into();
        Self {
            signatures: fields.iter().map(|f| signature(&f.name)).collect(),
            numbers: fields.iter().map(|f| if f.via.is_empty() { f.number } else { 0 }).collect(),
            mandatory: mandatory.collect(),
            go_name: name.clone(),
            name,
            fields: Cow::Owned(fields),
            gvks: Cow::Borrowed(&[]),
            map_atomic: false,
            preserve_unknown: false,
        }
    }
    /// The position of the field of that JSON name in [`Type::fields`].
    pub fn position(&self, name: &str) -> Option<usize> {
        let wanted = signature(name);
        let mut from = 0;
        loop {
            let at = from + self.signatures.get(from..)?.iter().position(|s| *s == wanted)?;
            if self.fields[at].name == name {
                return Some(at);
            }
            from = at + 1;
        }
    }
    /// The field of the message itself (not of an embedded one) that has the protobuf number.
    pub fn field_by_number(&self, number: u32) -> Option<&Field> {
        if number == 0 {
            return None;
        }
        self.numbers.iter().position(|n| *n == number).map(|at| &self.fields[at])
    }
    /// The field of that JSON name (names are case-sensitive).
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|at| &self.fields[at])
    }
    /// The Go name without its package, e.g. `Pod`.
    pub fn short_name(&self) -> &str {
        self.go_name.rsplit('.').next().unwrap_or(&self.go_name)
    }
    /// Whether it is a list kind: `items` of objects and list metadata.
    pub fn is_list(&self) -> bool {
        self.list_item().is_some()
    }
    /// The type of the items of a list kind.
    pub fn list_item(&self) -> Option<&Kind> {
        let meta = match &self.field("metadata")?.kind {
            Kind::Object(t) => t,
            _ => return None,
        };
        match &self.field("items")?.kind {
            Kind::List(item) if meta.name.ends_with(".ListMeta") => Some(item),
            _ => None,
        }
    }
}

impl Presence {
    /// Whether Go writes the field even where it was not given.
    pub fn is_mandatory(self) -> bool {
        matches!(self, Self::PointerAlways | Self::Always | Self::Struct)
    }
}

/// One field of an object type.
#[derive(Clone, Debug)]
pub struct Field {
    /// The JSON name.
    pub name: Str,
    /// What stands in it.
    pub kind: Kind,
    /// The protobuf field number; 0 where the field has no protobuf form.
    pub number: u32,
    /// The protobuf numbers of the embedded messages that lead to the field, outermost first (usually none).
    pub via: Cow<'static, [u32]>,
    /// When Go writes it.
    pub presence: Presence,
    /// OpenAPI's `required`.
    pub required: bool,
    /// How server-side apply takes the list.
    pub list: ListType,
    /// The keys of a list of type [`ListType::Map`].
    pub list_keys: Cow<'static, [Str]>,
    /// The key by which strategic merge patches merge the list; empty where there is none.
    pub merge_key: Str,
    /// How strategic merge patches treat the field.
    pub strategy: PatchStrategy,
    /// How server-side apply takes the map or object in this field.
    pub map: MapType,
    /// The name of the Go type of a string or number where it is not the plain one, e.g. `v1.PullPolicy`.
    pub go_type: Str,
    /// The items of the list carry their kind and version, unlike those of other lists.
    pub typed_items: bool,
}

impl Field {
    /// A plain optional field, for types made at run time.
    pub fn new(name: impl Into<Str>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            number: 0,
            via: Cow::Borrowed(&[]),
            presence: Presence::Pointer,
            required: false,
            list: ListType::Unset,
            list_keys: Cow::Borrowed(&[]),
            merge_key: Str::Borrowed(""),
            strategy: PatchStrategy::default(),
            map: MapType::Unset,
            go_type: Str::Borrowed(""),
            typed_items: false,
        }
    }
}

/// When Go's encoder writes a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A value with `omitempty`: dropped where it is empty (`""`, `0`, `false`, `[]`, `{}` of a map).
    OmitEmpty,
    /// A list with `omitempty` that is kept where it was given empty: its default stands in for an absent one only, and
    /// validation refuses an empty one (`HPAScalingRules.policies`).
    OmitAbsent,
    /// A pointer with `omitempty`: written wherever it was given, empty or not. A null is absent.
    Pointer,
    /// A pointer without `omitempty`: absent is written as `null`.
    PointerAlways,
    /// A value without `omitempty`: always written, `null` for a list or map that is absent.
    Always,
    /// A struct value, which Go always writes, at least as `{}`.
    Struct,
    /// A struct value with `omitzero` (times): dropped where it is zero.
    OmitZero,
}

/// The list types of server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Not declared: treated as atomic.
    #[default]
    Unset,
    /// The list is one value.
    Atomic,
    /// Each item is owned on its own.
    Set,
    /// Items are owned by their keys.
    Map,
}

/// The map types of server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapType {
    /// Not declared: treated as granular.
    #[default]
    Unset,
    /// The map is one value.
    Atomic,
    /// Each entry is owned on its own.
    Granular,
}

/// The patch strategies of strategic merge patches; none set means the value is replaced (a list) or merged (a map).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// `merge`: a list is merged, by its merge key or as a set.
    pub merge: bool,
    /// `replace`: a map is replaced.
    pub replace: bool,
    /// `retainKeys`: keys that the patch does not list in `$retainKeys` go.
    pub retain_keys: bool,
}

/// What stands in a field, in a list or in a map.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating point number.
    Float64,
    /// A string.
    String,
    /// Bytes, in base64 (standard alphabet, padded).
    Bytes,
    /// RFC 3339 in UTC, whole seconds.
    Time,
    /// RFC 3339 in UTC, microseconds.
    MicroTime,
    /// A Go duration, e.g. `1h30m0s`.
    Duration,
    /// A quantity in canonical form, e.g. `100m`.
    Quantity,
    /// A 32-bit integer or a string.
    IntOrString,
    /// An object of any kind (Go's `runtime.RawExtension`).
    RawExtension,
    /// Any JSON value (`apiextensions.JSON`).
    JsonAny,
    /// The field sets of managed fields.
    FieldsV1,
    /// An object of a known type.
    Object(TypeRef),
    /// A list.
    List(KindRef),
    /// A list that protobuf wraps into a message of its own (Go's named slices, e.g. `ExtraValue`).
    WrappedList(KindRef),
    /// A map from strings.
    Map(KindRef),
    /// A schema or a list of schemas (`JSONSchemaPropsOrArray`).
    SchemaOrArray(TypeRef),
    /// A schema or a boolean (`JSONSchemaPropsOrBool`).
    SchemaOrBool(TypeRef),
    /// A schema or a list of strings (`JSONSchemaPropsOrStringArray`).
    SchemaOrStrings(TypeRef),
}

impl Kind {
    /// The object type, where it is one.
    pub fn object(&self) -> Option<&TypeRef> {
        match self {
            Self::Object(t) => Some(t),
            _ => None,
        }
    }
    /// The kind of the items, where it is a list.
    pub fn item(&self) -> Option<&Kind> {
        match self {
            Self::List(k) | Self::WrappedList(k) => Some(k),
            _ => None,
        }
    }
    /// The kind of the values, where it is a map.
    pub fn value(&self) -> Option<&Kind> {
        match self {
            Self::Map(k) => Some(k),
            _ => None,
        }
    }
}
