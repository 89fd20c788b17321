//! Callers that wait: long polls of history, callers of updates, askers of queries, and who describes a schedule that acts. All end before their caller's patience
//! does.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fermata_core::Wait;
use fermata_core::query::QueryAnswer;
use fermata_proto::rpc::{Answer, Call, Rejection, RejectionKind, Response};
use tokio::time::Instant;

use super::history::Position;
use super::release::Asker;
use super::state::RunId;
use super::work::Work;

/// Callers that may wait in one partition; further long polls are answered at once, as if their time were over.
pub const WAITING_MAX: usize = 20_000;
/// A long poll of history, or of an update, is answered after this, whatever its caller says (Temporal:
/// `history.longPollExpirationInterval`).
const LONG_POLL_MAX: Duration = Duration::from_secs(20);
/// A start that takes longer, for example because its partition is being taken over, is not waited for.
const STARTS_MAX: Duration = Duration::from_secs(1);
/// The answer needs this long to reach the caller.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// A long poll of a run's history.
pub struct HistoryWaiter {
    pub id: WaitId,
    pub asker: Asker,
    pub close_only: bool,
    pub from: Position,
    pub batches_max: usize,
}

/// Who describes a schedule.
pub struct Describer {
    pub id: WaitId,
    pub asker: Asker,
    pub call: Box<Call>,
}

impl Describer {
    /// Asked once more, the schedule is described as it is.
    pub fn asks_again(self) -> Work {
        let asker = Asker {
            is_repeat: true,
            ..self.asker
        };
        Work::Request {
            call: self.call,
            asker,
        }
    }
}

/// The caller of an update.
pub struct UpdateCaller {
    pub id: WaitId,
    pub asker: Asker,
    pub wait: Wait,
    /// When its caller gives up.
    pub until: Instant,
    /// Its own time is not over when its wait is: then it is told how far the update is.
    pub is_patient: bool,
}

struct QueryAsker {
    id: WaitId,
    asker: Asker,
    run_id: RunId,
}

/// When a wait ends, and a number that tells waits of one moment apart.
pub type WaitId = (Instant, u64);

/// Whose time is over.
pub enum Expired {
    History { run_id: RunId, id: WaitId },
    Query { query_id: String },
    Update { run_id: RunId, id: WaitId },
    Describe { run_id: RunId, id: WaitId },
}

/// When each of them stops waiting. The waiters of history and the callers of updates themselves hang on their runs.
#[derive(Default)]
pub struct Waiting {
    expiries: BTreeMap<WaitId, Expired>,
    queries: HashMap<String, QueryAsker>,
    next_id: u64,
}

/// How long a caller that gives itself `wait_ms` may be kept.
pub fn patience(wait_ms: u32) -> Duration {
    let wait = Duration::from_millis(u64::from(wait_ms));
    wait.saturating_sub(ANSWER_MARGIN.min(wait / 4))
}

impl Waiting {
    pub fn is_full(&self) -> bool {
        self.expiries.len() >= WAITING_MAX
    }

    /// A long poll begins to wait; the id is for its [`HistoryWaiter`].
    pub fn history(&mut self, run_id: RunId, wait_ms: u32) -> WaitId {
        let id = self.id(patience(wait_ms).min(LONG_POLL_MAX));
        self.expiries.insert(id, Expired::History { run_id, id });
        id
    }

    /// The caller of an update begins to wait.
    pub fn update(&mut self, wait: Wait, asker: Asker, wait_ms: u32) -> UpdateCaller {
        let patience = patience(wait_ms);
        let id = self.id(patience.min(LONG_POLL_MAX));
        let run_id: RunId = wait.run_id.as_str().into();
        self.expiries.insert(id, Expired::Update { run_id, id });
        UpdateCaller {
            id,
            asker,
            wait,
            until: Instant::now() + patience,
            is_patient: patience >= LONG_POLL_MAX,
        }
    }

    /// Who describes a schedule begins to wait for the starts that are on their way.
    pub fn describe(&mut self, run_id: RunId, wait_ms: u32) -> WaitId {
        let id = self.id(patience(wait_ms).min(STARTS_MAX));
        self.expiries.insert(id, Expired::Describe { run_id, id });
        id
    }

    pub fn query(&mut self, query_id: String, run_id: RunId, asker: Asker, wait_ms: u32) {
        let id = self.id(patience(wait_ms));
        let expired = Expired::Query {
            query_id: query_id.clone(),
        };
        self.expiries.insert(id, expired);
        let waiter = QueryAsker { id, asker, run_id };
        self.queries.insert(query_id, waiter);
    }

    fn id(&mut self, patience: Duration) -> WaitId {
        self.next_id += 1;
        (Instant::now() + patience, self.next_id)
    }

    /// A long poll or the caller of an update has its answer.
    pub fn done(&mut self, id: WaitId) {
        self.expiries.remove(&id);
    }

    /// The asker of a query, and the run that was asked, unless it has stopped waiting.
    pub fn take_query(&mut self, query_id: &str) -> Option<(Asker, RunId)> {
        let query = self.queries.remove(query_id)?;
        self.expiries.remove(&query.id);
        Some((query.asker, query.run_id))
    }

    /// Everybody who waits for the answer to a query, in the order in which their patience ends.
    pub fn take_queries(&mut self) -> Vec<Asker> {
        let mut queries: Vec<_> = std::mem::take(&mut self.queries).into_values().collect();
        queries.sort_unstable_by_key(|query| query.id);
        queries.into_iter().map(|query| query.asker).collect()
    }

    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiries
            .first_key_value()
            .map(|((until, _), _)| *until)
    }

    pub fn take_expired(&mut self, now: Instant) -> Option<Expired> {
        let entry = self.expiries.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

/// What an asker of a query hears.
pub fn query_answer(answer: QueryAnswer) -> Answer {
    answer.map(|response| Response::QueryWorkflow(Box::new(response)))
}

/// No worker answered a query in time.
pub fn query_expired() -> Answer {
    Err(Rejection::new(
        RejectionKind::DeadlineExceeded,
        "the query was not answered in time",
    ))
}
