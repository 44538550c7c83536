//! Cron expressions: five fields, names, ranges, steps, `@daily` and the like, and time zones
//! (rule: robfig/cron `ParseStandard`, which upstream uses).

use jiff::{SignedDuration, Timestamp, ToSpan, Zoned, civil, tz::TimeZone};

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MACROS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A field as a set of bits; whether it was `*` matters for days.
#[derive(Clone, Copy, Debug)]
struct Field {
    bits: u64,
    any: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        self.bits & (1 << value) != 0
    }

    fn parse(text: &str, min: u32, max: u32, names: &[&str]) -> Result<Self, String> {
        let mut field = Self { bits: 0, any: false };
        for part in text.split(',') {
            let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
            let value = |text: &str| {
                let lower = text.to_ascii_lowercase();
                match names.iter().position(|name| *name == lower) {
                    Some(place) => Ok(place as u32 + min),
                    None => text.parse::<u32>().map_err(|_| format!("failed to parse int from {text}")),
                }
            };
            let (first, last) = match range {
                "*" | "?" => {
                    field.any |= step.is_none();
                    (min, max)
                }
                _ => match range.split_once('-') {
                    Some((first, last)) => (value(first)?, value(last)?),
                    // `n/step` runs to the end.
                    None => (value(range)?, if step.is_some() { max } else { value(range)? }),
                },
            };
            let step = step.map_or(Ok(1), value)?;
            if first < min || last > max || first > last || step == 0 {
                return Err(format!("{part} is out of the range {min}-{max}"));
            }
            for value in (first..=last).step_by(step as usize) {
                field.bits |= 1 << value;
            }
        }
        Ok(field)
    }
}

/// When a schedule is due.
#[derive(Clone, Debug)]
enum Rule {
    Fields { minute: Field, hour: Field, day: Field, month: Field, weekday: Field },
    Every(SignedDuration),
}

/// A parsed schedule in its time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    rule: Rule,
    zone: TimeZone,
}

impl Schedule {
    /// Parses an expression; `zone` is an IANA name, and UTC if there is none.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, String> {
        let zone = match zone {
            Some(name) => TimeZone::get(name).map_err(|error| format!("unknown time zone {name}: {error}"))?,
            None => TimeZone::UTC,
        };
        let text = text.trim();
        if let Some(every) = text.strip_prefix("@every ") {
            let every = steersman_component::flags::parse_duration(every.trim())
                .and_then(|every| SignedDuration::try_from(every).ok())
                .ok_or_else(|| format!("failed to parse duration {text}"))?;
            let every = SignedDuration::from_secs(every.as_secs().max(1));
            return Ok(Self { rule: Rule::Every(every), zone });
        }
        let text = MACROS.iter().find(|(name, _)| *name == text).map_or(text, |(_, fields)| fields);
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", fields.len()));
        };
        let mut weekday = Field::parse(weekday, 0, 7, DAYS)?;
        // Both 0 and 7 are Sunday.
        if weekday.has(7) {
            weekday.bits = (weekday.bits | 1) & 0x7f;
        }
        let rule = Rule::Fields {
            minute: Field::parse(minute, 0, 59, &[])?,
            hour: Field::parse(hour, 0, 23, &[])?,
            day: Field::parse(day, 1, 31, &[])?,
            month: Field::parse(month, 1, 12, MONTHS)?,
            weekday,
        };
        Ok(Self { rule, zone })
    }

    /// The first time after `after` at which the schedule is due; `None` if that is more than five years away.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let (minute, hour, day, month, weekday) = match &self.rule {
            Rule::Every(every) => return Timestamp::from_second(after.as_second()).ok()?.checked_add(*every).ok(),
            Rule::Fields { minute, hour, day, month, weekday } => (minute, hour, day, month, weekday),
        };
        let start = after.to_zoned(self.zone.clone());
        let mut time = start.datetime().checked_add(1.minute()).ok()?;
        time = time.with().second(0).subsec_nanosecond(0).build().ok()?;
        let limit = time.year() + 5;
        while time.year() <= limit {
            if !month.has(time.month()) {
                let first = time.date().first_of_month().checked_add(1.month()).ok()?;
                time = first.at(0, 0, 0, 0);
            } else if !day_fits(time.date(), *day, *weekday) {
                time = time.date().checked_add(1.day()).ok()?.at(0, 0, 0, 0);
            } else if !hour.has(time.hour()) {
                time = time.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if !minute.has(time.minute()) {
                time = time.checked_add(1.minute()).ok()?;
            } else {
                // A time that the zone skips is due when the clock has jumped over it.
                let zoned: Zoned = time.to_zoned(self.zone.clone()).ok()?;
                if zoned.timestamp() > after {
                    return Some(zoned.timestamp());
                }
                time = time.checked_add(1.minute()).ok()?;
            }
        }
        None
    }
}

/// If both days are restricted, either may fit.
fn day_fits(date: civil::Date, day: Field, weekday: Field) -> bool {
    let by_day = day.has(date.day());
    let by_weekday = weekday.has(date.weekday().to_sunday_zero_offset());
    if day.any || weekday.any { by_day && by_weekday } else { by_day || by_weekday }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_times() {
        let check = |text: &str, after: &str, expect: &str| {
            let schedule = Schedule::parse(text, None).unwrap();
            let next = schedule.next(after.parse().unwrap()).map(|time| time.to_string());
            assert_eq!(next.as_deref().unwrap_or("never"), expect, "{text}");
        };
        let now = "2030-01-01T12:34:56Z"; // a Tuesday
        check("* * * * *", now, "2030-01-01T12:35:00Z");
        check("*/15 * * * ?", now, "2030-01-01T12:45:00Z");
        check("0 0 * * *", now, "2030-01-02T00:00:00Z");
        check("30 6 29 feb *", now, "2032-02-29T06:30:00Z");
        check("0 9 * * mon-fri", "2030-01-04T10:00:00Z", "2030-01-07T09:00:00Z");
        check("0 9 13 * 5", now, "2030-01-04T09:00:00Z");
        check("0 0 * * 7", now, "2030-01-06T00:00:00Z");
        check("5/20 8-10/2 * * *", now, "2030-01-02T08:05:00Z");
        check("0 0 31 2 *", now, "never");
        check("@hourly", now, "2030-01-01T13:00:00Z");
        check("@every 90s", now, "2030-01-01T12:36:26Z");
    }

    #[test]
    fn mistakes() {
        let check = |text: &str| assert!(Schedule::parse(text, None).is_err(), "{text}");
        check("");
        check("* * * *");
        check("60 * * * *");
        check("* * 0 * *");
        check("5-1 * * * *");
        check("*/0 * * * *");
        check("a * * * *");
        assert!(Schedule::parse("* * * * *", Some("Not/AZone")).is_err());
    }
}
