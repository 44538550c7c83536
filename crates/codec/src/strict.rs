//! What a strict decoder collects.

use crate::path::Path;
use steersman_apimachinery::field::go_quote;

/// Upstream keeps no more strict errors than this.
const MAX_STRICT_ERRORS: usize = 100;

/// Errors that do not end the decoding.
#[derive(Debug, Default)]
pub struct Notes {
    /// Whether unknown and duplicate fields are noted at all.
    pub strict: bool,
    /// Unknown and duplicate fields, each once, in the order of the document.
    pub errors: Vec<String>,
    /// The first value of a wrong type.
    pub type_error: Option<String>,
}

impl Notes {
    /// Notes an unknown field; `path` is where it stands, its name included.
    pub fn unknown(&mut self, path: &Path<'_>) {
        self.note("unknown field", path);
    }
    /// Notes a duplicate field.
    pub fn duplicate(&mut self, path: &Path<'_>) {
        self.note("duplicate field", path);
    }
    fn note(&mut self, what: &str, path: &Path<'_>) {
        if !self.strict || self.errors.len() >= MAX_STRICT_ERRORS {
            return;
        }
        let message = format!("{what} {}", go_quote(&path.strict()));
        if !self.errors.contains(&message) {
            self.errors.push(message);
        }
    }
    /// Notes a value of a wrong type; only the first is told.
    pub fn misfit(&mut self, message: String) {
        self.type_error.get_or_insert(message);
    }
}
