//! Checks of what clients and workflow code send, before any rule looks at it. The words are what Temporal's clients know.
//!
//! The edge checks what has a form of its own (names of namespaces, page tokens); here stands what is checked alike for
//! requests and for commands, or needs the namespace and the limits.

use std::borrow::Cow;

use fermata_proto::common::{Memo, Payload, Payloads, RetryPolicy};
use fermata_proto::enums::{NamespaceState, WorkflowIdConflictPolicy, WorkflowIdReusePolicy};
use fermata_proto::error_details::NamespaceInvalidStateFailure;
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind};
use fermata_proto::sdk::UserMetadata;
use fermata_proto::service::StartWorkflowExecutionRequest;

use crate::context::Context;
use crate::{cron, priority, retry, search_attributes};

/// The request of a client's start, with its search attributes typed.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn start<'r>(
    request: &'r StartWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Cow<'r, StartWorkflowExecutionRequest>, Rejection> {
    if request.workflow_type_name().is_empty() {
        return Err(invalid("WorkflowType is not set on request."));
    }
    takes_starts(ctx)?;
    checked(request, ctx)
}

/// As [`start`], for the start half of a signal-with-start.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn signal_with_start<'r>(
    request: &'r StartWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Cow<'r, StartWorkflowExecutionRequest>, Rejection> {
    if request.workflow_type_name().is_empty() {
        return Err(invalid("workflow type not set"));
    }
    takes_starts(ctx)?;
    checked(request, ctx)
}

/// A deprecated namespace takes no new workflows.
pub(crate) fn takes_starts(ctx: &Context<'_>) -> Result<(), Rejection> {
    let state = ctx.namespace.state;
    if matches!(
        state,
        NamespaceState::Registered | NamespaceState::Unspecified
    ) {
        return Ok(());
    }
    let message = format!("Namespace has invalid state: {state:?}. Must be Registered.");
    let detail = NamespaceInvalidStateFailure {
        namespace: ctx.namespace.name.clone(),
        state,
        allowed_states: vec![NamespaceState::Registered],
    };
    Err(Rejection::new(RejectionKind::FailedPrecondition, message)
        .with(ErrorDetail::NamespaceInvalidState(detail)))
}

trait Names {
    fn workflow_type_name(&self) -> &str;
    fn task_queue_name(&self) -> &str;
}

impl Names for StartWorkflowExecutionRequest {
    fn workflow_type_name(&self) -> &str {
        self.workflow_type.as_ref().map_or("", |kind| &kind.name)
    }
    fn task_queue_name(&self) -> &str {
        self.task_queue.as_ref().map_or("", |queue| &queue.name)
    }
}

fn checked<'r>(
    request: &'r StartWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Cow<'r, StartWorkflowExecutionRequest>, Rejection> {
    if request.workflow_id.is_empty() {
        return Err(invalid("WorkflowId is not set on request."));
    }
    let max = ctx.limits.id_length_max;
    id_length("WorkflowId", &request.workflow_id, ctx).map_err(Rejection::invalid_argument)?;
    if request.workflow_type_name().len() > max {
        return Err(invalid("WorkflowType length exceeds limit."));
    }
    task_queue(request.task_queue_name(), ctx).map_err(invalid)?;
    if request.request_id.len() > max {
        return Err(invalid("RequestId length exceeds limit."));
    }
    if let Some(policy) = &request.retry_policy {
        retry_policy(policy).map_err(invalid)?;
    }
    let has_delay = request
        .workflow_start_delay
        .is_some_and(|delay| !delay.is_zero());
    if !request.cron_schedule.is_empty() {
        if has_delay {
            return Err(invalid(
                "CronSchedule and WorkflowStartDelay may not be used together.",
            ));
        }
        if !cron::is_valid(&request.cron_schedule) {
            return Err(invalid("invalid CronSchedule."));
        }
    }
    policies(request)?;
    priority::check(request.priority.as_ref()).map_err(invalid)?;
    blob(request.input.as_ref(), ctx).map_err(invalid)?;
    memo(request.memo.as_ref(), ctx).map_err(invalid)?;
    if request.links.len() > ctx.limits.links_max {
        return Err(Rejection::invalid_argument(format!(
            "cannot attach more than {} links per request, got {}",
            ctx.limits.links_max,
            request.links.len()
        )));
    }
    user_metadata(request.user_metadata.as_ref(), ctx).map_err(Rejection::invalid_argument)?;
    let Some(given) = &request.search_attributes else {
        return Ok(Cow::Borrowed(request));
    };
    let typed = search_attributes::typed(given, ctx).map_err(Rejection::invalid_argument)?;
    if typed == *given {
        return Ok(Cow::Borrowed(request));
    }
    let mut request = request.clone();
    request.search_attributes = Some(typed);
    Ok(Cow::Owned(request))
}

fn policies(request: &StartWorkflowExecutionRequest) -> Result<(), Rejection> {
    let reuse = request.workflow_id_reuse_policy;
    let conflict = request.workflow_id_conflict_policy;
    if reuse == WorkflowIdReusePolicy::TerminateIfRunning
        && conflict != WorkflowIdConflictPolicy::Unspecified
    {
        return Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a WorkflowIDConflictPolicy",
        ));
    }
    if reuse == WorkflowIdReusePolicy::RejectDuplicate
        && conflict == WorkflowIdConflictPolicy::TerminateExisting
    {
        return Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
        ));
    }
    Ok(())
}

/// # Errors
/// In words, with the bound.
pub(crate) fn id_length(what: &str, text: &str, ctx: &Context<'_>) -> Result<(), String> {
    let max = ctx.limits.id_length_max;
    if text.len() > max {
        return Err(format!(
            "{what} exceeds maximum allowed length ({}/{max})",
            text.len()
        ));
    }
    Ok(())
}

/// Names of queues under this prefix are the server's own.
const RESERVED_QUEUE_PREFIX: &str = "/_sys/";

/// # Errors
/// In words.
pub(crate) fn task_queue(name: &str, ctx: &Context<'_>) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("taskQueue is not set");
    }
    if name.len() > ctx.limits.id_length_max {
        return Err("taskQueue length exceeds limit");
    }
    if name.starts_with(RESERVED_QUEUE_PREFIX) {
        return Err("task queue name cannot start with reserved prefix /_sys/");
    }
    Ok(())
}

/// # Errors
/// In words. Negative intervals never come here: they have no form in our types.
pub(crate) fn retry_policy(policy: &RetryPolicy) -> Result<(), &'static str> {
    if policy.maximum_attempts == 1 {
        // There is no retry whose intervals could matter.
        return Ok(());
    }
    if policy.maximum_attempts < 0 {
        return Err("MaximumAttempts cannot be negative on retry policy.");
    }
    let filled = retry::filled(policy);
    if filled.backoff_coefficient.is_nan() || filled.backoff_coefficient < 1.0 {
        return Err("BackoffCoefficient cannot be less than 1 on retry policy.");
    }
    if filled.maximum_interval < filled.initial_interval {
        return Err("MaximumInterval cannot be less than InitialInterval on retry policy.");
    }
    Ok(())
}

/// # Errors
/// If the payloads together are larger than one blob may be.
pub(crate) fn blob(payloads: Option<&Payloads>, ctx: &Context<'_>) -> Result<(), &'static str> {
    let bytes = payloads.map_or(0, |payloads| bytes_of(&payloads.payloads));
    if bytes > ctx.limits.blob_bytes_max {
        return Err("Blob data size exceeds limit.");
    }
    Ok(())
}

/// # Errors
/// If it is larger than a memo may be.
pub(crate) fn memo(memo: Option<&Memo>, ctx: &Context<'_>) -> Result<(), &'static str> {
    let bytes = memo.map_or(0, |memo| {
        let keys: usize = memo.fields.keys().map(String::len).sum();
        keys + bytes_of(memo.fields.values())
    });
    if bytes > ctx.limits.memo_bytes_max {
        return Err("Memo size exceeds limit.");
    }
    Ok(())
}

/// # Errors
/// In words, with the bound.
fn user_metadata(metadata: Option<&UserMetadata>, ctx: &Context<'_>) -> Result<(), String> {
    let Some(metadata) = metadata else {
        return Ok(());
    };
    for (what, text, max) in [
        ("Summary", &metadata.summary, ctx.limits.summary_bytes_max),
        ("Details", &metadata.details, ctx.limits.details_bytes_max),
    ] {
        let bytes = text.as_ref().map_or(0, |text| text.data.len());
        if bytes > max {
            return Err(format!(
                "UserMetadata.{what} exceeds size limit ({bytes}/{max})"
            ));
        }
    }
    Ok(())
}

pub(crate) fn bytes_of<'p>(payloads: impl IntoIterator<Item = &'p Payload>) -> usize {
    payloads
        .into_iter()
        .map(|payload| {
            let metadata: usize = payload
                .metadata
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum();
            payload.data.len() + metadata
        })
        .sum()
}

fn invalid(text: &'static str) -> Rejection {
    Rejection::invalid_argument(text)
}
