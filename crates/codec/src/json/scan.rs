//! The syntax check of Go's `encoding/json`, for its error messages, and for skipping values without recursion
//! (rule: Go `encoding/json/scanner.go`).

/// Deeper documents are refused, as in Go.
const MAX_DEPTH: usize = 10_000;

/// What the scanner expects next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value.
    Value,
    /// A value or the end of an empty array.
    ValueOrEnd,
    /// A key or the end of an empty object.
    KeyOrEnd,
    /// A key.
    Key,
    /// A colon.
    Colon,
    /// A comma or the end of the innermost array or object.
    After,
}

/// Where the first value of `src` ends, or why there is none, in Go's words.
pub fn value_end(src: &[u8]) -> Result<usize, String> {
    let mut stack: Vec<u8> = Vec::new();
    let mut state = State::Value;
    let mut at = 0;
    loop {
        while matches!(src.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            at += 1;
        }
        let Some(&c) = src.get(at) else { return Err(END.into()) };
        match (state, c) {
            (State::ValueOrEnd, b']') | (State::KeyOrEnd, b'}') => {
                stack.pop();
                at += 1;
                state = State::After;
            }
            (State::Value | State::ValueOrEnd, b'{' | b'[') => {
                stack.push(c);
                if stack.len() > MAX_DEPTH {
                    return Err("exceeded max depth".into());
                }
                at += 1;
                state = if c == b'{' { State::KeyOrEnd } else { State::ValueOrEnd };
            }
            (State::Value | State::ValueOrEnd, _) => {
                at = scalar(src, at)?;
                state = State::After;
            }
            (State::KeyOrEnd | State::Key, b'"') => {
                at = string(src, at)?;
                state = State::Colon;
            }
            (State::KeyOrEnd | State::Key, _) => return Err(invalid(c, "looking for beginning of object key string")),
            (State::Colon, b':') => {
                at += 1;
                state = State::Value;
            }
            (State::Colon, _) => return Err(invalid(c, "after object key")),
            (State::After, _) => {
                let array = stack.last() == Some(&b'[');
                match c {
                    b',' => state = if array { State::Value } else { State::Key },
                    b']' if array => drop(stack.pop()),
                    b'}' if !array => drop(stack.pop()),
                    _ if array => return Err(invalid(c, "after array element")),
                    _ => return Err(invalid(c, "after object key:value pair")),
                }
                at += 1;
            }
        }
        if state == State::After && stack.is_empty() {
            return Ok(at);
        }
    }
}

/// Checks that `src` is one JSON value and nothing else; the error is in Go's words.
pub fn check(src: &[u8]) -> Result<(), String> {
    let end = value_end(src)?;
    match src[end..].iter().find(|c| !c.is_ascii_whitespace()) {
        None => Ok(()),
        Some(&c) => Err(invalid(c, "after top-level value")),
    }
}

const END: &str = "unexpected end of JSON input";

fn invalid(c: u8, context: &str) -> String {
    format!("invalid character {} {context}", quote(c))
}

/// A byte as Go quotes it in these messages.
fn quote(c: u8) -> String {
    match c {
        b'\'' => "'\\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => "'\\\\'".into(),
        b'\n' => "'\\n'".into(),
        b'\t' => "'\\t'".into(),
        b'\r' => "'\\r'".into(),
        0x07 => "'\\a'".into(),
        0x08 => "'\\b'".into(),
        0x0b => "'\\v'".into(),
        0x0c => "'\\f'".into(),
        0..=0x1f | 0x7f => format!("'\\x{c:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{c:04x}'"),
        _ => format!("'{}'", char::from(c)),
    }
}

fn scalar(src: &[u8], at: usize) -> Result<usize, String> {
    match src[at] {
        b'"' => string(src, at),
        b't' => literal(src, at, b"true"),
        b'f' => literal(src, at, b"false"),
        b'n' => literal(src, at, b"null"),
        b'-' | b'0'..=b'9' => number(src, at),
        c => Err(invalid(c, "looking for beginning of value")),
    }
}

fn literal(src: &[u8], at: usize, word: &[u8]) -> Result<usize, String> {
    for (i, want) in word.iter().enumerate().skip(1) {
        match src.get(at + i) {
            None => return Err(END.into()),
            Some(c) if c == want => {}
            Some(&c) => {
                let word = String::from_utf8_lossy(word);
                return Err(invalid(c, &format!("in literal {word} (expecting '{}')", char::from(*want))));
            }
        }
    }
    Ok(at + word.len())
}

fn string(src: &[u8], at: usize) -> Result<usize, String> {
    let mut at = at + 1;
    loop {
        match src.get(at) {
            None => return Err(END.into()),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match src.get(at + 1) {
                None => return Err(END.into()),
                Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => at += 2,
                Some(b'u') => {
                    for i in 2..6 {
                        match src.get(at + i) {
                            None => return Err(END.into()),
                            Some(c) if c.is_ascii_hexdigit() => {}
                            Some(&c) => return Err(invalid(c, "in \\u hexadecimal character escape")),
                        }
                    }
                    at += 6;
                }
                Some(&c) => return Err(invalid(c, "in string escape code")),
            },
            Some(&c) if c < 0x20 => return Err(invalid(c, "in string literal")),
            Some(_) => at += 1,
        }
    }
}

/// The end of the number at `at`; the grammar is JSON's.
pub fn number(src: &[u8], at: usize) -> Result<usize, String> {
    let mut at = at;
    let digits = |mut at: usize, context: &str| match src.get(at) {
        Some(c) if c.is_ascii_digit() => {
            while src.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            Ok(at)
        }
        Some(&c) => Err(invalid(c, context)),
        None => Err(END.into()),
    };
    if src.get(at) == Some(&b'-') {
        at += 1;
    }
    at = if src.get(at) == Some(&b'0') { at + 1 } else { digits(at, "in numeric literal")? };
    if src.get(at) == Some(&b'.') {
        at = digits(at + 1, "after decimal point in numeric literal")?;
    }
    if matches!(src.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(src.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(at, "in exponent of numeric literal")?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn messages_are_go_s() {
        let cases = [
            ("{}", ""),
            (" [1, -2.5e+3, \"\\u00e9\", null, true] ", ""),
            ("", "unexpected end of JSON input"),
            ("{\"kind\":", "unexpected end of JSON input"),
            ("{} trailing", "invalid character 't' after top-level value"),
            ("nonsense", "invalid character 'o' in literal null (expecting 'u')"),
            ("{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
            ("a: b", "invalid character 'a' looking for beginning of value"),
            ("{\"a\":\"\\u12\"}", "invalid character '\"' in \\u hexadecimal character escape"),
            ("{\"a\":\"a\nb\"}", "invalid character '\\n' in string literal"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{\"a\" 2}", "invalid character '2' after object key"),
            ("{\"a\":2 3}", "invalid character '3' after object key:value pair"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("01", "invalid character '1' after top-level value"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ];
        for (text, want) in cases {
            assert_eq!(check(text.as_bytes()).err().unwrap_or_default(), want, "{text}");
        }
        assert_eq!(check("[".repeat(20_000).as_bytes()), Err("exceeded max depth".into()));
    }
}
