//! Replaying recorded histories with today's code, before it meets the runs that they are of.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::WorkflowResult;
use crate::history::WorkflowHistory;
use crate::machine::{Machine, NonDeterminism, RunName, TaskFailure};
use crate::name::{Workflow, function_name};
use crate::worker::{RegisteredTwice, Registry, definition};
use crate::workflow::WorkflowContext;

/// Checks that workflow code still does what recorded histories say it did.
///
/// ```no_run
/// # use fermata_worker::*;
/// # async fn greet(ctx: WorkflowContext, name: String) -> WorkflowResult<String> { Ok(name) }
/// #[test]
/// fn recorded_runs_still_replay() {
///     let replayer = Replayer::new().workflow(greet);
///     for file in std::fs::read_dir("tests/histories").unwrap() {
///         let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
///         let history = WorkflowHistory::from_json(&text).unwrap();
///         replayer.replay(&history).unwrap();
///     }
/// }
/// ```
#[derive(Default)]
pub struct Replayer {
    registry: Registry,
    error: Option<RegisteredTwice>,
}

/// Why a history does not replay.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplayError {
    /// The code does something else than history says; which event, which command, and what to do about it.
    #[error("replay {workflow_type}: {source}; {advice}", advice = .source.advice())]
    NonDeterminism {
        workflow_type: String,
        source: NonDeterminism,
    },
    /// The code panicked, refused to go on, or the history is damaged.
    #[error("replay {workflow_type}")]
    Failed {
        workflow_type: String,
        #[source]
        source: TaskFailure,
    },
    #[error("replay {workflow_type}: no such workflow is registered, but [{known}]")]
    NotRegistered {
        workflow_type: String,
        known: String,
    },
    #[error("set the replayer up")]
    Registered(#[source] RegisteredTwice),
}

impl Replayer {
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`crate::Worker::workflow`].
    #[must_use]
    pub fn workflow<F, Fut, A, R>(self, function: F) -> Self
    where
        F: Fn(WorkflowContext, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = WorkflowResult<R>> + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        self.workflow_as(Workflow::named(function_name::<F>()), function)
    }

    /// As [`crate::Worker::workflow_as`].
    #[must_use]
    pub fn workflow_as<F, Fut, A, R>(mut self, name: Workflow<A, R>, function: F) -> Self
    where
        F: Fn(WorkflowContext, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = WorkflowResult<R>> + 'static,
        A: DeserializeOwned + 'static,
        R: Serialize + 'static,
    {
        let added = self
            .registry
            .add_workflow(name.name().to_owned(), definition(function));
        self.error = self.error.or(added.err());
        self
    }

    /// Replays every workflow task of `history` that was completed.
    ///
    /// # Errors
    /// If the code does not do what the history shows.
    pub fn replay(&self, history: &WorkflowHistory) -> Result<(), ReplayError> {
        if let Some(error) = &self.error {
            return Err(ReplayError::Registered(error.clone()));
        }
        let workflow_type = history.workflow_type().to_owned();
        let Some(definition) = self.registry.workflows.get(&workflow_type) else {
            let known: Vec<&str> = self.registry.workflows.keys().map(String::as_str).collect();
            return Err(ReplayError::NotRegistered {
                workflow_type,
                known: known.join(", "),
            });
        };
        let name = RunName {
            namespace: "default".to_owned(),
            workflow_id: history.workflow_id().to_owned(),
            run_id: history.original_run_id().to_owned(),
        };
        let mut machine = Machine::new(name, definition.clone());
        match machine.advance(&history.events, 0) {
            Ok(_) => Ok(()),
            Err(TaskFailure::NonDeterminism(source)) => Err(ReplayError::NonDeterminism {
                workflow_type,
                source,
            }),
            Err(source) => Err(ReplayError::Failed {
                workflow_type,
                source,
            }),
        }
    }
}
