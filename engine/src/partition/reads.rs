//! Requests that leave no trace in the log: describe, history, queries. Polls of updates are in [`super::updates`].
//!
//! They see the speculative state, so their answers too wait until everything decided before them is durable.
//!
//! | history is asked for | run is open | run is closed |
//! |---|---|---|
//! | all events | what there is; the transient task's events behind it | the same |
//! | all events, waiting | what there is, with a token to go on; behind the end it waits | the rest, without a token |
//! | the closing event | nothing | the closing event |
//! | the closing event, waiting | waits; when its time is over nothing, with a token | the closing event |

use std::sync::Arc;

use fermata_core::query::Asked;
use fermata_core::{Run, View, describe, workflow_task};
use fermata_proto::codec;
use fermata_proto::common::WorkflowExecution;
use fermata_proto::enums::HistoryEventFilterType;
use fermata_proto::event::History as Events;
use fermata_proto::ids::WorkflowId;
use fermata_proto::rpc::*;
use fermata_proto::service::*;

use super::commit::Released;
use super::history::{PAGE_BATCHES_MAX, PageToken, Position, RunAddress};
use super::owner::Owner;
use super::release::{Answering, Asker, Order, PageOf, Within};
use super::state::{Loaded, RunId};
use super::waiting::{Expired, HistoryWaiter, query_answer, query_expired};
use super::work::Address;

impl Owner {
    pub(super) fn on_read(&mut self, call: Call, asker: Asker, address: &Address) {
        match call.request {
            Request::DescribeWorkflowExecution(request) => {
                let (current, run) = self.view(address);
                let view = View {
                    current: current.as_deref(),
                    run: run.as_deref(),
                };
                let run_id = execution_run_id(&request.execution);
                let answer = describe::describe(&view, run_id, self.now)
                    .map(|response| Response::DescribeWorkflowExecution(Box::new(response)));
                self.answer(asker, Answering::Ready(answer));
            }
            Request::GetWorkflowExecutionHistory(request) => {
                self.on_history(&request, &call.workflow_id, call.wait_ms, asker, address);
            }
            Request::GetWorkflowExecutionHistoryReverse(request) => {
                let answering = self
                    .history_reverse(&request, &call.workflow_id, address)
                    .unwrap_or_else(|rejection| Answering::Ready(Err(rejection)));
                self.answer(asker, answering);
            }
            Request::QueryWorkflow(request) => {
                self.on_query(&request, call.wait_ms, asker, address);
            }
            Request::RespondQueryTaskCompleted(request) => self.on_query_answered(&request, asker),
            Request::PollWorkflowExecutionUpdate(request) => {
                self.on_poll_update(&request, call.wait_ms, asker, address);
            }
            _ => {
                let rejection = Rejection::new(RejectionKind::Internal, "this is no read");
                self.answer(asker, Answering::Ready(Err(rejection)));
            }
        }
    }

    pub(super) fn run_address(&self, run_id: &str) -> RunAddress {
        RunAddress {
            partition: self.partition,
            run_id: run_id.into(),
        }
    }

    // ---- history ----

    fn on_history(
        &mut self,
        request: &GetWorkflowExecutionHistoryRequest,
        workflow_id: &WorkflowId,
        wait_ms: u32,
        asker: Asker,
        address: &Address,
    ) {
        let token = match page_token(
            &request.next_page_token,
            execution_run_id(&request.execution),
        ) {
            Ok(token) => token,
            Err(rejection) => return self.answer(asker, Answering::Ready(Err(rejection))),
        };
        let (_, run) = self.view(address);
        let Some(run) = run else {
            let run_id = address.run_id.as_deref().unwrap_or_default();
            let rejection = not_found(workflow_id, run_id);
            return self.answer(asker, Answering::Ready(Err(rejection)));
        };
        let read = HistoryRead {
            close_only: request.history_event_filter_type == HistoryEventFilterType::CloseEvent,
            from: token.as_ref().map_or(START, PageToken::position),
            until: token.as_ref().map_or(0, |token| token.until),
            waits: request.wait_new_event,
            batches_max: page_size(request.maximum_page_size),
        };
        let address = self.run_address(&run.run_id);
        let is_full = self.waiting.is_full();
        let Some(loaded) = self.state.runs.get_mut(run.run_id.as_str()) else {
            let rejection = not_found(workflow_id, &run.run_id);
            return self.answer(asker, Answering::Ready(Err(rejection)));
        };
        let answering = match read.answer(loaded, &run, &address) {
            Some(answering) => answering,
            None if is_full => nothing_yet(&run.run_id, read.from),
            None => {
                let id = self.waiting.history(address.run_id, wait_ms);
                loaded.waiters.push(HistoryWaiter {
                    id,
                    asker,
                    close_only: read.close_only,
                    from: read.from,
                    batches_max: read.batches_max,
                });
                return;
            }
        };
        self.answer(asker, answering);
    }

    /// Answers those long polls of a run whose events have become durable.
    pub(super) fn wake(&mut self, run_id: &RunId, released: &mut Released) {
        let address = self.run_address(run_id);
        let Some(loaded) = self.state.runs.get_mut(run_id) else {
            return;
        };
        let Some(durable) = loaded.durable.clone() else {
            return;
        };
        let mut waiters = std::mem::take(&mut loaded.waiters);
        let mut kept = Vec::new();
        for waiter in waiters.drain(..) {
            let read = HistoryRead {
                close_only: waiter.close_only,
                from: waiter.from,
                until: 0,
                waits: true,
                batches_max: waiter.batches_max,
            };
            match read.answer(loaded, &durable, &address) {
                Some(answering) => {
                    self.waiting.done(waiter.id);
                    released.answers.push((waiter.asker, answering));
                }
                None => kept.push(waiter),
            }
        }
        loaded.waiters = kept;
    }

    /// Ends the waits whose time is over.
    pub(super) fn on_expiries(&mut self, now: tokio::time::Instant) {
        while let Some(expired) = self.waiting.take_expired(now) {
            match expired {
                Expired::History { run_id, id } => {
                    let Some(loaded) = self.state.runs.get_mut(&run_id) else {
                        continue;
                    };
                    if let Some(at) = loaded.waiters.iter().position(|waiter| waiter.id == id) {
                        let waiter = loaded.waiters.swap_remove(at);
                        let answering = nothing_yet(&run_id, waiter.from);
                        self.answer(waiter.asker, answering);
                    }
                }
                Expired::Update { run_id, id } => self.on_caller_expired(&run_id, id),
                Expired::Describe { run_id, id } => self.on_describer_expired(&run_id, id),
                Expired::Query { query_id } => {
                    if let Some((asker, run_id)) = self.waiting.take_query(&query_id) {
                        if let Some(loaded) = self.state.runs.get_mut(&run_id) {
                            loaded.queries.forget(&query_id);
                        }
                        self.answer(asker, Answering::Ready(query_expired()));
                    }
                }
            }
        }
    }

    fn history_reverse(
        &mut self,
        request: &GetWorkflowExecutionHistoryReverseRequest,
        workflow_id: &WorkflowId,
        address: &Address,
    ) -> Result<Answering, Rejection> {
        let token = page_token(
            &request.next_page_token,
            execution_run_id(&request.execution),
        )?;
        let (_, run) = self.view(address);
        let loaded = run
            .as_ref()
            .and_then(|run| self.state.runs.get(run.run_id.as_str()));
        let (Some(run), Some(loaded)) = (&run, loaded) else {
            let run_id = address.run_id.as_deref().unwrap_or_default();
            return Err(not_found(workflow_id, run_id));
        };
        let from = token.as_ref().map_or(
            Position {
                event_id: run.next_event_id - 1,
                chunk: u32::MAX,
            },
            PageToken::position,
        );
        let until = from.event_id.saturating_add(1).min(run.next_event_id);
        let history = loaded
            .history
            .snapshot(&self.run_address(&run.run_id), 1, until);
        Ok(Answering::Page(Box::new(PageOf {
            history,
            from,
            batches_max: page_size(request.maximum_page_size),
            token: token_for(&run.run_id, until),
            order: Order::Backward,
        })))
    }

    // ---- queries ----

    fn on_query(
        &mut self,
        request: &QueryWorkflowRequest,
        wait_ms: u32,
        asker: Asker,
        address: &Address,
    ) {
        let (current, run) = self.view(address);
        let run_id: Option<RunId> = run.as_ref().map(|run| run.run_id.as_str().into());
        let view = View {
            current: current.as_deref(),
            run: run.as_deref(),
        };
        let query_id = self.new_id();
        let mut nobodys = fermata_core::Queries::default();
        let queries = match run_id
            .as_ref()
            .and_then(|run_id| self.state.runs.get_mut(run_id))
        {
            Some(loaded) => &mut loaded.queries,
            None => &mut nobodys,
        };
        match queries.ask(&view, &query_id, request) {
            Ok(Asked::Answered(response)) => {
                let answer = query_answer(Ok(*response));
                self.answer(asker, Answering::Ready(answer));
            }
            Ok(Asked::Pending(effects)) => {
                let Some(run_id) = run_id else { return };
                if self.waiting.is_full() {
                    queries.forget(&query_id);
                    let refusal = super::intake::overloaded();
                    return self.answer(asker, Answering::Ready(Err(refusal)));
                }
                self.waiting.query(query_id, run_id, asker, wait_ms);
                for effect in effects {
                    if let Some(dispatch) = super::work::dispatch(effect, "") {
                        self.group.released.dispatches.push(dispatch);
                    }
                }
            }
            Err(rejection) => self.answer(asker, Answering::Ready(Err(rejection))),
        }
    }

    pub(super) fn on_claim_query(&mut self, claim: &ClaimTask, asker: Asker, address: &Address) {
        let (_, run) = self.view(address);
        let loaded = run
            .as_ref()
            .and_then(|run| self.state.runs.get_mut(run.run_id.as_str()));
        let answering = match (run, loaded) {
            (Some(run), Some(loaded)) => match loaded.queries.claim(&run, claim) {
                Ok(task) => self.handout(task, Within::Claim),
                Err(rejection) => Answering::Ready(Err(rejection)),
            },
            _ => Answering::Ready(Err(Rejection::not_found(
                "query task not found, or already expired",
            ))),
        };
        self.answer(asker, answering);
    }

    fn on_query_answered(&mut self, request: &RespondQueryTaskCompletedRequest, asker: Asker) {
        let Ok(token) = codec::decode::<TaskToken>(&request.task_token) else {
            let rejection = Rejection::invalid_argument("Error deserializing task token.");
            return self.answer(asker, Answering::Ready(Err(rejection)));
        };
        let bytes_max = self.shared.options.limits.blob_bytes_max;
        let mut nobodys = fermata_core::Queries::default();
        let queries = match self.state.touch(&token.run_id) {
            Some(loaded) => &mut loaded.queries,
            None => &mut nobodys,
        };
        match queries.answer(&token.query_id, request, bytes_max) {
            Ok(answer) => {
                self.answer_query(&token.query_id, query_answer(answer));
                self.answer(asker, Answering::Ready(Ok(Response::Done)));
            }
            Err(rejection) => self.answer(asker, Answering::Ready(Err(rejection))),
        }
    }
}

/// The first event.
const START: Position = Position {
    event_id: 1,
    chunk: 0,
};

/// A request for history, resolved.
struct HistoryRead {
    close_only: bool,
    from: Position,
    /// The end that the first page fixed; 0 if there is none yet.
    until: i64,
    waits: bool,
    batches_max: usize,
}

impl HistoryRead {
    /// The answer as `run` stands, or nothing if the caller has to wait.
    fn answer(&self, loaded: &Loaded, run: &Arc<Run>, address: &RunAddress) -> Option<Answering> {
        if self.close_only {
            return self.close_event(run);
        }
        let next = run.next_event_id;
        let goes_on = self.waits && run.is_open();
        if goes_on && self.from.event_id >= next {
            return None;
        }
        let until = if self.waits || self.until == 0 {
            next
        } else {
            self.until.min(next)
        };
        let tail = if !self.waits && until == next {
            workflow_task::transient_events(run, false)
        } else {
            Vec::new()
        };
        let mut token = token_for(&run.run_id, if self.waits { 0 } else { until });
        token.next = until;
        token.chunk = loaded.history.sealed();
        Some(Answering::Page(Box::new(PageOf {
            history: loaded.history.snapshot(address, self.from.event_id, until),
            from: self.from,
            batches_max: self.batches_max,
            token,
            order: Order::Forward { tail, goes_on },
        })))
    }

    fn close_event(&self, run: &Run) -> Option<Answering> {
        let events = match &run.close_event {
            Some(event) if !run.is_open() => vec![(**event).clone()],
            _ if self.waits && run.is_open() => return None,
            _ => Vec::new(),
        };
        Some(history(events, bytes::Bytes::new()))
    }
}

/// The time of a long poll is over: nothing, and how to go on.
fn nothing_yet(run_id: &str, from: Position) -> Answering {
    let mut token = token_for(run_id, 0);
    token.next = from.event_id;
    token.chunk = from.chunk;
    history(Vec::new(), token.encode())
}

fn history(
    events: Vec<fermata_proto::event::HistoryEvent>,
    next_page_token: bytes::Bytes,
) -> Answering {
    Answering::Ready(Ok(Response::GetWorkflowExecutionHistory(Box::new(
        GetWorkflowExecutionHistoryResponse {
            history: Some(Events { events }),
            next_page_token,
            ..GetWorkflowExecutionHistoryResponse::default()
        },
    ))))
}

fn token_for(run_id: &str, until: i64) -> PageToken {
    PageToken {
        run_id: run_id.to_owned(),
        next: 0,
        chunk: 0,
        until,
    }
}

fn execution_run_id(execution: &Option<WorkflowExecution>) -> &str {
    execution.as_ref().map_or("", |execution| &execution.run_id)
}

/// What a page token says, if there is one.
///
/// # Errors
/// INVALID_ARGUMENT if it is none of ours, or of another run.
fn page_token(bytes: &[u8], run_id: &str) -> Result<Option<PageToken>, Rejection> {
    if bytes.is_empty() {
        return Ok(None);
    }
    PageToken::decode(bytes)
        .filter(|token| run_id.is_empty() || token.run_id == run_id)
        .map(Some)
        .ok_or_else(|| Rejection::invalid_argument("Invalid NextPageToken."))
}

fn page_size(asked: i32) -> usize {
    usize::try_from(asked)
        .ok()
        .filter(|size| (1..=PAGE_BATCHES_MAX).contains(size))
        .unwrap_or(PAGE_BATCHES_MAX)
}

/// In Temporal's words.
pub fn not_found(workflow_id: &WorkflowId, run_id: &str) -> Rejection {
    Rejection::not_found(if run_id.is_empty() {
        format!("workflow not found for ID: {workflow_id}")
    } else {
        format!(
            "workflow execution not found for workflow ID \"{workflow_id}\" and run ID \"{run_id}\""
        )
    })
}
