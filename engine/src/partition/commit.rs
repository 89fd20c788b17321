//! The group in the making: transitions are encoded as they are decided, into one log message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_core::{Run, Transition};
use fermata_proto::codec;
use fermata_proto::ids::StreamSequence;
use fermata_proto::time::Timestamp;
use tokio::time::Instant;

use super::release::{Answering, Asker, Dispatch};
use super::state::RunId;
use crate::record::Deletion;

/// A commit goes out once it has this many bytes.
pub const COMMIT_BYTES_TARGET: usize = 512 << 10;
/// Decisions in one commit, so that the first of them does not wait for too many others.
pub const DECISIONS_MAX: usize = 2_048;
/// The transitions of one decision, which cannot be split; with a full commit before them they still fit the broker's 8 MB.
pub const DECISION_BYTES_MAX: usize = 6 << 20;

/// Writes a [`crate::record::LogRecord::Commit`] piece by piece; the result decodes as one.
#[derive(Debug, Default)]
pub struct CommitWriter {
    transitions: Vec<u8>,
    count: u32,
}

impl CommitWriter {
    /// How much is written, to go back to with [`Self::take_back`].
    pub fn mark(&self) -> (usize, u32) {
        (self.transitions.len(), self.count)
    }

    pub fn take_back(&mut self, mark: (usize, u32)) {
        self.transitions.truncate(mark.0);
        self.count = mark.1;
    }

    pub fn push(&mut self, transition: &Transition) {
        codec::encode_into(&mut self.transitions, transition);
        self.count += 1;
    }

    pub fn bytes(&self) -> usize {
        self.transitions.len()
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// MessagePack: a map of one variant, whose fields are named; the array of transitions has a 32-bit length.
    pub fn finish(
        &self,
        epoch: u64,
        number: u64,
        time: Timestamp,
        deletions: &[Deletion],
    ) -> Bytes {
        const MAP_OF_ONE: u8 = 0x81;
        const ARRAY_32: u8 = 0xdd;
        let mut out = Vec::with_capacity(self.transitions.len() + 128);
        out.push(MAP_OF_ONE);
        codec::encode_into(&mut out, "Commit");
        out.push(if deletions.is_empty() { 0x84 } else { 0x85 });
        codec::encode_into(&mut out, "epoch");
        codec::encode_into(&mut out, &epoch);
        codec::encode_into(&mut out, "number");
        codec::encode_into(&mut out, &number);
        codec::encode_into(&mut out, "time");
        codec::encode_into(&mut out, &time);
        codec::encode_into(&mut out, "transitions");
        out.push(ARRAY_32);
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.transitions);
        if !deletions.is_empty() {
            codec::encode_into(&mut out, "deletions");
            codec::encode_into(&mut out, deletions);
        }
        out.into()
    }
}

/// All that waits for one append: nothing in here is known outside before the log's acknowledgement.
#[derive(Default)]
pub struct Group {
    pub writer: CommitWriter,
    pub deletions: Vec<Deletion>,
    pub decisions: usize,
    /// Runs and their states after this commit, in order; of a run that changed twice the later one stands.
    pub applied: Vec<(RunId, Arc<Run>)>,
    pub released: Released,
}

/// What goes out when the log has it.
#[derive(Default)]
pub struct Released {
    pub answers: Vec<(Asker, Answering)>,
    pub dispatches: Vec<Dispatch>,
    pub deliveries: Vec<Delivery>,
}

/// An outbox entry to be sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub key: super::address::WorkflowKey,
    pub run_id: RunId,
    pub entry: Arc<fermata_core::run::OutboxEntry>,
}

impl Group {
    /// Whether anything has to be appended.
    pub fn changes(&self) -> bool {
        self.writer.count > 0 || !self.deletions.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        !self.changes() && self.released.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.writer.bytes() >= COMMIT_BYTES_TARGET || self.decisions >= DECISIONS_MAX
    }
}

impl Released {
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.dispatches.is_empty() && self.deliveries.is_empty()
    }

    pub fn extend(&mut self, later: Self) {
        self.answers.extend(later.answers);
        self.dispatches.extend(later.dispatches);
        self.deliveries.extend(later.deliveries);
    }
}

/// A commit whose append has been sent.
pub struct InFlight {
    /// The place it takes in the log; the append expects the one before.
    pub sequence: StreamSequence,
    pub record: Bytes,
    pub applied: Vec<(RunId, Arc<Run>)>,
    pub released: Released,
    pub sent: Instant,
}

impl InFlight {
    pub fn expected(&self) -> StreamSequence {
        StreamSequence(self.sequence.0 - 1)
    }

    pub fn age(&self) -> Duration {
        self.sent.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Commit, LogRecord};

    fn transition(run_id: &str) -> Transition {
        Transition {
            namespace_id: "ns".into(),
            workflow_id: "wf".into(),
            run_id: run_id.to_owned(),
            creates: true,
            changes: Vec::new(),
        }
    }

    #[test]
    fn a_commit_written_in_pieces_is_the_record_byte_for_byte_but_for_the_arrays_length() {
        for count in [0, 1, 20] {
            for deletions in [vec![], vec![Deletion::default()]] {
                let mut writer = CommitWriter::default();
                let transitions: Vec<_> = (0..count).map(|n| transition(&n.to_string())).collect();
                transitions.iter().for_each(|one| writer.push(one));
                let record = writer.finish(3, 7, Timestamp::from_millis(5), &deletions);
                let decoded: LogRecord = codec::decode(&record).unwrap();
                let expected = LogRecord::Commit(Commit {
                    epoch: 3,
                    number: 7,
                    time: Timestamp::from_millis(5),
                    transitions,
                    deletions,
                });
                assert_eq!(decoded, expected);
            }
        }
    }

    #[test]
    fn what_is_taken_back_is_not_in_the_commit() {
        let mut writer = CommitWriter::default();
        writer.push(&transition("kept"));
        let mark = writer.mark();
        writer.push(&transition("dropped"));
        writer.take_back(mark);
        let record = writer.finish(1, 1, Timestamp::default(), &[]);
        let LogRecord::Commit(commit) = codec::decode(&record).unwrap() else {
            panic!("it is a commit");
        };
        assert_eq!(commit.transitions, [transition("kept")]);
    }
}
