//! Reading a workflow's records from the state store, beside the owner's loop.

use std::sync::Arc;
use std::time::Duration;

use fermata_core::Run;
use fermata_proto::ids::Partition;
use fermata_proto::rpc::{Rejection, RejectionKind};
use fermata_proto::subjects;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::address::WorkflowKey;
use super::history::{History, ReadError, RunAddress, load_chunk};
use super::owner::Owner;
use super::release::Answering;
use super::state::{Loaded, RunId};
use super::work::{Address, Work};
use crate::broker::{Broker, BrokerError};
use crate::record::{self, CurrentRun, HistoryChunk, RunRecord};

/// How often a load is tried before its requests hear that the broker is away.
const TRIES: u32 = 3;
const BACKOFF: Duration = Duration::from_millis(200);

/// A run as the state store holds it.
pub struct StoredRun {
    pub record: RunRecord,
    pub open_chunk: HistoryChunk,
    /// Of its records.
    pub bytes: usize,
}

/// What was found of a workflow.
pub struct Found {
    /// The current run, if it was asked for.
    pub current: Option<Option<RunId>>,
    pub runs: Vec<(RunId, StoredRun)>,
}

/// Why a workflow's records cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the record {subject} is damaged: {reason}")]
    Damaged { subject: String, reason: String },
}

/// The end of a load.
pub struct LoadDone {
    pub key: WorkflowKey,
    pub result: Result<Found, LoadError>,
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Broker { source, .. } => Self::Broker(source),
            damaged @ (ReadError::Seal { .. } | ReadError::Missing { .. }) => Self::Damaged {
                subject: "of its history".to_owned(),
                reason: damaged.to_string(),
            },
        }
    }
}

async fn load_record<T: DeserializeOwned>(
    broker: &dyn Broker,
    partition: Partition,
    subject: String,
) -> Result<Option<(T, usize)>, LoadError> {
    let Some(bytes) = broker.load(partition, &subject).await? else {
        return Ok(None);
    };
    match record::unseal(&bytes) {
        Ok(record) => Ok(Some((record, bytes.len()))),
        Err(error) => Err(LoadError::Damaged {
            subject,
            reason: error.to_string(),
        }),
    }
}

/// The record of a workflow's current run.
pub async fn load_current(
    broker: &dyn Broker,
    partition: Partition,
    key: WorkflowKey,
) -> Result<Option<CurrentRun>, LoadError> {
    let subject = subjects::current_run_of_hash(partition, key.0);
    Ok(load_record(broker, partition, subject)
        .await?
        .map(|(record, _)| record))
}

/// A run with its open chunk of history, open or closed; nothing if the store has none.
pub async fn load_run(
    broker: &dyn Broker,
    partition: Partition,
    run_id: &RunId,
) -> Result<Option<StoredRun>, LoadError> {
    // Both, and the closed one wins: the open one may be back from the dead, see `is_superseded`.
    let open = subjects::run(partition, run_id);
    let closed = subjects::closed_run(partition, run_id);
    let (open, closed) = futures::future::join(
        load_record::<RunRecord>(broker, partition, open),
        load_record(broker, partition, closed),
    )
    .await;
    let found = match closed? {
        Some(closed) => Some(closed),
        None => open?,
    };
    let Some((record, bytes)) = found else {
        return Ok(None);
    };
    let open_chunk = load_open_chunk(broker, partition, run_id, &record).await?;
    Ok(Some(StoredRun {
        record,
        open_chunk,
        bytes,
    }))
}

/// Whether the record of an open run that the log does not touch is of a time gone by.
///
/// A broker that was killed may bring a record back that a later one under its subject had replaced and that was deleted
/// then: it replays its files, in which the replacement was removed for good but the replaced record was not (seen with
/// nats-server 2.15.1). An open run is its workflow's current one, by a record written with it and never deleted before it.
pub async fn is_superseded(
    broker: &dyn Broker,
    partition: Partition,
    run: &Run,
) -> Result<bool, BrokerError> {
    // A closed run is kept there for what it has yet to send, which harms nobody twice.
    if !run.is_open() {
        return Ok(false);
    }
    let key = WorkflowKey::of(&run.namespace_id, &run.workflow_id);
    match load_current(broker, partition, key).await {
        Ok(Some(current)) => Ok(current.run_id != run.run_id || !current.is_open),
        Ok(None) => Ok(true),
        Err(LoadError::Broker(error)) => Err(error),
        // Whoever asks for the workflow hears of the damage.
        Err(LoadError::Damaged { .. }) => Ok(false),
    }
}

/// The chunk of a run's history that may still grow.
pub async fn load_open_chunk(
    broker: &dyn Broker,
    partition: Partition,
    run_id: &RunId,
    record: &RunRecord,
) -> Result<HistoryChunk, LoadError> {
    let Some(last) = record.chunks.checked_sub(1) else {
        return Ok(HistoryChunk::default());
    };
    let address = RunAddress {
        partition,
        run_id: run_id.clone(),
    };
    let mut chunk = load_chunk(broker, &address, last).await?;
    // A checkpoint that broke off may have written the chunk before the run: what is newer is in the log.
    chunk.batches.retain(|batch| {
        batch
            .first()
            .is_none_or(|event| event.event_id < record.run.next_event_id)
    });
    verify(&record.run, last, &chunk)?;
    Ok(chunk)
}

/// The chunk's events are contiguous and end where the run says.
fn verify(run: &Run, number: u32, chunk: &HistoryChunk) -> Result<(), LoadError> {
    let mut ids = chunk
        .batches
        .iter()
        .flat_map(|batch| batch.iter())
        .map(|event| event.event_id);
    let first = ids.next().unwrap_or(0);
    let last = ids.try_fold(first, |before, id| (id == before + 1).then_some(id));
    if last == Some(run.next_event_id - 1) && (number > 0 || first == 1) {
        return Ok(());
    }
    Err(LoadError::Damaged {
        subject: format!("of history chunk {number} of run {}", run.run_id),
        reason: format!(
            "its events begin with {first} and should go on without a hole to {}",
            run.next_event_id - 1
        ),
    })
}

async fn load(
    broker: &dyn Broker,
    partition: Partition,
    key: WorkflowKey,
    known: Option<Option<RunId>>,
    wanted: Vec<RunId>,
) -> Result<Found, LoadError> {
    let mut wanted = wanted;
    let mut current = None;
    let mut open_current = None;
    if known.is_none() {
        let record = load_current(broker, partition, key).await?;
        let run_id: Option<RunId> = record.as_ref().map(|record| record.run_id.as_str().into());
        if let (Some(record), Some(run_id)) = (&record, &run_id) {
            if record.is_open {
                open_current = Some(run_id.clone());
            }
            if !wanted.contains(run_id) {
                wanted.push(run_id.clone());
            }
        }
        current = Some(run_id);
    }
    let mut runs = Vec::new();
    for run_id in wanted {
        if let Some(stored) = load_run(broker, partition, &run_id).await? {
            runs.push((run_id, stored));
        } else if open_current.as_ref() == Some(&run_id) {
            return Err(LoadError::Damaged {
                subject: subjects::run(partition, &run_id),
                reason: "it is missing, although the run is open".to_owned(),
            });
        }
    }
    Ok(Found { current, runs })
}

impl Owner {
    /// Begins to read what `address` needs and memory lacks.
    pub(super) fn begin_load(&mut self, address: &Address) {
        let key = address.key;
        let known = self
            .state
            .workflows
            .get(&key)
            .map(|workflow| workflow.current.clone());
        let wanted: Vec<RunId> = [known.clone().flatten(), address.run_id.clone()]
            .into_iter()
            .flatten()
            .filter(|run_id| {
                !self.state.runs.contains_key(run_id) && !self.state.deleted.contains_key(run_id)
            })
            .collect();
        self.state.workflows.entry(key).or_default().loading = true;
        let (broker, partition) = (self.shared.broker.clone(), self.partition);
        let permits = self.load_permits.clone();
        self.loads.spawn(async move {
            let _permit = permits.acquire().await;
            let mut tries = 0;
            loop {
                tries += 1;
                let result = load(&*broker, partition, key, known.clone(), wanted.clone()).await;
                if tries < TRIES && matches!(result, Err(LoadError::Broker(_))) {
                    tokio::time::sleep(BACKOFF * tries).await;
                    continue;
                }
                return LoadDone { key, result };
            }
        });
    }

    pub(super) fn on_loaded(&mut self, done: LoadDone) {
        let LoadDone { key, result } = done;
        let Some(workflow) = self.state.workflows.get_mut(&key) else {
            return;
        };
        workflow.loading = false;
        match result {
            Ok(found) => {
                if let Some(current) = found.current {
                    workflow.current =
                        current.filter(|run_id| !self.state.deleted.contains_key(run_id));
                    workflow.durable.clone_from(&workflow.current);
                }
                for (run_id, stored) in found.runs {
                    let is_deleted = self.state.deleted.contains_key(&run_id);
                    if !is_deleted && !self.state.runs.contains_key(&run_id) {
                        let key = WorkflowKey::of(
                            &stored.record.run.namespace_id,
                            &stored.record.run.workflow_id,
                        );
                        self.state.insert(stored.loaded(key));
                    }
                }
                // A current run whose retention has ended is none.
                if let Some(workflow) = self.state.workflows.get_mut(&key)
                    && let Some(current) = &workflow.current
                    && !self.state.runs.contains_key(current)
                {
                    workflow.current = None;
                    workflow.durable = None;
                }
            }
            Err(LoadError::Broker(error)) => return self.on_load_failed(key, &error),
            Err(damaged @ LoadError::Damaged { .. }) => {
                self.stop_workflow(key, &format!("this workflow has stopped: {damaged}"));
            }
        }
        self.resume(key);
    }

    /// Requests hear of it; what nobody asked for is tried again.
    fn on_load_failed(&mut self, key: WorkflowKey, error: &BrokerError) {
        warn!(partition = %self.partition, %error, "a workflow's records could not be loaded");
        let Some(workflow) = self.state.workflows.remove(&key) else {
            return;
        };
        let mut kept = Vec::new();
        for parked in workflow.parked {
            self.parked -= 1;
            match parked.work {
                Work::Request { asker, .. } | Work::Reset { asker, .. } => {
                    let rejection = Rejection::new(RejectionKind::Unavailable, error.to_string());
                    self.answer(asker, Answering::Ready(Err(rejection)));
                }
                work => kept.push(work),
            }
        }
        if workflow.current.is_some() {
            let known = self.state.workflows.entry(key).or_default();
            known.current = workflow.current;
            known.durable = workflow.durable;
        }
        for work in kept {
            self.on_work(work);
        }
    }
}

impl StoredRun {
    pub fn loaded(self, key: WorkflowKey) -> Loaded {
        let run = Arc::new(self.record.run);
        let history = History::stored(self.record.chunks, self.open_chunk, run.next_event_id);
        Loaded::stored(key, run, history, self.bytes)
    }
}
