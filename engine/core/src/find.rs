//! Finding the addressed run, and the refusals when there is none.

use fermata_proto::codec;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::rpc::{Rejection, TaskToken};

use crate::decision::View;
use crate::run::Run;

/// The addressed run, open or closed; an empty run id means the current one.
///
/// # Errors
/// INVALID_ARGUMENT if the execution is badly named, NOT_FOUND if it does not exist.
pub fn run<'a>(
    view: &View<'a>,
    execution: Option<&WorkflowExecution>,
) -> Result<&'a Run, Rejection> {
    let WorkflowExecution {
        workflow_id,
        run_id,
    } = named(execution)?;
    if run_id.is_empty() {
        return view.current.filter(|run| is_workflow(run)).ok_or_else(|| {
            Rejection::not_found(format!("workflow not found for ID: {workflow_id}"))
        });
    }
    view.run
        .filter(|run| run.run_id == *run_id && run.workflow_id.0 == *workflow_id)
        .filter(|run| is_workflow(run))
        .ok_or_else(|| unknown_run(workflow_id, run_id))
}

/// The execution of a request, if it names one.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn named(
    execution: Option<&WorkflowExecution>,
) -> Result<&WorkflowExecution, Rejection> {
    let execution =
        execution.ok_or_else(|| Rejection::invalid_argument("Execution is not set on request."))?;
    if execution.workflow_id.is_empty() {
        return Err(Rejection::invalid_argument(
            "WorkflowId is not set on request.",
        ));
    }
    if !execution.run_id.is_empty() && uuid::Uuid::try_parse(&execution.run_id).is_err() {
        return Err(Rejection::invalid_argument("Invalid RunId."));
    }
    Ok(execution)
}

/// Whether callers find it: it is not deleted, and no schedule, which has requests of its own.
fn is_workflow(run: &Run) -> bool {
    !run.deleting && run.schedule.is_none()
}

fn unknown_run(workflow_id: &str, run_id: &str) -> Rejection {
    Rejection::not_found(format!(
        "workflow execution not found for workflow ID {workflow_id:?} and run ID {run_id:?}"
    ))
}

/// The addressed run, if it is open.
///
/// # Errors
/// As [`run`]; NOT_FOUND also for a closed one, with the text that tells it.
pub(crate) fn open_run<'a>(
    view: &View<'a>,
    execution: Option<&WorkflowExecution>,
) -> Result<&'a Run, Rejection> {
    if_open(run(view, execution)?)
}

/// The open run that a token, a claim or another partition names.
///
/// # Errors
/// NOT_FOUND.
pub(crate) fn open_run_of_id<'a>(
    view: &View<'a>,
    workflow_id: &str,
    run_id: &str,
) -> Result<&'a Run, Rejection> {
    let run = view
        .run
        .filter(|run| run.run_id == run_id)
        .ok_or_else(|| unknown_run(workflow_id, run_id))?;
    if_open(run)
}

fn if_open(run: &Run) -> Result<&Run, Rejection> {
    if run.is_open() {
        Ok(run)
    } else {
        Err(Rejection::not_found("workflow execution already completed"))
    }
}

/// What a task token holds.
///
/// # Errors
/// INVALID_ARGUMENT if it is none of ours.
pub(crate) fn token(bytes: &[u8]) -> Result<TaskToken, Rejection> {
    if bytes.is_empty() {
        return Err(Rejection::invalid_argument(
            "Task token not set on request.",
        ));
    }
    codec::decode(bytes).map_err(|_| Rejection::invalid_argument("Error deserializing task token."))
}

/// A request may pin the chain of runs by its first run.
///
/// # Errors
/// NOT_FOUND if the run belongs to another chain.
pub(crate) fn chain(run: &Run, first_execution_run_id: &str) -> Result<(), Rejection> {
    if first_execution_run_id.is_empty()
        || run.started.first_execution_run_id == first_execution_run_id
    {
        return Ok(());
    }
    Err(Rejection::not_found("workflow execution not found"))
}
