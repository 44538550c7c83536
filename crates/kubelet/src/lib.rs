//! kubelet: sync loop, pod workers, probes, cgroups, status and server
