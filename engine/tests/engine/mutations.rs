//! Damaged and hostile bytes at every decoder: an error or a value, never a panic.
//!
//! The samples are what an engine really writes and is really asked. `SEED=<number>` repeats a round.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use fermata_engine::broker::Broker;
use fermata_engine::record::{
    Checkpoint, CurrentRun, HistoryChunk, LogRecord, RunRecord, seal, unseal,
};
use fermata_proto::codec;
use fermata_proto::failure::Failure;
use fermata_proto::ids::{Partition, StreamSequence};
use fermata_proto::rpc::*;
use fermata_proto::service::*;
use futures::StreamExt;
use serde::de::DeserializeOwned;

use crate::world::*;

/// Damaged forms of each sample.
const ROUNDS: usize = 400;
/// Of the threads that requests are decoded on.
const STACK_BYTES: usize = 2 << 20;
/// As deep as the Temporal door lets failures be: protobuf's limit is 100 messages in one another.
const CAUSES_MAX: usize = 90;

struct Samples {
    log: Vec<Bytes>,
    state: Vec<Bytes>,
    calls: Vec<Bytes>,
    tokens: Vec<Bytes>,
}

/// A few workflows half done and done, as a partition's streams hold them.
async fn samples() -> Samples {
    let (world, engine) = World::with_engine().await;
    let mut tokens = Vec::new();
    let mut calls = Vec::new();
    let call = |request| {
        codec::encode(&Call {
            namespace_id: "a4f0c1e2".into(),
            workflow_id: "order".into(),
            wait_ms: 1_000,
            request,
        })
    };
    for number in 0..4 {
        world.start_workflow(&format!("order-{number}")).await;
        world
            .signal(&format!("order-{number}"), "go")
            .await
            .unwrap();
    }
    for _ in 0..2 {
        let task = world.workflow_task().await;
        tokens.push(task.task_token.clone());
        let workflow_id = task.workflow_execution.clone().unwrap().workflow_id;
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            commands: vec![done()],
            ..RespondWorkflowTaskCompletedRequest::default()
        };
        let request = Request::RespondWorkflowTaskCompleted(Box::new(request));
        calls.push(call(request.clone()));
        world.ok(&workflow_id, request).await;
    }
    calls.push(call(failed_activity(nested(3))));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let reader = world.broker.connect("reader");
    let (mut log, mut state) = (Vec::new(), Vec::new());
    for partition in (0..PARTITIONS).map(Partition) {
        reader.open(partition).await.unwrap();
        let mut records = reader.scan(partition, "fm.state.>").await.unwrap();
        while let Some(record) = records.next().await {
            state.push(record.unwrap().1);
        }
    }
    // The log behind the last checkpoint.
    world.signal("order-3", "again").await.unwrap();
    world.signal("order-2", "again").await.unwrap();
    for partition in (0..PARTITIONS).map(Partition) {
        let last = reader.log_last(partition).await.unwrap();
        let from = StreamSequence(last.0.saturating_sub(3).max(1));
        let entries = reader.read_log(partition, from).await.unwrap();
        log.extend(entries.into_iter().map(|entry| entry.record));
    }
    engine.shutdown().await;
    Samples {
        log,
        state,
        calls,
        tokens,
    }
}

fn failed_activity(failure: Failure) -> Request {
    Request::RespondActivityTaskFailed(Box::new(RespondActivityTaskFailedRequest {
        failure: Some(failure),
        ..RespondActivityTaskFailedRequest::default()
    }))
}

fn nested(causes: usize) -> Failure {
    (0..causes).fold(Failure::default(), |cause, _| Failure {
        message: "it failed".to_owned(),
        cause: Some(Box::new(cause)),
        ..Failure::default()
    })
}

/// Damages a copy in one to four places.
fn mutate(sample: &[u8], other: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    // Lengths that are not there, types that do not exist, and the ends of ranges.
    const TELLING: [u8; 12] = [
        0x00, 0x7f, 0x80, 0x8f, 0x90, 0xc0, 0xc1, 0xc6, 0xdb, 0xdd, 0xdf, 0xff,
    ];
    let mut bytes = sample.to_vec();
    for _ in 0..random.usize(1..5) {
        let at = random.usize(..=bytes.len());
        let rest = bytes.len() - at;
        match random.u8(..7) {
            0 if rest > 0 => bytes[at] ^= 1 << random.u8(..8),
            1 if rest > 0 => bytes[at] = TELLING[random.usize(..TELLING.len())],
            2 => bytes.truncate(at),
            3 => {
                bytes.drain(at..at + random.usize(..=rest.min(16)));
            }
            4 => {
                let repeated = bytes[at..at + random.usize(..=rest.min(16))].to_vec();
                bytes.splice(at..at, repeated);
            }
            5 => {
                let from = random.usize(..=other.len());
                let length = random.usize(..=(other.len() - from).min(64));
                bytes.splice(at..at, other[from..from + length].iter().copied());
            }
            _ => {
                let claim = [0xdd, 0xff, 0xff, 0xff, random.u8(..)];
                bytes.splice(at..at, claim);
            }
        }
    }
    bytes
}

/// Feeds damaged forms of `samples` to `decode`; how many were taken for a value all the same.
#[track_caller]
fn survives(
    what: &str,
    samples: &[Bytes],
    random: &mut fastrand::Rng,
    decode: impl Fn(&[u8]) -> bool,
) -> usize {
    assert!(!samples.is_empty(), "there are samples of {what}");
    let mut values = 0;
    for sample in samples {
        for _ in 0..ROUNDS {
            let other = &samples[random.usize(..samples.len())];
            let bytes = mutate(sample, other, random);
            let decoded = catch_unwind(AssertUnwindSafe(|| decode(&bytes)));
            values += usize::from(decoded.unwrap_or_else(|_| panic!("{what}: {bytes:02x?}")));
        }
    }
    values
}

fn reads<T: DeserializeOwned>(bytes: &[u8]) -> bool {
    codec::decode::<T>(bytes).is_ok()
}

/// With a checksum that fits, as a record would have that was damaged before it was sealed.
fn unseals<T: DeserializeOwned>(bytes: &[u8]) -> bool {
    let mut sealed = bytes.to_vec();
    sealed.extend(crc32(bytes).to_be_bytes());
    unseal::<T>(&sealed).is_ok()
}

/// Of the seal of nothing: a seal is its record's encoding and a checksum, so one of raw bytes has to be made by hand.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

#[tokio::test(start_paused = true)]
async fn damaged_bytes_are_an_error_or_a_value() {
    let seed = std::env::var("SEED").map_or_else(
        |_| fastrand::u64(..1_000_000),
        |seed| seed.parse().expect("SEED is a number"),
    );
    println!("SEED={seed}");
    let random = &mut fastrand::Rng::with_seed(seed);
    let samples = samples().await;
    let bodies: Vec<Bytes> = samples
        .state
        .iter()
        .map(|sealed| sealed.slice(..sealed.len() - 4))
        .collect();
    let mut values = survives("the log", &samples.log, random, reads::<LogRecord>);
    values += survives("calls", &samples.calls, random, reads::<Call>);
    values += survives("task tokens", &samples.tokens, random, reads::<TaskToken>);
    values += survives("runs", &bodies, random, unseals::<RunRecord>);
    values += survives("history", &bodies, random, unseals::<HistoryChunk>);
    values += survives("current runs", &bodies, random, unseals::<CurrentRun>);
    values += survives("checkpoints", &bodies, random, unseals::<Checkpoint>);
    assert!(
        values > 0,
        "the damage is slight enough to get past the first bytes"
    );
}

/// A seal is there to tell: not one damaged record may pass.
#[tokio::test(start_paused = true)]
async fn a_sealed_record_with_any_damage_is_refused() {
    let random = &mut fastrand::Rng::with_seed(1);
    let samples = samples().await;
    for sample in &samples.state {
        for _ in 0..ROUNDS {
            let bytes = mutate(sample, sample, random);
            if bytes[..] != sample[..] {
                assert!(unseal::<RunRecord>(&bytes).is_err(), "{bytes:02x?}");
            }
        }
    }
    let empty = seal(&Checkpoint::default());
    assert_eq!(unseal::<Checkpoint>(&empty).unwrap(), Checkpoint::default());
}

/// Runs on a thread with the stack that requests are decoded on.
fn on_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap()
}

#[test]
fn failures_within_failures_are_read_as_deep_as_temporal_reads_them() {
    let call = |causes| {
        codec::encode(&Call {
            namespace_id: "ns".into(),
            workflow_id: "wf".into(),
            wait_ms: 0,
            request: failed_activity(nested(causes)),
        })
    };
    let good = call(CAUSES_MAX);
    assert!(on_small_stack(move || reads::<Call>(&good)));
    // Encoded by hand: no stack holds the value.
    let cause = [&[0x81, 0xa5][..], b"cause"].concat();
    let deep = cause.repeat(200_000);
    let hostile = {
        let text = call(1);
        let at = text
            .windows(6)
            .position(|part| part == b"\xa5cause")
            .unwrap()
            + 6;
        [&text[..at], &deep[..], &[0x80]].concat()
    };
    assert!(!on_small_stack(move || reads::<Call>(&hostile)));
}
