//! Retry policies: their defaults, and when the next attempt is due.

use std::time::Duration;

use fermata_proto::common::RetryPolicy;
use fermata_proto::enums::RetryState;
use fermata_proto::failure::{Failure, FailureFailureInfo};
use fermata_proto::time::Timestamp;

const INITIAL_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
const COEFFICIENT_DEFAULT: f64 = 2.0;
/// The maximum interval, if not given, as a multiple of the initial one.
const MAXIMUM_INTERVAL_FACTOR: u32 = 100;

/// A policy with Temporal's defaults where it says nothing.
pub(crate) fn filled(policy: &RetryPolicy) -> RetryPolicy {
    let mut policy = policy.clone();
    let initial = *policy
        .initial_interval
        .get_or_insert(INITIAL_INTERVAL_DEFAULT);
    let initial = if initial.is_zero() {
        INITIAL_INTERVAL_DEFAULT
    } else {
        initial
    };
    policy.initial_interval = Some(initial);
    if policy.backoff_coefficient == 0.0 {
        policy.backoff_coefficient = COEFFICIENT_DEFAULT;
    }
    if policy
        .maximum_interval
        .is_none_or(|interval| interval.is_zero())
    {
        policy.maximum_interval = Some(initial.saturating_mul(MAXIMUM_INTERVAL_FACTOR));
    }
    policy
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Next {
    After(Duration),
    Never(RetryState),
}

/// Decides on the attempt after `attempt`, which ended with `failure` at `now`; `until` is the last moment at which an
/// attempt may begin.
pub(crate) fn next(
    policy: Option<&RetryPolicy>,
    attempt: i32,
    failure: &Failure,
    now: Timestamp,
    until: Option<Timestamp>,
) -> Next {
    let Some(policy) = policy else {
        return Next::Never(RetryState::RetryPolicyNotSet);
    };
    if policy.maximum_attempts > 0 && attempt >= policy.maximum_attempts {
        return Next::Never(RetryState::MaximumAttemptsReached);
    }
    if !is_retryable(failure, &policy.non_retryable_error_types) {
        return Next::Never(RetryState::NonRetryableFailure);
    }
    let delay = match asked_delay(failure) {
        Some(delay) => delay,
        None => backoff(policy, attempt),
    };
    if until.is_some_and(|until| now + delay > until) {
        return Next::Never(RetryState::Timeout);
    }
    Next::After(delay)
}

fn backoff(policy: &RetryPolicy, attempt: i32) -> Duration {
    let initial = policy.initial_interval.unwrap_or(INITIAL_INTERVAL_DEFAULT);
    let cap = policy
        .maximum_interval
        .unwrap_or(initial.saturating_mul(MAXIMUM_INTERVAL_FACTOR));
    let factor = policy.backoff_coefficient.max(1.0).powi(attempt - 1);
    Duration::try_from_secs_f64(initial.as_secs_f64() * factor).map_or(cap, |delay| delay.min(cap))
}

/// The delay that the failure itself asks for.
fn asked_delay(failure: &Failure) -> Option<Duration> {
    match &failure.failure_info {
        Some(FailureFailureInfo::ApplicationFailureInfo(info)) => info.next_retry_delay,
        _ => None,
    }
}

fn is_retryable(failure: &Failure, non_retryable_types: &[String]) -> bool {
    use fermata_proto::enums::TimeoutType;
    match &failure.failure_info {
        Some(
            FailureFailureInfo::TerminatedFailureInfo(_)
            | FailureFailureInfo::CanceledFailureInfo(_),
        ) => false,
        Some(FailureFailureInfo::TimeoutFailureInfo(info)) => {
            matches!(
                info.timeout_type,
                TimeoutType::StartToClose | TimeoutType::Heartbeat
            ) && !non_retryable_types.iter().any(|name| {
                name == match info.timeout_type {
                    TimeoutType::StartToClose => "TemporalTimeout:StartToClose",
                    _ => "TemporalTimeout:Heartbeat",
                }
            })
        }
        Some(FailureFailureInfo::ServerFailureInfo(info)) => !info.non_retryable,
        Some(FailureFailureInfo::ApplicationFailureInfo(info)) => {
            !info.non_retryable && !non_retryable_types.contains(&info.r#type)
        }
        _ => true,
    }
}
