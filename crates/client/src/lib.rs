//! Kubernetes client, informers with indexes, keyed rate-limited queues, lease election and events
