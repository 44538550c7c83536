//! Sets of completion indexes in their text form, such as `1,3-5` (rule: `job/indexed_job_utils.go`).

use std::{collections::BTreeSet, fmt::Write};

use steersman_api::k8s_openapi::api::core::v1::Pod;
use steersman_client::Object;

/// The annotation and label with the index of a pod.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Parses the text form; what is not a number, or not below `limit`, is left out.
pub fn parse(text: &str, limit: i32) -> BTreeSet<i32> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            indexes.extend(first.max(0)..last.saturating_add(1).min(limit));
        }
    }
    indexes
}

/// The text form: runs of three or more, and of two, are written with a dash.
pub fn format(indexes: &BTreeSet<i32>) -> String {
    let mut text = String::new();
    let mut all = indexes.iter().copied().peekable();
    while let Some(first) = all.next() {
        let mut last = first;
        while all.peek() == Some(&(last + 1)) {
            last += 1;
            all.next();
        }
        let separator = if text.is_empty() { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = match last - first {
            0 => write!(text, "{separator}{first}"),
            1 => write!(text, "{separator}{first},{last}"),
            _ => write!(text, "{separator}{first}-{last}"),
        };
    }
    text
}

/// The index of a pod.
pub fn of(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms() {
        let check = |text: &str, expect: &[i32], back: &str| {
            let indexes = parse(text, 10);
            assert_eq!(indexes.iter().copied().collect::<Vec<_>>(), expect);
            assert_eq!(format(&indexes), back);
        };
        check("", &[], "");
        check("1,3-5", &[1, 3, 4, 5], "1,3-5");
        check("0-1,7,12", &[0, 1, 7], "0,1,7");
        check("x,2-,-3,4", &[4], "4");
        check("8-2147483647", &[8, 9], "8,9");
    }
}
