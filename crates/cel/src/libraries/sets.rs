//! Sets (rule: cel-go `ext/sets.go`).

pub(super) const TABLE: &[&str] = &[
    "sets.contains(list(T), list(T)) bool",
    "sets.equivalent(list(T), list(T)) bool",
    "sets.intersects(list(T), list(T)) bool",
];
