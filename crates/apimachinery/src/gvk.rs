//! Groups, versions, kinds and resources, as they stand in paths and in objects.

use std::borrow::Cow;
use std::fmt;

/// A string that is a constant for built-ins and owned for custom resources.
pub type Str = Cow<'static, str>;

macro_rules! triple {
    ($(#[$doc:meta])* $name:ident { $($field:ident),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub struct $name { $(pub $field: Str),+ }
        impl $name {
            /// From constants.
            pub const fn from_static($($field: &'static str),+) -> Self {
                Self { $($field: Cow::Borrowed($field)),+ }
            }
            /// From owned or borrowed strings.
            pub fn new($($field: impl Into<Str>),+) -> Self {
                Self { $($field: $field.into()),+ }
            }
        }
    };
}

triple!(/// An API group and version; the core group is the empty string.
    GroupVersion { group, version });
triple!(/// What `apiVersion` and `kind` of an object say.
    GroupVersionKind { group, version, kind });
triple!(/// What a path says: `/apis/<group>/<version>/<resource>`.
    GroupVersionResource { group, version, resource });
triple!(/// A resource whatever its version: what storage and authorisation know.
    GroupResource { group, resource });
triple!(/// A kind whatever its version.
    GroupKind { group, kind });

impl GroupVersion {
    /// Parses `v1` or `apps/v1`, as `apiVersion` carries them; `None` where there is more than one slash.
    pub fn parse(api_version: &str) -> Option<Self> {
        match api_version.split_once('/') {
            None => Some(Self::new("", api_version.to_owned())),
            Some((_, v)) if v.contains('/') => None,
            Some((g, v)) => Some(Self::new(g.to_owned(), v.to_owned())),
        }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.version) } else { write!(f, "{}/{}", self.group, self.version) }
    }
}

impl GroupVersionKind {
    /// The value of `apiVersion`.
    pub fn api_version(&self) -> String {
        self.group_version().to_string()
    }
    /// Without the kind.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }
    /// Without the version.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.clone(), kind: self.kind.clone() }
    }
}

impl fmt::Display for GroupVersionKind {
    /// The form of upstream's messages: `apps/v1, Kind=Deployment`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.group_version(), self.kind)
    }
}

impl GroupVersionResource {
    /// Without the version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }
    /// Without the resource.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }
}

impl fmt::Display for GroupResource {
    /// The form of upstream's messages: `pods`, `deployments.apps`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.resource) } else { write!(f, "{}.{}", self.resource, self.group) }
    }
}

impl fmt::Display for GroupKind {
    /// The form of upstream's messages: `Pod`, `Deployment.apps`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}.{}", self.kind, self.group) }
    }
}
