//! The query of a request, as Go's `url.Values` has it.

use percent_encoding::percent_decode_str;
use steersman_apimachinery::field::go_quote;

/// Keys with their values in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=%20`; pieces that do not decode are left out, as Go does.
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::default();
        }
        let decode = |s: &str| -> Option<String> {
            let s = s.replace('+', " ");
            if !well_escaped(&s) {
                return None;
            }
            Some(percent_decode_str(&s).decode_utf8_lossy().into_owned())
        };
        Self(
            text.split('&')
                .filter(|p| !p.is_empty() && !p.contains(';'))
                .filter_map(|p| {
                    let (k, v) = p.split_once('=').unwrap_or((p, ""));
                    Some((decode(k)?, decode(v)?))
                })
                .collect(),
        )
    }
    /// The first value of a key.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    /// All pairs in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
    /// A boolean option: given and neither `false` nor `0` (rule: apimachinery `Convert_Slice_string_To_bool`).
    pub fn flag(&self, key: &str) -> bool {
        self.maybe_flag(key).unwrap_or(false)
    }
    /// The same, `None` where it is not given.
    pub fn maybe_flag(&self, key: &str) -> Option<bool> {
        self.first(key).map(|v| !v.eq_ignore_ascii_case("false") && v != "0")
    }
    /// An integer option; the error is Go's.
    pub fn int(&self, key: &str) -> Result<Option<i64>, String> {
        self.first(key).map(parse_int).transpose()
    }
}

/// Whether every `%` is followed by two hexadecimal digits.
pub fn well_escaped(s: &str) -> bool {
    let b = s.as_bytes();
    b.iter().enumerate().all(|(i, c)| {
        *c != b'%'
            || (b.get(i + 1).is_some_and(u8::is_ascii_hexdigit) && b.get(i + 2).is_some_and(u8::is_ascii_hexdigit))
    })
}

/// Go's `strconv.ParseInt(s, 10, 64)`, with its error text.
pub fn parse_int(s: &str) -> Result<i64, String> {
    s.parse::<i64>().map_err(|e| {
        let why = match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {}: {why}", go_quote(s))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_go_reads_them() {
        let q = Query::parse("a=1&a=2&b=x%20y&c&watch=FALSE&d=%zz&limit=abc");
        assert_eq!(q.first("a"), Some("1"));
        assert_eq!(q.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(q.first("b"), Some("x y"));
        assert!(q.flag("c") && !q.flag("watch") && !q.flag("nope"));
        assert_eq!(q.first("d"), None);
        assert_eq!(q.int("limit"), Err("strconv.ParseInt: parsing \"abc\": invalid syntax".into()));
        assert_eq!(
            parse_int("99999999999999999999"),
            Err("strconv.ParseInt: parsing \"99999999999999999999\": value out of range".into())
        );
    }
}
