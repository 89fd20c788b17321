//! When a schedule acts: its spec in the one form that is kept, and the times that follow from it.
//!
//! The nominal time of an action is the next that any calendar or interval matches and no exclusion does; jitter delays it,
//! never beyond the next one. Times are whole seconds. A local time that a clock change skips never comes; one that it
//! repeats counts once, the second time.
//!
//! Time zones are those of the bundled database, or of the spec itself: rules must not depend on the machine.

use std::time::Duration;

use fermata_proto::schedule::{IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec};
use fermata_proto::time::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{ToSpan, civil};

use super::calendar::{
    self, Cron, DAY_OF_MONTH, DAY_OF_WEEK, Field, HOUR, MINUTE, MONTH, SECOND, YEAR, YEAR_MAX,
};

/// Matches that exclusions may drop one after the other before a spec is taken to have no more.
const EXCLUDED_MAX: usize = 100_000;
/// Matches of a calendar that clock changes may skip one after the other.
const SKIPPED_MAX: usize = 10_000;
const COMMENT_BYTES_MAX: usize = 200;

/// The spec with calendars and cron strings as structured calendars and intervals.
///
/// # Errors
/// In words, what in it is none.
pub(super) fn canonical(spec: &ScheduleSpec) -> Result<ScheduleSpec, String> {
    let mut out = ScheduleSpec {
        cron_string: Vec::new(),
        calendar: Vec::new(),
        exclude_calendar: Vec::new(),
        ..spec.clone()
    };
    for calendar in &spec.calendar {
        out.structured_calendar
            .push(calendar::structured(calendar)?);
    }
    for text in &spec.cron_string {
        let (cron, zone) = calendar::cron(text)?;
        match cron {
            Cron::Calendar(calendar) => out.structured_calendar.push(*calendar),
            Cron::Interval(interval) => out.interval.push(interval),
        }
        let Some(zone) = zone else { continue };
        if out.timezone_name.is_empty() && out.timezone_data.is_empty() {
            out.timezone_name = zone;
        } else if out.timezone_name != zone {
            return Err("conflicting time zones in spec".to_owned());
        }
    }
    for calendar in &spec.exclude_calendar {
        out.exclude_structured_calendar
            .push(calendar::structured(calendar)?);
    }
    let calendars = out.structured_calendar.iter();
    for calendar in calendars.chain(&out.exclude_structured_calendar) {
        check(calendar).map_err(|text| format!("invalid calendar spec: {text}"))?;
    }
    for interval in &out.interval {
        let (every, phase) = seconds(interval);
        if every < 1 {
            return Err("interval is too small".to_owned());
        }
        if phase >= every {
            return Err("phase cannot be greater than Interval".to_owned());
        }
    }
    zone(&out)?;
    let calendars = out.structured_calendar.iter_mut();
    for calendar in calendars.chain(&mut out.exclude_structured_calendar) {
        fill(calendar);
    }
    Ok(out)
}

/// Ends and steps that are left out are shown as what they stand for.
fn fill(calendar: &mut StructuredCalendarSpec) {
    let fields = [
        &mut calendar.second,
        &mut calendar.minute,
        &mut calendar.hour,
        &mut calendar.day_of_month,
        &mut calendar.month,
        &mut calendar.year,
        &mut calendar.day_of_week,
    ];
    for range in fields.into_iter().flatten() {
        range.end = range.end.max(range.start);
        range.step = range.step.max(1);
    }
}

fn check(calendar: &StructuredCalendarSpec) -> Result<(), String> {
    let fields: [(&Field, &[Range]); 7] = [
        (&SECOND, &calendar.second),
        (&MINUTE, &calendar.minute),
        (&HOUR, &calendar.hour),
        (&DAY_OF_MONTH, &calendar.day_of_month),
        (&MONTH, &calendar.month),
        (&YEAR, &calendar.year),
        (&DAY_OF_WEEK, &calendar.day_of_week),
    ];
    for (field, ranges) in fields {
        field.check(ranges)?;
    }
    if calendar.comment.len() > COMMENT_BYTES_MAX {
        return Err("comment is too long".to_owned());
    }
    Ok(())
}

/// Whole seconds of an interval and its phase.
fn seconds(interval: &IntervalSpec) -> (i64, i64) {
    let whole = |length: Option<Duration>| {
        i64::try_from(length.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
    };
    (whole(interval.interval), whole(interval.phase))
}

fn zone(spec: &ScheduleSpec) -> Result<TimeZone, String> {
    let name = &spec.timezone_name;
    if !spec.timezone_data.is_empty() {
        return TimeZone::tzif(name, &spec.timezone_data)
            .map_err(|_| "malformed time zone information".to_owned());
    }
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| format!("unknown time zone {name}"))
}

/// A spec made ready to be asked for times.
#[derive(Debug)]
pub(super) struct Compiled {
    calendars: Vec<Calendar>,
    exclusions: Vec<Calendar>,
    /// In seconds: length and phase.
    intervals: Vec<(i64, i64)>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    jitter: Duration,
    zone: TimeZone,
}

/// An action's time without and with jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Next {
    pub nominal: Timestamp,
    pub actual: Timestamp,
}

impl Compiled {
    /// Of a spec in its canonical form.
    ///
    /// # Errors
    /// In words.
    pub(super) fn of(spec: &ScheduleSpec) -> Result<Self, String> {
        let calendars = |specs: &[StructuredCalendarSpec]| specs.iter().map(Calendar::of).collect();
        Ok(Self {
            calendars: calendars(&spec.structured_calendar),
            exclusions: calendars(&spec.exclude_structured_calendar),
            intervals: spec.interval.iter().map(seconds).collect(),
            start: spec.start_time,
            end: spec.end_time,
            jitter: spec.jitter.unwrap_or_default(),
            zone: zone(spec)?,
        })
    }

    /// The first action after `after`; `seed` is the schedule's own and decides about jitter.
    pub(super) fn next(&self, seed: &str, after: Timestamp) -> Option<Next> {
        let mut at = match self.start {
            // The very first second of the range counts.
            Some(start) if after < start => start - Duration::from_secs(1),
            _ => after,
        };
        for _ in 0..EXCLUDED_MAX {
            at = self.next_match(at)?;
            if self.end.is_some_and(|end| at > end) {
                return None;
            }
            if !self.is_excluded(at) {
                return Some(Next {
                    nominal: at,
                    actual: at + self.jitter_of(seed, at),
                });
            }
        }
        None
    }

    /// The first second after `after` that a calendar or an interval matches.
    fn next_match(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_parts().0;
        let by_calendar = self
            .calendars
            .iter()
            .filter_map(|calendar| calendar.next(after, &self.zone));
        let by_interval = self
            .intervals
            .iter()
            .map(|(every, phase)| ((after - phase).div_euclid(*every) + 1) * every + phase);
        let seconds = by_calendar.chain(by_interval).min()?;
        Timestamp::from_parts(seconds, 0)
    }

    fn is_excluded(&self, at: Timestamp) -> bool {
        if self.exclusions.is_empty() {
            return false;
        }
        let Some(local) = local(at.to_parts().0, &self.zone) else {
            return false;
        };
        self.exclusions
            .iter()
            .any(|calendar| calendar.matches(local))
    }

    fn jitter_of(&self, seed: &str, nominal: Timestamp) -> Duration {
        if self.jitter.is_zero() {
            return Duration::ZERO;
        }
        let most = match self.next_match(nominal) {
            Some(following) => self.jitter.min(following.since(nominal)),
            None => self.jitter,
        };
        most.mul_f64(share(seed, nominal))
    }
}

/// From 0 to 1, by the hash of the schedule and the time.
fn share(seed: &str, nominal: Timestamp) -> f64 {
    let name = format!("{seed}:{}", nominal.as_nanos());
    let hash = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).as_u64_pair();
    (hash.0 >> 11) as f64 / (1u64 << 53) as f64
}

fn local(seconds: i64, zone: &TimeZone) -> Option<DateTime> {
    Some(zone.to_datetime(jiff::Timestamp::from_second(seconds).ok()?))
}

/// A structured calendar as bits.
#[derive(Debug)]
struct Calendar {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Empty for every year.
    years: Vec<Range>,
}

/// The first value from `from` on that `bits` have.
fn first(bits: u64, from: i8) -> Option<i8> {
    let left = bits.checked_shr(u32::try_from(from).ok()?)?;
    (left != 0)
        .then(|| i8::try_from(left.trailing_zeros()).ok())
        .flatten()
        .map(|skipped| from + skipped)
}

fn has(bits: u64, value: i8) -> bool {
    first(bits, value) == Some(value)
}

/// A range's end may be left out, and so may its step.
fn values(range: &Range) -> impl Iterator<Item = i32> {
    let step = usize::try_from(range.step.max(1)).unwrap_or(1);
    (range.start..=range.end.max(range.start)).step_by(step)
}

impl Calendar {
    fn of(spec: &StructuredCalendarSpec) -> Self {
        let bits = |ranges: &[Range]| {
            ranges
                .iter()
                .flat_map(values)
                .filter(|value| (0..64).contains(value))
                .fold(0u64, |bits, value| bits | 1 << value)
        };
        let weekdays = bits(&spec.day_of_week);
        Self {
            seconds: bits(&spec.second),
            minutes: bits(&spec.minute),
            hours: bits(&spec.hour),
            days: bits(&spec.day_of_month),
            months: bits(&spec.month),
            weekdays: weekdays & 0x7f | weekdays >> 7 & 1,
            years: spec.year.clone(),
        }
    }

    fn has_year(&self, year: i16) -> bool {
        let year = i32::from(year);
        self.years.is_empty()
            || self
                .years
                .iter()
                .any(|range| values(range).any(|value| value == year))
    }

    fn has_date(&self, date: Date) -> bool {
        has(self.days, date.day()) && has(self.weekdays, date.weekday().to_sunday_zero_offset())
    }

    fn matches(&self, at: DateTime) -> bool {
        self.has_year(at.year())
            && has(self.months, at.month())
            && self.has_date(at.date())
            && has(self.hours, at.hour())
            && has(self.minutes, at.minute())
            && has(self.seconds, at.second())
    }

    /// The first matching second after `after`, both since the epoch.
    fn next(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let mut at = local(after + 1, zone)?;
        // Within a repeated hour the matches of its first half still come, by their second time.
        if let AmbiguousOffset::Fold { before, after } = zone.to_ambiguous_timestamp(at).offset() {
            let repeated = i64::from(before.seconds()) - i64::from(after.seconds());
            at = at.checked_sub(repeated.seconds()).ok()?;
        }
        for _ in 0..SKIPPED_MAX {
            let found = self.first_local(at)?;
            let ambiguous = zone.to_ambiguous_timestamp(found);
            let is_skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
            if !is_skipped {
                let seconds = ambiguous.later().ok()?.as_second();
                if seconds > after {
                    return Some(seconds);
                }
            }
            at = found.checked_add(1.second()).ok()?;
        }
        None
    }

    /// The first local time from `at` on: runs over years, months, days, hours, minutes and seconds, each only where the one
    /// above matches.
    fn first_local(&self, mut at: DateTime) -> Option<DateTime> {
        let midnight = |date: Date| date.to_datetime(civil::Time::midnight());
        loop {
            let date = at.date();
            if i32::from(at.year()) > YEAR_MAX {
                return None;
            }
            if !self.has_year(at.year()) {
                at = midnight(date.last_of_year().tomorrow().ok()?);
                continue;
            }
            if !has(self.months, at.month()) {
                at = midnight(date.last_of_month().tomorrow().ok()?);
                continue;
            }
            let tomorrow = || date.tomorrow().ok().map(midnight);
            if !self.has_date(date) {
                at = tomorrow()?;
                continue;
            }
            let Some(hour) = first(self.hours, at.hour()) else {
                at = tomorrow()?;
                continue;
            };
            if hour > at.hour() {
                at = date.at(hour, 0, 0, 0);
            }
            let Some(minute) = first(self.minutes, at.minute()) else {
                at = date.at(hour, 0, 0, 0).checked_add(1.hour()).ok()?;
                continue;
            };
            if minute > at.minute() {
                at = date.at(hour, minute, 0, 0);
            }
            let Some(second) = first(self.seconds, at.second()) else {
                at = date.at(hour, minute, 0, 0).checked_add(1.minute()).ok()?;
                continue;
            };
            return Some(date.at(hour, minute, second, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fermata_proto::schedule::CalendarSpec;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_nanos(i64::try_from(time.as_nanosecond()).unwrap())
    }

    fn spec(crons: &[&str], zone: &str) -> ScheduleSpec {
        ScheduleSpec {
            cron_string: crons.iter().map(|cron| (*cron).to_owned()).collect(),
            timezone_name: zone.to_owned(),
            ..ScheduleSpec::default()
        }
    }

    fn times(spec: &ScheduleSpec, after: &str, count: usize) -> Vec<Timestamp> {
        let compiled = Compiled::of(&canonical(spec).unwrap()).unwrap();
        let next = |after: &Timestamp| compiled.next("seed", *after).map(|next| next.actual);
        std::iter::successors(next(&at(after)), next)
            .take(count)
            .collect()
    }

    #[track_caller]
    fn check_times(spec: &ScheduleSpec, after: &str, expected: &[&str]) {
        let expected: Vec<Timestamp> = expected.iter().map(|text| at(text)).collect();
        assert_eq!(times(spec, after, expected.len()), expected);
    }

    #[test]
    fn a_day_has_to_match_by_date_and_by_weekday() {
        // Friday the 13th.
        check_times(
            &spec(&["0 0 13 * 5"], ""),
            "2026-01-01T00:00:00Z",
            &["2026-02-13T00:00:00Z", "2026-03-13T00:00:00Z"],
        );
    }

    #[test]
    fn a_skipped_local_time_never_comes_and_a_repeated_one_counts_once_late() {
        let half_past_two = spec(&["30 2 * * *"], "Europe/Berlin");
        check_times(
            &half_past_two,
            "2024-03-30T00:00:00Z",
            &["2024-03-30T01:30:00Z", "2024-04-01T00:30:00Z"],
        );
        check_times(
            &half_past_two,
            "2024-10-26T12:00:00Z",
            &["2024-10-27T01:30:00Z", "2024-10-28T01:30:00Z"],
        );
        // From within the first half of the repeated hour.
        check_times(
            &half_past_two,
            "2024-10-27T00:40:00Z",
            &["2024-10-27T01:30:00Z"],
        );
    }

    #[test]
    fn several_specs_give_all_their_times_and_exclusions_take_some() {
        let spec = ScheduleSpec {
            interval: vec![IntervalSpec {
                interval: Some(Duration::from_secs(43_200)),
                phase: Some(Duration::from_secs(3_600)),
            }],
            calendar: vec![CalendarSpec {
                hour: "18".to_owned(),
                ..CalendarSpec::default()
            }],
            exclude_calendar: vec![CalendarSpec {
                hour: "13".to_owned(),
                ..CalendarSpec::default()
            }],
            ..ScheduleSpec::default()
        };
        check_times(
            &spec,
            "2026-01-01T00:59:59Z",
            &[
                "2026-01-01T01:00:00Z",
                "2026-01-01T18:00:00Z",
                "2026-01-02T01:00:00Z",
            ],
        );
    }

    #[test]
    fn the_range_includes_both_its_ends() {
        let mut spec = spec(&["0 * * * *"], "");
        spec.start_time = Some(at("2026-01-01T06:00:00Z"));
        spec.end_time = Some(at("2026-01-01T07:00:00Z"));
        let found = times(&spec, "2020-01-01T00:00:00Z", 10);
        assert_eq!(
            found,
            [at("2026-01-01T06:00:00Z"), at("2026-01-01T07:00:00Z")]
        );
    }

    #[test]
    fn jitter_delays_the_same_time_equally_and_never_beyond_the_next() {
        let mut spec = spec(&["* * * * *"], "");
        spec.jitter = Some(Duration::from_secs(3_600));
        let compiled = Compiled::of(&canonical(&spec).unwrap()).unwrap();
        let mut after = at("2026-01-01T00:00:00Z");
        let mut delayed = 0;
        for _ in 0..100 {
            let next = compiled.next("one", after).unwrap();
            assert_eq!(compiled.next("one", after), Some(next));
            assert!(next.actual >= next.nominal);
            assert!(next.actual <= next.nominal + Duration::from_secs(60));
            delayed += usize::from(next.actual > next.nominal);
            after = next.nominal;
        }
        assert!(delayed > 90);
    }

    #[test]
    fn an_impossible_date_never_comes_and_an_empty_structured_calendar_neither() {
        assert!(times(&spec(&["0 0 30 2 *"], ""), "2026-01-01T00:00:00Z", 1).is_empty());
        let empty = ScheduleSpec {
            structured_calendar: vec![StructuredCalendarSpec::default()],
            ..ScheduleSpec::default()
        };
        assert!(times(&empty, "2026-01-01T00:00:00Z", 1).is_empty());
    }
}
