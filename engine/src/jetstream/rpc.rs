//! Requests between partitions and from the edge: core NATS request and reply on one subject a partition.
//!
//! No queue group: there is one owner, and during the moment in which two believe so, both answer and the log decides.

use std::time::Duration;

use async_nats::{Client, Message, Request, RequestError, RequestErrorKind, Subject};
use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::ids::Partition;
use fermata_proto::rpc::{Answer, Call, Rejection};
use fermata_proto::subjects;
use futures::future::FutureExt;
use futures::stream::{BoxStream, StreamExt};
use tracing::{debug, info};

use super::Shared;
use crate::broker::{BrokerError, Incoming};

impl Shared {
    pub(super) async fn request(
        &self,
        partition: Partition,
        call: &Call,
        timeout: Duration,
    ) -> Result<Answer, BrokerError> {
        let attempted = || format!("request to partition {partition}");
        let request = Request::new()
            .payload(codec::encode(call))
            .timeout(Some(timeout));
        let reply = self
            .quick
            .send_request(subjects::rpc(partition), request)
            .await
            .map_err(|error| BrokerError::new(attempted(), error))?;
        codec::decode(&reply.payload).map_err(|error| BrokerError::new(attempted(), error))
    }

    pub(super) async fn serve(
        &self,
        partition: Partition,
    ) -> Result<BoxStream<'static, Incoming>, BrokerError> {
        let attempted = || format!("serve partition {partition}");
        let subscription = self
            .quick
            .subscribe(subjects::rpc(partition))
            .await
            .map_err(|error| BrokerError::new(attempted(), error))?;
        self.settle_subscriptions()
            .await
            .map_err(|error| BrokerError::new(attempted(), error))?;
        let client = self.quick.clone();
        let requests =
            subscription.filter_map(move |message| std::future::ready(incoming(&client, message)));
        Ok(requests.boxed())
    }
}

impl Shared {
    /// Waits until the server knows of all subscriptions made so far: it takes what comes over a connection in order, so an
    /// answer to anything will do, and the quickest is that nobody is there. (The client's `flush` waits for the socket only.)
    pub(super) async fn settle_subscriptions(&self) -> Result<(), RequestError> {
        let nobody = self.quick.new_inbox();
        match self.quick.request(nobody, Bytes::new()).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn incoming(client: &Client, message: Message) -> Option<Incoming> {
    // Without a reply subject nobody waits: there is nothing that a caller could be told, so nothing is done.
    let Some(reply_subject) = message.reply else {
        debug!(subject = %message.subject, "request without a reply subject");
        return None;
    };
    let client = client.clone();
    let reply = move |answer: Answer| publish_now(&client, reply_subject, codec::encode(&answer));
    match codec::decode::<Call>(&message.payload) {
        Ok(call) => Some(Incoming {
            call,
            reply: Box::new(reply),
        }),
        Err(error) => {
            let words = format!("request does not decode: {}", error.source);
            reply(Err(Rejection::invalid_argument(words)));
            None
        }
    }
}

/// Hands a message to the connection without waiting. If its queue is full the message is dropped, which the caller sees as
/// no answer.
fn publish_now(client: &Client, subject: Subject, payload: Bytes) {
    // Unconstrained, since tokio's budget for one poll would make an owner's 129th reply look like a full queue.
    let publishing = tokio::task::unconstrained(client.publish(subject, payload));
    match publishing.now_or_never() {
        Some(Ok(())) => {}
        Some(Err(error)) => info!(%error, "send a reply"),
        None => info!("reply dropped: the connection to NATS is congested"),
    }
}
