//! What is wrong with an expression, and where (rule: cel-go `common/error.go`).

use std::fmt;

/// One mistake, at the offset of a character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub(crate) at: usize,
    pub(crate) message: String,
}

/// All mistakes of an expression. Written, each has its line, and a mark under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issues {
    source: String,
    list: Vec<Issue>,
}

/// The most mistakes that are written.
const MOST: usize = 100;

impl Issues {
    pub(crate) fn new(source: &str, mut list: Vec<Issue>) -> Self {
        list.sort_by_key(|i| i.at);
        list.dedup();
        Self { source: source.to_owned(), list }
    }

    pub(crate) fn one(source: &str, at: usize, message: impl Into<String>) -> Self {
        Self::new(source, vec![Issue { at, message: message.into() }])
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, issue) in self.list.iter().take(MOST).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            let before: Vec<char> = self.source.chars().take(issue.at).collect();
            let line = before.iter().filter(|c| **c == '\n').count();
            let column = before.iter().rev().take_while(|c| **c != '\n').count();
            write!(f, "ERROR: <input>:{}:{}: {}", line + 1, column + 1, issue.message)?;
            let text = self.source.split('\n').nth(line).unwrap_or("").replace('\t', " ");
            write!(f, "\n | {text}\n | ")?;
            let mut chars = text.chars();
            for c in chars.by_ref().take(column) {
                f.write_str(if c.len_utf8() > 1 { "．" } else { "." })?;
            }
            f.write_str(if chars.next().is_some_and(|c| c.len_utf8() > 1) { "＾" } else { "^" })?;
        }
        if self.list.len() > MOST {
            write!(f, "\n {} more errors were truncated", self.list.len() - MOST)?;
        }
        Ok(())
    }
}

impl std::error::Error for Issues {}
