//! How long the caller of a method waits: its `grpc-timeout`.

use std::time::Duration;

use fermata_proto::rpc::{Rejection, RejectionKind};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// A poll whose caller gives no deadline.
const POLL_MAX: Duration = Duration::from_secs(60);
/// A long poll is answered this long before its caller gives up, so that the answer is on time.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);
/// A shorter long poll is refused, as by Temporal.
const LONG_POLL_MIN: Duration = Duration::from_secs(2);

/// Whoever called, as far as handlers care.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Caller {
    deadline: Option<Instant>,
}

impl Caller {
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let timeout = metadata
            .get("grpc-timeout")
            .and_then(|value| value.to_str().ok())
            .and_then(parse_timeout);
        Self {
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        }
    }

    /// A caller that waits for so long.
    pub(crate) fn for_at_most(wait: Duration) -> Self {
        Self {
            deadline: Instant::now().checked_add(wait),
        }
    }

    /// A caller that waits for ever.
    pub(crate) const fn patient() -> Self {
        Self { deadline: None }
    }

    /// Whether the caller sets no deadline.
    pub(crate) const fn is_patient(&self) -> bool {
        self.deadline.is_none()
    }

    fn left(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// How long a call may take: until the deadline, at most `max`.
    pub(crate) fn wait(&self, max: Duration) -> Duration {
        self.left().map_or(max, |left| left.min(max))
    }

    /// How long a call may take that has an answer also when nothing happens: it comes before the deadline.
    pub(crate) fn long_poll(&self, max: Duration) -> Duration {
        match self.left() {
            // A caller in a hurry gets half of its time rather than no waiting at all.
            Some(left) => max.min(left.saturating_sub(ANSWER_MARGIN).max(left / 2)),
            None => max,
        }
    }

    /// Until when a poll for a task waits.
    ///
    /// # Errors
    /// FAILED_PRECONDITION if the deadline is too near for a long poll.
    pub(crate) fn poll_until(&self) -> Result<Instant, Rejection> {
        let left = self.left().unwrap_or(POLL_MAX);
        if left < LONG_POLL_MIN {
            return Err(Rejection::new(
                RejectionKind::FailedPrecondition,
                "Context timeout is too short.",
            ));
        }
        Ok(Instant::now() + left.min(POLL_MAX) - ANSWER_MARGIN)
    }
}

/// A number of at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(timeout: &str) -> Caller {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
        Caller::of(&metadata)
    }

    #[tokio::test(start_paused = true)]
    async fn polls_end_a_second_before_the_deadline() {
        let in_seconds = |caller: Caller| {
            let until = caller.poll_until()?;
            Ok::<_, Rejection>((until - Instant::now()).as_secs_f64())
        };
        assert_eq!(in_seconds(caller("30S")), Ok(29.0));
        assert_eq!(in_seconds(caller("70000m")), Ok(59.0));
        assert_eq!(in_seconds(Caller::patient()), Ok(59.0));
        let refused = in_seconds(caller("1900m")).unwrap_err();
        assert_eq!(refused.message, "Context timeout is too short.");
    }

    #[tokio::test(start_paused = true)]
    async fn long_polls_are_answered_in_time() {
        let max = Duration::from_secs(20);
        assert_eq!(caller("4S").long_poll(max), Duration::from_secs(3));
        assert_eq!(caller("1S").long_poll(max), Duration::from_millis(500));
        assert_eq!(caller("1M").long_poll(max), max);
        assert_eq!(caller("4S").wait(max), Duration::from_secs(4));
    }

    #[test]
    fn what_is_no_timeout_is_none() {
        for text in ["", "S", "5", "123456789S", "-1S", "5x", "é"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }
}
