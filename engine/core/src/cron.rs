//! Cron schedules of workflows.
//!
//! Standard five-field expressions (minute, hour, day of month, month, day of week) with lists, ranges, steps and names;
//! `@every <duration>`; `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`; with an optional
//! `CRON_TZ=Zone ` or `TZ=Zone ` in front, else in UTC. As everywhere in cron, a day matches if either of its two fields
//! does, unless one of them is a star. A local time that a clock change skips never comes; one that it repeats comes twice.
//!
//! Time zones are those of the bundled database: rules must not depend on the machine.

use std::str::FromStr;
use std::time::Duration;

use fermata_proto::time::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{ToSpan, Unit, Zoned, ZonedRound};

/// Beyond this many years a schedule is taken never to match (the 30th of February).
const SEARCH_YEARS_MAX: i16 = 5;

/// How long after `closed` the next run of a chain begins, whose last run began its work at `began`; none if it never does.
///
/// Whole seconds, rounded up.
pub(crate) fn backoff(schedule: &str, began: Timestamp, closed: Timestamp) -> Option<Duration> {
    let schedule: Schedule = schedule.parse().ok()?;
    let next = schedule.first_at_or_after(began, closed)?;
    let left = next.since(closed);
    let whole = Duration::from_secs(left.as_secs());
    Some(if left > whole {
        whole + Duration::from_secs(1)
    } else {
        whole
    })
}

/// Whether `schedule` is one.
pub(crate) fn is_valid(schedule: &str) -> bool {
    schedule.parse::<Schedule>().is_ok()
}

/// A schedule that cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("read cron schedule: {0}")]
pub(crate) struct CronError(String);

#[derive(Debug, Clone, PartialEq)]
enum Schedule {
    Every(Duration),
    Fields(Box<Fields>),
}

#[derive(Debug, Clone, PartialEq)]
struct Fields {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    zone: TimeZone,
}

/// The values that a field allows, as bits; `star` if it was written as all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Set {
    bits: u64,
    star: bool,
}

impl Set {
    fn has(self, value: i8) -> bool {
        self.bits & (1 << value) != 0
    }
}

impl Schedule {
    /// The first moment after `began` that is not before `closed`.
    fn first_at_or_after(&self, began: Timestamp, closed: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(delay) => {
                let first = whole_second(began) + *delay;
                let late = closed.since(first);
                let delay_ns = delay.as_nanos();
                let steps = late.as_nanos().div_ceil(delay_ns);
                let nanos = u64::try_from(steps * delay_ns).ok()?;
                Some(first + Duration::from_nanos(nanos))
            }
            Self::Fields(fields) => {
                let just_before = closed - Duration::from_nanos(1);
                fields.next(began.max(just_before))
            }
        }
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis().div_euclid(1_000) * 1_000)
}

impl Fields {
    /// The first match after `after`: runs over months, days, hours and minutes, each only where the one above matches.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_nanosecond(i128::from(after.as_nanos())).ok()?;
        let start = Zoned::new(after, self.zone.clone());
        let last_year = start.year() + SEARCH_YEARS_MAX;
        let minute = ZonedRound::new()
            .smallest(Unit::Minute)
            .mode(jiff::RoundMode::Trunc);
        let mut at = start.round(minute).ok()?.checked_add(1.minute()).ok()?;
        while at.year() <= last_year {
            if !self.months.has(at.month()) {
                at = at.first_of_month().ok()?.checked_add(1.month()).ok()?;
                at = at.start_of_day().ok()?;
            } else if !self.has_day(&at) {
                at = at.tomorrow().ok()?.start_of_day().ok()?;
            } else if !self.hours.has(at.hour()) {
                // By the clock on the wall's minutes, not by hours: an offset may change by less than one.
                at = at
                    .checked_add((60 - i64::from(at.minute())).minutes())
                    .ok()?;
            } else if !self.minutes.has(at.minute()) {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                let nanos = i64::try_from(at.timestamp().as_nanosecond()).ok()?;
                return Some(Timestamp::from_nanos(nanos));
            }
        }
        None
    }

    fn has_day(&self, at: &Zoned) -> bool {
        let by_date = self.days.has(at.day());
        let by_weekday = self.weekdays.has(at.weekday().to_sunday_zero_offset());
        if self.days.star || self.weekdays.star {
            by_date && by_weekday
        } else {
            by_date || by_weekday
        }
    }
}

impl FromStr for Schedule {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let mut zone = TimeZone::UTC;
        let mut rest = text.trim();
        for prefix in ["CRON_TZ=", "TZ="] {
            if let Some(tail) = rest.strip_prefix(prefix) {
                let (name, tail) = tail
                    .split_once(char::is_whitespace)
                    .ok_or_else(|| bad(format!("nothing follows the time zone in {text:?}")))?;
                zone = TimeZoneDatabase::bundled()
                    .get(name)
                    .map_err(|_| bad(format!("no time zone is called {name:?}")))?;
                rest = tail.trim();
                break;
            }
        }
        if let Some(descriptor) = rest.strip_prefix('@') {
            return described(descriptor, zone);
        }
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(bad(format!("{rest:?} has not five fields")));
        };
        fields_of([minutes, hours, days, months, weekdays], zone)
    }
}

fn described(descriptor: &str, zone: TimeZone) -> Result<Schedule, CronError> {
    if let Some(length) = descriptor.strip_prefix("every ") {
        let length = duration(length.trim())
            .ok_or_else(|| bad(format!("{length:?} is no duration such as 1h30m")))?;
        // Runs come at whole seconds.
        return Ok(Schedule::Every(Duration::from_secs(
            length.as_secs().max(1),
        )));
    }
    let fields = match descriptor {
        "yearly" | "annually" => ["0", "0", "1", "1", "*"],
        "monthly" => ["0", "0", "1", "*", "*"],
        "weekly" => ["0", "0", "*", "*", "0"],
        "daily" | "midnight" => ["0", "0", "*", "*", "*"],
        "hourly" => ["0", "*", "*", "*", "*"],
        other => return Err(bad(format!("@{other} is not known"))),
    };
    fields_of(fields, zone)
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn fields_of(fields: [&str; 5], zone: TimeZone) -> Result<Schedule, CronError> {
    Ok(Schedule::Fields(Box::new(Fields {
        minutes: field(fields[0], 0, 59, &[])?,
        hours: field(fields[1], 0, 23, &[])?,
        days: field(fields[2], 1, 31, &[])?,
        months: field(fields[3], 1, 12, &MONTHS)?,
        weekdays: field(fields[4], 0, 6, &WEEKDAYS)?,
        zone,
    })))
}

/// One field: items separated by commas, each a value, a range, or all, with an optional step.
fn field(text: &str, least: u8, most: u8, names: &[&str]) -> Result<Set, CronError> {
    let mut set = Set {
        bits: 0,
        star: false,
    };
    let value = |text: &str| {
        let by_name = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text))
            .and_then(|index| u8::try_from(index).ok())
            .map(|index| index + least);
        by_name
            .or_else(|| text.parse().ok())
            .filter(|value| (least..=most).contains(value))
            .ok_or_else(|| bad(format!("{text:?} is not from {least} to {most}")))
    };
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                let step = step
                    .parse()
                    .ok()
                    .filter(|step| *step > 0)
                    .ok_or_else(|| bad(format!("{step:?} is no step")))?;
                (range, Some(step))
            }
            None => (item, None),
        };
        let (from, to) = if range == "*" || range == "?" {
            set.star |= step.is_none_or(|step| step == 1);
            (least, most)
        } else if let Some((from, to)) = range.split_once('-') {
            (value(from)?, value(to)?)
        } else {
            let from = value(range)?;
            // "5/15" means from 5 to the end.
            (from, if step.is_some() { most } else { from })
        };
        if from > to {
            return Err(bad(format!("{range:?} ends before it begins")));
        }
        for value in (from..=to).step_by(step.unwrap_or(1)) {
            set.bits |= 1 << value;
        }
    }
    Ok(set)
}

/// A duration as in "1h30m", "90s", "1.5h", "500ms".
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(total).ok()
}

fn bad(text: String) -> CronError {
    CronError(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_nanos(i64::try_from(time.as_nanosecond()).unwrap())
    }

    #[track_caller]
    fn check(schedule: &str, after: &str, expected: &str) {
        let schedule: Schedule = schedule.parse().unwrap();
        let next = schedule.first_at_or_after(at(after), at(after));
        // Exactly at a match, the run that began then does not repeat.
        assert_eq!(next, Some(at(expected)), "{schedule:?} after {after}");
    }

    #[test]
    fn five_fields() {
        check(
            "0 12 * * *",
            "2026-01-01T11:59:59.5Z",
            "2026-01-01T12:00:00Z",
        );
        check("0 12 * * *", "2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z");
        check(
            "*/15 * * * *",
            "2026-01-01T00:01:00Z",
            "2026-01-01T00:15:00Z",
        );
        check(
            "5/20 3 * * *",
            "2026-01-01T03:05:00Z",
            "2026-01-01T03:25:00Z",
        );
        check(
            "0 0 1 jan,Jul *",
            "2026-01-02T00:00:00Z",
            "2026-07-01T00:00:00Z",
        );
        check("0 0 29 2 *", "2025-03-01T00:00:00Z", "2028-02-29T00:00:00Z");
        check(
            "0 9 * * mon-fri",
            "2026-01-02T10:00:00Z",
            "2026-01-05T09:00:00Z",
        );
    }

    #[test]
    fn a_day_matches_by_date_or_by_weekday() {
        // The 1st of January 2026 is a Thursday.
        check(
            "0 0 15 * fri",
            "2026-01-01T00:00:00Z",
            "2026-01-02T00:00:00Z",
        );
        check(
            "0 0 3 * fri",
            "2026-01-02T00:00:00Z",
            "2026-01-03T00:00:00Z",
        );
    }

    #[test]
    fn descriptors() {
        check("@hourly", "2026-01-01T00:10:00Z", "2026-01-01T01:00:00Z");
        check("@daily", "2026-01-01T00:10:00Z", "2026-01-02T00:00:00Z");
        check("@weekly", "2026-01-01T00:10:00Z", "2026-01-04T00:00:00Z");
        check("@monthly", "2026-01-01T00:10:00Z", "2026-02-01T00:00:00Z");
        check("@yearly", "2026-01-01T00:10:00Z", "2027-01-01T00:00:00Z");
        check(
            "@every 90s",
            "2026-01-01T00:00:00.7Z",
            "2026-01-01T00:01:30Z",
        );
    }

    #[test]
    fn time_zones_and_clock_changes() {
        check(
            "CRON_TZ=Europe/Berlin 0 12 * * *",
            "2026-07-01T00:00:00Z",
            "2026-07-01T10:00:00Z",
        );
        check(
            "TZ=America/New_York 0 12 * * *",
            "2026-01-01T00:00:00Z",
            "2026-01-01T17:00:00Z",
        );
        // 02:30 does not exist in Berlin on the 29th of March 2026.
        check(
            "CRON_TZ=Europe/Berlin 30 2 * * *",
            "2026-03-28T12:00:00Z",
            "2026-03-30T00:30:00Z",
        );
        // 02:30 comes twice on the 25th of October 2026.
        check(
            "CRON_TZ=Europe/Berlin 30 2 * * *",
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:30:00Z",
        );
        check(
            "CRON_TZ=Europe/Berlin 30 2 * * *",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
        );
    }

    #[test]
    fn the_next_run_is_the_first_due_after_the_close() {
        let began = at("2026-01-01T00:00:00.3Z");
        let backoff_at = |schedule, closed| backoff(schedule, began, at(closed));
        assert_eq!(
            backoff_at("@every 10s", "2026-01-01T00:00:03Z"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            backoff_at("@every 10s", "2026-01-01T00:00:25.5Z"),
            Some(Duration::from_secs(5))
        );
        assert_eq!(
            backoff_at("@every 10s", "2026-01-01T00:00:30Z"),
            Some(Duration::ZERO)
        );
        assert_eq!(
            backoff_at("* * * * *", "2026-01-01T00:03:00.1Z"),
            Some(Duration::from_secs(60))
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "not a schedule",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "*/0 * * * *",
            "5-1 * * * *",
            "@sometimes",
            "@every",
            "@every x",
            "@every -1s",
            "CRON_TZ=Nowhere/City * * * * *",
            "CRON_TZ=UTC",
            "1,,2 * * * *",
        ] {
            assert!(!is_valid(text), "{text:?} was taken");
        }
        assert_eq!(
            backoff(
                "0 0 30 2 *",
                at("2026-01-01T00:00:00Z"),
                at("2026-01-01T00:00:00Z")
            ),
            None
        );
    }
}
