//! How the process uses memory.

/// Keeps the kernel from backing the heap with huge pages: a component that watches a cluster frees in small pieces, and
/// with huge pages the freed ones stay resident. Call it first in `main`; where it fails, memory use is only higher.
pub fn small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
}
