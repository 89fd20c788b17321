//! What `verify` says of a partition that is sound, one that is being worked on, and one that is damaged.

use bytes::Bytes;
use fermata_engine::broker::{Broker, StateWrite};
use fermata_engine::record::{self, CurrentRun, HistoryChunk, RunRecord};
use fermata_engine::verify::{Report, verify};
use fermata_proto::ids::{Partition, WorkflowId};
use fermata_proto::subjects;

use crate::world::*;

async fn report(world: &World, partition: Partition) -> Report {
    let reader = world.broker.connect("reader");
    verify(&reader, partition, PARTITIONS, |_| {})
        .await
        .unwrap()
}

/// Orders in all states, checkpointed, with nobody at work any more.
async fn at_rest() -> (World, Vec<String>) {
    let (world, engine) = World::with_engine().await;
    let mut runs = Vec::new();
    for number in 0..8 {
        let workflow_id = format!("order-{number}");
        runs.push(world.start_workflow(&workflow_id).await);
        world.signal(&workflow_id, "news").await.unwrap();
        if number % 2 == 0 {
            world.terminate(&workflow_id).await;
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    engine.shutdown().await;
    (world, runs)
}

/// Puts `record` where another lies, as a broken disk or a careless hand would.
async fn damage(world: &World, partition: Partition, subject: &str, record: Option<Bytes>) {
    let hand = world.broker.connect("hand");
    hand.open(partition).await.unwrap();
    let write = StateWrite {
        subject: subject.to_owned(),
        record,
        ttl: None,
    };
    hand.store(partition, vec![write]).await.unwrap();
}

async fn stored(world: &World, partition: Partition, subject: &str) -> Bytes {
    let reader = world.broker.connect("reader");
    let found = reader.load(partition, subject).await.unwrap();
    found.unwrap_or_else(|| panic!("{subject} is not there"))
}

#[tokio::test(start_paused = true)]
async fn a_sound_deployment_has_no_problems_and_every_run_is_counted() {
    let (world, _) = at_rest().await;
    let mut counted = (0, 0, 0);
    for partition in (0..PARTITIONS).map(Partition) {
        let report = report(&world, partition).await;
        assert_eq!(report.problems, []);
        counted.0 += report.open_runs;
        counted.1 += report.closed_runs;
        counted.2 += report.events;
    }
    // Started, a scheduled workflow task and a signal each; and the end of every second one.
    assert_eq!(counted, (4, 4, 8 * 3 + 4));
}

#[tokio::test(start_paused = true)]
async fn a_partition_at_work_has_no_problems() {
    let (world, engine) = World::with_engine().await;
    for number in 0..20 {
        world.start_workflow(&format!("order-{number}")).await;
        for partition in (0..PARTITIONS).map(Partition) {
            assert_eq!(report(&world, partition).await.problems, []);
        }
    }
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_found_in_every_kind_of_record() {
    let (world, runs) = at_rest().await;
    let id = WorkflowId::from("order-1");
    let partition = world.partition("order-1");
    let subjects = [
        subjects::run(partition, &runs[1]),
        subjects::history_chunk(partition, &runs[1], 0),
        subjects::current_run(partition, &world.namespace, &id),
        subjects::checkpoint(partition),
    ];
    for subject in subjects {
        let sound = stored(&world, partition, &subject).await;
        let mut bytes = sound.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        damage(&world, partition, &subject, Some(bytes.into())).await;
        let problems = report(&world, partition).await.problems;
        let found = problems.iter().find(|problem| problem.subject == subject);
        let what = &found
            .unwrap_or_else(|| panic!("{subject}: {problems:?}"))
            .what;
        assert!(what.contains("checksum"), "{subject}: {what}");
        damage(&world, partition, &subject, Some(sound)).await;
    }
    assert_eq!(report(&world, partition).await.problems, []);
}

#[tokio::test(start_paused = true)]
async fn a_missing_chunk_and_a_hole_in_a_history_are_found() {
    let (world, runs) = at_rest().await;
    let partition = world.partition("order-1");
    let chunk = subjects::history_chunk(partition, &runs[1], 0);
    let run = subjects::run(partition, &runs[1]);
    let sound = stored(&world, partition, &chunk).await;

    let mut holed: HistoryChunk = record::unseal(&sound).unwrap();
    holed.batches.remove(0);
    damage(&world, partition, &chunk, Some(record::seal(&holed))).await;
    let problems = report(&world, partition).await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].subject, run);
    assert!(problems[0].what.contains("after event 0"), "{problems:?}");

    damage(&world, partition, &chunk, None).await;
    let problems = report(&world, partition).await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].what.contains("chunk 0 of its 1 is not there"));
}

#[tokio::test(start_paused = true)]
async fn an_open_run_that_is_gone_and_one_in_a_strange_partition_are_found() {
    let (world, runs) = at_rest().await;
    let partition = world.partition("order-1");
    let subject = subjects::run(partition, &runs[1]);
    let sound = stored(&world, partition, &subject).await;

    damage(&world, partition, &subject, None).await;
    let problems = report(&world, partition).await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].what.contains("which is not there"));

    let mut moved: RunRecord = record::unseal(&sound).unwrap();
    let elsewhere = (0..)
        .map(|number| format!("other-{number}"))
        .find(|id| world.partition(id) != partition)
        .unwrap();
    moved.run.workflow_id = elsewhere.as_str().into();
    damage(&world, partition, &subject, Some(record::seal(&moved))).await;
    // Otherwise the open run would count as one of a time gone by.
    let current = CurrentRun {
        namespace_id: world.namespace.clone(),
        workflow_id: moved.run.workflow_id.clone(),
        run_id: runs[1].clone(),
        is_open: true,
    };
    let named = subjects::current_run(partition, &world.namespace, &moved.run.workflow_id);
    damage(&world, partition, &named, Some(record::seal(&current))).await;
    let problems = report(&world, partition).await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].what.contains("belongs to partition"));
}
