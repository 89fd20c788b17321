//! Update-with-start: one request that starts a workflow unless it is there, and updates it.
//!
//! | current run | conflict policy | outcome |
//! |---|---|---|
//! | knows the update as completed | any | its outcome, nothing is started |
//! | open, started by this request, or knows the update | any | the update joins or is admitted there |
//! | open | use existing | the update is admitted there |
//! | none, closed, or open | as for a start | a new run whose first task brings the update, or the start's refusal |
//!
//! An update that went to a run which closes before a worker accepts it is asked once more, and may then start another run.
//!
//! Both happen or neither does. A refusal tells of each of the two why it did not happen.

use fermata_proto::enums::WorkflowIdConflictPolicy;
use fermata_proto::multi_operation::{Went, refused, start_failed, update_failed};
use fermata_proto::rpc::{Rejection, Response};
use fermata_proto::service::{
    ExecuteMultiOperationRequest, ExecuteMultiOperationRequestOperationOperation as Operation,
    ExecuteMultiOperationResponse, ExecuteMultiOperationResponseResponse,
    ExecuteMultiOperationResponseResponseResponse as OperationResponse,
    StartWorkflowExecutionRequest, StartWorkflowExecutionResponse, UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
};
use fermata_proto::update::Request;

use crate::context::Context;
use crate::decision::{Decision, Reply, View};
use crate::run::Run;
use crate::transaction::Transaction;
use crate::update::wait::{Again, Form};
use crate::update::{Awaited, Stage, Status};
use crate::{start, update, validate};

pub(crate) fn on_execute(
    view: &View<'_>,
    request: &ExecuteMultiOperationRequest,
    ctx: &Context<'_>,
) -> Result<Decision, Rejection> {
    let (start, update) = pair(request)?;
    let namespace = &request.namespace;
    let checked_start = checked_start(start, namespace, ctx);
    let checked_update = checked_update(update, namespace, ctx);
    let (start_request, update_request) = match (checked_start, checked_update) {
        (Ok(start), Ok(update)) => (start, update),
        (Err(start), Ok(_)) => return Err(start_failed(start)),
        (Ok(_), Err(update)) => return Err(update_failed(false, update)),
        (Err(start), Err(update)) => {
            return Err(refused([Went::Wrong(start), Went::Wrong(update)]));
        }
    };
    let workflow_id = update
        .workflow_execution
        .as_ref()
        .map_or("", |execution| &execution.workflow_id);
    if start_request.workflow_id != workflow_id {
        let text = "WorkflowId is not consistent with previous operation(s).";
        return Err(update_failed(false, Rejection::invalid_argument(text)));
    }
    let pair = Pair {
        request,
        start: &start_request,
        update,
        update_request,
        ctx,
    };
    let current = view.current.filter(|run| !run.deleting);
    if let Some(run) = current {
        if let Some(status) = pair.completed(run) {
            return Ok(pair.answer_completed(run, status));
        }
        if run.is_open() && pair.joins(run) {
            return pair.update_only(run);
        }
    }
    pair.start_and_update(view)
}

/// The two operations, checked.
struct Pair<'a> {
    request: &'a ExecuteMultiOperationRequest,
    start: &'a StartWorkflowExecutionRequest,
    update: &'a UpdateWorkflowExecutionRequest,
    update_request: Request,
    ctx: &'a Context<'a>,
}

impl Pair<'_> {
    fn completed(&self, run: &Run) -> Option<Status> {
        let update_id = update::id(&self.update_request);
        let update = run.updates.get(update_id)?;
        (update.stage == Stage::Completed).then(|| run.update_status(update_id))?
    }

    fn answer_completed(&self, run: &Run, status: Status) -> Decision {
        let start = StartWorkflowExecutionResponse {
            run_id: run.run_id.clone(),
            status: run.status,
            ..StartWorkflowExecutionResponse::default()
        };
        Decision::reply(self.reply(run, start, true, Again::Never, status))
    }

    fn reply(
        &self,
        run: &Run,
        start: StartWorkflowExecutionResponse,
        was_complete: bool,
        again: Again,
        status: Status,
    ) -> Reply {
        let form = Form::WithStart {
            start: Box::new(start),
            was_complete,
            again,
        };
        let wait = update::wait(run, self.update, &self.update_request, form, self.ctx);
        Reply::Update(Box::new(Awaited { wait, status }))
    }

    /// Whether the update goes to the open run.
    fn joins(&self, run: &Run) -> bool {
        start::is_started_by(run, &self.start.request_id)
            || run.updates.contains_key(update::id(&self.update_request))
            || self.start.workflow_id_conflict_policy == WorkflowIdConflictPolicy::UseExisting
    }

    fn update_only(&self, run: &Run) -> Result<Decision, Rejection> {
        let mut tx = Transaction::of(run, self.ctx);
        let status = update::admit(&mut tx, self.update_request.clone())
            .map_err(|rejection| update_failed(false, rejection))?;
        let start = StartWorkflowExecutionResponse {
            run_id: run.run_id.clone(),
            status: run.status,
            link: Some(start::started_link(run, self.ctx)),
            ..StartWorkflowExecutionResponse::default()
        };
        let again = Again::Once(Box::new(self.request.clone()));
        let reply = self.reply(run, start, false, again, status);
        Ok(Decision::one(tx, reply))
    }

    fn start_and_update(&self, view: &View<'_>) -> Result<Decision, Rejection> {
        let terminated = match start::admit(view, self.start, self.ctx).map_err(start_failed)? {
            start::Admission::New { terminated } => terminated,
            start::Admission::Existing { run, .. } if run.is_open() => {
                return self.update_only(run);
            }
            // Started by this very request, and closed since.
            start::Admission::Existing { .. } => {
                let rejection = Rejection::not_found("workflow execution already completed");
                return Err(update_failed(false, rejection));
            }
        };
        let mut tx = start::begin(self.start, &start::Origin::default(), self.ctx);
        let terminated = start::terminate(terminated, &tx);
        let status = update::admit(&mut tx, self.update_request.clone())
            .map_err(|rejection| update_failed(false, rejection))?;
        let response = start::response(tx.run(), true, self.ctx);
        let reply = self.reply(tx.run(), response, false, Again::Never, status);
        Ok(Decision::of(terminated.into_iter().chain([tx]), reply))
    }
}

/// The start and the update, in this order.
///
/// # Errors
/// INVALID_ARGUMENT if the operations are others.
fn pair(
    request: &ExecuteMultiOperationRequest,
) -> Result<
    (
        &StartWorkflowExecutionRequest,
        &UpdateWorkflowExecutionRequest,
    ),
    Rejection,
> {
    if let [start, update] = &request.operations[..]
        && let Some(Operation::StartWorkflow(start)) = &start.operation
        && let Some(Operation::UpdateWorkflow(update)) = &update.operation
    {
        return Ok((start, update));
    }
    Err(Rejection::invalid_argument(
        "Operations have to be exactly [Start, Update].",
    ))
}

fn in_namespace(named: &str, namespace: &str) -> Result<(), Rejection> {
    if named.is_empty() || named == namespace {
        return Ok(());
    }
    Err(Rejection::invalid_argument(
        "Operation namespace did not match request's namespace.",
    ))
}

fn checked_start(
    start: &StartWorkflowExecutionRequest,
    namespace: &str,
    ctx: &Context<'_>,
) -> Result<StartWorkflowExecutionRequest, Rejection> {
    in_namespace(&start.namespace, namespace)?;
    let start = validate::start(start, ctx)?.into_owned();
    let refused = [
        (
            !start.cron_schedule.is_empty(),
            "CronSchedule is not allowed.",
        ),
        (
            start.request_eager_execution,
            "RequestEagerExecution is not supported.",
        ),
        (
            start
                .workflow_start_delay
                .is_some_and(|delay| !delay.is_zero()),
            "WorkflowStartDelay is not supported.",
        ),
    ];
    match refused.into_iter().find(|(is_refused, _)| *is_refused) {
        Some((_, text)) => Err(Rejection::invalid_argument(text)),
        None => Ok(start),
    }
}

fn checked_update(
    request: &UpdateWorkflowExecutionRequest,
    namespace: &str,
    ctx: &Context<'_>,
) -> Result<Request, Rejection> {
    in_namespace(&request.namespace, namespace)?;
    let update = update::checked(request, ctx)?;
    let run_id = request
        .workflow_execution
        .as_ref()
        .map_or("", |execution| &execution.run_id);
    if !request.first_execution_run_id.is_empty() {
        return Err(Rejection::invalid_argument(
            "FirstExecutionRunId is not allowed.",
        ));
    }
    if !run_id.is_empty() {
        return Err(Rejection::invalid_argument("RunId is not allowed."));
    }
    Ok(update)
}

/// The answer when both have happened.
pub(crate) fn response(
    start: StartWorkflowExecutionResponse,
    update: UpdateWorkflowExecutionResponse,
) -> Response {
    let operations = [
        OperationResponse::StartWorkflow(start),
        OperationResponse::UpdateWorkflow(update),
    ];
    Response::ExecuteMultiOperation(Box::new(ExecuteMultiOperationResponse {
        responses: operations
            .into_iter()
            .map(|response| ExecuteMultiOperationResponseResponse {
                response: Some(response),
            })
            .collect(),
    }))
}
