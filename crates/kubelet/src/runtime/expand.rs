//! `$(NAME)` in commands and values (rule: `third_party/forked/golang/expansion`).

use std::collections::BTreeMap;

/// Replaces references to known names; `$$` stands for `$`, unknown references stay.
pub fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match values.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_once() {
        let values = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        let check = |text: &str, expect: &str| assert_eq!(expand(text, &values), expect, "{text}");
        check("x$(A)y", "x1y");
        check("$(B)", "$(A)");
        check("$(C) $$(A) $$$(A)", "$(C) $(A) $1");
        check("$(A", "$(A");
        check("$ $A $", "$ $A $");
        check("ü$(A)ü", "ü1ü");
    }
}
