//! What the logs say, record by record from the first: the reference that everything else is compared with.
//!
//! Obvious rather than fast: the whole log is replayed, without checkpoints, caches or owners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fermata_core::{Change, Run, Transition};
use fermata_engine::broker::LogEntry;
use fermata_engine::record::{LogRecord, Takeover};
use fermata_proto::codec;
use fermata_proto::event::HistoryEvent;
use fermata_proto::ids::{Partition, StreamSequence};

/// One run as its transitions make it.
pub struct TrueRun {
    pub run: Run,
    pub events: Vec<Arc<HistoryEvent>>,
    pub transitions: Vec<(StreamSequence, Transition)>,
    /// The last transition that opened or closed it.
    pub turned_at: StreamSequence,
}

/// One partition as its whole log makes it.
pub struct Truth {
    pub partition: Partition,
    pub runs: BTreeMap<String, TrueRun>,
    /// The last run of each workflow id.
    pub current: BTreeMap<String, String>,
    pub last: StreamSequence,
    pub transitions: u64,
}

impl Truth {
    /// Replays `log`, and checks what must hold at every record of it.
    pub fn of(partition: Partition, log: &[LogEntry]) -> Self {
        let mut truth = Self {
            partition,
            runs: BTreeMap::new(),
            current: BTreeMap::new(),
            last: StreamSequence(0),
            transitions: 0,
        };
        let mut order = Order::default();
        for entry in log {
            let record: LogRecord = codec::decode(&entry.record).expect("a record of the log");
            invariant_the_log_has_no_hole(truth.last, entry.sequence);
            order.invariant_epochs_and_commits_follow_each_other(entry.sequence, &record);
            truth.last = entry.sequence;
            if let LogRecord::Commit(commit) = record {
                assert!(commit.deletions.is_empty(), "nobody deletes workflows here");
                let mut touched = BTreeSet::new();
                for transition in commit.transitions {
                    touched.insert(transition.workflow_id.0.clone());
                    truth.apply(entry.sequence, transition);
                }
                for workflow_id in touched {
                    truth.invariant_at_most_one_run_is_open(&workflow_id);
                }
            }
        }
        truth
    }

    fn apply(&mut self, sequence: StreamSequence, transition: Transition) {
        self.transitions += 1;
        let run_id = transition.run_id.clone();
        if transition.creates {
            let run = Run::new(
                transition.namespace_id.clone(),
                transition.workflow_id.clone(),
                run_id.clone(),
            );
            let begun = TrueRun {
                run,
                events: Vec::new(),
                transitions: Vec::new(),
                turned_at: sequence,
            };
            let before = self.runs.insert(run_id.clone(), begun);
            assert!(before.is_none(), "run {run_id} begins twice");
            self.current
                .insert(transition.workflow_id.0.clone(), run_id.clone());
        }
        let true_run = self
            .runs
            .get_mut(&run_id)
            .unwrap_or_else(|| panic!("run {run_id} changes at {sequence} before it begins"));
        let was_open = transition.creates || true_run.run.is_open();
        true_run.run.apply(&transition);
        let events: Vec<_> = transition
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::Event(event) => Some(event.clone()),
                Change::Fact(_) => None,
            })
            .collect();
        assert!(
            was_open || events.is_empty(),
            "run {run_id} is closed and still gets events: {events:?}"
        );
        true_run.events.extend(events);
        if was_open != true_run.run.is_open() {
            true_run.turned_at = sequence;
        }
        true_run.transitions.push((sequence, transition));
    }

    fn invariant_at_most_one_run_is_open(&self, workflow_id: &str) {
        let open: Vec<_> = self
            .runs
            .values()
            .filter(|one| one.run.workflow_id.0 == workflow_id && one.run.is_open())
            .map(|one| &one.run.run_id)
            .collect();
        assert!(open.len() <= 1, "{workflow_id} has the open runs {open:?}");
        if let [open] = open[..] {
            assert_eq!(
                self.current.get(workflow_id),
                Some(open),
                "the open run of {workflow_id} is not its current one"
            );
        }
    }
}

fn invariant_the_log_has_no_hole(last: StreamSequence, next: StreamSequence) {
    assert_eq!(next, last.next(), "the log has a hole");
}

#[derive(Default)]
struct Order {
    epoch: u64,
    number: u64,
    /// The last record, if it is one.
    takeover: Option<Takeover>,
    time: fermata_proto::time::Timestamp,
}

impl Order {
    fn invariant_epochs_and_commits_follow_each_other(
        &mut self,
        sequence: StreamSequence,
        record: &LogRecord,
    ) {
        let time = match record {
            LogRecord::Takeover(takeover) => {
                // A takeover stands in the log as often as it takes to fence off what is under way.
                let is_copy = self.takeover.as_ref() == Some(takeover);
                let epoch = self.epoch + u64::from(!is_copy);
                assert_eq!(takeover.epoch, epoch, "epoch of record {sequence}");
                self.epoch = epoch;
                self.number = 0;
                self.takeover = Some(takeover.clone());
                takeover.time
            }
            LogRecord::Commit(commit) => {
                assert_eq!(commit.epoch, self.epoch, "epoch of record {sequence}");
                assert_eq!(
                    commit.number,
                    self.number + 1,
                    "number of record {sequence}"
                );
                self.number = commit.number;
                self.takeover = None;
                commit.time
            }
        };
        assert!(
            time >= self.time,
            "time goes backwards at record {sequence}"
        );
        self.time = time;
    }
}
