//! Resets: gathers the history that the rules have to see, and asks them when all of it is there.
//!
//! What memory holds is taken at once; full chunks, and runs that are not loaded, are read beside the loop. Meanwhile the
//! base run may go on: whoever comes back takes what is new, until nothing is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use fermata_core::reset::{self, Past};
use fermata_core::{Input, View};
use fermata_proto::rpc::{Call, Rejection, RejectionKind, Request};
use fermata_proto::service::ResetWorkflowExecutionRequest;
use tokio::task::JoinSet;
use tracing::error;

use super::history::{History, Snapshot};
use super::load::{LoadError, load_run};
use super::owner::Owner;
use super::release::{Answering, Asker};
use super::state::RunId;
use super::work::{Address, Asked, Work, no_namespace};

/// Resets of one partition that read history at the same time; more are told to come again.
const RESETS_MAX: usize = 16;
/// Runs that a reset follows along a chain; later ones are not looked at.
const RUNS_MAX: usize = 1_000;

/// What was read for one reset.
pub struct HistoryRead {
    id: u64,
    /// Nothing if the run is gone.
    result: Result<Option<Past>, LoadError>,
}

struct Waiting {
    call: Box<Call>,
    asker: Asker,
    past: Vec<Past>,
}

/// The resets of a partition that wait for history.
#[derive(Default)]
pub struct Resets {
    waiting: BTreeMap<u64, Waiting>,
    reads: JoinSet<HistoryRead>,
    last_id: u64,
}

impl Resets {
    pub fn is_idle(&self) -> bool {
        self.reads.is_empty()
    }

    /// Cancellation-safe.
    pub async fn next(&mut self) -> Option<HistoryRead> {
        self.reads.join_next().await?.ok()
    }

    pub fn take_askers(&mut self) -> Vec<Asker> {
        std::mem::take(&mut self.waiting)
            .into_values()
            .map(|waiting| waiting.asker)
            .collect()
    }
}

/// The next thing to do for a reset.
enum Next {
    /// A part of a run's history, from the event with this id on.
    Take {
        snapshot: Snapshot,
        from: i64,
        run_id: RunId,
    },
    /// A run that is not in memory.
    Load(RunId),
    Decide,
}

impl Owner {
    /// Decides a reset, or begins to read what it lacks.
    pub(super) fn on_reset(
        &mut self,
        call: Box<Call>,
        asker: Asker,
        mut past: Vec<Past>,
        address: Address,
    ) {
        let Request::ResetWorkflowExecution(request) = &call.request else {
            unreachable!("only resets come here");
        };
        loop {
            match self.next_of_reset(request, &past, &address) {
                Next::Take {
                    snapshot,
                    from,
                    run_id,
                } if !snapshot.needs_store() => {
                    let batches = snapshot.in_memory().filter(|events| begins(events) >= from);
                    add(&mut past, &run_id, batches.collect());
                }
                Next::Take {
                    snapshot,
                    from,
                    run_id,
                } => {
                    let broker = self.shared.broker.clone();
                    self.read_for_reset(call, asker, past, async move {
                        let batches = snapshot.batches(&*broker, from).await?;
                        Ok(Some(Past {
                            run_id: run_id.to_string(),
                            batches,
                        }))
                    });
                    return;
                }
                Next::Load(run_id) => {
                    let (broker, partition) = (self.shared.broker.clone(), self.partition);
                    let address = self.run_address(&run_id);
                    self.read_for_reset(call, asker, past, async move {
                        let Some(stored) = load_run(&*broker, partition, &run_id).await? else {
                            return Ok(None);
                        };
                        let until = stored.record.run.next_event_id;
                        let history =
                            History::stored(stored.record.chunks, stored.open_chunk, until);
                        let snapshot = history.snapshot(&address, 1, until);
                        Ok(Some(Past {
                            run_id: run_id.to_string(),
                            batches: snapshot.batches(&*broker, 1).await?,
                        }))
                    });
                    return;
                }
                Next::Decide => break,
            }
        }
        let Some(namespace) = self.namespaces.record(&call.namespace_id).cloned() else {
            let gone = no_namespace(&call.namespace_id);
            self.answer(asker, Answering::Ready(Err(gone)));
            return;
        };
        let Request::ResetWorkflowExecution(request) = call.request else {
            unreachable!("only resets come here");
        };
        let asked = Asked {
            address,
            namespace,
            asker: Some(asker),
            wait_ms: call.wait_ms,
        };
        self.on_input(asked, &Input::Reset { request, past });
    }

    fn next_of_reset(
        &mut self,
        request: &ResetWorkflowExecutionRequest,
        past: &[Past],
        address: &Address,
    ) -> Next {
        let (current, run) = self.view(address);
        let view = View {
            current: current.as_deref(),
            run: run.as_deref(),
        };
        let Ok(base) = reset::base(&view, request) else {
            // It is refused.
            return Next::Decide;
        };
        let mut wanted: RunId = base.run_id.as_str().into();
        for at in 0..RUNS_MAX {
            let known = past.get(at);
            let from = known.and_then(last).map_or(1, |last| last.event_id + 1);
            match self.state.runs.get(&wanted) {
                Some(loaded) if loaded.run.next_event_id > from => {
                    let until = loaded.run.next_event_id;
                    let snapshot = loaded
                        .history
                        .snapshot(&self.run_address(&wanted), from, until);
                    return Next::Take {
                        snapshot,
                        from,
                        run_id: wanted,
                    };
                }
                None if known.is_none() => return Next::Load(wanted),
                _ => {}
            }
            let next = known
                .and_then(last)
                .and_then(|last| reset::continued_as(last))
                .filter(|_| reset::looks_ahead(request));
            match next {
                Some(next) => wanted = next.into(),
                None => break,
            }
        }
        Next::Decide
    }

    fn read_for_reset(
        &mut self,
        call: Box<Call>,
        asker: Asker,
        past: Vec<Past>,
        read: impl Future<Output = Result<Option<Past>, LoadError>> + Send + 'static,
    ) {
        if self.resets.waiting.len() >= RESETS_MAX {
            self.answer(asker, Answering::Ready(Err(super::intake::overloaded())));
            return;
        }
        self.resets.last_id += 1;
        let id = self.resets.last_id;
        let waiting = Waiting { call, asker, past };
        self.resets.waiting.insert(id, waiting);
        self.resets.reads.spawn(async move {
            let result = read.await;
            HistoryRead { id, result }
        });
    }

    pub(super) fn on_history_read(&mut self, read: HistoryRead) {
        let Some(Waiting {
            call,
            asker,
            mut past,
        }) = self.resets.waiting.remove(&read.id)
        else {
            return;
        };
        let rejection = match read.result {
            Ok(found) => {
                match found {
                    Some(found) => {
                        let run_id: RunId = found.run_id.as_str().into();
                        add(&mut past, &run_id, found.batches);
                    }
                    // Retention has ended for a run of the chain: there is nothing of it to apply again.
                    None => past.push(Past {
                        run_id: String::new(),
                        batches: Vec::new(),
                    }),
                }
                self.on_work(Work::Reset { call, asker, past });
                return;
            }
            Err(LoadError::Broker(error)) => {
                Rejection::new(RejectionKind::Unavailable, error.to_string())
            }
            Err(damaged @ LoadError::Damaged { .. }) => {
                error!(partition = %self.partition, error = %damaged, "a reset cannot read the history that it builds on");
                Rejection::new(RejectionKind::Corrupt, damaged.to_string())
            }
        };
        self.answer(asker, Answering::Ready(Err(rejection)));
    }
}

type Events = Arc<Vec<Arc<fermata_proto::event::HistoryEvent>>>;

fn begins(events: &Events) -> i64 {
    events.first().map_or(0, |event| event.event_id)
}

fn last(past: &Past) -> Option<&fermata_proto::event::HistoryEvent> {
    Some(past.batches.last()?.last()?)
}

/// Adds what was read of a run behind what is known of it.
fn add(past: &mut Vec<Past>, run_id: &RunId, batches: Vec<Events>) {
    match past.last_mut().filter(|last| *last.run_id == **run_id) {
        Some(known) => known.batches.extend(batches),
        None => past.push(Past {
            run_id: run_id.to_string(),
            batches,
        }),
    }
}
