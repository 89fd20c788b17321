//! A run's event history: full chunks in the state store, what is behind them in memory, and pages of both.
//!
//! | part | where |
//! |---|---|
//! | full chunks, `0..sealed` | only in the state store; never change |
//! | the open chunk and all newer batches | in memory; a checkpoint rewrites the open chunk until it is full |
//!
//! A *batch* is what one transition wrote; pages count batches, as Temporal's count transactions. A page is taken from a
//! [`Snapshot`], which later transitions do not change, so that it can be read and sent off the owner's loop.
//!
//! Deliberately absent: who waits for new events ([`super::waiting`]).

use std::sync::Arc;

use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::event::HistoryEvent;
use fermata_proto::ids::Partition;
use fermata_proto::subjects;
use serde::{Deserialize, Serialize};

use crate::broker::{Broker, BrokerError};
use crate::record::{self, HistoryChunk, SealError};

/// A chunk is full from this size on.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Batches on one page.
pub const PAGE_BATCHES_MAX: usize = 256;
/// Bytes of events on one page, but for a single batch that is larger; the edge's clients take 4 MiB.
const PAGE_BYTES_MAX: usize = 3_500_000;

/// The room of an event's attributes, of the usual kinds.
const ATTRIBUTES_BYTES: usize = 400;

/// The events of one transition.
pub type Events = Arc<Vec<Arc<HistoryEvent>>>;

/// One batch and its size in MessagePack.
#[derive(Debug, Clone)]
pub struct Batch {
    pub events: Events,
    pub bytes: usize,
}

impl Batch {
    fn first(&self) -> i64 {
        self.events.first().map_or(0, |event| event.event_id)
    }

    fn last(&self) -> i64 {
        self.events.last().map_or(0, |event| event.event_id)
    }

    fn measured(events: Events) -> Self {
        let bytes = events
            .iter()
            .map(|event| codec::encoded_len(&**event))
            .sum();
        Self { events, bytes }
    }
}

/// The history of a loaded run.
#[derive(Debug, Default)]
pub struct History {
    sealed: u32,
    open: Vec<Batch>,
    bytes: usize,
    /// Events below this id are in the state store.
    stored_until: i64,
}

impl History {
    /// As the store holds it: `chunks` in number, the last of which is `open`.
    pub fn stored(chunks: u32, open: HistoryChunk, next_event_id: i64) -> Self {
        let open: Vec<Batch> = open.batches.into_iter().map(Batch::measured).collect();
        Self {
            sealed: chunks.saturating_sub(1),
            bytes: open.iter().map(|batch| batch.bytes).sum(),
            open,
            stored_until: next_event_id,
        }
    }

    pub fn push(&mut self, events: Vec<Arc<HistoryEvent>>, bytes: usize) {
        if events.is_empty() {
            return;
        }
        self.bytes += bytes;
        self.open.push(Batch {
            events: Arc::new(events),
            bytes,
        });
    }

    /// As [`Self::push`], of several batches with `bytes` in all.
    pub fn push_all(&mut self, batches: Vec<Vec<Arc<HistoryEvent>>>, bytes: usize) {
        if batches.len() <= 1 {
            for events in batches {
                self.push(events, bytes);
            }
            return;
        }
        for events in batches {
            let batch = Batch::measured(Arc::new(events));
            self.bytes += batch.bytes;
            self.open.push(batch);
        }
    }

    /// Estimated bytes in memory: an event, the room of its attributes, and what its MessagePack holds besides.
    pub fn memory_bytes(&self) -> usize {
        let events: usize = self.open.iter().map(|batch| batch.events.len()).sum();
        events * (size_of::<HistoryEvent>() + ATTRIBUTES_BYTES) + self.bytes
    }

    pub fn sealed(&self) -> u32 {
        self.sealed
    }

    /// Chunks in the state store once all events below `until` are there. Later ones may be in memory already: they belong to
    /// commits that are not acknowledged, and may begin a chunk that nobody has written.
    pub fn chunks(&self, until: i64) -> u32 {
        let has_more = self.open.first().is_some_and(|batch| batch.first() < until);
        self.sealed + u32::from(has_more)
    }

    /// What a checkpoint has to write for the events below `until`; nothing if all of it is stored, unless it is to be
    /// written `anyway`.
    pub fn unstored(&self, until: i64, anyway: bool) -> Option<Vec<Batch>> {
        (anyway || self.stored_until < until).then(|| {
            self.open
                .iter()
                .take_while(|batch| batch.first() < until)
                .cloned()
                .collect()
        })
    }

    /// A checkpoint has written the events below `until`, and `sealed` chunks of `batches` batches in memory are full.
    pub fn on_stored(&mut self, until: i64, sealed: u32, batches: usize) {
        self.stored_until = self.stored_until.max(until);
        self.sealed += sealed;
        for batch in self.open.drain(..batches) {
            self.bytes -= batch.bytes;
        }
    }

    /// The events from `from` up to but not including `until`, as of now.
    pub fn snapshot(&self, run: &RunAddress, from: i64, until: i64) -> Snapshot {
        let start = self.open.partition_point(|batch| batch.last() < from);
        let end = self.open.partition_point(|batch| batch.first() < until);
        let in_memory_from = self.open.first().map_or(until, Batch::first);
        Snapshot {
            run: run.clone(),
            sealed: if from < in_memory_from {
                self.sealed
            } else {
                0
            },
            open_chunk: self.sealed,
            open: self.open[start.min(end)..end].to_vec(),
            until,
        }
    }
}

/// Cuts batches into chunks; all but the last are full, and the last one may be. The same batches, and more behind them,
/// are cut at the same places.
pub fn cut(batches: &[Batch]) -> Vec<&[Batch]> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, batch) in batches.iter().enumerate() {
        bytes += batch.bytes;
        if bytes >= CHUNK_BYTES {
            chunks.push(&batches[start..=at]);
            (start, bytes) = (at + 1, 0);
        }
    }
    if start < batches.len() {
        chunks.push(&batches[start..]);
    }
    chunks
}

/// Whether nothing will be added to a chunk.
pub fn is_full(chunk: &[Batch]) -> bool {
    chunk.iter().map(|batch| batch.bytes).sum::<usize>() >= CHUNK_BYTES
}

/// Where a run's records lie.
#[derive(Debug, Clone)]
pub struct RunAddress {
    pub partition: Partition,
    pub run_id: Arc<str>,
}

/// A chunk that is not there or not what was written.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read history chunk {chunk} of run {run_id}")]
    Broker {
        chunk: u32,
        run_id: Arc<str>,
        #[source]
        source: BrokerError,
    },
    #[error("history chunk {chunk} of run {run_id} is damaged")]
    Seal {
        chunk: u32,
        run_id: Arc<str>,
        #[source]
        source: SealError,
    },
    #[error("history chunk {chunk} of run {run_id} is missing")]
    Missing { chunk: u32, run_id: Arc<str> },
}

/// Reads and verifies one chunk.
pub async fn load_chunk(
    broker: &dyn Broker,
    run: &RunAddress,
    chunk: u32,
) -> Result<HistoryChunk, ReadError> {
    let subject = subjects::history_chunk(run.partition, &run.run_id, chunk);
    let run_id = run.run_id.clone();
    match broker.load(run.partition, &subject).await {
        Ok(Some(bytes)) => record::unseal(&bytes).map_err(|source| ReadError::Seal {
            chunk,
            run_id,
            source,
        }),
        Ok(None) => Err(ReadError::Missing { chunk, run_id }),
        Err(source) => Err(ReadError::Broker {
            chunk,
            run_id,
            source,
        }),
    }
}

/// A run's history as of one moment; cheap to take.
#[derive(Debug, Clone)]
pub struct Snapshot {
    run: RunAddress,
    /// Chunks of the store that precede `open`, or 0 if none of them is asked for.
    sealed: u32,
    /// The chunk that `open` begins.
    open_chunk: u32,
    open: Vec<Batch>,
    /// Events from this id on are not part of it.
    until: i64,
}

/// Where a page begins: the next event, and the chunk from which to look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub event_id: i64,
    pub chunk: u32,
}

/// Some events, and where the next page begins.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    pub events: Vec<HistoryEvent>,
    pub next: Option<Position>,
}

/// Fills a page batch by batch.
struct Filling {
    page: Page,
    batches: usize,
    bytes: usize,
    batches_max: usize,
}

impl Filling {
    fn is_full(&self, next: &Batch) -> bool {
        self.batches >= self.batches_max
            || (self.batches > 0 && self.bytes + next.bytes > PAGE_BYTES_MAX)
    }

    fn count(&mut self, batch: &Batch) {
        self.batches += 1;
        self.bytes += batch.bytes;
    }
}

impl Snapshot {
    /// Whether a page has to read the store: whoever must not wait does not read it then.
    pub fn needs_store(&self) -> bool {
        self.sealed > 0
    }

    /// The id after the last event.
    pub fn until(&self) -> i64 {
        self.until
    }

    /// All batches from the one with the event `from` on, which must begin one.
    pub async fn batches(&self, broker: &dyn Broker, from: i64) -> Result<Vec<Events>, ReadError> {
        let mut all = Vec::new();
        let begin = Position {
            event_id: from,
            chunk: 0,
        };
        for chunk in self.first_chunk(broker, begin).await?..self.sealed {
            all.extend(load_chunk(broker, &self.run, chunk).await?.batches);
        }
        all.extend(self.in_memory());
        all.retain(|events| {
            let first = events.first().map_or(0, |event| event.event_id);
            first >= from && first < self.until
        });
        Ok(all)
    }

    /// The batches that need no reading.
    pub fn in_memory(&self) -> impl Iterator<Item = Events> {
        self.open.iter().map(|batch| batch.events.clone())
    }

    /// Up to `batches_max` batches with the events from `from` on.
    pub async fn forward(
        &self,
        broker: &dyn Broker,
        from: Position,
        batches_max: usize,
    ) -> Result<Page, ReadError> {
        let mut filling = Filling {
            page: Page::default(),
            batches: 0,
            bytes: 0,
            batches_max,
        };
        for chunk in self.first_chunk(broker, from).await?..self.sealed {
            let stored = load_chunk(broker, &self.run, chunk).await?;
            let batches = stored.batches.into_iter().map(Batch::measured);
            if self.take_forward(&mut filling, batches, chunk, from.event_id) {
                return Ok(filling.page);
            }
        }
        self.take_forward(
            &mut filling,
            self.open.iter().cloned(),
            self.open_chunk,
            from.event_id,
        );
        Ok(filling.page)
    }

    /// A position without a chunk is looked for from the end, since it is a sticky worker's, which has all but the last events.
    async fn first_chunk(&self, broker: &dyn Broker, from: Position) -> Result<u32, ReadError> {
        if from.chunk > 0 || from.event_id <= 1 {
            return Ok(from.chunk.min(self.sealed));
        }
        for chunk in (0..self.sealed).rev() {
            let stored = load_chunk(broker, &self.run, chunk).await?;
            let first = stored.batches.first().and_then(|batch| batch.first());
            if first.is_some_and(|event| event.event_id <= from.event_id) {
                return Ok(chunk);
            }
        }
        Ok(0)
    }

    /// True when the page is full.
    fn take_forward(
        &self,
        filling: &mut Filling,
        batches: impl Iterator<Item = Batch>,
        chunk: u32,
        from: i64,
    ) -> bool {
        for batch in batches {
            if batch.last() < from {
                continue;
            }
            if batch.first() >= self.until {
                return true;
            }
            if filling.is_full(&batch) {
                filling.page.next = Some(Position {
                    event_id: batch.first(),
                    chunk,
                });
                return true;
            }
            filling.count(&batch);
            let events = batch.events.iter().filter(|event| event.event_id >= from);
            filling
                .page
                .events
                .extend(events.map(|event| (**event).clone()));
        }
        false
    }

    /// Up to `batches_max` batches with the events from `from` on backwards, newest first.
    pub async fn backward(
        &self,
        broker: &dyn Broker,
        from: Position,
        batches_max: usize,
    ) -> Result<Page, ReadError> {
        let mut filling = Filling {
            page: Page::default(),
            batches: 0,
            bytes: 0,
            batches_max,
        };
        let open = self.open.iter().rev().cloned();
        if Self::take_backward(&mut filling, open, self.open_chunk, from.event_id) {
            return Ok(filling.page);
        }
        let newest = self.sealed.min(from.chunk.saturating_add(1));
        for chunk in (0..newest).rev() {
            let stored = load_chunk(broker, &self.run, chunk).await?;
            let batches = stored.batches.into_iter().rev().map(Batch::measured);
            if Self::take_backward(&mut filling, batches, chunk, from.event_id) {
                break;
            }
        }
        Ok(filling.page)
    }

    fn take_backward(
        filling: &mut Filling,
        batches: impl Iterator<Item = Batch>,
        chunk: u32,
        from: i64,
    ) -> bool {
        for batch in batches {
            if batch.first() > from {
                continue;
            }
            if filling.is_full(&batch) {
                filling.page.next = Some(Position {
                    event_id: batch.last(),
                    chunk,
                });
                return true;
            }
            filling.count(&batch);
            let events = batch
                .events
                .iter()
                .rev()
                .filter(|event| event.event_id <= from);
            filling
                .page
                .events
                .extend(events.map(|event| (**event).clone()));
        }
        false
    }
}

/// What a page token holds, MessagePack inside the opaque bytes that a client sends back. A client may keep it over an
/// upgrade: names never change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PageToken {
    pub run_id: String,
    /// The event that the page begins with.
    pub next: i64,
    /// The chunk to look for it from.
    pub chunk: u32,
    /// The page's end, fixed by the first page; 0 for one that waits for new events.
    pub until: i64,
}

impl PageToken {
    pub fn encode(&self) -> Bytes {
        codec::encode(self)
    }

    /// Nothing if the bytes are no token.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return None;
        }
        codec::decode(bytes).ok()
    }

    pub fn position(&self) -> Position {
        Position {
            event_id: self.next,
            chunk: self.chunk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{SimulatedBroker, SimulatedReplica};

    fn address() -> RunAddress {
        RunAddress {
            partition: Partition(0),
            run_id: "run".into(),
        }
    }

    fn batch(ids: std::ops::RangeInclusive<i64>) -> Vec<Arc<HistoryEvent>> {
        ids.map(|event_id| {
            Arc::new(HistoryEvent {
                event_id,
                ..HistoryEvent::default()
            })
        })
        .collect()
    }

    fn history(batches: &[std::ops::RangeInclusive<i64>], bytes: usize) -> History {
        let mut history = History::default();
        for ids in batches {
            history.push(batch(ids.clone()), bytes);
        }
        history
    }

    fn ids(page: &Page) -> Vec<i64> {
        page.events.iter().map(|event| event.event_id).collect()
    }

    fn from(event_id: i64) -> Position {
        Position { event_id, chunk: 0 }
    }

    fn replica() -> SimulatedReplica {
        SimulatedBroker::new(1).connect("reader")
    }

    #[tokio::test(start_paused = true)]
    async fn pages_count_batches_and_follow_without_gap_or_overlap() {
        let history = history(&[1..=2, 3..=3, 4..=7, 8..=9, 10..=10, 11..=12], 10);
        let snapshot = history.snapshot(&address(), 1, 13);
        let first = snapshot.forward(&replica(), from(1), 3).await.unwrap();
        assert_eq!(ids(&first), (1..=7).collect::<Vec<_>>());
        let second = snapshot
            .forward(&replica(), first.next.unwrap(), 3)
            .await
            .unwrap();
        assert_eq!(ids(&second), (8..=12).collect::<Vec<_>>());
        assert_eq!(second.next, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_may_begin_in_the_middle_of_a_batch_and_ends_where_the_snapshot_does() {
        let history = history(&[1..=2, 3..=6, 7..=8], 10);
        let snapshot = history.snapshot(&address(), 5, 7);
        let page = snapshot.forward(&replica(), from(5), 256).await.unwrap();
        assert_eq!((ids(&page), page.next), (vec![5, 6], None));
        let backwards = history.snapshot(&address(), 1, 9);
        let page = backwards.backward(&replica(), from(8), 2).await.unwrap();
        assert_eq!(ids(&page), [8, 7, 6, 5, 4, 3]);
        let page = backwards
            .backward(&replica(), page.next.unwrap(), 2)
            .await
            .unwrap();
        assert_eq!((ids(&page), page.next), (vec![2, 1], None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_bounded_in_bytes_too() {
        let history = history(&[1..=1, 2..=2, 3..=3], 2_000_000);
        let snapshot = history.snapshot(&address(), 1, 4);
        let page = snapshot.forward(&replica(), from(1), 256).await.unwrap();
        assert_eq!(ids(&page), [1]);
        assert_eq!(page.next.map(|next| next.event_id), Some(2));
    }

    #[test]
    fn more_batches_behind_do_not_move_the_cuts() {
        let sizes = [40_000, 30_000, 10, 70_000, 5];
        let mut history = History::default();
        for (at, bytes) in sizes.into_iter().enumerate() {
            let id = i64::try_from(at).unwrap() + 1;
            history.push(batch(id..=id), bytes);
        }
        let all = history.unstored(6, false).unwrap();
        let lengths = |batches: &[Batch]| cut(batches).iter().map(|c| c.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&all), [2, 2, 1]);
        assert_eq!(lengths(&all[..3]), [2, 1]);
        assert!(is_full(cut(&all)[0]) && !is_full(cut(&all)[2]));
    }

    #[test]
    fn what_is_stored_and_full_leaves_memory() {
        let mut history = history(&[1..=2, 3..=3], CHUNK_BYTES);
        assert_eq!(history.unstored(3, false).unwrap().len(), 1);
        history.on_stored(3, 1, 1);
        assert_eq!((history.sealed(), history.bytes), (1, CHUNK_BYTES));
        assert!(history.unstored(3, false).is_none());
        assert_eq!(history.unstored(3, true).unwrap().len(), 0);
        assert_eq!(history.unstored(4, false).unwrap().len(), 1);
        assert!(!history.snapshot(&address(), 3, 4).needs_store());
        assert!(history.snapshot(&address(), 2, 4).needs_store());
    }
}
