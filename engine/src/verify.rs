//! Checks what is stored of a partition: every record's checksum, and what must hold between the records.
//!
//! It only reads, and needs no owner to stop: a partition that is being worked on changes while it is read, so what looks
//! wrong is looked at again after a while, and only what is still wrong is told.
//!
//! What is read first must never be newer than what is held against it: first the checkpoint, then the log behind it, then
//! runs, then history.
//!
//! Deliberately absent: repairing anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fermata_core::{Run, Transition};
use fermata_proto::codec;
use fermata_proto::event::{HistoryEvent, HistoryEventAttributes as A};
use fermata_proto::ids::{Partition, StreamSequence};
use fermata_proto::subjects;
use futures::StreamExt;

use crate::broker::{Broker, BrokerError, LogEntry};
use crate::record::{self, Checkpoint, Commit, CurrentRun, HistoryChunk, LogRecord, RunRecord};

/// Long enough for a checkpoint to end that was in the midst of it.
const SETTLE: Duration = Duration::from_secs(3);
/// Problems that are remembered; what has more is beyond telling one by one.
const PROBLEMS_MAX: usize = 10_000;
/// How often the log is read anew when a checkpoint purges what was about to be read.
const LOG_TRIES: u32 = 5;

/// Something that should not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where: a subject.
    pub subject: String,
    pub what: String,
}

/// What was read, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub partition: Partition,
    pub epoch: u64,
    /// The log's sequence up to which the state store holds everything.
    pub applied: StreamSequence,
    pub log_records: u64,
    pub transitions: u64,
    pub open_runs: u64,
    pub closed_runs: u64,
    pub chunks: u64,
    pub events: u64,
    pub bytes: u64,
    /// In order of their subjects; empty if all is well.
    pub problems: Vec<Problem>,
}

/// Reads a whole partition of a deployment of `partitions`. `on_records` hears from time to time how many records were read.
///
/// # Errors
/// If the broker is away. Damage is no error but a problem in the report.
pub async fn verify(
    broker: &dyn Broker,
    partition: Partition,
    partitions: u16,
    mut on_records: impl FnMut(u64),
) -> Result<Report, BrokerError> {
    let mut report = Pass::read(broker, partition, partitions, &mut on_records).await?;
    if report.problems.is_empty() {
        return Ok(report);
    }
    tokio::time::sleep(SETTLE).await;
    let seen: BTreeSet<Problem> = report.problems.into_iter().collect();
    report = Pass::read(broker, partition, partitions, &mut on_records).await?;
    report.problems.retain(|problem| seen.contains(problem));
    Ok(report)
}

/// What the chunks of one run hold.
#[derive(Debug, Clone, Default)]
struct Chunk {
    first: i64,
    last: i64,
    /// The closing event, if it is among them.
    closing: Option<i64>,
}

/// One reading of the partition.
struct Pass<'a> {
    broker: &'a dyn Broker,
    partition: Partition,
    partitions: u16,
    report: Report,
    records: u64,
    log: Vec<(StreamSequence, Commit)>,
    open: BTreeMap<String, RunRecord>,
    closed: BTreeMap<String, RunRecord>,
    current: BTreeMap<String, CurrentRun>,
    chunks: BTreeMap<(String, u32), Chunk>,
}

impl<'a> Pass<'a> {
    async fn read(
        broker: &'a dyn Broker,
        partition: Partition,
        partitions: u16,
        on_records: &mut impl FnMut(u64),
    ) -> Result<Report, BrokerError> {
        let mut pass = Self {
            broker,
            partition,
            partitions,
            report: Report {
                partition,
                ..Report::default()
            },
            records: 0,
            log: Vec::new(),
            open: BTreeMap::new(),
            closed: BTreeMap::new(),
            current: BTreeMap::new(),
            chunks: BTreeMap::new(),
        };
        pass.read_log().await?;
        for kind in ["run.*", "closed.*", "id.*", "hist.>"] {
            let filter = format!("fm.state.{partition}.{kind}");
            let mut found = broker.scan(partition, &filter).await?;
            while let Some(read) = found.next().await {
                let (subject, bytes) = read?;
                pass.note(&subject, &bytes);
                pass.records += 1;
                if pass.records.is_multiple_of(1_000) {
                    on_records(pass.records);
                }
            }
        }
        on_records(pass.records);
        pass.check_runs();
        pass.check_current();
        pass.check_tail();
        pass.report.problems.sort();
        Ok(pass.report)
    }

    fn problem(&mut self, subject: impl Into<String>, what: impl Into<String>) {
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(Problem {
                subject: subject.into(),
                what: what.into(),
            });
        }
    }

    // ---- reading ----

    /// The checkpoint and all of the log behind it.
    async fn read_log(&mut self) -> Result<(), BrokerError> {
        let subject = subjects::checkpoint(self.partition);
        let mut tries = 0;
        loop {
            tries += 1;
            let checkpoint = match self.broker.load(self.partition, &subject).await? {
                None => Checkpoint::default(),
                Some(bytes) => match record::unseal(&bytes) {
                    Ok(checkpoint) => checkpoint,
                    Err(error) => {
                        self.problem(&subject, error.to_string());
                        return Ok(());
                    }
                },
            };
            let mut entries: Vec<LogEntry> = Vec::new();
            let mut at = checkpoint.applied.next();
            loop {
                let page = self.broker.read_log(self.partition, at).await?;
                let Some(last) = page.last() else { break };
                at = last.sequence.next();
                entries.extend(page);
            }
            let is_whole = (checkpoint.applied.next().0..)
                .zip(&entries)
                .all(|(expected, entry)| entry.sequence.0 == expected);
            if !is_whole && tries < LOG_TRIES {
                continue;
            }
            if !is_whole {
                self.problem(
                    subjects::log(self.partition),
                    format!("it has a hole behind {}", checkpoint.applied),
                );
            }
            self.report.applied = checkpoint.applied;
            self.report.epoch = checkpoint.epoch;
            self.note_log(&entries);
            return Ok(());
        }
    }

    /// Epochs never fall, and the commits of an epoch are numbered without a hole.
    fn note_log(&mut self, entries: &[LogEntry]) {
        let subject = subjects::log(self.partition);
        let mut number = None;
        for entry in entries {
            self.report.log_records += 1;
            self.report.bytes += entry.record.len() as u64;
            let at = entry.sequence;
            match codec::decode(&entry.record) {
                Err(error) => self.problem(&subject, format!("record {at}: {error}")),
                Ok(LogRecord::Takeover(takeover)) => {
                    if takeover.epoch < self.report.epoch {
                        let what = format!("record {at} takes over with an epoch that is gone by");
                        self.problem(&subject, what);
                    }
                    self.report.epoch = self.report.epoch.max(takeover.epoch);
                    number = Some(0);
                }
                Ok(LogRecord::Commit(commit)) => {
                    if commit.epoch != self.report.epoch {
                        let what =
                            format!("record {at} is of an owner that had lost the partition");
                        self.problem(&subject, what);
                    }
                    if number.is_some_and(|before| commit.number != before + 1) {
                        let what = format!("record {at} is commit {}, out of turn", commit.number);
                        self.problem(&subject, what);
                    }
                    number = Some(commit.number);
                    self.report.transitions += commit.transitions.len() as u64;
                    self.log.push((at, commit));
                }
            }
        }
    }

    fn note(&mut self, subject: &str, bytes: &[u8]) {
        self.report.bytes += bytes.len() as u64;
        let prefix = format!("fm.state.{}.", self.partition);
        let tokens: Vec<&str> = subject
            .strip_prefix(&prefix)
            .unwrap_or_default()
            .split('.')
            .collect();
        let noted = match tokens[..] {
            ["run", run_id] => unsealed(bytes).map(|record| {
                self.open.insert(run_id.to_owned(), record);
            }),
            ["closed", run_id] => unsealed(bytes).map(|record| {
                self.closed.insert(run_id.to_owned(), record);
            }),
            ["id", hash] => unsealed(bytes).map(|record| {
                self.current.insert(hash.to_owned(), record);
            }),
            ["hist", run_id, chunk] => match chunk.parse() {
                Ok(chunk) => unsealed(bytes).and_then(|record| {
                    let held = self.chunk(&record)?;
                    self.chunks.insert((run_id.to_owned(), chunk), held);
                    Ok(())
                }),
                Err(_) => Err("its last token is no number".to_owned()),
            },
            _ => Err("no record belongs there".to_owned()),
        };
        if let Err(what) = noted {
            self.problem(subject, what);
        }
    }

    /// A chunk's events go on without a hole.
    fn chunk(&mut self, chunk: &HistoryChunk) -> Result<Chunk, String> {
        self.report.chunks += 1;
        let mut held = Chunk::default();
        for event in chunk.batches.iter().flat_map(|batch| batch.iter()) {
            if held.first == 0 {
                held.first = event.event_id;
            } else if event.event_id != held.last + 1 {
                return Err(format!(
                    "event {} follows event {}",
                    event.event_id, held.last
                ));
            }
            if let Some(closing) = held.closing {
                return Err(format!(
                    "event {} follows the closing event {closing}",
                    event.event_id
                ));
            }
            held.last = event.event_id;
            held.closing = is_closing(event).then_some(event.event_id);
            self.report.events += 1;
        }
        Ok(held)
    }

    // ---- what must hold between the records ----

    fn check_runs(&mut self) {
        let open = std::mem::take(&mut self.open);
        let closed = std::mem::take(&mut self.closed);
        for (run_id, record) in &open {
            // A broker that was killed may bring a replaced record back; whoever reads prefers the closed one.
            if closed.contains_key(run_id) || self.is_superseded(&record.run) {
                continue;
            }
            self.report.open_runs += u64::from(record.run.is_open());
            self.report.closed_runs += u64::from(!record.run.is_open());
            self.check_run(&subjects::run(self.partition, run_id), run_id, record);
        }
        for (run_id, record) in &closed {
            self.report.closed_runs += 1;
            let subject = subjects::closed_run(self.partition, run_id);
            if record.run.is_open() {
                self.problem(&subject, "the run is open");
            }
            self.check_run(&subject, run_id, record);
        }
        (self.open, self.closed) = (open, closed);
    }

    fn check_run(&mut self, subject: &str, run_id: &str, record: &RunRecord) {
        let run = &record.run;
        if run.run_id != run_id {
            self.problem(subject, format!("it holds run {}", run.run_id));
        }
        let belongs = Partition::of(&run.namespace_id, &run.workflow_id, self.partitions);
        if belongs != self.partition {
            let what = format!(
                "workflow {} belongs to partition {belongs}",
                run.workflow_id
            );
            self.problem(subject, what);
        }
        let last = run.next_event_id - 1;
        let (mut reached, mut closing) = (0, None);
        for number in 0..record.chunks {
            let key = (run_id.to_owned(), number);
            let Some(chunk) = self.chunks.get(&key).cloned() else {
                let what = format!("chunk {number} of its {} is not there", record.chunks);
                return self.problem(subject, what);
            };
            if chunk.first != reached + 1 {
                let what = format!(
                    "chunk {number} begins with event {}, after event {reached}",
                    chunk.first
                );
                return self.problem(subject, what);
            }
            reached = chunk.last;
            closing = closing.or(chunk.closing);
        }
        // A checkpoint that broke off leaves chunks newer than the run.
        if reached < last {
            let what = format!("its history ends with event {reached}, and should with {last}");
            return self.problem(subject, what);
        }
        match closing {
            Some(at) if at < last => {
                self.problem(
                    subject,
                    format!("its history goes on after the closing event {at}"),
                );
            }
            Some(at) if at == last && run.is_open() => {
                self.problem(subject, format!("it is open, and event {at} closes it"));
            }
            None if !run.is_open() => self.problem(subject, "it is closed, and no event says so"),
            _ => {}
        }
    }

    /// The record of the workflow id of an open run.
    fn current_of(&self, run: &Run) -> Option<&CurrentRun> {
        let subject = subjects::current_run(self.partition, &run.namespace_id, &run.workflow_id);
        self.current.get(subject.rsplit('.').next()?)
    }

    /// See `partition::load::is_superseded`.
    fn is_superseded(&self, run: &Run) -> bool {
        run.is_open()
            && self
                .current_of(run)
                .is_none_or(|current| current.run_id != run.run_id || !current.is_open)
    }

    /// Where a workflow id has an open run, it is there.
    fn check_current(&mut self) {
        let current = std::mem::take(&mut self.current);
        for (hash, named) in &current {
            let subject = format!("fm.state.{}.id.{hash}", self.partition);
            let expected =
                subjects::current_run(self.partition, &named.namespace_id, &named.workflow_id);
            if expected != subject {
                self.problem(&subject, format!("it is of workflow {}", named.workflow_id));
            }
            let run = self.open.get(&named.run_id);
            if named.is_open && !run.is_some_and(|record| record.run.is_open()) {
                let what = format!(
                    "workflow {} has the open run {}, which is not there",
                    named.workflow_id, named.run_id
                );
                self.problem(&subject, what);
            }
        }
        self.current = current;
    }

    /// What the log holds behind the checkpoint goes on where each run's record ends.
    fn check_tail(&mut self) {
        let log = std::mem::take(&mut self.log);
        let mut next: BTreeMap<&str, i64> = BTreeMap::new();
        for (sequence, commit) in &log {
            for transition in &commit.transitions {
                let record = [&self.open, &self.closed]
                    .into_iter()
                    .find_map(|runs| runs.get(&transition.run_id));
                if record.is_some_and(|record| record.applied >= *sequence) {
                    continue;
                }
                let stored = record.map(|record| record.run.next_event_id);
                let begun = transition.creates.then_some(1);
                let Some(expected) = next
                    .get(transition.run_id.as_str())
                    .copied()
                    .or(stored)
                    .or(begun)
                else {
                    let what = format!(
                        "record {sequence} goes on with run {}, which is not there",
                        transition.run_id
                    );
                    self.problem(subjects::log(self.partition), what);
                    continue;
                };
                match goes_on(transition, expected) {
                    Ok(reached) => {
                        next.insert(&transition.run_id, reached);
                    }
                    Err(what) => self.problem(
                        subjects::log(self.partition),
                        format!("record {sequence}, run {}: {what}", transition.run_id),
                    ),
                }
            }
        }
    }
}

/// The id after the transition's last event, if they go on from `expected`.
fn goes_on(transition: &Transition, expected: i64) -> Result<i64, String> {
    let mut next = expected;
    for event in transition.events() {
        if event.event_id != next {
            return Err(format!(
                "event {} is where event {next} should be",
                event.event_id
            ));
        }
        next += 1;
    }
    Ok(next)
}

fn unsealed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    record::unseal(bytes).map_err(|error| error.to_string())
}

/// Whether nothing may follow.
fn is_closing(event: &HistoryEvent) -> bool {
    matches!(
        event.attributes,
        Some(
            A::WorkflowExecutionCompleted(_)
                | A::WorkflowExecutionFailed(_)
                | A::WorkflowExecutionTimedOut(_)
                | A::WorkflowExecutionTerminated(_)
                | A::WorkflowExecutionCanceled(_)
                | A::WorkflowExecutionContinuedAsNew(_)
        )
    )
}
