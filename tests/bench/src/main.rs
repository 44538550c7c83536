//! Benchmarks that run against any apiserver URL.
fn main() {}
