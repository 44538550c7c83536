//! JSON of no known type: the bodies of patches.

use crate::json::parse::{self, Fail};
use crate::strict::Notes;
use serde_json::Value;

/// Reads any JSON, and with `strict` notes its duplicate keys, each as `duplicate field "a.b"`. The error is Go's.
pub fn parse(text: &[u8], strict: bool) -> Result<(Value, Vec<String>), String> {
    let mut notes = Notes { strict, ..Notes::default() };
    match parse::any(text, &mut notes) {
        Ok(value) => Ok((value, notes.errors)),
        Err(Fail::Syntax(why) | Fail::Data(why)) => Err(why),
    }
}
