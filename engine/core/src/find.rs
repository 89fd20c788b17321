//! Finding the addressed run, and the refusals when there is none.

use fermata_proto::codec;
use fermata_proto::rpc::{Rejection, TaskToken};

use crate::decision::View;
use crate::run::Run;

/// The addressed run, open or closed; an empty `run_id` means the current one.
///
/// # Errors
/// NOT_FOUND.
pub(crate) fn run<'a>(view: &View<'a>, run_id: &str) -> Result<&'a Run, Rejection> {
    let found = if run_id.is_empty() {
        view.current
    } else {
        view.run
    };
    found
        .filter(|run| run_id.is_empty() || run.run_id == run_id)
        .ok_or_else(|| {
            Rejection::not_found(format!("workflow execution not found for run {run_id:?}"))
        })
}

/// The addressed run, if it is open.
///
/// # Errors
/// NOT_FOUND, with the text that tells a closed one.
pub(crate) fn open_run<'a>(view: &View<'a>, run_id: &str) -> Result<&'a Run, Rejection> {
    let run = run(view, run_id)?;
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
    Err(Rejection::not_found(
        "workflow execution not found: its chain began with another run",
    ))
}
