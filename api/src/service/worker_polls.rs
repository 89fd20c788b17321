//! The open polls of each worker that says which it is, so that its shutdown can end them.
//!
//! Ended with nothing by the server, a poll cannot take a task that its worker would not hear of any more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a worker that shut down gets no task: longer than a poll of it may have been under way to us.
const REMEMBERED: Duration = Duration::from_secs(70);
/// Workers remembered at most; the oldest are forgotten first.
const REMEMBERED_MAX: usize = 10_000;

/// See the module.
#[derive(Default)]
pub(crate) struct WorkerPolls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the worker's instance key.
    open: BTreeMap<String, Open>,
    /// In the order in which they shut down.
    ended: VecDeque<(Instant, String)>,
}

#[derive(Default)]
struct Open {
    polls: usize,
    end: CancellationToken,
}

/// A poll that is open.
pub(crate) struct WorkerPoll<'a> {
    polls: &'a WorkerPolls,
    key: String,
    end: CancellationToken,
}

impl WorkerPolls {
    /// A poll begins; nothing if its worker has shut down. Workers without a key have polls that nobody ends.
    pub(crate) fn begin(&self, key: &str) -> Option<WorkerPoll<'_>> {
        let mut state = self.lock();
        let end = if key.is_empty() {
            CancellationToken::new()
        } else {
            state.forget();
            if state.ended.iter().any(|(_, ended)| ended == key) {
                return None;
            }
            let open = state.open.entry(key.to_owned()).or_default();
            open.polls += 1;
            open.end.clone()
        };
        Some(WorkerPoll {
            polls: self,
            key: key.to_owned(),
            end,
        })
    }

    /// The worker has shut down: its polls end, and it gets no more.
    pub(crate) fn end(&self, key: &str) {
        if key.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.forget();
        if state.ended.len() >= REMEMBERED_MAX {
            state.ended.pop_front();
        }
        state.ended.push_back((Instant::now(), key.to_owned()));
        if let Some(open) = state.open.get(key) {
            open.end.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self) {
        while self
            .ended
            .front()
            .is_some_and(|(at, _)| at.elapsed() > REMEMBERED)
        {
            self.ended.pop_front();
        }
    }
}

impl WorkerPoll<'_> {
    /// When the poll's worker has shut down.
    pub(crate) async fn ended(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for WorkerPoll<'_> {
    fn drop(&mut self) {
        if self.key.is_empty() {
            return;
        }
        let mut state = self.polls.lock();
        if let Some(open) = state.open.get_mut(&self.key) {
            open.polls -= 1;
            if open.polls == 0 {
                state.open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutting_down_ends_the_polls_of_that_worker_only() {
        let polls = WorkerPolls::default();
        let (one, other) = (polls.begin("one").unwrap(), polls.begin("other").unwrap());
        polls.end("one");
        one.ended().await;
        assert!(!other.end.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_shut_down_gets_no_poll_for_a_while() {
        let polls = WorkerPolls::default();
        polls.end("one");
        assert!(polls.begin("one").is_none());
        assert!(polls.begin("other").is_some());
        tokio::time::advance(REMEMBERED + Duration::from_secs(1)).await;
        assert!(polls.begin("one").is_some());
    }

    #[tokio::test]
    async fn polls_without_a_key_are_never_ended() {
        let polls = WorkerPolls::default();
        let poll = polls.begin("").unwrap();
        polls.end("");
        assert!(!poll.end.is_cancelled());
        assert!(polls.begin("").is_some());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_polls_that_are_over() {
        let polls = WorkerPolls::default();
        drop(polls.begin("one").unwrap());
        assert!(polls.lock().open.is_empty());
    }
}
