//! The written forms of a schedule's calendars: fields as in cron, and whole cron strings. Both become structured calendars.
//!
//! | field | left out | values |
//! |---|---|---|
//! | second, minute, hour | 0 | numbers |
//! | day of month, month, day of week | all | numbers; names of months and days by three letters or more |
//! | year | all | numbers |
//!
//! A field is a list of values, ranges and stars, each with an optional step. Unlike in the cron schedules of workflows
//! ([`crate::cron`]), a day has to match both of its fields.

use std::time::Duration;

use fermata_proto::schedule::{CalendarSpec, IntervalSpec, Range, StructuredCalendarSpec};

use crate::cron;

pub(super) const YEAR_MIN: i32 = 2000;
pub(super) const YEAR_MAX: i32 = 2100;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// One field of a calendar: its name in refusals and its bounds.
pub(super) struct Field {
    pub name: &'static str,
    pub least: i32,
    pub most: i32,
    names: &'static [&'static str],
    /// What the field means when it is left out; none for every value.
    default: Option<i32>,
}

pub(super) const SECOND: Field = number("Second", 0, 59, Some(0));
pub(super) const MINUTE: Field = number("Minute", 0, 59, Some(0));
pub(super) const HOUR: Field = number("Hour", 0, 23, Some(0));
pub(super) const DAY_OF_MONTH: Field = number("DayOfMonth", 1, 31, None);
pub(super) const MONTH: Field = Field {
    names: &MONTHS,
    ..number("Month", 1, 12, None)
};
pub(super) const YEAR: Field = number("Year", YEAR_MIN, YEAR_MAX, None);
/// Seven is Sunday once more.
pub(super) const DAY_OF_WEEK: Field = Field {
    names: &WEEKDAYS,
    ..number("DayOfWeek", 0, 7, None)
};

const fn number(name: &'static str, least: i32, most: i32, default: Option<i32>) -> Field {
    Field {
        name,
        least,
        most,
        names: &[],
        default,
    }
}

/// # Errors
/// In words.
pub(super) fn structured(calendar: &CalendarSpec) -> Result<StructuredCalendarSpec, String> {
    let mut year = YEAR.ranges(&calendar.year)?;
    // Every year is written as none.
    if year.contains(&range(YEAR_MIN, YEAR_MAX, 1)) {
        year.clear();
    }
    Ok(StructuredCalendarSpec {
        second: SECOND.ranges(&calendar.second)?,
        minute: MINUTE.ranges(&calendar.minute)?,
        hour: HOUR.ranges(&calendar.hour)?,
        day_of_month: DAY_OF_MONTH.ranges(&calendar.day_of_month)?,
        month: MONTH.ranges(&calendar.month)?,
        year,
        day_of_week: DAY_OF_WEEK
            .ranges(&calendar.day_of_week)?
            .into_iter()
            .map(|days| match (days.start, days.end) {
                (7, 7) => range(0, 0, 1),
                // All seven are written from Sunday to Saturday.
                (0, 7) => range(0, 6, days.step),
                _ => days,
            })
            .collect(),
        comment: calendar.comment.clone(),
    })
}

fn range(start: i32, end: i32, step: i32) -> Range {
    Range { start, end, step }
}

impl Field {
    fn ranges(&self, text: &str) -> Result<Vec<Range>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(vec![match self.default {
                Some(value) => range(value, value, 1),
                None => range(self.least, self.most, 1),
            }]);
        }
        text.split(',').map(|item| self.item(item.trim())).collect()
    }

    fn item(&self, item: &str) -> Result<Range, String> {
        let (values, step) = match item.split_once('/') {
            Some((values, step)) => {
                let step: i32 = step
                    .trim()
                    .parse()
                    .ok()
                    .filter(|step| *step >= 1)
                    .ok_or_else(|| format!("{} has invalid Step", self.name))?;
                (values.trim(), Some(step))
            }
            None => (item, None),
        };
        let (start, end) = if values == "*" || values == "?" {
            (self.least, self.most)
        } else if let Some((start, end)) = values.split_once('-') {
            (self.value(start)?, self.value(end)?)
        } else {
            let start = self.value(values)?;
            // With a step, a value is where to begin.
            (start, if step.is_some() { self.most } else { start })
        };
        if end < start {
            return Err(format!(
                "{} End is before Start or not in range [{}-{}]",
                self.name, self.least, self.most
            ));
        }
        Ok(range(start, end, step.unwrap_or(1)))
    }

    fn value(&self, text: &str) -> Result<i32, String> {
        let text = text.trim().to_lowercase();
        let by_name = self
            .names
            .iter()
            .position(|name| text.len() >= 3 && name.starts_with(&text))
            .and_then(|index| i32::try_from(index).ok());
        let value = match by_name {
            // Months count from one, days from zero.
            Some(index) => Some(index + self.least),
            None => text.parse().ok(),
        };
        value
            .filter(|value| (self.least..=self.most).contains(value))
            .ok_or_else(|| {
                format!(
                    "{} is not in range [{}-{}]",
                    self.name, self.least, self.most
                )
            })
    }

    /// # Errors
    /// In words, if a range of a structured calendar is none.
    pub(super) fn check(&self, ranges: &[Range]) -> Result<(), String> {
        let Self {
            name, least, most, ..
        } = self;
        for range in ranges {
            if !(*least..=*most).contains(&range.start) {
                return Err(format!("{name} Start is not in range [{least}-{most}]"));
            }
            if range.end != 0 && (range.end < range.start || range.end > *most) {
                return Err(format!(
                    "{name} End is before Start or not in range [{least}-{most}]"
                ));
            }
            if range.step < 0 {
                return Err(format!("{name} has invalid Step"));
            }
        }
        Ok(())
    }
}

/// What a cron string stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Cron {
    Calendar(Box<StructuredCalendarSpec>),
    Interval(IntervalSpec),
}

/// A cron string, with the time zone that it names.
///
/// # Errors
/// In words.
pub(super) fn cron(text: &str) -> Result<(Cron, Option<String>), String> {
    let mut rest = text.trim();
    let mut zone = None;
    for prefix in ["CRON_TZ=", "TZ="] {
        if let Some(tail) = rest.strip_prefix(prefix) {
            let (name, tail) = tail
                .split_once(char::is_whitespace)
                .ok_or("CronString has time zone but no fields")?;
            zone = Some(name.to_owned());
            rest = tail.trim();
            break;
        }
    }
    let (rest, comment) = match rest.split_once('#') {
        Some((rest, comment)) => (rest.trim(), comment.trim()),
        None => (rest, ""),
    };
    if let Some(length) = rest.strip_prefix("@every") {
        return Ok((Cron::Interval(every(length.trim())?), zone));
    }
    let fields: Vec<&str> = match rest {
        "@yearly" | "@annually" => vec!["0", "0", "1", "1", "*"],
        "@monthly" => vec!["0", "0", "1", "*", "*"],
        "@weekly" => vec!["0", "0", "*", "*", "0"],
        "@daily" | "@midnight" => vec!["0", "0", "*", "*", "*"],
        "@hourly" => vec!["0", "*", "*", "*", "*"],
        fields => fields.split_whitespace().collect(),
    };
    let (second, fields, year) = match &fields[..] {
        fields if fields.len() == 5 => ("0", fields, "*"),
        [fields @ .., year] if fields.len() == 5 => ("0", fields, *year),
        [second, fields @ .., year] if fields.len() == 5 => (*second, fields, *year),
        _ => return Err("CronString does not have 5-7 fields".to_owned()),
    };
    let calendar = CalendarSpec {
        second: second.to_owned(),
        minute: fields[0].to_owned(),
        hour: fields[1].to_owned(),
        day_of_month: fields[2].to_owned(),
        month: fields[3].to_owned(),
        day_of_week: fields[4].to_owned(),
        year: year.to_owned(),
        comment: comment.to_owned(),
    };
    Ok((Cron::Calendar(Box::new(structured(&calendar)?)), zone))
}

/// `<interval>` or `<interval>/<phase>`.
fn every(text: &str) -> Result<IntervalSpec, String> {
    let (interval, phase) = match text.split_once('/') {
        Some((interval, phase)) => (interval.trim(), Some(phase.trim())),
        None => (text, None),
    };
    let length = |text: &str| -> Result<Duration, String> {
        cron::duration(text).ok_or_else(|| format!("CronString has invalid duration {text:?}"))
    };
    Ok(IntervalSpec {
        interval: Some(length(interval)?),
        phase: phase.map(length).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(text: &str) -> Result<Vec<Range>, String> {
        structured(&CalendarSpec {
            hour: text.to_owned(),
            ..CalendarSpec::default()
        })
        .map(|calendar| calendar.hour)
    }

    #[test]
    fn fields_are_lists_of_values_ranges_and_stars_with_steps() {
        let is = |text: &str, expected: &[(i32, i32, i32)]| {
            let expected: Vec<Range> = expected.iter().map(|(s, e, t)| range(*s, *e, *t)).collect();
            assert_eq!(hours(text), Ok(expected), "{text:?}");
        };
        is("", &[(0, 0, 1)]);
        is("*", &[(0, 23, 1)]);
        is("9-17/4", &[(9, 17, 4)]);
        is("5/6", &[(5, 23, 6)]);
        is("1, 3-4 ,*/12", &[(1, 1, 1), (3, 4, 1), (0, 23, 12)]);
        for bad in ["24", "x", "5-4", "*/0", "1,,2", "-1"] {
            assert!(hours(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn days_and_months_have_names_and_sunday_two_numbers() {
        let calendar = structured(&CalendarSpec {
            month: "jan,Sept".to_owned(),
            day_of_week: "Sat,7,mon-fri".to_owned(),
            year: "*".to_owned(),
            ..CalendarSpec::default()
        })
        .unwrap();
        assert_eq!(calendar.month, [range(1, 1, 1), range(9, 9, 1)]);
        assert_eq!(
            calendar.day_of_week,
            [range(6, 6, 1), range(0, 0, 1), range(1, 5, 1)]
        );
        assert!(calendar.year.is_empty());
    }

    #[test]
    fn cron_strings_have_five_to_seven_fields_or_a_name() {
        let calendar = |text: &str| match cron(text).unwrap() {
            (Cron::Calendar(calendar), zone) => (*calendar, zone),
            other => panic!("{text:?} is {other:?}"),
        };
        let (daily, zone) = calendar("TZ=Asia/Tokyo 30 8 * * 1-5 # at work");
        assert_eq!(zone.as_deref(), Some("Asia/Tokyo"));
        assert_eq!(daily.comment, "at work");
        assert_eq!((daily.hour[0].start, daily.minute[0].start), (8, 30));
        let (seven, _) = calendar("15 30 8 * * * 2024");
        assert_eq!((seven.second[0].start, seven.year[0].start), (15, 2024));
        let (six, _) = calendar("30 8 * * * 2024");
        assert_eq!((six.second[0].start, six.year[0].start), (0, 2024));
        assert_eq!(calendar("@weekly").0.day_of_week, [range(0, 0, 1)]);
        let every = |seconds, phase: Option<u64>| {
            Cron::Interval(IntervalSpec {
                interval: Some(Duration::from_secs(seconds)),
                phase: phase.map(Duration::from_secs),
            })
        };
        assert_eq!(cron("@every 2h").unwrap().0, every(7_200, None));
        assert_eq!(cron("@every 1h/5m").unwrap().0, every(3_600, Some(300)));
        for bad in [
            "no cron",
            "* * * * * * * *",
            "@every x",
            "@sometimes",
            "TZ=UTC",
        ] {
            assert!(cron(bad).is_err(), "{bad:?} was taken");
        }
    }
}
