//! Advice to pollers whether more or fewer of them would serve a queue better; workers that scale their polls follow it.
//!
//! | the poll | the task | advice |
//! |---|---|---|
//! | waited for long | had just come | one poll fewer |
//! | | waited for long, and more wait behind it | one poll more |
//!
//! The bounds are those of Temporal's matching service.

use std::time::{Duration, SystemTime};

use fermata_proto::taskqueue::PollerScalingDecision;
use fermata_proto::time::Timestamp;
use tokio::time::Instant;

/// A poll that waits this long is one too many (Temporal: `matching.pollerScalingSyncMatchWaitTime`).
const POLL_WAIT_LONG: Duration = Duration::from_secs(1);
/// A task that waits this long shows that there are too few polls (`matching.pollerScalingBacklogAgeScaleUp`).
const TASK_WAIT_LONG: Duration = Duration::from_millis(200);
/// Between two proposals of more polls for one queue (`matching.pollerScalingDecisionsPerSecond`).
const MORE_INTERVAL: Duration = Duration::from_millis(100);

/// How long a task waited on its queue when it arrived here, and how many waited behind it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Waited {
    pub age: Duration,
    pub behind: u64,
}

impl Waited {
    /// What the broker says of a message in the subject that acknowledges it (NATS ADR-15); nothing of a task that came
    /// straight from its owner.
    pub(crate) fn of(ack: Option<&str>) -> Self {
        let now = Timestamp::from_system(SystemTime::now());
        ack.and_then(|ack| Self::read(ack, now)).unwrap_or_default()
    }

    fn read(ack: &str, now: Timestamp) -> Option<Self> {
        let tokens: Vec<&str> = ack.split('.').collect();
        if tokens.first() != Some(&"$JS") || tokens.get(1) != Some(&"ACK") {
            return None;
        }
        // With a domain and an account in front, in the newer form.
        let time_at = if tokens.len() >= 11 { 9 } else { 7 };
        let sent: i64 = tokens.get(time_at)?.parse().ok()?;
        let behind = tokens.get(time_at + 1)?.parse().ok()?;
        let age = now.since(Timestamp::from_nanos(sent));
        Some(Self { age, behind })
    }
}

/// The advice given for one queue.
#[derive(Debug, Default)]
pub(crate) struct Scaling {
    more_at: Option<Instant>,
}

impl Scaling {
    /// What goes out with a task to a poll that has waited for `polled`.
    pub(crate) fn advice(
        &mut self,
        polled: Duration,
        task: &Waited,
    ) -> Option<PollerScalingDecision> {
        let poll_request_delta_suggestion = if task.age <= TASK_WAIT_LONG {
            if polled < POLL_WAIT_LONG {
                return None;
            }
            -1
        } else {
            let now = Instant::now();
            let is_soon = self.more_at.is_some_and(|at| now - at < MORE_INTERVAL);
            if task.behind == 0 || is_soon {
                return None;
            }
            self.more_at = Some(now);
            1
        };
        Some(PollerScalingDecision {
            poll_request_delta_suggestion,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn delta(scaling: &mut Scaling, polled: Duration, age: Duration, behind: u64) -> i32 {
        scaling
            .advice(polled, &Waited { age, behind })
            .map_or(0, |decision| decision.poll_request_delta_suggestion)
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_that_waits_in_vain_is_one_too_many() {
        let scaling = &mut Scaling::default();
        assert_eq!(delta(scaling, 1_000 * MS, MS, 0), -1);
        assert_eq!(delta(scaling, 999 * MS, MS, 0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn more_polls_are_proposed_while_old_tasks_have_others_behind_them() {
        let scaling = &mut Scaling::default();
        assert_eq!(
            delta(scaling, 2_000 * MS, 201 * MS, 0),
            0,
            "it was the last one"
        );
        assert_eq!(delta(scaling, MS, 201 * MS, 3), 1);
        assert_eq!(delta(scaling, MS, 201 * MS, 2), 0, "too soon");
        tokio::time::advance(MORE_INTERVAL).await;
        assert_eq!(delta(scaling, MS, 201 * MS, 2), 1);
    }

    #[test]
    fn both_forms_of_an_acknowledgement_tell_age_and_what_is_behind() {
        let now = Timestamp::from_nanos(1_500_000_000);
        let expected = Some(Waited {
            age: 500 * MS,
            behind: 7,
        });
        let old = "$JS.ACK.FM_TASKS.consumer.1.20.20.1000000000.7";
        let new = "$JS.ACK._.acc.FM_TASKS.consumer.1.20.20.1000000000.7.token";
        assert_eq!(Waited::read(old, now), expected);
        assert_eq!(Waited::read(new, now), expected);
        assert_eq!(Waited::read("_INBOX.x", now), None);
    }
}
