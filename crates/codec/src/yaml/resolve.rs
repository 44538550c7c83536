//! What a plain scalar stands for (rule: goyaml.v2 `resolve.go`).

use serde_json::Value;

/// The value of a plain scalar.
pub fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    match text.as_bytes()[0] {
        b'+' | b'-' | b'0'..=b'9' => {
            let digits = text.replace('_', "");
            if let Some(n) = integer(&digits) {
                return n;
            }
            if is_float(&digits)
                && let Ok(f) = digits.parse::<f64>()
            {
                return crate::scalar::float(f);
            }
        }
        b'.' if is_float(text) => {
            if let Ok(f) = text.parse::<f64>() {
                return crate::scalar::float(f);
            }
        }
        _ => {}
    }
    Value::String(text.to_owned())
}

/// An integer in Go's base-0 notation: `0x`, `0o`, `0b`, a leading zero for octal.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    if digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match negative {
        false => Some(Value::from(magnitude)),
        true => i64::try_from(-i128::from(magnitude)).ok().map(Value::from),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['+', '-']).unwrap_or(e))),
        None => (text, None),
    };
    let digits = |s: &str| s.bytes().all(|c| c.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let shape = match fraction {
        None => !whole.is_empty(),
        Some(fraction) => !whole.is_empty() || !fraction.is_empty(),
    };
    shape && digits(whole) && digits(fraction.unwrap_or("")) && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

/// Whether a plain scalar of this text would be read as this very string.
pub fn is_plain_string(text: &str) -> bool {
    !text.is_empty() && plain(text).is_string() && text != "<<" && !is_special_float(text) && !is_timestamp(text)
}

fn is_special_float(text: &str) -> bool {
    matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}

/// A date, or a date and a time: goyaml quotes them.
fn is_timestamp(text: &str) -> bool {
    let b = text.as_bytes();
    let year = b.iter().take_while(|c| c.is_ascii_digit()).count();
    if year != 4 || b.get(4) != Some(&b'-') {
        return false;
    }
    let mut parts = text[5..].splitn(2, '-');
    let (month, rest) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let day = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = |s: &str| (1..=2).contains(&s.len()) && s.bytes().all(|c| c.is_ascii_digit());
    number(month)
        && (1..=2).contains(&day)
        && match rest.as_bytes().get(day) {
            None => true,
            Some(b'T' | b't' | b' ') => rest[day + 1..].starts_with(|c: char| c.is_ascii_digit()),
            Some(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_are_yaml_1_1() {
        for (text, want) in [
            ("yes", json!(true)),
            ("OFF", json!(false)),
            ("n", json!(false)),
            ("0777", json!(511)),
            ("0o17", json!(15)),
            ("0x10", json!(16)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("+5", json!(5)),
            ("-5", json!(-5)),
            (".5", json!(0.5)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("~", json!(null)),
            ("1.2.3", json!("1.2.3")),
            ("12:30", json!("12:30")),
            ("2024-01-01", json!("2024-01-01")),
            ("0x", json!("0x")),
            ("-", json!("-")),
            ("1e", json!("1e")),
        ] {
            assert_eq!(plain(text), want, "{text}");
        }
    }
}
