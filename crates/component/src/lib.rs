//! What each binary shares: flags, feature gates, health, metrics, logs, shutdown
