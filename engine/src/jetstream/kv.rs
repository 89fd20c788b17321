//! The key-value buckets: the cluster's record, the members, the workers, the namespaces.
//!
//! The key of a member or a worker expires in the bucket, but a watcher is not told of that. It therefore keeps the time
//! itself: a member not heard of for [`MEMBER_TTL`] is gone, and so is a worker after the time that it announces.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::kv::{CreateErrorKind, Store};
use bytes::Bytes;
use fermata_proto::codec;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::presence::WorkerRecord;
use fermata_proto::subjects;
use futures::stream::{self, BoxStream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info};

use super::Shared;
use crate::broker::{BrokerError, ClusterRecord, MEMBER_TTL, Member, Watched};

/// Changes that wait for a watcher.
const CHANGES_MAX: usize = 256;
/// After this without a message, what existed at the beginning of a watch has been told. Some of it may have expired since
/// it was counted, so the count alone may never be reached.
const QUIET_MAX: Duration = Duration::from_secs(1);
const RETRY_DELAY: Duration = Duration::from_millis(500);
const CLUSTER_KEY: &str = "cluster";

impl Shared {
    pub(super) async fn cluster(
        &self,
        wanted: &ClusterRecord,
    ) -> Result<ClusterRecord, BrokerError> {
        let attempted = || "read the cluster record".to_owned();
        let bucket = self.bucket(subjects::CLUSTER_BUCKET).await?;
        match bucket.create(CLUSTER_KEY, codec::encode(wanted)).await {
            Ok(_) => return Ok(wanted.clone()),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(BrokerError::new("make the cluster record", error)),
        }
        let stored = bucket
            .get(CLUSTER_KEY)
            .await
            .map_err(|error| BrokerError::new(attempted(), error))?
            .ok_or_else(|| BrokerError::new(attempted(), "it was deleted just now"))?;
        codec::decode(&stored).map_err(|error| BrokerError::new(attempted(), error))
    }

    pub(super) async fn announce(&self, member: &Member) -> Result<(), BrokerError> {
        self.bucket(subjects::MEMBERS_BUCKET)
            .await?
            .put(&member.id, codec::encode(member))
            .await
            .map(drop)
            .map_err(|error| BrokerError::new(format!("announce member {}", member.id), error))
    }

    pub(super) async fn retire(&self, member_id: &str) -> Result<(), BrokerError> {
        self.bucket(subjects::MEMBERS_BUCKET)
            .await?
            .delete(member_id)
            .await
            .map_err(|error| BrokerError::new(format!("retire member {member_id}"), error))
    }

    pub(super) async fn watch_members(
        &self,
    ) -> Result<BoxStream<'static, Watched<Member>>, BrokerError> {
        Ok(self.watch(subjects::MEMBERS_BUCKET, Some(|_: &Member| MEMBER_TTL)))
    }

    pub(super) async fn watch_workers(
        &self,
    ) -> Result<BoxStream<'static, Watched<WorkerRecord>>, BrokerError> {
        Ok(self.watch(subjects::WORKERS_BUCKET, Some(WorkerRecord::ttl)))
    }

    pub(super) async fn create_namespace(
        &self,
        record: &NamespaceRecord,
    ) -> Result<(), BrokerError> {
        let bucket = self.bucket(subjects::NAMESPACES_BUCKET).await?;
        match bucket.create(&record.id.0, codec::encode(record)).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(()),
            Err(error) => {
                let attempted = format!("make namespace {}", record.name);
                Err(BrokerError::new(attempted, error))
            }
        }
    }

    pub(super) async fn watch_namespaces(
        &self,
    ) -> Result<BoxStream<'static, Watched<NamespaceRecord>>, BrokerError> {
        Ok(self.watch(subjects::NAMESPACES_BUCKET, None))
    }

    async fn bucket(&self, name: &str) -> Result<Store, BrokerError> {
        self.api
            .get_key_value(name)
            .await
            .map_err(|error| BrokerError::new(format!("open bucket {name}"), error))
    }

    /// Watches a bucket for as long as the stream is kept, over all failures.
    fn watch<T: DeserializeOwned + Send + 'static>(
        &self,
        bucket: &'static str,
        expiry: Option<fn(&T) -> Duration>,
    ) -> BoxStream<'static, Watched<T>> {
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        let watch = Watch {
            context: self.api.clone(),
            client: self.quick.clone(),
            connects: self.connects.clone(),
            bucket,
            expiry,
            heard: BTreeMap::new(),
            complete: false,
            changes: sender,
        };
        tokio::spawn(watch.run());
        stream::unfold(changes, |mut changes| async move {
            changes.recv().await.map(|change| (change, changes))
        })
        .boxed()
    }
}

/// One watch of a bucket.
struct Watch<T> {
    context: Context,
    client: Client,
    connects: watch::Receiver<u64>,
    bucket: &'static str,
    /// A key not written for as long as its value says is gone.
    expiry: Option<fn(&T) -> Duration>,
    /// The keys that the watcher knows.
    heard: BTreeMap<String, Heard>,
    complete: bool,
    changes: mpsc::Sender<Watched<T>>,
}

/// When a key was last written, and how long that counts.
#[derive(Clone, Copy)]
struct Heard {
    at: Instant,
    /// None: for ever.
    lasts: Option<Duration>,
}

impl Heard {
    fn until(self) -> Option<Instant> {
        self.lasts.map(|lasts| self.at + lasts)
    }
}

/// The watcher has gone.
struct Unwatched;

impl<T: DeserializeOwned> Watch<T> {
    async fn run(mut self) {
        let gone = self.changes.clone();
        loop {
            // Dropping a watch halfway loses nothing: nobody listens any more.
            let outcome = tokio::select! {
                biased;
                () = gone.closed() => return,
                outcome = self.follow() => outcome,
            };
            match outcome {
                Err(Unwatched) => return,
                Ok(reason) => {
                    info!(bucket = self.bucket, %reason, "watch ended, watching anew");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// From the bucket's present content on, until the subscription fails; says why.
    async fn follow(&mut self) -> Result<String, Unwatched> {
        self.connects.borrow_and_update();
        let stream_name = format!("KV_{}", self.bucket);
        let prefix = format!("$KV.{}.", self.bucket);
        let stream = match self.context.get_stream_no_info(&stream_name).await {
            Ok(stream) => stream,
            Err(error) => return Ok(error.to_string()),
        };
        let consumer = stream
            .create_consumer(OrderedConfig {
                deliver_subject: self.client.new_inbox(),
                filter_subject: format!("{prefix}>"),
                deliver_policy: DeliverPolicy::LastPerSubject,
                ..OrderedConfig::default()
            })
            .await;
        let consumer = match consumer {
            Ok(consumer) => consumer,
            Err(error) => return Ok(error.to_string()),
        };
        let mut initial = consumer.cached_info().num_pending;
        let mut messages = match consumer.messages().await {
            Ok(messages) => messages,
            Err(error) => return Ok(error.to_string()),
        };
        let began = Instant::now();
        let mut quiet_from = began;
        if self.expiry.is_some() {
            // While there was no connection nobody could be heard: all get their time anew.
            self.heard.values_mut().for_each(|heard| heard.at = began);
        }
        let mut told = false;
        loop {
            if !told && (initial == 0 || quiet_from.elapsed() >= QUIET_MAX) {
                told = true;
                // What was known before and did not come again has gone while nobody watched.
                self.expire(|heard| heard.at < began).await?;
                if !self.complete {
                    self.complete = true;
                    self.tell(Watched::Complete).await?;
                }
            }
            let quiet_end = (!told).then(|| quiet_from + QUIET_MAX);
            let expiry_end = self
                .heard
                .values()
                .filter(|_| told)
                .filter_map(|heard| heard.until())
                .min();
            let wake = quiet_end.or(expiry_end);
            // A message that has arrived comes before a time that has passed: after a pause of this process, what others
            // wrote meanwhile is seen before they are taken for gone. Dropping `next` loses no message.
            let message = tokio::select! {
                biased;
                // The subscription would find out by itself that its consumer is gone, but only after some heartbeats.
                changed = self.connects.changed() => {
                    return match changed {
                        Ok(()) => Ok("connected anew".to_owned()),
                        Err(_) => Err(Unwatched),
                    };
                }
                message = messages.next() => message,
                () = sleep_until(wake) => {
                    if self.client.connection_state() != State::Connected {
                        tokio::time::sleep(RETRY_DELAY).await;
                    } else if told {
                        let now = Instant::now();
                        self.expire(|heard| heard.until().is_some_and(|until| until <= now))
                            .await?;
                    }
                    continue;
                }
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Ok(error.to_string()),
                None => return Ok("the subscription ended".to_owned()),
            };
            quiet_from = Instant::now();
            initial = initial.saturating_sub(1);
            let Some(key) = message.subject.strip_prefix(&prefix).map(str::to_owned) else {
                continue;
            };
            let is_deletion = message
                .headers
                .as_ref()
                .is_some_and(|headers| headers.get("KV-Operation").is_some());
            if is_deletion {
                if self.heard.remove(&key).is_some() {
                    self.tell(Watched::Gone(key)).await?;
                }
                continue;
            }
            self.put(key, &message.payload).await?;
        }
    }

    async fn put(&mut self, key: String, value: &Bytes) -> Result<(), Unwatched> {
        match codec::decode::<T>(value) {
            Ok(value) => {
                let heard = Heard {
                    at: Instant::now(),
                    lasts: self.expiry.map(|lasts| lasts(&value)),
                };
                self.heard.insert(key, heard);
                self.tell(Watched::Put(value)).await
            }
            Err(error) => {
                error!(bucket = self.bucket, %key, %error, "entry does not decode, left aside");
                Ok(())
            }
        }
    }

    /// Tells of all keys that are gone.
    async fn expire(&mut self, is_gone: impl Fn(Heard) -> bool) -> Result<(), Unwatched> {
        let gone: Vec<String> = self
            .heard
            .iter()
            .filter(|(_, heard)| is_gone(**heard))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.heard.remove(&key);
            self.tell(Watched::Gone(key)).await?;
        }
        Ok(())
    }

    async fn tell(&self, change: Watched<T>) -> Result<(), Unwatched> {
        self.changes.send(change).await.map_err(|_| Unwatched)
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
