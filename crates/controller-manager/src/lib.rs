//! kube-controller-manager: one module for each controller
