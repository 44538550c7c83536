//! Client of the Container Runtime Interface v1
