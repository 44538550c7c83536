//! Which version the binaries say they are.

/// The Kubernetes level that is implemented, as `--version` and `/version` tell it.
pub const GIT_VERSION: &str = "v1.36.2";
/// Major part.
pub const MAJOR: &str = "1";
/// Minor part.
pub const MINOR: &str = "36";

/// The answer of `/version` (rule: apimachinery `pkg/version` Info).
pub fn info() -> serde_json::Value {
    serde_json::json!({
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR,
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": option_env!("STEERSMAN_COMMIT").unwrap_or("steersman"),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": concat!("rust", env!("CARGO_PKG_RUST_VERSION")),
        "compiler": "rustc",
        "platform": "linux/amd64",
    })
}
