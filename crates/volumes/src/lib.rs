//! Volume plug-ins of the kubelet
