//! The facts of every type: fields, list kinds, merge keys, presence, defaults
