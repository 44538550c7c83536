//! YAML as Kubernetes reads it.

use anyhow::Result;
use serde_json::Value;

/// Parses one document; errors carry the line.
pub fn parse(text: &str) -> Result<Value> {
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    Ok(serde_saphyr::from_str_with_options(text, options)?)
}
