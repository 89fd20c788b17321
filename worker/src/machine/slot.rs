//! Where the outcome of a step waits for the code that awaits it. A step is whatever a command started: an activity, a
//! timer, a child, a message to another workflow.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fermata_proto::common::Payloads;
use fermata_proto::failure::Failure;
use fermata_proto::time::Timestamp;

use super::Shared;

/// Numbers the steps of a run in the order in which code asks for them: the same in every replay.
pub(crate) type Sequence = u64;

/// Stands with commands that are no steps. They take no number, so that code with a patch and code from which it is gone
/// number their steps alike.
pub(crate) const UNNUMBERED: Sequence = 0;

/// How a step ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Done(Option<Payloads>),
    Failed(Box<Failure>),
    Cancelled(Box<Failure>),
    /// A local activity that failed is to be tried again after a timer.
    Backoff {
        delay: Duration,
        attempt: u32,
        original_schedule_time: Timestamp,
    },
}

#[derive(Default)]
struct Slot {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

/// The steps that code may still await.
#[derive(Default)]
pub(crate) struct Slots {
    open: BTreeMap<Sequence, Slot>,
}

impl Slots {
    pub fn open(&mut self, sequence: Sequence) {
        self.open.insert(sequence, Slot::default());
    }

    /// The first outcome counts: a step that was given up may still end.
    pub fn resolve(&mut self, sequence: Sequence, outcome: Outcome) {
        if let Some(slot) = self.open.get_mut(&sequence)
            && slot.outcome.is_none()
        {
            slot.outcome = Some(outcome);
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    fn poll(&mut self, sequence: Sequence, cx: &Context<'_>) -> Poll<Outcome> {
        let slot = self
            .open
            .get_mut(&sequence)
            .expect("a slot stays open while its future lives");
        match slot.outcome.take() {
            Some(outcome) => {
                self.open.remove(&sequence);
                Poll::Ready(outcome)
            }
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Awaits one step's outcome.
pub(crate) struct Step {
    shared: Rc<Shared>,
    sequence: Sequence,
    done: bool,
}

impl Step {
    /// Of a step whose slot is open.
    pub fn new(shared: Rc<Shared>, sequence: Sequence) -> Self {
        Self {
            shared,
            sequence,
            done: false,
        }
    }

    pub fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    pub fn is_done(&self) -> bool {
        self.done
    }
}

impl Future for Step {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        assert!(!self.done, "a finished step was polled again");
        let shared = self.shared.clone();
        let mut state = shared.state();
        let outcome = state.slots.poll(self.sequence, cx);
        if outcome.is_ready() {
            state.progress += 1;
            self.done = true;
        }
        outcome
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.done {
            self.shared.state().slots.open.remove(&self.sequence);
        }
    }
}
