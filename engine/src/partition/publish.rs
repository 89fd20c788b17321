//! Visibility records ahead of the checkpoint: where little happens, lists follow within milliseconds.
//!
//! A checkpoint publishes whatever changed since the last one, which is cheap for thousands of runs and late for a single
//! one. So while few runs wait, their records go out at once; a burst is left to the checkpoint, which publishes each run
//! once instead of once a change. It takes the checkpoint's place while it is under way: two records of one run must not
//! overtake each other.

use std::sync::Arc;
use std::time::Duration;

use fermata_core::Run;
use fermata_proto::codec;
use fermata_proto::ids::StreamSequence;
use fermata_proto::subjects;
use tokio::time::Instant;
use tracing::warn;

use super::checkpoint::{Finished, deleted_visibility, ttl};
use super::owner::Owner;
use super::state::RunId;
use crate::broker::{BrokerError, StateWrite};
use crate::record::Deletion;

/// More runs than this wait for the checkpoint.
const RUNS_MAX: usize = 32;
/// Between two publications, so that a few busy workflows do not make a record of each of their changes.
const INTERVAL: Duration = Duration::from_millis(20);
/// A publication rests at least this many times as long as the last one took.
const REST_FACTOR: u32 = 4;

/// The end of a publication.
pub struct Published {
    sequence: StreamSequence,
    runs: Vec<RunId>,
    took: Duration,
    result: Result<(), BrokerError>,
}

impl Owner {
    /// When a publication is due, unless something is under way or nothing or too much waits.
    pub(super) fn next_publication(&self) -> Option<Instant> {
        let (changed, gone) = (&self.state.unpublished, &self.state.still_listed);
        let waiting = changed.len() + gone.len();
        if self.checkpoints.is_under_way() || waiting == 0 || waiting > RUNS_MAX {
            return None;
        }
        let is_due = changed.iter().any(|run_id| self.may_show(run_id).is_some())
            || gone.iter().any(|run_id| self.may_hide(run_id).is_some());
        is_due.then_some(self.checkpoints.publish_at)
    }

    /// A run whose last change that lists show is durable, as it stands.
    fn may_show(&self, run_id: &RunId) -> Option<&Arc<Run>> {
        let loaded = self.state.runs.get(run_id)?;
        let durable = loaded.durable.as_ref()?;
        (loaded.visible_at <= self.durable).then_some(durable)
    }

    /// A deletion that is durable.
    fn may_hide(&self, run_id: &RunId) -> Option<&Deletion> {
        let (sequence, deletion) = self.state.deleted.get(run_id)?;
        (*sequence <= self.durable).then_some(deletion)
    }

    pub(super) fn maybe_publish(&mut self) {
        let now = Instant::now();
        if self.next_publication().is_some_and(|due| due <= now) {
            self.begin_publication();
        }
    }

    fn begin_publication(&mut self) {
        let (mut runs, mut writes) = (Vec::new(), Vec::new());
        for run_id in &self.state.unpublished {
            if let Some(run) = self.may_show(run_id) {
                let retention = self.retention(&run.namespace_id);
                runs.push(run_id.clone());
                writes.push(StateWrite {
                    subject: subjects::visibility(&run.namespace_id, run_id),
                    record: Some(codec::encode(&run.visibility())),
                    ttl: ttl(run, retention, self.now),
                });
            }
        }
        for run_id in &self.state.still_listed {
            if let Some(deletion) = self.may_hide(run_id) {
                runs.push(run_id.clone());
                writes.push(deleted_visibility(deletion));
            }
        }
        let (shared, sequence) = (self.shared.clone(), self.durable);
        self.checkpoints.begin(async move {
            let began = Instant::now();
            let result = shared.broker.publish_visibility(writes).await;
            Finished::Publication(Published {
                sequence,
                runs,
                took: began.elapsed(),
                result,
            })
        });
    }

    pub(super) fn on_published(&mut self, published: Published) {
        let rest = (published.took * REST_FACTOR).max(INTERVAL);
        self.checkpoints.publish_at = Instant::now() + rest;
        if let Err(error) = published.result {
            // The next checkpoint publishes them.
            warn!(partition = %self.partition, %error, "visibility records are not published yet");
            for run_id in &published.runs {
                self.state.unpublished.remove(run_id);
                self.state.still_listed.remove(run_id);
            }
            return;
        }
        for run_id in &published.runs {
            self.state.on_published(run_id, published.sequence);
            // One that was deleted only meanwhile is still listed.
            let deleted = self.state.deleted.get(run_id);
            if deleted.is_some_and(|(sequence, _)| *sequence <= published.sequence) {
                self.state.still_listed.remove(run_id);
            }
        }
    }
}
