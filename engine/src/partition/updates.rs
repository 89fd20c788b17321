//! Callers of updates: parked at the run until their update is as far as they wait for.
//!
//! What an update is, and how far, are the rules' ([`fermata_core::update`]) and durable; only the callers are this owner's. A
//! caller whose owner is gone asks the next one, and joins its update by the id.
//!
//! | a caller's wait ends by | it hears |
//! |---|---|
//! | the update | the stage, and the outcome if there is one |
//! | the longest time of a long poll | how far the update is |
//! | its own deadline before that | DEADLINE_EXCEEDED; the update goes on |
//!
//! An update-with-start whose run closes under its update is asked once more, by the owner itself.

use fermata_core::{Awaited, Status, View, Wait, update};
use fermata_proto::rpc::{Call, Rejection, RejectionKind, Request};
use fermata_proto::service::PollWorkflowExecutionUpdateRequest;
use tokio::time::Instant;

use super::owner::Owner;
use super::release::{Answering, Asker, OutcomeOf};
use super::state::RunId;
use super::waiting::{UpdateCaller, WaitId};
use super::work::{Address, Work};

impl Owner {
    pub(super) fn on_poll_update(
        &mut self,
        request: &PollWorkflowExecutionUpdateRequest,
        wait_ms: u32,
        asker: Asker,
        address: &Address,
    ) {
        let (current, run) = self.view(address);
        let view = View {
            current: current.as_deref(),
            run: run.as_deref(),
        };
        match update::poll(&view, request) {
            Ok(awaited) => self.on_awaited(awaited, wait_ms, asker),
            Err(rejection) => self.answer(asker, Answering::Ready(Err(rejection))),
        }
    }

    /// Answers a caller whose update is far enough, and parks another.
    pub(super) fn on_awaited(&mut self, awaited: Awaited, wait_ms: u32, asker: Asker) {
        let Awaited { mut wait, status } = awaited;
        if asker.is_repeat {
            wait = wait.repeated();
        }
        if wait.is_over(&status) {
            let answering = self.update_answer(wait, &status);
            return self.answer(asker, answering);
        }
        if self.waiting.is_full() {
            let answer = wait.refuse(super::intake::overloaded());
            return self.answer(asker, Answering::Ready(answer));
        }
        let Some(loaded) = self.state.runs.get_mut(wait.run_id.as_str()) else {
            let words = format!("run {} is not in memory", wait.run_id);
            let answer = wait.refuse(Rejection::new(RejectionKind::Internal, words));
            return self.answer(asker, Answering::Ready(answer));
        };
        let caller = self.waiting.update(wait, asker, wait_ms);
        loaded.callers.push(caller);
    }

    /// Answers the callers that have waited for this; it goes out when the decision is durable.
    pub(super) fn on_update_moved(&mut self, run_id: &str, update_id: &str, status: &Status) {
        let Some(loaded) = self.state.runs.get_mut(run_id) else {
            return;
        };
        let has_heard = |wait: &Wait| wait.update_id == update_id && wait.is_over(status);
        let (heard, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut loaded.callers)
            .into_iter()
            .partition(|caller| has_heard(&caller.wait));
        loaded.callers = kept;
        for caller in heard {
            self.waiting.done(caller.id);
            match caller.wait.again(status) {
                Some(request) => self.ask_again(caller, request),
                None => {
                    let answering = self.update_answer(caller.wait, status);
                    self.answer(caller.asker, answering);
                }
            }
        }
    }

    /// The request is decided anew behind the decision that is being staged.
    fn ask_again(&mut self, caller: UpdateCaller, request: Request) {
        let Some(run) = self
            .state
            .runs
            .get(caller.wait.run_id.as_str())
            .map(|loaded| loaded.run.clone())
        else {
            return;
        };
        let left = caller.until.saturating_duration_since(Instant::now());
        let call = Call {
            namespace_id: run.namespace_id.clone(),
            workflow_id: run.workflow_id.clone(),
            wait_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            request,
        };
        let asker = Asker {
            is_repeat: true,
            ..caller.asker
        };
        self.again.push(Work::Request {
            call: Box::new(call),
            asker,
        });
    }

    pub(super) fn on_caller_expired(&mut self, run_id: &RunId, id: WaitId) {
        let Some(loaded) = self.state.runs.get_mut(run_id) else {
            return;
        };
        let Some(at) = loaded.callers.iter().position(|caller| caller.id == id) else {
            return;
        };
        let caller = loaded.callers.swap_remove(at);
        let status = loaded.run.update_status(&caller.wait.update_id);
        let answering = match status.filter(|_| caller.is_patient) {
            Some(status) => self.update_answer(caller.wait, &status),
            None => {
                let late = Rejection::new(
                    RejectionKind::DeadlineExceeded,
                    "the update did not get there in time",
                );
                Answering::Ready(caller.wait.refuse(late))
            }
        };
        self.answer(caller.asker, answering);
    }

    fn update_answer(&self, wait: Wait, status: &Status) -> Answering {
        let Status::CompletedBy(event_id) = status else {
            return Answering::Ready(wait.answer(status));
        };
        let Some(loaded) = self.state.runs.get(wait.run_id.as_str()) else {
            return Answering::Ready(wait.answer(status));
        };
        let address = self.run_address(&wait.run_id);
        Answering::Outcome(Box::new(OutcomeOf {
            history: loaded.history.snapshot(&address, *event_id, event_id + 1),
            event_id: *event_id,
            wait,
        }))
    }
}
