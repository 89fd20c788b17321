//! Cron schedules of workflows.

use std::time::Duration;

use fermata_proto::time::Timestamp;

/// How long after `closed` the next run of a chain begins whose run began at `started`.
///
/// Standard five-field expressions, `@every <duration>`, `@hourly` and its kin, with an optional `CRON_TZ=Zone ` in front.
pub(crate) fn backoff(schedule: &str, started: Timestamp, closed: Timestamp) -> Option<Duration> {
    let _ = (schedule, started, closed);
    None
}
