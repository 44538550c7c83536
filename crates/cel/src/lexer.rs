//! Words of an expression (rule: cel-spec's grammar, cel-go `parser/gen/CEL.g4`).

use crate::error::Issue;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Ident,
    /// A name between backquotes, which stands for a field only.
    Quoted(String),
    Int,
    Uint,
    Double,
    String(String),
    Bytes,
    /// An operator, a bracket, or one of the words `in`, `true`, `false`, `null`.
    Sign,
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) at: usize,
}

const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*", "/", "%",
    "<", ">",
];
const WORDS: &[&str] = &["in", "true", "false", "null"];

/// The words of `source`, and what could not be read as one.
pub(crate) fn lex(source: &[char]) -> (Vec<Token>, Vec<Issue>) {
    let (mut tokens, mut issues, mut i) = (Vec::new(), Vec::new(), 0);
    while i < source.len() {
        let c = source[i];
        if matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}') {
            i += 1;
            continue;
        }
        if c == '/' && source.get(i + 1) == Some(&'/') {
            while i < source.len() && source[i] != '\n' {
                i += 1;
            }
            continue;
        }
        let (kind, end) = match token(source, i) {
            Ok(found) => found,
            Err(end) => {
                let text: String = source[i..end].iter().collect();
                let message = format!("Syntax error: token recognition error at: '{}'", escaped(&text));
                issues.push(Issue { at: i, message });
                i = end;
                continue;
            }
        };
        tokens.push(Token { kind, text: source[i..end].iter().collect(), at: i });
        i = end;
    }
    tokens.push(Token { kind: Kind::End, text: "<EOF>".into(), at: source.len() });
    (tokens, issues)
}

fn escaped(text: &str) -> String {
    text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

/// The word that begins at `i`, and where it ends; `Err`: where what cannot be read ends.
fn token(source: &[char], i: usize) -> Result<(Kind, usize), usize> {
    let c = source[i];
    if let Some(found) = literal(source, i) {
        return found;
    }
    if c.is_ascii_alphabetic() || c == '_' {
        let end = run(source, i, |c| c.is_ascii_alphanumeric() || c == '_');
        let word: String = source[i..end].iter().collect();
        return Ok((if WORDS.contains(&word.as_str()) { Kind::Sign } else { Kind::Ident }, end));
    }
    if c == '`' {
        let end = run(source, i + 1, |c| c.is_ascii_alphanumeric() || "_.-/ ".contains(c));
        return match source.get(end) {
            Some('`') if end > i + 1 => Ok((Kind::Quoted(source[i + 1..end].iter().collect()), end + 1)),
            _ => Err((end + 1).min(source.len())),
        };
    }
    if c.is_ascii_digit() || (c == '.' && source.get(i + 1).is_some_and(char::is_ascii_digit)) {
        return Ok(number(source, i));
    }
    let sign = SIGNS.iter().find(|s| s.chars().enumerate().all(|(k, c)| source.get(i + k) == Some(&c)));
    match sign {
        Some(sign) => Ok((Kind::Sign, i + sign.len())),
        // The grammar knows `=`, `&` and `|` only in pairs: what follows is taken for the second half.
        None if "=&|".contains(c) => Err((i + 2).min(source.len())),
        None => Err(i + 1),
    }
}

fn run(source: &[char], from: usize, of: impl Fn(char) -> bool) -> usize {
    from + source[from.min(source.len())..].iter().take_while(|c| of(**c)).count()
}

fn number(source: &[char], i: usize) -> (Kind, usize) {
    let unsigned = |end: usize, kind: Kind| match source.get(end) {
        Some('u' | 'U') => (Kind::Uint, end + 1),
        _ => (kind, end),
    };
    if source[i] == '0' && source.get(i + 1) == Some(&'x') && source.get(i + 2).is_some_and(char::is_ascii_hexdigit) {
        return unsigned(run(source, i + 2, |c| c.is_ascii_hexdigit()), Kind::Int);
    }
    let mut end = run(source, i, |c| c.is_ascii_digit());
    let mut double = false;
    if source.get(end) == Some(&'.') && source.get(end + 1).is_some_and(char::is_ascii_digit) {
        double = true;
        end = run(source, end + 1, |c| c.is_ascii_digit());
    }
    if matches!(source.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(source.get(end + 1), Some('+' | '-')));
        if source.get(end + 1 + sign).is_some_and(char::is_ascii_digit) {
            double = true;
            end = run(source, end + 1 + sign, |c| c.is_ascii_digit());
        }
    }
    if double { (Kind::Double, end) } else { unsigned(end, Kind::Int) }
}

/// A string or bytes, if one begins here: `r`, `b`, one or three quotes.
fn literal(source: &[char], i: usize) -> Option<Result<(Kind, usize), usize>> {
    let (mut raw, mut bytes, mut at) = (false, false, i);
    while let Some(c) = source.get(at) {
        match c {
            'r' | 'R' if !raw => raw = true,
            'b' | 'B' if !bytes && !raw => bytes = true,
            '"' | '\'' => break,
            _ => return None,
        }
        at += 1;
    }
    let quote = *source.get(at)?;
    let triple = source.get(at + 1) == Some(&quote) && source.get(at + 2) == Some(&quote);
    let width = if triple { 3 } else { 1 };
    let (mut value, mut k) = (String::new(), at + width);
    loop {
        let Some(c) = source.get(k).copied() else { return Some(Err(source.len())) };
        if c == quote && (!triple || (source.get(k + 1) == Some(&quote) && source.get(k + 2) == Some(&quote))) {
            let kind = if bytes { Kind::Bytes } else { Kind::String(value) };
            return Some(Ok((kind, k + width)));
        }
        if !triple && matches!(c, '\n' | '\r') {
            return Some(Err(k));
        }
        if c == '\\' && !raw {
            match escape(&source[k + 1..], bytes) {
                Some((c, used)) => {
                    value.push(c);
                    k += 1 + used;
                }
                None => return Some(Err((k + 2).min(source.len()))),
            }
        } else {
            value.push(c);
            k += 1;
        }
    }
}

/// What stands after a backslash, and its length.
fn escape(rest: &[char], bytes: bool) -> Option<(char, usize)> {
    let digits = |from: usize, n: usize, radix: u32| {
        let text: String = rest.get(from..from + n)?.iter().collect();
        let code = u32::from_str_radix(&text, radix).ok()?;
        Some((char::from_u32(code)?, from + n))
    };
    Some(match rest.first()? {
        'a' => ('\u{7}', 1),
        'b' => ('\u{8}', 1),
        'f' => ('\u{c}', 1),
        'n' => ('\n', 1),
        'r' => ('\r', 1),
        't' => ('\t', 1),
        'v' => ('\u{b}', 1),
        c @ ('\\' | '\'' | '"' | '`' | '?') => (*c, 1),
        'x' | 'X' => return digits(1, 2, 16),
        'u' if !bytes => return digits(1, 4, 16),
        'U' if !bytes => return digits(1, 8, 16),
        '0'..='3' => return digits(0, 3, 8),
        _ => return None,
    })
}
