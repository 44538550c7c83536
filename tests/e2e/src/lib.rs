//! End-to-end suite: drives a real cluster with the real kubectl.
