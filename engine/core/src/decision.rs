//! What goes into a decision and what comes out.

use std::time::Duration;

use fermata_proto::event::HistoryEvent;
use fermata_proto::rpc::{Answer, Rejection, Request, Response, TaskReference};
use fermata_proto::service::{
    PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedResponse,
    StartWorkflowExecutionResponse,
};
use fermata_proto::taskqueue::TaskQueue;

use crate::change::Transition;
use crate::run::Run;
use crate::transaction::Transaction;
use crate::update::{Awaited, Status};

/// What the owner holds of the addressed workflow id.
#[derive(Debug, Clone, Copy, Default)]
pub struct View<'a> {
    /// The current run, open or closed, if retention has left it.
    pub current: Option<&'a Run>,
    /// The addressed run: the one that the input names, else the current one.
    pub run: Option<&'a Run>,
}

/// Everything that can move a workflow.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// All of [`Request`] but what only reads (queries, polls of updates, history and waiting go to the shell) and resets.
    Request(Request),
    /// A request to reset, with the history that [`crate::reset::Past`] tells of.
    Reset {
        request: Box<fermata_proto::service::ResetWorkflowExecutionRequest>,
        past: Vec<crate::reset::Past>,
    },
    /// [`Run::next_deadline`] is reached.
    Deadline,
    /// A worker that announced itself has not been heard of for so long; what it holds goes to others.
    WorkerLost {
        worker_id: String,
        silent_for: Duration,
    },
    /// The answer to an outbox entry. Refusals that call for a repeat never come here: the shell repeats.
    Delivered { outbox_id: u64, answer: Answer },
}

/// The outcome of [`crate::decide`].
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// In order; at most one for a run. Empty if nothing changes.
    pub transitions: Vec<Transition>,
    /// The states after the transitions, in the same order.
    pub runs: Vec<Run>,
    /// To be performed when the transitions are durable.
    pub effects: Vec<Effect>,
    /// A refusal here comes with transitions: a bad command fails the task and is refused.
    pub reply: Result<Reply, Rejection>,
}

/// Something outside that a transition causes. Each may be performed twice.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// To the sticky queue if `queue` is one, else, or if nobody listens there, to the normal queue `queue.normal_name`.
    DispatchWorkflowTask {
        task: TaskReference,
        queue: TaskQueue,
    },
    DispatchActivityTask {
        task: TaskReference,
        queue: String,
    },
    /// The run's outbox holds a new entry.
    Deliver {
        run_id: String,
        outbox_id: u64,
    },
    /// [`Run::visibility`] differs from what was published.
    PublishVisibility {
        run_id: String,
    },
    /// The run and everything stored of it goes.
    Delete {
        run_id: String,
    },
    /// Callers that wait for an update of the run are told how far it is. The last word of a decision about an update counts.
    UpdateMoved {
        run_id: String,
        update_id: String,
        status: Status,
    },
}

/// What the caller hears when the decision is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Nobody asked.
    None,
    Response(Response),
    /// A start whose first workflow task the caller takes at once.
    WorkflowStarted {
        /// Complete but for `eager_workflow_task`.
        response: Box<StartWorkflowExecutionResponse>,
        workflow_task: Box<TaskHandout>,
    },
    /// A claimed workflow task.
    WorkflowTask(Box<TaskHandout>),
    WorkflowTaskCompleted {
        /// Complete but for `workflow_task`.
        response: Box<RespondWorkflowTaskCompletedResponse>,
        workflow_task: Option<Box<TaskHandout>>,
    },
    ActivityCompleted {
        workflow_task: Option<Box<TaskHandout>>,
    },
    /// The caller of an update: it is answered if what it waits for has come, else it is parked.
    Update(Box<Awaited>),
}

/// A started workflow task for a worker, but for the history, which the shell keeps, and attached queries.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskHandout {
    pub run_id: String,
    pub response: PollWorkflowTaskQueueResponse,
    /// The first event that the worker gets; all that is in history from there on is shown, then `tail`.
    pub history_from: i64,
    /// Events of a transient or speculative task, which history does not hold.
    pub tail: Vec<HistoryEvent>,
}

impl Decision {
    /// Nothing changes.
    pub(crate) fn reply(reply: Reply) -> Self {
        Self {
            transitions: Vec::new(),
            runs: Vec::new(),
            effects: Vec::new(),
            reply: Ok(reply),
        }
    }

    pub(crate) fn one(tx: Transaction<'_>, reply: Reply) -> Self {
        Self::of([tx], reply)
    }

    pub(crate) fn of<'a>(txs: impl IntoIterator<Item = Transaction<'a>>, reply: Reply) -> Self {
        let mut decision = Self::reply(reply);
        for (transition, run, effects) in txs.into_iter().filter_map(Transaction::finish) {
            decision.transitions.push(transition);
            decision.runs.push(run);
            decision.effects.extend(effects);
        }
        decision
    }

    /// Changes that come with a refusal.
    pub(crate) fn of_refused<'a>(
        txs: impl IntoIterator<Item = Transaction<'a>>,
        rejection: Rejection,
    ) -> Self {
        Self {
            reply: Err(rejection),
            ..Self::of(txs, Reply::None)
        }
    }
}

impl Reply {
    /// The answer of requests whose response is empty.
    pub(crate) fn done() -> Self {
        Self::Response(Response::Done)
    }
}
