//! Walking through JSON text that is known to be valid, value by value. Text that is not gives `None` somewhere.

use std::borrow::Cow;

/// The first value of a text, as it is written: without looking inside more than to find its end.
pub fn first_value(json: &[u8]) -> Option<&[u8]> {
    Text::new(json).raw()
}

/// A place in JSON text.
pub struct Text<'j> {
    json: &'j [u8],
    at: usize,
}

impl<'j> Text<'j> {
    /// At the beginning.
    pub fn new(json: &'j [u8]) -> Self {
        Self { json, at: 0 }
    }
    /// The next byte that is no space.
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.json.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                c => return Some(*c),
            }
        }
    }
    pub fn is_at_end(&mut self) -> bool {
        self.peek().is_none()
    }
    pub fn take(&mut self, c: u8) -> Option<()> {
        if self.peek()? != c {
            return None;
        }
        self.at += 1;
        Some(())
    }
    /// After an element: whether another follows (a comma), or `end` does.
    pub fn more(&mut self, end: u8) -> Option<bool> {
        let c = self.peek()?;
        self.at += 1;
        match c {
            b',' => Some(true),
            c if c == end => Some(false),
            _ => None,
        }
    }
    /// Whether an object or list that was just opened is empty; takes its end.
    pub fn is_empty(&mut self, end: u8) -> Option<bool> {
        if self.peek()? != end {
            return Some(false);
        }
        self.at += 1;
        Some(true)
    }
    /// What stands between the quotes of a string, and whether there are escapes in it.
    fn quoted(&mut self) -> Option<(&'j [u8], bool)> {
        self.take(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            let rest = self.json.get(self.at..)?;
            self.at += memchr::memchr2(b'"', b'\\', rest)?;
            if self.json[self.at] == b'"' {
                let inside = &self.json[start..self.at];
                self.at += 1;
                return Some((inside, escaped));
            }
            escaped = true;
            self.at += 2;
        }
    }
    /// A string as it is meant.
    pub fn string(&mut self) -> Option<Cow<'j, str>> {
        let (inside, escaped) = self.quoted()?;
        if escaped {
            let from = inside.as_ptr() as usize - self.json.as_ptr() as usize;
            return serde_json::from_slice::<String>(&self.json[from - 1..self.at]).ok().map(Into::into);
        }
        std::str::from_utf8(inside).ok().map(Into::into)
    }
    /// A value as it is written.
    pub fn raw(&mut self) -> Option<&'j [u8]> {
        self.peek()?;
        let (start, mut depth) = (self.at, 0usize);
        loop {
            match self.peek()? {
                b'"' => {
                    self.quoted()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => {
                    self.at += 1;
                    continue;
                }
                _ => self.word(),
            }
            if depth == 0 {
                return Some(&self.json[start..self.at]);
            }
        }
    }
    /// Passes a number, `true`, `false` or `null`.
    fn word(&mut self) {
        let rest = &self.json[self.at..];
        let length = rest.iter().position(|c| !matches!(c, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.'));
        self.at += length.unwrap_or(rest.len()).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(first_value(text.as_bytes()), want.map(str::as_bytes), "{text}");
        };
        check(r#"{"a":[1,{"b":"}]\""}],"c":null} , 2"#, Some(r#"{"a":[1,{"b":"}]\""}],"c":null}"#));
        check(r#" "x\\",1"#, Some(r#""x\\""#));
        check("-1.5e+7]", Some("-1.5e+7"));
        check("true}", Some("true"));
        check("[]", Some("[]"));
        check("", None);
        check("[[1]", None);
        check(r#""x\"#, None);
        check("]", None);
    }
}
