//! Times as Go reads and writes them (rule: Go `time.Parse`, apimachinery `pkg/apis/meta/v1/time.go`, `micro_time.go`,
//! `duration.go`).

use jiff::civil;
use jiff::tz::Offset;

const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";

/// A point in time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Seconds since 1970 in UTC.
    pub seconds: i64,
    /// 0..1_000_000_000.
    pub nanos: i32,
}

/// The seconds of Go's zero time, 0001-01-01T00:00:00Z.
pub const ZERO_SECONDS: i64 = -62_135_596_800;

impl Instant {
    /// Whether it is Go's zero time.
    pub fn is_zero(self) -> bool {
        self.seconds == ZERO_SECONDS && self.nanos == 0
    }
    /// The form of `metav1.Time`: whole seconds in UTC; `None` where no year of four digits can tell it.
    pub fn seconds_text(self) -> Option<String> {
        let date = self.civil()?;
        Some(format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            date.year(),
            date.month(),
            date.day(),
            date.hour(),
            date.minute(),
            date.second()
        ))
    }
    /// The form of `metav1.MicroTime`.
    pub fn micros_text(self) -> Option<String> {
        let mut text = self.seconds_text()?;
        text.truncate(text.len() - 1);
        Some(format!("{text}.{:06}Z", self.nanos / 1000))
    }
    fn civil(self) -> Option<civil::DateTime> {
        let at = jiff::Timestamp::new(self.seconds, 0).ok()?;
        let date = Offset::UTC.to_datetime(at);
        (0..=9999).contains(&date.year()).then_some(date)
    }
}

/// Whether the text already has the canonical form `2006-01-02T15:04:05Z`, in which case only ranges are left to check.
fn is_canonical(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() == 20
        && b.iter().enumerate().all(|(i, c)| match i {
            4 | 7 => *c == b'-',
            10 => *c == b'T',
            13 | 16 => *c == b':',
            19 => *c == b'Z',
            _ => c.is_ascii_digit(),
        })
}

/// Reads RFC 3339.
pub fn parse(text: &str) -> Result<Instant, String> {
    Parse { layout: RFC3339, whole: text, rest: text }.run(false)
}

/// Reads RFC 3339 with exactly six digits of a second.
pub fn parse_micro(text: &str) -> Result<Instant, String> {
    Parse { layout: RFC3339_MICRO, whole: text, rest: text }.run(true)
}

/// The canonical form of an RFC 3339 text; `None` for Go's zero time.
pub fn canonical(text: &str) -> Result<Option<String>, String> {
    let at = parse(text)?;
    let at = Instant { nanos: 0, ..at };
    if at.is_zero() {
        return Ok(None);
    }
    if is_canonical(text) {
        return Ok(Some(text.to_owned()));
    }
    at.seconds_text().map(Some).ok_or_else(|| "Time.MarshalJSON: year outside of range [0,9999]".into())
}

/// The canonical form with microseconds; `None` for Go's zero time.
pub fn canonical_micro(text: &str) -> Result<Option<String>, String> {
    let at = parse_micro(text)?;
    if at.is_zero() {
        return Ok(None);
    }
    at.micros_text().map(Some).ok_or_else(|| "Time.MarshalJSON: year outside of range [0,9999]".into())
}

/// The text as Go's `time` quotes it: byte by byte where it is not plain ASCII.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            0x20..0x80 => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

struct Parse<'a> {
    layout: &'static str,
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Parse<'a> {
    fn run(mut self, micro: bool) -> Result<Instant, String> {
        let year = self.digits(4, 4, "2006")?;
        self.literal("-")?;
        let month = self.digits(2, 2, "01")?;
        if !(1..=12).contains(&month) {
            return Err(self.range("month"));
        }
        self.literal("-")?;
        let day = self.digits(2, 2, "02")?;
        self.literal("T")?;
        let hour = self.digits(1, 2, "15")?;
        if hour > 23 {
            return Err(self.range("hour"));
        }
        self.literal(":")?;
        let minute = self.digits(2, 2, "04")?;
        if minute > 59 {
            return Err(self.range("minute"));
        }
        self.literal(":")?;
        let second = self.digits(2, 2, "05")?;
        if second > 59 {
            return Err(self.range("second"));
        }
        let nanos = if micro { self.micros()? } else { self.fraction() };
        let offset = self.zone()?;
        if !self.rest.is_empty() {
            return Err(format!("parsing time {}: extra text: {}", quote(self.whole), quote(self.rest)));
        }
        let narrow = |n: u32| i8::try_from(n).unwrap_or(i8::MAX);
        let date = civil::Date::new(i16::try_from(year).unwrap_or(i16::MAX), narrow(month), narrow(day))
            .map_err(|_| self.range("day"))?;
        let days = i64::from((date - civil::date(1970, 1, 1)).get_days());
        let seconds = days * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second) - offset;
        Ok(Instant { seconds, nanos })
    }

    /// Between `min` and `max` digits; the layout's piece is told in the error.
    fn digits(&mut self, min: usize, max: usize, piece: &str) -> Result<u32, String> {
        let count = self.rest.bytes().take(max).take_while(u8::is_ascii_digit).count();
        if count < min {
            return Err(self.cannot(self.rest, piece));
        }
        let (number, rest) = self.rest.split_at(count);
        self.rest = rest;
        number.parse().map_err(|_| self.cannot(number, piece))
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.cannot(self.rest, text)),
        }
    }

    /// An optional fraction of a second of any length.
    fn fraction(&mut self) -> i32 {
        let Some(rest) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return 0;
        }
        let mut nanos: i32 = 0;
        for i in 0..9 {
            let digit = if i < count { i32::from(rest.as_bytes()[i] - b'0') } else { 0 };
            nanos = nanos * 10 + digit;
        }
        self.rest = &rest[count..];
        nanos
    }

    /// Exactly six digits behind a point.
    fn micros(&mut self) -> Result<i32, String> {
        let digits = self.rest.strip_prefix(['.', ',']).and_then(|r| r.get(..6));
        let Some(digits) = digits.filter(|d| d.bytes().all(|c| c.is_ascii_digit())) else {
            return Err(self.cannot(self.rest, ".000000"));
        };
        let micros: i32 = digits.parse().map_err(|_| self.cannot(self.rest, ".000000"))?;
        self.rest = &self.rest[7..];
        Ok(micros * 1000)
    }

    /// `Z` or `+07:00`, as seconds east of UTC.
    fn zone(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let hold = self.rest;
        let b = hold.as_bytes();
        let shape = b.len() >= 6
            && matches!(b[0], b'+' | b'-')
            && b[3] == b':'
            && [1, 2, 4, 5].iter().all(|i| b[*i].is_ascii_digit());
        if !shape {
            return Err(self.cannot(hold, "Z07:00"));
        }
        let two = |i: usize| i64::from(b[i] - b'0') * 10 + i64::from(b[i + 1] - b'0');
        self.rest = &hold[6..];
        if two(1) > 24 {
            return Err(self.range("time zone offset hour"));
        }
        if two(4) > 60 {
            return Err(self.range("time zone offset minute"));
        }
        let seconds = two(1) * 3600 + two(4) * 60;
        Ok(if b[0] == b'-' { -seconds } else { seconds })
    }

    fn cannot(&self, rest: &str, piece: &str) -> String {
        format!("parsing time {} as {:?}: cannot parse {} as {piece:?}", quote(self.whole), self.layout, quote(rest))
    }

    fn range(&self, what: &str) -> String {
        format!("parsing time {}: {what} out of range", quote(self.whole))
    }
}

const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a Go duration as nanoseconds (rule: `time.ParseDuration`).
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, tail) = rest.split_at(number);
        let unit_end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(wrong());
        }
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text)));
        };
        let scale = i128::from(*scale);
        let parse = |s: &str| if s.is_empty() { Ok(0) } else { s.parse::<i64>().map(i128::from).map_err(|_| wrong()) };
        total += parse(whole)? * scale;
        let fraction = &fraction[..fraction.len().min(15)];
        total += parse(fraction)? * scale / 10i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| wrong())
}

/// Writes nanoseconds as a Go duration, e.g. `1h30m0s` (rule: `time.Duration.String`).
pub fn duration_text(nanos: i64) -> String {
    let n = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let decimal = |whole: u64, part: u64, width: usize| {
        let part = format!("{part:0width$}");
        let part = part.trim_end_matches('0');
        if part.is_empty() { whole.to_string() } else { format!("{whole}.{part}") }
    };
    match n {
        0 => "0s".into(),
        1..1_000 => format!("{sign}{n}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(n / 1_000, n % 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(n / 1_000_000, n % 1_000_000, 6)),
        _ => {
            let (seconds, part) = (n / 1_000_000_000, n % 1_000_000_000);
            let (h, m) = (seconds / 3600, seconds / 60 % 60);
            let s = decimal(seconds % 60, part, 9);
            match (h, m) {
                (0, 0) => format!("{sign}{s}s"),
                (0, _) => format!("{sign}{m}m{s}s"),
                _ => format!("{sign}{h}h{m}m{s}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_canonical() {
        let check = |text: &str, want: &str| match canonical(text) {
            Ok(got) => assert_eq!(got.unwrap_or_default(), want, "{text}"),
            Err(error) => assert_eq!(error, want, "{text}"),
        };
        check("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z");
        check("2024-01-01T00:00:00.999Z", "2024-01-01T00:00:00Z");
        check("2024-01-01T01:30:00+01:30", "2024-01-01T00:00:00Z");
        check("0001-01-01T00:00:00Z", "");
        check("x", "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"");
        check("2024-13-01T00:00:00Z", "parsing time \"2024-13-01T00:00:00Z\": month out of range");
        check("2024-02-30T00:00:00Z", "parsing time \"2024-02-30T00:00:00Z\": day out of range");
        check("2024-01-01", "parsing time \"2024-01-01\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\"");
        check("2024-01-01T00:00:00Zz", "parsing time \"2024-01-01T00:00:00Zz\": extra text: \"z\"");
    }

    #[test]
    fn micro_times_keep_six_digits() {
        assert_eq!(
            canonical_micro("2024-01-01T01:00:00.123456+01:00").expect("valid").as_deref(),
            Some("2024-01-01T00:00:00.123456Z")
        );
        assert_eq!(
            canonical_micro("2024-01-01T00:00:00Z").expect_err("no fraction"),
            "parsing time \"2024-01-01T00:00:00Z\" as \"2006-01-02T15:04:05.000000Z07:00\": \
             cannot parse \"Z\" as \".000000\""
        );
    }

    #[test]
    fn durations() {
        for (text, nanos, back) in [
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("-2m", -120_000_000_000, "-2m0s"),
            ("100ms", 100_000_000, "100ms"),
            ("0", 0, "0s"),
        ] {
            assert_eq!(parse_duration(text), Ok(nanos), "{text}");
            assert_eq!(duration_text(nanos), back);
        }
        assert_eq!(parse_duration("5"), Err("time: missing unit in duration \"5\"".into()));
    }
}
