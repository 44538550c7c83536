//! Resource quantities such as `100m`, `1.5Gi`, `1e3` (rule: apimachinery `pkg/api/resource`).
//!
//! An amount is kept as `mantissa × 10^exponent`, exact to 38 significant digits and never finer than a nano unit.
//! A text that upstream would hand back unchanged is kept beside it: that is observable in what clients read.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// How a quantity prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    #[default]
    DecimalSI,
    BinarySI,
    DecimalExponent,
}

/// The exponents that the methods here speak of.
pub mod scale {
    /// 10⁻⁹, the finest unit.
    pub const NANO: i32 = -9;
    /// 10⁻³.
    pub const MILLI: i32 = -3;
    /// 1.
    pub const ONE: i32 = 0;
}

/// Why a text is no quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// The shape is wrong.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is wrong.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// There is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount. Two quantities are equal where their amounts are, however they are written.
#[derive(Clone, Debug, Default)]
pub struct Quantity {
    mantissa: i128,
    exponent: i32,
    format: Format,
    /// Whether upstream holds it as an arbitrary-precision decimal, which its `AsInt64` refuses to convert.
    decimal: bool,
    /// The text to print, where that is not the canonical form's business.
    text: Option<Box<str>>,
}

const DECIMAL_SUFFIXES: &[(&str, i32)] =
    &[("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: &[(&str, i32)] =
    &[("", 0), ("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
/// The decimal digits that upstream trusts to fit an int64.
const MAX_INT64_DIGITS: i64 = 18;

/// `(exponent, format)` of a suffix; the exponent is of 2 for binary formats, else of 10.
fn interpret(suffix: &str) -> Option<(i32, Format)> {
    let find = |table: &[(&str, i32)]| table.iter().find(|(s, _)| *s == suffix).map(|(_, e)| *e);
    if let Some(e) = find(DECIMAL_SUFFIXES) {
        return Some((e, Format::DecimalSI));
    }
    if let Some(e) = find(BINARY_SUFFIXES) {
        return Some((e, Format::BinarySI));
    }
    let digits = suffix.strip_prefix(['e', 'E'])?;
    let parsed: i64 = digits.parse().ok()?;
    Some((
        i32::try_from(parsed).unwrap_or(if parsed < 0 { i32::MIN / 2 } else { i32::MAX / 2 }),
        Format::DecimalExponent,
    ))
}

/// The parts of a quantity's text.
struct Parts<'a> {
    positive: bool,
    num: &'a str,
    denom: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, ParseQuantityError> {
    let b = text.as_bytes();
    let digits = |mut i: usize| {
        while b.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        i
    };
    let positive = b.first() != Some(&b'-');
    let mut pos = usize::from(matches!(b.first(), Some(b'-' | b'+')));
    while b.get(pos) == Some(&b'0') {
        pos += 1;
    }
    let end = digits(pos);
    let num = if end == pos { "0" } else { &text[pos..end] };
    pos = end;
    let mut denom = "";
    if b.get(pos) == Some(&b'.') {
        let end = digits(pos + 1);
        denom = &text[pos + 1..end];
        pos = end;
    }
    let start = pos;
    while b.get(pos).is_some_and(|c| b"eEinumkKMGTP".contains(c)) {
        pos += 1;
    }
    if matches!(b.get(pos), Some(b'-' | b'+')) {
        pos += 1;
    }
    pos = digits(pos);
    if pos < b.len() {
        return Err(ParseQuantityError::Format);
    }
    Ok(Parts { positive, num, denom, suffix: &text[start..] })
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    /// (rule: `resource.ParseQuantity`)
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseQuantityError::Format);
        }
        if text == "0" {
            return Ok(Self { text: Some("0".into()), ..Self::default() });
        }
        let Parts { positive, num, denom, suffix } = split(text)?;
        let (exponent, format) = interpret(suffix).ok_or(ParseQuantityError::Suffix)?;
        if let Some(q) = small(text, positive, num, denom, exponent, format) {
            return Ok(q);
        }
        let (mut mantissa, dropped) = digits_of(num, denom);
        let mut exp10 = dropped - i32::try_from(denom.len()).unwrap_or(i32::MAX / 4);
        let mut format = format;
        if format == Format::BinarySI {
            match mantissa.checked_mul(1i128 << exponent) {
                Some(m) => mantissa = m,
                None => (mantissa, exp10) = (i128::from(i64::MAX), 0),
            }
        } else {
            exp10 = exp10.saturating_add(exponent);
        }
        (mantissa, exp10) = round_up(mantissa, exp10, scale::NANO);
        if format == Format::BinarySI {
            if compare(mantissa, exp10, i128::from(i64::MAX), 0) == Ordering::Greater {
                (mantissa, exp10) = (i128::from(i64::MAX), 0);
            }
            if mantissa > 0 && compare(mantissa, exp10, 1, 0) == Ordering::Less {
                format = Format::DecimalSI;
            }
        }
        let mantissa = if positive { mantissa } else { -mantissa };
        Ok(Self { mantissa, exponent: exp10, format, decimal: true, text: None })
    }
}

/// The amounts that upstream keeps as an int64 with a scale; it reuses texts of this kind that look canonical.
fn small(text: &str, positive: bool, num: &str, denom: &str, exponent: i32, format: Format) -> Option<Quantity> {
    let (len_num, len_denom) = (num.len() as i64, denom.len() as i64);
    let (precision, factor, mut scale) = match format {
        Format::BinarySI if denom.is_empty() => {
            (15 - len_num - (f64::from(exponent) * 3.0 / 10.0) as i64 - 1, 1i64 << exponent, 0)
        }
        Format::BinarySI => return None,
        _ => (MAX_INT64_DIGITS - len_num - len_denom, 1, i64::from(exponent)),
    };
    if precision < 0 {
        return None;
    }
    scale -= len_denom;
    if scale < i64::from(scale::NANO) {
        return None;
    }
    let value: i64 = [num, denom].concat().parse().ok()?;
    let result = value.checked_mul(factor)?;
    let looks_canonical = if format == Format::BinarySI {
        exponent % 10 == 0 && value & 7 != 0
    } else {
        let shifted_ends_000 =
            if denom.len() >= 3 { denom.ends_with("000") } else { [num, denom].concat().ends_with("000") };
        scale % 3 == 0 && !shifted_ends_000 && !num.starts_with('0')
    };
    Some(Quantity {
        mantissa: i128::from(if positive { result } else { -result }),
        exponent: i32::try_from(scale).ok()?,
        format,
        decimal: false,
        text: looks_canonical.then(|| text.into()),
    })
}

/// The digits as a number, and how many digits at the end did not fit (the number is then rounded up).
fn digits_of(num: &str, denom: &str) -> (i128, i32) {
    let (mut value, mut dropped, mut lost) = (0i128, 0i32, false);
    for d in num.bytes().chain(denom.bytes()).map(|c| i128::from(c - b'0')) {
        match value.checked_mul(10).and_then(|v| v.checked_add(d)) {
            Some(v) if dropped == 0 && v < i128::MAX / 100 => value = v,
            _ => {
                dropped = dropped.saturating_add(1);
                lost |= d != 0;
            }
        }
    }
    (value + i128::from(lost), dropped)
}

/// Without factors of ten in the mantissa.
fn reduce(mut mantissa: i128, mut exponent: i32) -> (i128, i32) {
    if mantissa == 0 {
        return (0, 0);
    }
    while mantissa % 10 == 0 {
        mantissa /= 10;
        exponent = exponent.saturating_add(1);
    }
    (mantissa, exponent)
}

/// The amount with no digit below 10^`scale`, rounded away from zero.
fn round_up(mantissa: i128, exponent: i32, scale: i32) -> (i128, i32) {
    if exponent >= scale || mantissa == 0 {
        return (mantissa, exponent);
    }
    let shift = scale.saturating_sub(exponent);
    let away = mantissa.signum();
    match pow10(shift) {
        Some(p) => {
            let q = mantissa / p;
            (if mantissa % p == 0 { q } else { q + away }, scale)
        }
        None => (away, scale),
    }
}

fn pow10(n: i32) -> Option<i128> {
    10i128.checked_pow(u32::try_from(n).ok()?)
}

fn compare(am: i128, ae: i32, bm: i128, be: i32) -> Ordering {
    if am.signum() != bm.signum() || am == 0 {
        return am.signum().cmp(&bm.signum());
    }
    let ((am, ae), (bm, be)) = (reduce(am, ae), reduce(bm, be));
    let size = |m: i128, e: i32| i64::from(m.unsigned_abs().ilog10()) + i64::from(e);
    let by_size = size(am, ae).cmp(&size(bm, be));
    if by_size != Ordering::Equal {
        return if am > 0 { by_size } else { by_size.reverse() };
    }
    // Of the same size, the exponents differ by no more than the digits of a mantissa: this cannot overflow.
    match ae.cmp(&be) {
        Ordering::Equal => am.cmp(&bm),
        Ordering::Greater => pow10(ae - be).and_then(|p| am.checked_mul(p)).map_or(am.cmp(&bm), |am| am.cmp(&bm)),
        Ordering::Less => pow10(be - ae).and_then(|p| bm.checked_mul(p)).map_or(am.cmp(&bm), |bm| am.cmp(&bm)),
    }
}

impl Quantity {
    /// `value` units.
    pub fn new(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), format, ..Self::default() }
    }
    /// `value` thousandths of a unit.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), exponent: scale::MILLI, format, ..Self::default() }
    }
    /// How it prints.
    pub fn format(&self) -> Format {
        self.format
    }
    /// The same amount, printed otherwise.
    #[must_use]
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self.text = None;
        self
    }
    /// In units, rounded away from zero, capped to an int64.
    pub fn value(&self) -> i64 {
        self.scaled_value(scale::ONE)
    }
    /// In thousandths, rounded away from zero, capped to an int64.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(scale::MILLI)
    }
    /// In units of 10^`scale`, rounded away from zero, capped to an int64.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let (m, e) = round_up(self.mantissa, self.exponent, scale);
        let cap = if m < 0 { i64::MIN } else { i64::MAX };
        let whole = if m == 0 { Some(0) } else { pow10(e.saturating_sub(scale)).and_then(|p| m.checked_mul(p)) };
        whole.and_then(|v| i64::try_from(v).ok()).unwrap_or(cap)
    }
    /// The whole number of units, where upstream's `AsInt64` gives one: not for fractions, nor for amounts it holds
    /// with arbitrary precision.
    pub fn as_i64(&self) -> Option<i64> {
        if self.decimal {
            return None;
        }
        let (m, e) = reduce(self.mantissa, self.exponent);
        pow10(e).and_then(|p| m.checked_mul(p)).and_then(|v| i64::try_from(v).ok())
    }
    /// The nearest floating-point number.
    pub fn as_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.exponent)
    }
    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }
    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }
    /// Against a whole number of units.
    pub fn cmp_i64(&self, other: i64) -> Ordering {
        compare(self.mantissa, self.exponent, i128::from(other), 0)
    }
    /// Adds; nothing plus something takes the other's format.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, 1);
    }
    /// Subtracts; nothing minus something takes the other's format.
    pub fn sub(&mut self, other: &Self) {
        self.combine(other, -1);
    }
    /// Multiplies by a whole number.
    pub fn mul(&mut self, factor: i64) {
        self.text = None;
        match self.mantissa.checked_mul(i128::from(factor)) {
            Some(m) => self.mantissa = m,
            // Beyond 38 digits: drop the lowest 19, far below anything that counts.
            None => {
                self.mantissa = (self.mantissa / 10i128.pow(19)).saturating_mul(i128::from(factor));
                self.exponent = self.exponent.saturating_add(19);
            }
        }
    }
    /// Changes the sign.
    pub fn neg(&mut self) {
        self.text = None;
        self.mantissa = self.mantissa.saturating_neg();
    }
    /// Rounds away from zero to units of 10^`scale`; a text that is kept survives where nothing is finer.
    pub fn round_up(&mut self, scale: i32) {
        if !self.decimal && self.exponent >= scale {
            return;
        }
        self.text = None;
        (self.mantissa, self.exponent) = round_up(self.mantissa, self.exponent, scale);
    }

    fn combine(&mut self, other: &Self, sign: i128) {
        self.text = None;
        if self.is_zero() {
            self.format = other.format;
        }
        self.decimal |= other.decimal;
        let (mut m, mut e) = (other.mantissa.saturating_mul(sign), other.exponent);
        if m == 0 {
            return;
        }
        if self.mantissa == 0 {
            (self.mantissa, self.exponent) = (m, e);
            return;
        }
        // Bring both to the smaller exponent; where that cannot be, the smaller amount is lost in the greater.
        let low = self.exponent.min(e);
        let lift = |m: i128, e: i32| pow10(e.saturating_sub(low)).and_then(|p| m.checked_mul(p));
        match (lift(self.mantissa, self.exponent), lift(m, e)) {
            (Some(a), Some(b)) if a.checked_add(b).is_some() => (m, e) = (a + b, low),
            _ if compare(self.mantissa.abs(), self.exponent, m.abs(), e) == Ordering::Less => {}
            _ => (m, e) = (self.mantissa, self.exponent),
        }
        (self.mantissa, self.exponent) = (m, e);
    }

    /// The canonical form, without regard to a kept text (rule: `Quantity.CanonicalizeBytes`).
    pub fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let mut format = self.format;
        if format == Format::BinarySI {
            let within_ki = self.cmp_i64(-1024) == Ordering::Greater && self.cmp_i64(1024) == Ordering::Less;
            let (m, e) = reduce(self.mantissa, self.exponent);
            match pow10(e).and_then(|p| m.checked_mul(p)) {
                Some(whole) if !within_ki && e >= 0 => return canonical_binary(whole),
                _ => format = Format::DecimalSI,
            }
        }
        let (mut m, mut e) = reduce(self.mantissa, self.exponent);
        while e % 3 != 0 {
            m = m.saturating_mul(10);
            e -= 1;
        }
        if format == Format::DecimalExponent {
            return if e == 0 { m.to_string() } else { format!("{m}e{e}") };
        }
        // Upstream prints exponents beyond its table without any suffix.
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, x)| *x == e).map_or("", |(s, _)| *s);
        format!("{m}{suffix}")
    }
}

fn canonical_binary(mut whole: i128) -> String {
    let mut exponent = 0;
    while whole % 1024 == 0 {
        whole /= 1024;
        exponent += 10;
    }
    let suffix = BINARY_SUFFIXES.iter().find(|(_, x)| *x == exponent).map_or("", |(s, _)| *s);
    format!("{whole}{suffix}")
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.mantissa, self.exponent, other.mantissa, other.exponent)
    }
}

impl fmt::Display for Quantity {
    /// The text upstream would write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(t) => f.write_str(t),
            None => f.write_str(&self.canonical()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(s: &str) -> Quantity {
        s.parse().unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    #[test]
    fn prints_as_upstream() {
        let table = [
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            (".5", "500m"),
            ("5.", "5."),
            ("+5", "+5"),
            ("1.0", "1"),
            ("10.10", "10100m"),
            ("1000", "1k"),
            ("1500000", "1500k"),
            ("0.0", "0"),
            ("0m", "0"),
            ("00012", "00012"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.5Gi", "512Mi"),
            ("1000Ki", "1000Ki"),
            ("2048", "2048"),
            ("0.1Mi", "104857600m"),
            ("0Ki", "0"),
            ("1e3", "1e3"),
            ("1E6", "1E6"),
            ("100e3", "100e3"),
            ("12345678901234", "12345678901234"),
            ("0.0000000001", "1n"),
            ("-0", "0"),
            ("-1.5", "-1500m"),
            ("1e1", "10"),
            ("100Ei", "9223372036854775807"),
            ("1Ki", "1Ki"),
        ];
        for (text, want) in table {
            assert_eq!(q(text).to_string(), want, "{text}");
        }
    }

    #[test]
    fn rejects_as_upstream() {
        for text in ["", "1 Gi", "1gi", "abc", "1.2.3", "true", "é"] {
            assert_eq!(text.parse::<Quantity>().unwrap_err(), ParseQuantityError::Format, "{text}");
        }
        for text in ["1K", "1kk", "1e", "1mm"] {
            assert_eq!(text.parse::<Quantity>().unwrap_err(), ParseQuantityError::Suffix, "{text}");
        }
    }

    #[test]
    fn arithmetic() {
        assert_eq!(q("1500m").value(), 2);
        assert_eq!(q("-1500m").value(), -2);
        assert_eq!(q("1Gi").milli_value(), 1_073_741_824_000);
        assert_eq!(q("1e400").value(), i64::MAX);
        assert!(q("1e2000000000") > q("1Ei") && q("1Gi") == q("1024Mi") && q("-1") < q("1m"));
        let mut a = q("1Gi");
        a.add(&q("512Mi"));
        assert_eq!(a.to_string(), "1536Mi");
        a.sub(&q("1536Mi"));
        assert!(a.is_zero());
        a.add(&q("100m"));
        assert_eq!(a.to_string(), "100m");
        let mut r = q("0.0001");
        r.round_up(scale::MILLI);
        assert_eq!(r.to_string(), "1m");
    }

    #[test]
    fn nothing_panics() {
        for text in [
            "99999999999999999999999999999999999999999999999999e9999999999",
            "1e-9999999999",
            "9E9999",
            "1e2147483647",
            "-9223372036854775808Ei",
        ] {
            let mut x = q(text);
            let _ = (x.to_string(), x.value(), x.as_f64(), x.as_i64());
            x.add(&q("1m"));
            x.mul(i64::MIN);
            x.neg();
            x.round_up(0);
            let _ = x.to_string();
        }
    }
}
