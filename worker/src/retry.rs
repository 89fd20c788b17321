//! Retry policies of what the worker repeats itself: local activities. What the engine repeats, it decides itself, by the same
//! rules (`temporal.api.common.v1.RetryPolicy`).

use std::time::Duration;

use fermata_proto::common::RetryPolicy;
use fermata_proto::enums::RetryState;
use fermata_proto::failure::{Failure, FailureFailureInfo};

const INITIAL_INTERVAL: Duration = Duration::from_secs(1);
const COEFFICIENT: f64 = 2.0;
/// The maximum interval, if not given, as a multiple of the initial one.
const MAXIMUM_INTERVAL_FACTOR: u32 = 100;

/// A policy with Temporal's defaults where it says nothing.
pub(crate) fn filled(policy: &RetryPolicy) -> RetryPolicy {
    let given = |length: Option<Duration>| length.filter(|length| !length.is_zero());
    let initial = given(policy.initial_interval).unwrap_or(INITIAL_INTERVAL);
    let longest = initial.saturating_mul(MAXIMUM_INTERVAL_FACTOR);
    RetryPolicy {
        initial_interval: Some(initial),
        backoff_coefficient: if policy.backoff_coefficient == 0.0 {
            COEFFICIENT
        } else {
            policy.backoff_coefficient
        },
        maximum_interval: Some(given(policy.maximum_interval).unwrap_or(longest)),
        ..policy.clone()
    }
}

/// When to try again after `attempt` failed, if `left` allows it.
///
/// # Errors
/// Why there is no other attempt.
pub(crate) fn next(
    policy: &RetryPolicy,
    attempt: u32,
    failure: &Failure,
    left: Option<Duration>,
) -> Result<Duration, RetryState> {
    let attempts_max = u32::try_from(policy.maximum_attempts).unwrap_or_default();
    if attempts_max > 0 && attempt >= attempts_max {
        return Err(RetryState::MaximumAttemptsReached);
    }
    let mut asked = None;
    if let Some(FailureFailureInfo::ApplicationFailureInfo(info)) = &failure.failure_info {
        if info.non_retryable || policy.non_retryable_error_types.contains(&info.r#type) {
            return Err(RetryState::NonRetryableFailure);
        }
        asked = info.next_retry_delay;
    }
    let delay = asked.unwrap_or_else(|| backoff(policy, attempt));
    if left.is_some_and(|left| delay > left) {
        return Err(RetryState::Timeout);
    }
    Ok(delay)
}

fn backoff(policy: &RetryPolicy, attempt: u32) -> Duration {
    let initial = policy.initial_interval.unwrap_or(INITIAL_INTERVAL);
    let longest = policy
        .maximum_interval
        .unwrap_or(initial.saturating_mul(MAXIMUM_INTERVAL_FACTOR));
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let factor = policy.backoff_coefficient.max(1.0).powi(exponent);
    Duration::try_from_secs_f64(initial.as_secs_f64() * factor)
        .map_or(longest, |delay| delay.min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApplicationError;

    #[test]
    fn delays_double_up_to_the_longest() {
        let policy = filled(&RetryPolicy {
            maximum_interval: Some(Duration::from_secs(3)),
            ..RetryPolicy::default()
        });
        let failure = ApplicationError::new("x").into_failure();
        let delay = |attempt| next(&policy, attempt, &failure, None).unwrap().as_secs();
        assert_eq!(
            [delay(1), delay(2), delay(3), delay(4_000_000)],
            [1, 2, 3, 3]
        );
    }

    #[test]
    fn what_cannot_help_is_not_tried() {
        let policy = filled(&RetryPolicy {
            maximum_attempts: 2,
            non_retryable_error_types: vec!["Broken".to_owned()],
            ..RetryPolicy::default()
        });
        let failure = |error_type: &str| {
            ApplicationError::new("x")
                .with_type(error_type)
                .into_failure()
        };
        let tried = |attempt, error_type, left| next(&policy, attempt, &failure(error_type), left);
        assert_eq!(tried(2, "", None), Err(RetryState::MaximumAttemptsReached));
        assert_eq!(
            tried(1, "Broken", None),
            Err(RetryState::NonRetryableFailure)
        );
        let short = Some(Duration::from_millis(1));
        assert_eq!(tried(1, "", short), Err(RetryState::Timeout));
        assert!(tried(1, "", None).is_ok());
    }
}
