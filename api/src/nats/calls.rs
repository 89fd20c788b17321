//! `fm.hello` and `fm.call`: the first words of a worker or client, and its requests.
//!
//! A caller needs to know neither the number of partitions nor the hash that tells the partition of a workflow id, and never
//! sees that a partition moves: [`Transport::call`] asks again for it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject};
use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::hello::{Hello, PROTOCOL_VERSION, Welcome, Welcomed, check_protocol};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::rpc::{Answer, Call, Rejection, RejectionKind};
use fermata_proto::subjects::{self, TaskKind};
use fermata_transport::Transport;
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::DoorError;
use crate::service::namespace_not_found;

/// Requests that wait for an owner at once; more are refused.
const CALLS_MAX: usize = 4_096;
/// How long a caller waits that does not say it, and at most.
const WAIT_DEFAULT: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A namespace that was registered a moment ago may not be known here yet.
const NAMESPACE_LAG_MAX: Duration = Duration::from_secs(2);
const NAMESPACE_POLL: Duration = Duration::from_millis(50);

/// Listens; every request is answered in a task of `work`, until `stop`.
pub(super) async fn serve(
    transport: &Transport,
    stop: &CancellationToken,
    work: &TaskTracker,
) -> Result<(), DoorError> {
    let subscribe = async |subject: &'static str| {
        let group = subjects::DOOR_GROUP.to_owned();
        let subscribed = transport.nats().queue_subscribe(subject, group).await;
        subscribed.map_err(|error| DoorError::Subscribe {
            subject: subject.to_owned(),
            reason: error.to_string(),
        })
    };
    // The client subscribes again by itself after it has lost its connection.
    let mut hellos = subscribe(subjects::HELLO).await?;
    let mut calls = subscribe(subjects::CALL).await?;
    let places = Arc::new(Semaphore::new(CALLS_MAX));
    let (transport, stop, tasks) = (transport.clone(), stop.clone(), work.clone());
    work.spawn(async move {
        loop {
            // All arms only receive: a message that is dropped with the loop is repeated by its sender.
            let (message, is_hello) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                message = hellos.next() => (message, true),
                message = calls.next() => (message, false),
            };
            // None only when the whole client has ended.
            let Some(message) = message else { break };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                let answer: Answer = Err(Rejection::new(
                    RejectionKind::ResourceExhausted,
                    "too many requests at this replica; try again",
                ));
                reply(&transport, message.reply, &answer).await;
                continue;
            };
            let transport = transport.clone();
            tasks.spawn(async move {
                let Message {
                    payload, reply: to, ..
                } = message;
                if is_hello {
                    let answer = hello(&transport, &payload).await;
                    reply(&transport, to, &answer).await;
                } else {
                    let answer = call(&transport, &payload).await;
                    reply(&transport, to, &answer).await;
                }
                drop(place);
            });
        }
        // Others of the group get what comes from now on.
        let _ = hellos.unsubscribe().await;
        let _ = calls.unsubscribe().await;
    });
    Ok(())
}

async fn hello(transport: &Transport, payload: &Bytes) -> Welcomed {
    let hello: Hello = decode(payload)?;
    if hello.protocol == 0 {
        return Err(Rejection::invalid_argument(format!(
            "a hello says its protocol version: this Fermata speaks version {PROTOCOL_VERSION}"
        )));
    }
    check_protocol(hello.protocol)?;
    let namespace = namespace(transport, &hello.namespace).await?;
    let mut welcome = Welcome {
        protocol: PROTOCOL_VERSION,
        namespace_id: namespace.id.clone(),
        ..Welcome::default()
    };
    if !hello.task_queue.is_empty() {
        crate::service::check_task_queue(&hello.task_queue)?;
        let consumer =
            transport.task_consumer(TaskKind::Activity, &namespace.id, &hello.task_queue);
        welcome.consumer = consumer.await.map_err(|reason| {
            let words = format!("open task queue {:?}: {reason}", hello.task_queue);
            Rejection::new(RejectionKind::Unavailable, words)
        })?;
        subjects::TASKS_STREAM.clone_into(&mut welcome.stream);
    }
    Ok(welcome)
}

async fn namespace(transport: &Transport, name: &str) -> Result<Arc<NamespaceRecord>, Rejection> {
    if name.is_empty() {
        return Err(Rejection::invalid_argument("a hello names its namespace"));
    }
    let patience = Instant::now() + NAMESPACE_LAG_MAX;
    loop {
        if let Some(namespace) = transport.namespaces().by_name(name) {
            return Ok(namespace);
        }
        if Instant::now() >= patience {
            return Err(namespace_not_found(name));
        }
        tokio::time::sleep(NAMESPACE_POLL).await;
    }
}

async fn call(transport: &Transport, payload: &Bytes) -> Answer {
    let call: Call = decode(payload)?;
    let wait = match call.wait_ms {
        0 => WAIT_DEFAULT,
        wait_ms => Duration::from_millis(wait_ms.into()).min(WAIT_MAX),
    };
    transport
        .call(&call.namespace_id, &call.workflow_id, wait, call.request)
        .await
}

fn decode<T: DeserializeOwned>(payload: &Bytes) -> Result<T, Rejection> {
    codec::decode(payload).map_err(|error| {
        let words = format!("the message does not decode: {error}: {}", error.source);
        Rejection::invalid_argument(words)
    })
}

async fn reply<T: Serialize>(transport: &Transport, to: Option<Subject>, answer: &T) {
    // Without a reply subject nobody waits.
    let Some(to) = to else { return };
    if let Err(error) = transport.nats().publish(to, codec::encode(answer)).await {
        tracing::info!(%error, "answer a NATS client");
    }
}
