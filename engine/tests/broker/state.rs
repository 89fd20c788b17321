//! The state store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_engine::broker::{Broker, BrokerError, STATE_BATCH_MAX, StateWrite};
use fermata_proto::ids::Partition;
use fermata_proto::subjects;
use fermata_test_support::wait_for;
use futures::TryStreamExt;

use crate::World;

const P: Partition = Partition(2);

async fn opened(world: &dyn World) -> Arc<dyn Broker> {
    let broker = world.connect("one").await;
    broker.open(P).await.unwrap();
    broker
}

fn put(run_id: &str, record: &str) -> StateWrite {
    StateWrite {
        subject: subjects::run(P, run_id),
        record: Some(Bytes::from(record.to_owned())),
        ttl: None,
    }
}

fn deletion(run_id: &str) -> StateWrite {
    StateWrite {
        record: None,
        ..put(run_id, "")
    }
}

async fn load(broker: &dyn Broker, run_id: &str) -> Option<String> {
    let record = broker.load(P, &subjects::run(P, run_id)).await.unwrap()?;
    Some(String::from_utf8(record.to_vec()).unwrap())
}

async fn scan(broker: &dyn Broker, filter: &str) -> BTreeMap<String, Bytes> {
    let records = broker.scan(P, filter).await.unwrap();
    let scanned = tokio::time::timeout(Duration::from_secs(20), records.try_collect::<Vec<_>>());
    let scanned = scanned.await.expect("a scan ends").unwrap();
    let count = scanned.len();
    let by_name: BTreeMap<_, _> = scanned.into_iter().collect();
    assert_eq!(by_name.len(), count, "a scan tells of each record once");
    by_name
}

pub async fn a_store_is_read_by_the_next_load(world: &dyn World) {
    let broker = opened(world).await;
    assert_eq!(load(&*broker, "a").await, None);
    broker.store(P, vec![put("a", "one")]).await.unwrap();
    assert_eq!(load(&*broker, "a").await.unwrap(), "one");
    for round in 0..20 {
        let record = round.to_string();
        let writes = vec![put("b", &record), put("c", &record), put("d", &record)];
        broker.store(P, writes).await.unwrap();
        assert_eq!(load(&*broker, "d").await.unwrap(), record);
        assert_eq!(load(&*broker, "b").await.unwrap(), record);
    }
    broker.store(P, vec![]).await.unwrap();
}

pub async fn the_last_write_under_a_subject_stands(world: &dyn World) {
    let broker = opened(world).await;
    let writes = vec![put("a", "one"), put("b", "other"), put("a", "two")];
    broker.store(P, writes).await.unwrap();
    assert_eq!(load(&*broker, "a").await.unwrap(), "two");
    assert_eq!(scan(&*broker, &subjects::runs(P)).await.len(), 2);
}

pub async fn a_deletion_hides_the_record_at_once(world: &dyn World) {
    let broker = opened(world).await;
    broker
        .store(P, vec![put("a", "one"), put("b", "one"), put("c", "one")])
        .await
        .unwrap();
    broker
        .store(P, vec![deletion("a"), put("b", "two")])
        .await
        .unwrap();
    broker.store(P, vec![deletion("c")]).await.unwrap();
    broker.store(P, vec![deletion("never")]).await.unwrap();
    assert_eq!(load(&*broker, "a").await, None);
    assert_eq!(load(&*broker, "c").await, None);
    assert_eq!(load(&*broker, "b").await.unwrap(), "two");
    assert_eq!(scan(&*broker, &subjects::runs(P)).await.len(), 1);
    broker.store(P, vec![put("a", "again")]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(load(&*broker, "a").await.unwrap(), "again");
}

pub async fn a_record_with_a_time_to_live_goes_by_itself(world: &dyn World) {
    let broker = opened(world).await;
    let short_lived = StateWrite {
        ttl: Some(Duration::from_secs(1)),
        ..put("a", "one")
    };
    let rewritten = StateWrite {
        ttl: Some(Duration::from_secs(1)),
        ..put("b", "one")
    };
    broker
        .store(P, vec![short_lived, rewritten, put("c", "one")])
        .await
        .unwrap();
    assert_eq!(load(&*broker, "a").await.unwrap(), "one");
    broker.store(P, vec![put("b", "two")]).await.unwrap();
    wait_for("end of the record", Duration::from_secs(10), async || {
        load(&*broker, "a").await.is_none().then_some(())
    })
    .await;
    assert_eq!(load(&*broker, "b").await.unwrap(), "two");
    assert_eq!(load(&*broker, "c").await.unwrap(), "one");
    // An expiry is no write: the fence does not mind.
    broker.store(P, vec![put("d", "one")]).await.unwrap();
}

pub async fn a_store_of_too_many_records_writes_none(world: &dyn World) {
    let broker = opened(world).await;
    let writes = (0..=STATE_BATCH_MAX)
        .map(|n| put(&n.to_string(), "x"))
        .collect();
    broker.store(P, writes).await.unwrap_err();
    assert_eq!(scan(&*broker, &subjects::runs(P)).await.len(), 0);
    broker.store(P, vec![put("a", "one")]).await.unwrap();
}

pub async fn a_store_of_the_most_records_allowed_writes_all(world: &dyn World) {
    let broker = opened(world).await;
    let record = "x".repeat(2_000);
    for round in 0..3 {
        let writes = (0..STATE_BATCH_MAX)
            .map(|n| put(&format!("{round}-{n}"), &record))
            .collect();
        broker.store(P, writes).await.unwrap();
    }
    let found = scan(&*broker, &subjects::runs(P)).await;
    assert_eq!(found.len(), 3 * STATE_BATCH_MAX);
    assert!(found.values().all(|found| *found == record));
}

pub async fn a_scan_finds_what_matches_and_ends(world: &dyn World) {
    let broker = opened(world).await;
    let mut writes: Vec<_> = (0..300).map(|n| put(&format!("run-{n}"), "x")).collect();
    for chunk in 0..300 {
        writes.push(StateWrite {
            subject: subjects::history_chunk(P, "run-1", chunk),
            ..put("", "history")
        });
    }
    broker.store(P, writes).await.unwrap();
    assert_eq!(scan(&*broker, &subjects::runs(P)).await.len(), 300);
    assert_eq!(
        scan(&*broker, &subjects::history_chunks(P, "run-1"))
            .await
            .len(),
        300
    );
    let one = subjects::run(P, "run-7");
    assert_eq!(
        scan(&*broker, &one).await.keys().collect::<Vec<_>>(),
        [&one]
    );
}

pub async fn a_scan_of_nothing_ends(world: &dyn World) {
    let broker = opened(world).await;
    assert_eq!(scan(&*broker, &subjects::runs(P)).await.len(), 0);
    let closed = StateWrite {
        subject: subjects::closed_run(P, "a"),
        ..put("a", "x")
    };
    broker.store(P, vec![closed]).await.unwrap();
    assert_eq!(scan(&*broker, &subjects::runs(P)).await.len(), 0);
}

pub async fn a_purge_removes_what_matches(world: &dyn World) {
    let broker = opened(world).await;
    let chunk = |run_id: &str, chunk| StateWrite {
        subject: subjects::history_chunk(P, run_id, chunk),
        ..put("", "history")
    };
    let writes = vec![chunk("a", 0), chunk("a", 1), chunk("b", 0), put("a", "run")];
    broker.store(P, writes).await.unwrap();
    let filter = subjects::history_chunks(P, "a");
    broker.purge_state(P, &filter).await.unwrap();
    assert_eq!(scan(&*broker, &filter).await.len(), 0);
    let left = scan(&*broker, &subjects::state_subjects(P)).await;
    assert_eq!(
        left.keys().collect::<Vec<_>>(),
        [&subjects::history_chunk(P, "b", 0), &subjects::run(P, "a")]
    );
    // A purge is no write: the fence does not mind.
    broker.store(P, vec![put("b", "x")]).await.unwrap();
}

pub async fn a_name_with_a_wildcard_names_no_record(world: &dyn World) {
    let broker = opened(world).await;
    broker.store(P, vec![put("a", "one")]).await.unwrap();
    for run_id in ["*", ">", "", "a b", "a\r\nPUB x 0\r\n", "a.>"] {
        assert_eq!(load(&*broker, run_id).await, None, "{run_id:?}");
    }
}

pub async fn a_store_of_a_superseded_owner_fails(world: &dyn World) {
    let old = opened(world).await;
    old.store(P, vec![put("a", "old")]).await.unwrap();
    let new = world.connect("two").await;
    new.open(P).await.unwrap();
    new.store(P, vec![put("a", "new"), put("b", "new")])
        .await
        .unwrap();
    for late in [
        vec![put("a", "late")],
        vec![put("a", "late"), put("b", "late"), put("c", "late")],
        vec![put("b", "late")],
    ] {
        let failure: BrokerError = old.store(P, late).await.unwrap_err();
        assert!(failure.superseded, "{failure:?}");
    }
    assert_eq!(load(&*new, "a").await.unwrap(), "new");
    assert_eq!(load(&*new, "b").await.unwrap(), "new");
    assert_eq!(load(&*new, "c").await, None);
    new.store(P, vec![put("a", "newer")]).await.unwrap();
}

pub async fn opening_anew_lets_an_owner_store_again(world: &dyn World) {
    let one = opened(world).await;
    let two = world.connect("two").await;
    two.open(P).await.unwrap();
    two.store(P, vec![put("a", "two")]).await.unwrap();
    assert!(
        one.store(P, vec![put("a", "one")])
            .await
            .unwrap_err()
            .superseded
    );
    one.open(P).await.unwrap();
    one.store(P, vec![put("a", "one"), put("b", "one")])
        .await
        .unwrap();
    assert_eq!(load(&*two, "a").await.unwrap(), "one");
}

pub async fn partitions_are_apart(world: &dyn World) {
    let broker = opened(world).await;
    let other = Partition(20);
    broker.open(other).await.unwrap();
    broker.store(P, vec![put("a", "one")]).await.unwrap();
    let there = StateWrite {
        subject: subjects::run(other, "a"),
        ..put("", "other")
    };
    broker.store(other, vec![there]).await.unwrap();
    assert_eq!(load(&*broker, "a").await.unwrap(), "one");
    let found = broker
        .load(other, &subjects::run(other, "a"))
        .await
        .unwrap();
    assert_eq!(found.unwrap(), "other");
    assert_eq!(scan(&*broker, &subjects::runs(P)).await.len(), 1);
}
