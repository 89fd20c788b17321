//! The ceiling: what remains if an engine had no rules. Callers ask by core NATS, an owner gathers what waits into one log
//! message, and answers when the broker has fsynced it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use fermata_test_support::NatsServer;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

const PARTITIONS: usize = 4;
const CALLERS: usize = 1_024;
const APPENDS_IN_FLIGHT: usize = 4;
const GROUP_MAX: usize = 2_000;
const TRANSITION_BYTES: usize = 256;

/// Transitions per second, a value a round.
pub async fn measure(window: Duration, rounds: usize) -> anyhow::Result<Vec<f64>> {
    let mut values = Vec::new();
    for _ in 0..rounds {
        values.push(round(window).await?);
    }
    Ok(values)
}

async fn round(window: Duration) -> anyhow::Result<f64> {
    let nats = NatsServer::start().await;
    let (owners, callers) = (nats.client().await, nats.client().await);
    let jetstream = jetstream::new(owners.clone());
    for partition in 0..PARTITIONS {
        jetstream
            .create_stream(stream::Config {
                name: format!("CEILING_{partition}"),
                subjects: vec![format!("ceiling.log.{partition}")],
                ..stream::Config::default()
            })
            .await?;
        let requests = owners.subscribe(format!("ceiling.rpc.{partition}")).await?;
        tokio::spawn(own(owners.clone(), jetstream.clone(), partition, requests));
    }
    owners.flush().await?;
    let done = AtomicU64::new(0);
    let body = Bytes::from(vec![b'x'; TRANSITION_BYTES]);
    let caller = async |number: usize| {
        let subject = format!("ceiling.rpc.{}", number % PARTITIONS);
        loop {
            callers
                .request(subject.clone(), body.clone())
                .await
                .context("ask the bare owner")?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        #[allow(unreachable_code)]
        anyhow::Ok(())
    };
    let clock = async {
        tokio::time::sleep(window / 4).await;
        let (from, began) = (done.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(window).await;
        (done.load(Ordering::Relaxed) - from) as f64 / began.elapsed().as_secs_f64()
    };
    let callers = futures::future::try_join_all((0..CALLERS).map(caller));
    tokio::select! {
        failed = callers => failed.map(|_| 0.0),
        rate = clock => Ok(rate),
    }
}

/// Gathers, appends, answers; ends with the connection.
async fn own(
    client: async_nats::Client,
    jetstream: jetstream::Context,
    partition: usize,
    mut requests: async_nats::Subscriber,
) -> anyhow::Result<()> {
    let mut last = 0_u64;
    let mut waiting: Vec<async_nats::Message> = Vec::new();
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(acknowledged) = in_flight.next() => {
                let group: Vec<async_nats::Message> = acknowledged?;
                for message in group {
                    if let Some(reply) = message.reply {
                        client.publish(reply, Bytes::from_static(b"ok")).await?;
                    }
                }
            }
            message = requests.next() => match message {
                Some(message) => waiting.push(message),
                None => return Ok(()),
            },
        }
        while waiting.len() < GROUP_MAX {
            match requests.next().now_or_never() {
                Some(Some(message)) => waiting.push(message),
                _ => break,
            }
        }
        if waiting.is_empty() || in_flight.len() >= APPENDS_IN_FLIGHT {
            continue;
        }
        let group = std::mem::take(&mut waiting);
        let record: Vec<u8> = group
            .iter()
            .flat_map(|message| message.payload.iter().copied())
            .collect();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", last.to_string());
        last += 1;
        let sent = jetstream
            .publish_with_headers(format!("ceiling.log.{partition}"), headers, record.into())
            .await?;
        in_flight.push(async move {
            sent.await?;
            anyhow::Ok(group)
        });
    }
}
