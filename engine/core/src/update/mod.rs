//! Updates: requests that workflow code may reject, and that leave no trace in history unless it accepts them.
//!
//! | workflow task of the run | an admitted update |
//! |---|---|
//! | none | makes a speculative one, which is no event yet ([`crate::workflow_task`]) |
//! | scheduled | comes with that task |
//! | started | comes with the next task |
//!
//! A worker answers with messages ([`message`]): acceptance and response become events, a rejection is told to the callers
//! and forgotten. What a worker ignores is rejected for it. Admission is durable: an update outlives the owner that admitted it
//! (docs/adr/0011). Callers join by update id; what they hear is in [`wait`].
//!
//! | the run closes | admitted, sent | accepted |
//! |---|---|---|
//! | for good | NOT_FOUND | fails with `AcceptedUpdateCompletedWorkflow` |
//! | by its own command, and another run follows | RESOURCE_EXHAUSTED: ask again | the same |

pub(crate) mod message;
pub(crate) mod state;
pub mod wait;

use std::sync::Arc;

use fermata_proto::enums::*;
use fermata_proto::error_details::*;
use fermata_proto::failure::{ApplicationFailureInfo, Failure, FailureFailureInfo};
use fermata_proto::protocol::{Message, MessageSequencingId};
use fermata_proto::rpc::{ErrorDetail, Rejection, RejectionKind};
use fermata_proto::service::*;
use fermata_proto::update::{Outcome, OutcomeValue, Request};
use fermata_proto::{codec, enums::UpdateWorkflowExecutionLifecycleStage as Lifecycle};

use crate::change::Fact;
use crate::context::Context;
use crate::decision::{Decision, Effect, Reply, View};
use crate::run::Run;
use crate::transaction::Transaction;
use crate::{find, validate, workflow_task};

pub use state::{Stage, Update};
pub use wait::{Awaited, Status, Wait};

use wait::Form;

/// A workflow whose task fails for the this-manieth time takes no updates.
const FAILED_ATTEMPTS_MAX: i32 = 3;

// -- callers ---------------------------------------------------------------------------------------------------------

pub(crate) fn on_update(
    view: &View<'_>,
    request: &UpdateWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let update = checked(request, ctx)?;
    let run = find::run(view, request.workflow_execution.as_ref())?;
    find::chain(run, &request.first_execution_run_id)?;
    let mut tx = Transaction::of(run, ctx);
    let wait = wait(run, request, &update, Form::Update, ctx);
    let status = admit(&mut tx, update)?;
    let reply = Reply::Update(Box::new(Awaited { wait, status }));
    Ok(Decision::one(tx, reply))
}

/// How an update stands. Reads only: to be asked by the shell, which parks a wait that is not over.
///
/// # Errors
/// INVALID_ARGUMENT, or NOT_FOUND if the run or the update is unknown.
pub fn poll(
    view: &View<'_>,
    request: &PollWorkflowExecutionUpdateRequest,
) -> Result<Awaited, Rejection> {
    let Some(reference) = &request.update_ref else {
        return Err(Rejection::invalid_argument(
            "UpdateRef is not set on request.",
        ));
    };
    let run = find::run(view, reference.workflow_execution.as_ref())?;
    let update_id = &reference.update_id;
    let status = run
        .update_status(update_id)
        .ok_or_else(|| Rejection::not_found(format!("update {update_id:?} not found")))?;
    let wait = Wait {
        run_id: run.run_id.clone(),
        update_id: update_id.clone(),
        workflow_id: run.workflow_id.0.clone(),
        namespace: String::new(),
        request_id: String::new(),
        stage: request
            .wait_policy
            .clone()
            .unwrap_or_default()
            .lifecycle_stage,
        form: Form::Poll,
    };
    Ok(Awaited { wait, status })
}

/// The update of a request, with an id.
///
/// # Errors
/// INVALID_ARGUMENT; PERMISSION_DENIED for a stage that is not waited for.
pub(crate) fn checked(
    request: &UpdateWorkflowExecutionRequest,
    ctx: &Context<'_>,
) -> Result<Request, Rejection> {
    find::named(request.workflow_execution.as_ref())?;
    let refuse = |text: &str| Err(Rejection::invalid_argument(text));
    let mut update = request.request.clone().unwrap_or_default();
    let Some(meta) = &mut update.meta else {
        return refuse("Update meta is not set on request.");
    };
    if meta.update_id.len() > ctx.limits.id_length_max {
        return refuse("UpdateId length exceeds limit.");
    }
    if meta.update_id.is_empty() {
        meta.update_id = ctx.new_id();
    }
    let Some(input) = &update.input else {
        return refuse("Update input is not set on request.");
    };
    if input.name.is_empty() {
        return refuse("Update name is not set on request.");
    }
    validate::blob(input.args.as_ref(), ctx).map_err(Rejection::invalid_argument)?;
    if lifecycle_stage(request) == Lifecycle::Admitted {
        let text = "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported.";
        let detail = ErrorDetail::PermissionDenied(PermissionDeniedFailure::default());
        return Err(Rejection::new(RejectionKind::PermissionDenied, text).with(detail));
    }
    if !update.completion_callbacks.is_empty() && update.request_id.is_empty() {
        return refuse(
            "invalid *update.Request: request_id is required when completion_callbacks are set",
        );
    }
    let links = update.links.len();
    let links_max = ctx.limits.links_max;
    if links > links_max {
        return refuse(&format!(
            "cannot attach more than {links_max} links per request, got {links}"
        ));
    }
    Ok(update)
}

fn lifecycle_stage(request: &UpdateWorkflowExecutionRequest) -> Lifecycle {
    request
        .wait_policy
        .as_ref()
        .map(|policy| policy.lifecycle_stage)
        .unwrap_or_default()
}

/// The caller of `update`, which `request` asks for; without a stage it waits for the end.
pub(crate) fn wait(
    run: &Run,
    request: &UpdateWorkflowExecutionRequest,
    update: &Request,
    form: Form,
    ctx: &Context<'_>,
) -> Wait {
    Wait {
        run_id: run.run_id.clone(),
        update_id: id(update).to_owned(),
        workflow_id: run.workflow_id.0.clone(),
        namespace: ctx.namespace.name.clone(),
        request_id: update.request_id.clone(),
        stage: match lifecycle_stage(request) {
            Lifecycle::Unspecified => Lifecycle::Completed,
            stage => stage,
        },
        form,
    }
}

pub(crate) fn id(update: &Request) -> &str {
    update.meta.as_ref().map_or("", |meta| &meta.update_id)
}

/// Takes an update in, or finds the one of its id.
///
/// # Errors
/// What the state of the run, its task or a limit does not allow.
pub(crate) fn admit(tx: &mut Transaction<'_>, update: Request) -> Result<Status, Rejection> {
    let run = tx.run();
    let update_id = id(&update).to_owned();
    if !run.is_open() {
        return run
            .update_status(&update_id)
            .ok_or_else(|| Rejection::not_found("workflow execution already completed"));
    }
    if run.status == WorkflowExecutionStatus::Paused {
        return Err(Rejection::new(
            RejectionKind::FailedPrecondition,
            "Workflow is paused. Cannot update the workflow.",
        ));
    }
    let task = run.workflow_task.as_ref();
    if task.is_some_and(|task| task.attempt >= FAILED_ATTEMPTS_MAX) {
        return Err(not_ready(
            "Unable to perform workflow execution update due to Workflow Task in failed state.",
        ));
    }
    if run.close_refused && task.is_some_and(|task| task.is_started()) {
        return Err(closing());
    }
    if let Some(status) = run.update_status(&update_id) {
        return Ok(status);
    }
    within_limits(run, &update, tx.ctx)?;
    tx.keep_speculative();
    tx.fact(Fact::UpdateAdmitted {
        update_id,
        request: Arc::new(update),
    });
    if tx.run().workflow_task.is_none() {
        workflow_task::schedule_speculative(tx);
    }
    Ok(Status::Admitted)
}

fn within_limits(run: &Run, update: &Request, ctx: &Context<'_>) -> Result<(), Rejection> {
    let limits = ctx.limits;
    let in_flight = || {
        run.updates
            .values()
            .filter(|update| update.stage < Stage::Completed)
    };
    let exhausted = |text: String| {
        let detail = ResourceExhaustedFailure {
            cause: ResourceExhaustedCause::ConcurrentLimit,
            scope: ResourceExhaustedScope::Namespace,
        };
        Err(Rejection::new(RejectionKind::ResourceExhausted, text)
            .with(ErrorDetail::ResourceExhausted(detail)))
    };
    if in_flight().count() >= limits.updates_in_flight_max {
        return exhausted(format!(
            "limit on number of concurrent in-flight updates has been reached ({})",
            limits.updates_in_flight_max
        ));
    }
    within_total(run, ctx)
        .map_err(|text| Rejection::new(RejectionKind::FailedPrecondition, text))?;
    let bytes: usize = in_flight().map(Update::request_bytes).sum();
    if bytes + codec::encoded_len(update) >= limits.updates_in_flight_bytes_max {
        return exhausted(format!(
            "limit on total payload size of in-flight updates has been reached ({} bytes)",
            limits.updates_in_flight_bytes_max
        ));
    }
    Ok(())
}

/// # Errors
/// The words of a refusal if the run has had as many updates as it may.
fn within_total(run: &Run, ctx: &Context<'_>) -> Result<(), String> {
    let max = ctx.limits.updates_total_max;
    if run.updates.len() < max {
        return Ok(());
    }
    Err(format!(
        "The limit on the total number of distinct updates in this workflow has been reached ({max}). \
         Make sure any duplicate updates share an Update ID so the server can deduplicate them, and consider rejecting updates that you aren't going to process. \
         You can also Continue-as-New to avoid this; we recommend you check Continue-as-New Suggested in your Workflow."
    ))
}

/// Whether a run has had so many updates that it should continue as new.
pub(crate) fn is_many(run: &Run, ctx: &Context<'_>) -> bool {
    // Nine tenths, rounded up.
    run.updates.len() >= ctx.limits.updates_total_max.saturating_mul(9).div_ceil(10)
}

// -- to the worker ---------------------------------------------------------------------------------------------------

/// Whether updates wait for a workflow task to come with.
pub(crate) fn is_waited_for(run: &Run) -> bool {
    run.updates
        .values()
        .any(|update| update.stage < Stage::Accepted)
}

/// Those that no worker has seen.
pub(crate) fn unseen(run: &Run) -> Vec<String> {
    state::unaccepted(run)
        .into_iter()
        .filter(|(_, update)| update.stage == Stage::Admitted)
        .map(|(update_id, _)| update_id.clone())
        .collect()
}

/// A workflow task has started: it brings all that are waiting.
pub(crate) fn sent(tx: &mut Transaction<'_>) {
    let is_unseen = |update: &Update| update.stage == Stage::Admitted;
    if tx.run().updates.values().any(is_unseen) {
        tx.fact(Fact::UpdatesSent);
    }
}

/// The messages that go with the started workflow task; the worker places them behind the event before its start.
pub(crate) fn messages(run: &Run, started_event_id: i64) -> Vec<Message> {
    state::unaccepted(run)
        .into_iter()
        .filter_map(|(update_id, update)| {
            // Where there is none, the worker has it from an UpdateAdmitted event.
            let request = update.request.as_deref()?;
            Some(Message {
                id: message_id(update_id),
                protocol_instance_id: update_id.clone(),
                sequencing_id: Some(MessageSequencingId::EventId(started_event_id - 1)),
                body: Some(request.to_body()),
            })
        })
        .collect()
}

fn message_id(update_id: &str) -> String {
    format!("{update_id}/request")
}

// -- the ends --------------------------------------------------------------------------------------------------------

/// Why updates end without a worker's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abort {
    WorkflowClosed,
    /// The run closed by its own command, and another one follows.
    WorkflowContinues,
}

/// The run has closed: ends all that had no end.
pub(crate) fn abort_all(tx: &mut Transaction<'_>, why: Abort) {
    let accepted: Vec<String> = tx
        .run()
        .updates
        .iter()
        .filter(|(_, update)| update.stage == Stage::Accepted)
        .map(|(update_id, _)| update_id.clone())
        .collect();
    for update_id in accepted {
        moved(tx, &update_id, Status::Completed(Box::new(outlived())));
    }
    let rejection = match why {
        Abort::WorkflowClosed => {
            Rejection::not_found("workflow update was aborted by closing workflow")
        }
        Abort::WorkflowContinues => closing(),
    };
    for update_id in unaccepted_ids(tx.run(), Stage::Admitted) {
        drop_one(tx, update_id, Status::Aborted(Box::new(rejection.clone())));
    }
}

/// The worker's answer failed the workflow task: a repeat of what it has seen would fail it again.
pub(crate) fn abort_sent(tx: &mut Transaction<'_>) {
    let rejection = not_ready(
        "Unable to perform workflow execution update due to unexpected workflow task failure.",
    );
    for update_id in unaccepted_ids(tx.run(), Stage::Sent) {
        drop_one(tx, update_id, Status::Aborted(Box::new(rejection.clone())));
    }
}

/// A completed task says nothing of updates that it brought: the worker does not know what they are.
pub(crate) fn reject_unprocessed(tx: &mut Transaction<'_>) {
    for update_id in unaccepted_ids(tx.run(), Stage::Sent) {
        let failure = server_failure(
            "UnprocessedUpdate",
            "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported by the worker.",
        );
        drop_one(tx, update_id, failed(failure));
    }
}

fn unaccepted_ids(run: &Run, from: Stage) -> Vec<String> {
    state::unaccepted(run)
        .into_iter()
        .filter(|(_, update)| update.stage >= from)
        .map(|(update_id, _)| update_id.clone())
        .collect()
}

fn drop_one(tx: &mut Transaction<'_>, update_id: String, status: Status) {
    moved(tx, &update_id, status);
    tx.fact(Fact::UpdateGone { update_id });
}

fn moved(tx: &mut Transaction<'_>, update_id: &str, status: Status) {
    let run_id = tx.run().run_id.clone();
    tx.effect(Effect::UpdateMoved {
        run_id,
        update_id: update_id.to_owned(),
        status,
    });
}

fn failed(failure: Failure) -> Status {
    Status::Completed(Box::new(Outcome {
        value: Some(OutcomeValue::Failure(failure)),
    }))
}

/// The outcome of an accepted update whose workflow has closed.
pub(crate) fn outlived() -> Outcome {
    Outcome {
        value: Some(OutcomeValue::Failure(server_failure(
            "AcceptedUpdateCompletedWorkflow",
            "Workflow Update failed because the Workflow completed before the Update completed.",
        ))),
    }
}

fn server_failure(kind: &str, message: &str) -> Failure {
    Failure {
        message: message.to_owned(),
        source: "Server".to_owned(),
        failure_info: Some(FailureFailureInfo::ApplicationFailureInfo(
            ApplicationFailureInfo {
                r#type: kind.to_owned(),
                non_retryable: true,
                ..ApplicationFailureInfo::default()
            },
        )),
        ..Failure::default()
    }
}

fn closing() -> Rejection {
    let detail = ResourceExhaustedFailure {
        cause: ResourceExhaustedCause::BusyWorkflow,
        scope: ResourceExhaustedScope::Namespace,
    };
    Rejection::new(
        RejectionKind::ResourceExhausted,
        "workflow operation can not be applied because workflow is closing",
    )
    .with(ErrorDetail::ResourceExhausted(detail))
}

fn not_ready(text: &str) -> Rejection {
    Rejection::new(RejectionKind::FailedPrecondition, text).with(ErrorDetail::WorkflowNotReady(
        WorkflowNotReadyFailure::default(),
    ))
}
