//! Replaying recorded histories with today's code, before it meets the runs that they are of.

use crate::converter::{Converter, DataConverter};
use crate::history::WorkflowHistory;
use crate::machine::{Machine, NonDeterminism, RunName, TaskFailure};
use crate::worker::{RegisteredTwice, Registration, registers_workflows};

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
    registration: Registration,
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

    /// Values are read and written by `converter`, as by [`crate::Client::with_converter`].
    #[must_use]
    pub fn with_converter(mut self, converter: impl DataConverter) -> Self {
        self.registration.convert_with(Converter::of(converter));
        self
    }

    registers_workflows!();

    /// Replays every workflow task of `history` that was completed.
    ///
    /// # Errors
    /// If the code does not do what the history shows.
    pub fn replay(&self, history: &WorkflowHistory) -> Result<(), ReplayError> {
        let registry = self.registration.registry();
        let registry = registry.map_err(ReplayError::Registered)?;
        let workflow_type = history.workflow_type().to_owned();
        let Some(definition) = registry.workflows.get(&workflow_type) else {
            let known: Vec<&str> = registry.workflows.keys().map(String::as_str).collect();
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
        let mut machine = Machine::new(name, definition.clone())
            .with_converter(self.registration.converter().clone());
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
