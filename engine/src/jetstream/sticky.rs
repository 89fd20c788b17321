//! Sticky dispatch: core NATS subjects that single workers listen on.
//!
//! With nobody there, the server says so to the reply subject (status 503, "no responders"), which ends in a number that
//! this module knows the task by. A worker never replies to it, so numbers with a listener stay until newer ones push them
//! out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_nats::{Client, StatusCode};
use fermata_proto::codec;
use fermata_proto::ids::Partition;
use fermata_proto::rpc::TaskReference;
use fermata_proto::subjects;
use futures::stream::{BoxStream, StreamExt};

use super::Shared;
use crate::broker::BrokerError;

/// Tasks whose fate is not known. The server's word comes within a round trip; this is seconds' worth of tasks.
const IN_DOUBT_MAX: usize = 16_384;

pub(super) struct Sticky {
    /// Unique to this handle.
    inbox: String,
    in_doubt: Mutex<InDoubt>,
}

#[derive(Default)]
struct InDoubt {
    next: u64,
    tasks: BTreeMap<u64, TaskReference>,
}

impl InDoubt {
    fn add(&mut self, task: TaskReference) -> u64 {
        let number = self.next;
        self.next += 1;
        self.tasks.insert(number, task);
        if self.tasks.len() > IN_DOUBT_MAX {
            self.tasks.pop_first();
        }
        number
    }
}

impl Sticky {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            inbox: client.new_inbox(),
            in_doubt: Mutex::default(),
        }
    }

    fn take(&self, number: u64) -> Option<TaskReference> {
        self.in_doubt
            .lock()
            .expect("nothing panics while it holds this lock")
            .tasks
            .remove(&number)
    }
}

impl Shared {
    pub(super) async fn dispatch_sticky(
        &self,
        partition: Partition,
        queue: &str,
        task: &TaskReference,
    ) -> Result<(), BrokerError> {
        let subject = subjects::sticky(&task.namespace_id, queue);
        let attempted = || format!("dispatch to sticky queue {queue}");
        if !self.is_connected() {
            return Err(BrokerError::new(attempted(), "not connected to NATS"));
        }
        let number = self
            .sticky
            .in_doubt
            .lock()
            .expect("nothing panics while it holds this lock")
            .add(task.clone());
        let reply = format!("{}.{partition}.{number}", self.sticky.inbox);
        self.quick
            .publish_with_reply(subject, reply, codec::encode(task))
            .await
            .map_err(|error| BrokerError::new(attempted(), error))
    }

    pub(super) async fn unheard(
        self: Arc<Self>,
        partition: Partition,
    ) -> Result<BoxStream<'static, TaskReference>, BrokerError> {
        let subject = format!("{}.{partition}.*", self.sticky.inbox);
        let subscription = self.quick.subscribe(subject).await.map_err(|error| {
            BrokerError::new(
                format!("hear of unheard tasks of partition {partition}"),
                error,
            )
        })?;
        let tasks = subscription.filter_map(move |message| {
            let number = message
                .subject
                .rsplit_once('.')
                .and_then(|(_, number)| number.parse().ok());
            let unheard = message.status == Some(StatusCode::NO_RESPONDERS);
            let task = number
                .filter(|_| unheard)
                .and_then(|number| self.sticky.take(number));
            std::future::ready(task)
        });
        Ok(tasks.boxed())
    }
}
