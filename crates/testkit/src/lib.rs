//! Test helpers: etcd on a free port, a server in a test, a clock
