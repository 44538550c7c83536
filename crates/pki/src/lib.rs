//! Certificates, signing requests, token keys and their reload from disk
