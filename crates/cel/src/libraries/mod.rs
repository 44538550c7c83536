//! The tables of functions, one file for each library.

mod kubernetes;
mod sets;
mod standard;
mod strings;

use crate::env::Functions;
use crate::signature::signature;
use std::sync::{Arc, LazyLock};

const TABLES: &[&[&str]] = &[
    standard::OPERATORS,
    standard::FUNCTIONS,
    standard::TIMES,
    standard::OPTIONALS,
    strings::TABLE,
    sets::TABLE,
    kubernetes::LISTS,
    kubernetes::REGEX,
    kubernetes::URLS,
    kubernetes::QUANTITIES,
    kubernetes::ADDRESSES,
    kubernetes::FORMATS,
    kubernetes::SEMVER,
    kubernetes::AUTHORIZER,
    kubernetes::JSON_PATCH,
];

/// All functions, read once.
pub(crate) fn all() -> Arc<Functions> {
    static ALL: LazyLock<Arc<Functions>> = LazyLock::new(|| {
        let mut all = Functions::new();
        for (name, overload) in TABLES.iter().flat_map(|t| t.iter()).filter_map(|line| signature(line)) {
            all.entry(name).or_default().push(overload);
        }
        Arc::new(all)
    });
    ALL.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_reads() {
        for line in TABLES.iter().flat_map(|t| t.iter()) {
            assert!(signature(line).is_some(), "{line}");
        }
    }
}
