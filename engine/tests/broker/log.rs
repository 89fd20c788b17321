//! The log.

use bytes::Bytes;
use fermata_engine::broker::{APPENDS_IN_FLIGHT_MAX, AppendError, Broker, LogEntry};
use fermata_proto::ids::{Partition, StreamSequence};

use crate::World;

const P: Partition = Partition(3);

fn at(sequence: u64) -> StreamSequence {
    StreamSequence(sequence)
}

async fn opened(world: &dyn World) -> std::sync::Arc<dyn Broker> {
    let broker = world.connect("one").await;
    broker.open(P).await.unwrap();
    broker
}

async fn append(
    broker: &dyn Broker,
    expected: u64,
    record: &'static str,
) -> Result<StreamSequence, AppendError> {
    broker
        .append(P, at(expected), Bytes::from_static(record.as_bytes()))
        .await
        .await
}

async fn whole_log(broker: &dyn Broker) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    loop {
        let from = entries
            .last()
            .map_or(at(1), |entry: &LogEntry| entry.sequence.next());
        let page = broker.read_log(P, from).await.unwrap();
        if page.is_empty() {
            return entries;
        }
        entries.extend(page);
    }
}

pub async fn an_append_gets_the_next_sequence(world: &dyn World) {
    let broker = opened(world).await;
    assert_eq!(broker.log_last(P).await.unwrap(), at(0));
    assert_eq!(append(&*broker, 0, "a").await.unwrap(), at(1));
    assert_eq!(append(&*broker, 1, "b").await.unwrap(), at(2));
    assert_eq!(broker.log_last(P).await.unwrap(), at(2));
}

pub async fn an_append_with_a_wrong_expectation_is_a_conflict(world: &dyn World) {
    let broker = opened(world).await;
    let other = world.connect("two").await;
    append(&*broker, 0, "a").await.unwrap();
    append(&*other, 1, "b").await.unwrap();
    for expected in [0, 1, 3] {
        let failure = append(&*broker, expected, "c").await.unwrap_err();
        assert!(
            matches!(failure, AppendError::Conflict { expected: found, .. } if found == at(expected)),
            "{failure:?}"
        );
    }
    assert_eq!(broker.log_last(P).await.unwrap(), at(2));
}

pub async fn appends_under_way_fail_with_the_first_that_fails(world: &dyn World) {
    let broker = opened(world).await;
    let mut under_way = Vec::new();
    for expected in 0..50 {
        let record = Bytes::from(format!("record {expected}"));
        under_way.push(broker.append(P, at(expected), record).await);
    }
    for (index, acknowledged) in (1..).zip(under_way) {
        assert_eq!(acknowledged.await.unwrap(), at(index));
    }
    // Another owner comes between: everything that builds on the first failure fails.
    let other = world.connect("two").await;
    append(&*other, 50, "takeover").await.unwrap();
    let mut under_way = Vec::new();
    for expected in 50..60 {
        if expected != 51 {
            under_way.push(
                broker
                    .append(P, at(expected), Bytes::from_static(b"late"))
                    .await,
            );
        }
    }
    for acknowledged in under_way {
        assert!(matches!(
            acknowledged.await.unwrap_err(),
            AppendError::Conflict { .. }
        ));
    }
    assert_eq!(whole_log(&*broker).await.last().unwrap().record, "takeover");
}

/// A new owner fences the log while an older one has as many appends under way as it may: each of them expects a sequence
/// that the fence could take.
pub async fn no_append_under_way_gets_behind_a_fence(world: &dyn World) {
    let broker = opened(world).await;
    let other = world.connect("two").await;
    append(&*broker, 0, "a").await.unwrap();
    let fence = Bytes::from_static(b"fence");
    let end = other.fence_log(P, at(1), fence.clone()).await.unwrap();
    for ahead in 0..APPENDS_IN_FLIGHT_MAX as u64 {
        let failure = append(&*broker, 1 + ahead, "stale").await.unwrap_err();
        assert!(
            matches!(failure, AppendError::Conflict { .. }),
            "{failure:?}"
        );
    }
    let log = whole_log(&*other).await;
    assert_eq!(log.len(), 1 + APPENDS_IN_FLIGHT_MAX);
    assert!(log[1..].iter().all(|entry| entry.record == fence));
    assert_eq!(log.last().unwrap().sequence, end);
    append(&*other, end.0, "b").await.unwrap();
}

pub async fn a_fence_behind_a_wrong_sequence_writes_nothing(world: &dyn World) {
    let broker = opened(world).await;
    append(&*broker, 0, "a").await.unwrap();
    let fence = Bytes::from_static(b"fence");
    let failure = broker.fence_log(P, at(0), fence).await.unwrap_err();
    assert!(
        matches!(failure, AppendError::Conflict { .. }),
        "{failure:?}"
    );
    assert_eq!(whole_log(&*broker).await.len(), 1);
}

pub async fn pages_of_the_log_are_in_order_and_end_empty(world: &dyn World) {
    let broker = opened(world).await;
    assert_eq!(broker.read_log(P, at(1)).await.unwrap(), vec![]);
    // More than one page.
    let large = 1 << 20;
    for expected in 0..12 {
        let record = Bytes::from(vec![u8::try_from(expected).unwrap(); large]);
        broker.append(P, at(expected), record).await.await.unwrap();
    }
    let first_page = broker.read_log(P, at(1)).await.unwrap();
    assert!((4..12).contains(&first_page.len()), "{}", first_page.len());
    let entries = whole_log(&*broker).await;
    assert_eq!(entries.len(), 12);
    for (index, entry) in (1..).zip(entries) {
        assert_eq!(entry.sequence, at(index));
        assert_eq!(u64::from(entry.record[large - 1]), index - 1);
    }
    assert_eq!(broker.read_log(P, at(13)).await.unwrap(), vec![]);
    assert_eq!(broker.read_log(P, at(12)).await.unwrap().len(), 1);
}

pub async fn a_purge_removes_what_is_below_and_keeps_the_last_sequence(world: &dyn World) {
    let broker = opened(world).await;
    for (expected, record) in (0..).zip(["a", "b", "c", "d"]) {
        append(&*broker, expected, record).await.unwrap();
    }
    broker.purge_log(P, at(0)).await.unwrap();
    assert_eq!(whole_log(&*broker).await.len(), 4);
    broker.purge_log(P, at(3)).await.unwrap();
    let left: Vec<_> = whole_log(&*broker)
        .await
        .into_iter()
        .map(|entry| (entry.sequence.0, entry.record))
        .collect();
    assert_eq!(left, [(3, "c".into()), (4, "d".into())]);
    broker.purge_log(P, at(5)).await.unwrap();
    assert_eq!(whole_log(&*broker).await, vec![]);
    assert_eq!(broker.log_last(P).await.unwrap(), at(4));
    assert_eq!(append(&*broker, 4, "e").await.unwrap(), at(5));
}

pub async fn a_record_that_is_too_large_is_refused(world: &dyn World) {
    let broker = opened(world).await;
    let record = Bytes::from(vec![0; 9 << 20]);
    let failure = broker.append(P, at(0), record).await.await.unwrap_err();
    assert!(
        matches!(failure, AppendError::Refused { .. }),
        "{failure:?}"
    );
    assert_eq!(append(&*broker, 0, "a").await.unwrap(), at(1));
}
