//! What lies in a partition's log and state store. Persisted: names never change.
//!
//! State records are sealed: MessagePack, then its CRC-32 in four bytes, big-endian. A record that does not match is
//! corrupt, never "not found".

use bytes::Bytes;
use fermata_core::{Run, Transition};
use fermata_proto::codec::{self, CodecError};
use fermata_proto::event::HistoryEvent;
use fermata_proto::ids::{NamespaceId, StreamSequence, WorkflowId};
use fermata_proto::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One message of `fm.log.<partition>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LogRecord {
    Takeover(Takeover),
    Commit(Commit),
}

/// A new owner: from here on every append of an older one fails. It stands in the log several times, see
/// [`crate::broker::Broker::fence_log`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Takeover {
    /// The replica.
    pub owner: String,
    /// One more than the epoch before.
    pub epoch: u64,
    pub time: Timestamp,
}

/// All transitions of one tick of the owner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Commit {
    pub epoch: u64,
    /// From 1 in each epoch.
    pub number: u64,
    pub time: Timestamp,
    pub transitions: Vec<Transition>,
    /// Runs that go, with all that is stored of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deletions: Vec<Deletion>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deletion {
    pub namespace_id: NamespaceId,
    pub workflow_id: WorkflowId,
    pub run_id: String,
}

/// `fm.state.<p>.run.<run id>` of an open run, `fm.state.<p>.closed.<run id>` of a closed one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    pub run: Run,
    /// Number of history chunks; the last one may still grow.
    pub chunks: u32,
    /// The log's sequence up to which this is true. A checkpoint that broke off leaves some records newer than the
    /// checkpoint record says: a replay skips what they hold already.
    pub applied: StreamSequence,
}

/// `fm.state.<p>.hist.<run id>.<chunk>`: events in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryChunk {
    /// The events of each transition that has any.
    pub batches: Vec<std::sync::Arc<Vec<std::sync::Arc<HistoryEvent>>>>,
}

/// `fm.state.<p>.id.<hash>`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CurrentRun {
    pub namespace_id: NamespaceId,
    pub workflow_id: WorkflowId,
    pub run_id: String,
    pub is_open: bool,
}

/// `fm.state.<p>.checkpoint`: everything up to `applied` is in the state store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checkpoint {
    pub applied: StreamSequence,
    pub epoch: u64,
    pub time: Timestamp,
}

/// A state record that does not hold what was written.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("{0} bytes are too few for a sealed record")]
    TooShort(usize),
    #[error("checksum is {found:08x}, {expected:08x} was written")]
    Checksum { found: u32, expected: u32 },
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// # Panics
/// Never for our own types.
pub fn seal<T: Serialize>(record: &T) -> Bytes {
    let mut out = codec::encode_vec(record);
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_be_bytes());
    out.into()
}

/// # Errors
/// If a byte is not as it was written.
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SealError> {
    let (body, checksum) = bytes
        .split_last_chunk::<4>()
        .ok_or(SealError::TooShort(bytes.len()))?;
    let expected = u32::from_be_bytes(*checksum);
    let found = crc32fast::hash(body);
    if found != expected {
        return Err(SealError::Checksum { found, expected });
    }
    Ok(codec::decode(body)?)
}
