//! The etcd store and the watch cache: keys, bytes, revisions
