//! Short names for templates (rule: `controller.ComputeHash` and `rand.SafeEncodeString`; the hashed form of the
//! template is ours, so equal templates are found by comparing them, never by their hash).

use serde::Serialize;
use steersman_api::k8s_openapi::api::core::v1::PodTemplateSpec;

/// Letters and digits that form no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template and of the number of collisions met so far.
pub fn template(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    of(template, collisions)
}

/// The hash of anything that encodes as JSON.
pub fn of(object: &impl Serialize, collisions: Option<i32>) -> String {
    let mut hash = fnv32a(&serde_json::to_vec(object).unwrap_or_default(), 0x811c_9dc5);
    if let Some(collisions) = collisions {
        hash = fnv32a(&collisions.to_le_bytes(), hash);
    }
    safe_encode(&hash.to_string())
}

/// The 32-bit FNV-1a hash, continued from `state`.
pub fn fnv32a(bytes: &[u8], state: u32) -> u32 {
    bytes.iter().fold(state, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Replaces each character by one of [`ALPHABET`].
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes() {
        assert_eq!(fnv32a(b"a", 0x811c_9dc5), 0xe40c_292c);
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
        let one = PodTemplateSpec::default();
        assert_eq!(template(&one, None), template(&one.clone(), None));
        assert_ne!(template(&one, None), template(&one, Some(1)));
    }
}
