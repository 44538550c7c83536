//! kube-apiserver: filters, discovery, OpenAPI, watch streams and proxying over the registry
