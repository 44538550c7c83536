//! kube-proxy: service model and rule back-ends
