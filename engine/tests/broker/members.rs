//! Members, namespaces, the cluster's record.

use std::time::Duration;

use fermata_engine::broker::{ClusterRecord, MEMBER_REFRESH, MEMBER_TTL, Member, Watched};
use fermata_proto::namespace::NamespaceRecord;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::World;

const PATIENCE: Duration = Duration::from_secs(10);

fn member(id: &str, leaving: bool) -> Member {
    Member {
        id: id.to_owned(),
        leaving,
    }
}

/// The next change, or a panic.
async fn next<T>(changes: &mut BoxStream<'static, Watched<T>>) -> Watched<T> {
    tokio::time::timeout(PATIENCE, changes.next())
        .await
        .expect("a change comes")
        .expect("a watch does not end")
}

async fn put<T: std::fmt::Debug>(changes: &mut BoxStream<'static, Watched<T>>) -> T {
    match next(changes).await {
        Watched::Put(value) => value,
        other => panic!("{other:?} instead of a put"),
    }
}

async fn complete<T: std::fmt::Debug>(changes: &mut BoxStream<'static, Watched<T>>) {
    let change = next(changes).await;
    assert!(matches!(change, Watched::Complete), "{change:?}");
}

async fn gone<T: std::fmt::Debug>(changes: &mut BoxStream<'static, Watched<T>>) -> String {
    match next(changes).await {
        Watched::Gone(key) => key,
        other => panic!("{other:?} instead of an end"),
    }
}

pub async fn a_member_is_seen_and_retires(world: &dyn World) {
    let (one, two) = (world.connect("one").await, world.connect("two").await);
    one.announce(&member("one", false)).await.unwrap();
    let mut changes = two.watch_members().await.unwrap();
    assert_eq!(put(&mut changes).await, member("one", false));
    complete(&mut changes).await;
    one.announce(&member("one", true)).await.unwrap();
    assert_eq!(put(&mut changes).await, member("one", true));
    one.retire("one").await.unwrap();
    assert_eq!(gone(&mut changes).await, "one");
    one.announce(&member("one", false)).await.unwrap();
    assert_eq!(put(&mut changes).await, member("one", false));
}

pub async fn a_member_that_falls_silent_expires(world: &dyn World) {
    let broker = world.connect("one").await;
    broker.announce(&member("silent", false)).await.unwrap();
    let mut changes = broker.watch_members().await.unwrap();
    assert_eq!(put(&mut changes).await, member("silent", false));
    complete(&mut changes).await;
    let began = tokio::time::Instant::now();
    assert_eq!(gone(&mut changes).await, "silent");
    assert!(began.elapsed() < MEMBER_TTL * 2, "{:?}", began.elapsed());
    // A new watch does not know of it either.
    tokio::time::sleep(MEMBER_TTL).await;
    complete(&mut broker.watch_members().await.unwrap()).await;
}

pub async fn a_member_that_keeps_announcing_stays(world: &dyn World) {
    let broker = world.connect("one").await;
    let mut changes = broker.watch_members().await.unwrap();
    complete(&mut changes).await;
    let began = tokio::time::Instant::now();
    while began.elapsed() < MEMBER_TTL + Duration::from_secs(1) {
        broker.announce(&member("one", false)).await.unwrap();
        assert_eq!(put(&mut changes).await, member("one", false));
        tokio::time::sleep(MEMBER_REFRESH).await;
    }
}

pub async fn an_empty_watch_is_complete_at_once(world: &dyn World) {
    let broker = world.connect("one").await;
    complete(&mut broker.watch_members().await.unwrap()).await;
    complete(&mut broker.watch_namespaces().await.unwrap()).await;
}

pub async fn a_namespace_is_made_once(world: &dyn World) {
    let (one, two) = (world.connect("one").await, world.connect("two").await);
    let record = |name: &str| NamespaceRecord {
        id: "5b2f".into(),
        name: name.to_owned(),
        retention: Duration::from_secs(86_400),
        ..NamespaceRecord::default()
    };
    let mut early = two.watch_namespaces().await.unwrap();
    complete(&mut early).await;
    one.create_namespace(&record("default")).await.unwrap();
    two.create_namespace(&record("another")).await.unwrap();
    assert_eq!(put(&mut early).await, record("default"));
    let mut late = one.watch_namespaces().await.unwrap();
    assert_eq!(put(&mut late).await, record("default"));
    complete(&mut late).await;
    let more = NamespaceRecord {
        id: "77aa".into(),
        ..record("more")
    };
    one.create_namespace(&more).await.unwrap();
    assert_eq!(put(&mut early).await, more);
    assert_eq!(put(&mut late).await, more);
}

pub async fn the_first_cluster_record_stands(world: &dyn World) {
    let (one, two) = (world.connect("one").await, world.connect("two").await);
    let record = |id: &str, partitions| ClusterRecord {
        id: id.to_owned(),
        partitions,
    };
    assert_eq!(
        one.cluster(record("first", 4)).await.unwrap(),
        record("first", 4)
    );
    assert_eq!(
        two.cluster(record("second", 16)).await.unwrap(),
        record("first", 4)
    );
    assert_eq!(
        one.cluster(record("third", 1)).await.unwrap(),
        record("first", 4)
    );
}
