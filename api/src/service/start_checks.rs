//! What of a start has to be looked at before it takes our form: durations below zero have none there. All other rules of a start
//! are the engine's, which native clients meet too.

use fermata_proto::pb::common::v1::RetryPolicy;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::Rejection;
use prost_wkt_types::Duration;

use super::checks;

/// Checks and completes a start.
///
/// # Errors
/// INVALID_ARGUMENT
pub(crate) fn start(request: &mut rr::StartWorkflowExecutionRequest) -> Result<(), Rejection> {
    checks::request_id(&mut request.request_id)?;
    durations(
        [
            request.workflow_execution_timeout.as_ref(),
            request.workflow_run_timeout.as_ref(),
            request.workflow_task_timeout.as_ref(),
            request.workflow_start_delay.as_ref(),
        ],
        request.retry_policy.as_ref(),
    )
}

/// As [`start`], with the signal.
///
/// # Errors
/// INVALID_ARGUMENT
pub(crate) fn signal_with_start(
    request: &mut rr::SignalWithStartWorkflowExecutionRequest,
) -> Result<(), Rejection> {
    checks::request_id(&mut request.request_id)?;
    durations(
        [
            request.workflow_execution_timeout.as_ref(),
            request.workflow_run_timeout.as_ref(),
            request.workflow_task_timeout.as_ref(),
            request.workflow_start_delay.as_ref(),
        ],
        request.retry_policy.as_ref(),
    )
}

/// The time-outs of a start in this order.
const NAMES: [&str; 4] = [
    "WorkflowExecutionTimeoutSeconds",
    "WorkflowRunTimeoutSeconds",
    "WorkflowTaskTimeoutSeconds",
    "WorkflowStartDelaySeconds",
];

fn durations(
    durations: [Option<&Duration>; 4],
    retry_policy: Option<&RetryPolicy>,
) -> Result<(), Rejection> {
    let is_negative = |duration: &Duration| duration.seconds < 0 || duration.nanos < 0;
    for (duration, name) in durations.into_iter().zip(NAMES) {
        if duration.is_some_and(is_negative) {
            return Err(Rejection::invalid_argument(format!(
                "An invalid {name} is set on request. cause: negative duration"
            )));
        }
    }
    let intervals = retry_policy.map(|policy| {
        [
            (policy.initial_interval.as_ref(), "InitialInterval"),
            (policy.maximum_interval.as_ref(), "MaximumInterval"),
        ]
    });
    for (interval, name) in intervals.into_iter().flatten() {
        if interval.is_some_and(is_negative) {
            return Err(Rejection::invalid_argument(format!(
                "invalid {name} set on retry policy: negative duration"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUS_A_SECOND: Option<Duration> = Some(Duration {
        seconds: -1,
        nanos: 0,
    });

    fn refused(mut request: rr::StartWorkflowExecutionRequest) -> String {
        start(&mut request).unwrap_err().message
    }

    /// The words as recorded from Temporal.
    #[test]
    fn durations_below_zero_are_refused_in_known_words() {
        assert_eq!(
            refused(rr::StartWorkflowExecutionRequest {
                workflow_run_timeout: MINUS_A_SECOND,
                ..Default::default()
            }),
            "An invalid WorkflowRunTimeoutSeconds is set on request. cause: negative duration"
        );
        assert_eq!(
            refused(rr::StartWorkflowExecutionRequest {
                workflow_start_delay: MINUS_A_SECOND,
                ..Default::default()
            }),
            "An invalid WorkflowStartDelaySeconds is set on request. cause: negative duration"
        );
        assert_eq!(
            refused(rr::StartWorkflowExecutionRequest {
                retry_policy: Some(RetryPolicy {
                    initial_interval: MINUS_A_SECOND,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            "invalid InitialInterval set on retry policy: negative duration"
        );
    }

    #[test]
    fn a_start_without_a_request_id_gets_one() {
        let mut request = rr::StartWorkflowExecutionRequest::default();
        start(&mut request).unwrap();
        assert_eq!(request.request_id.len(), 36);
    }
}
