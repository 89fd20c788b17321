//! The namespaces of a deployment, kept up to date.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use fermata_proto::ids::NamespaceId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::{codec, subjects};
use futures::StreamExt;

/// After the watch was lost.
const RETRY_PERIOD: Duration = Duration::from_millis(500);

/// A namespace was not written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Somebody else wrote it first: read and decide again.
    #[error("write namespace {0:?}: it was changed meanwhile")]
    Conflict(String),
    #[error("write namespace {name:?}: {reason}")]
    Unavailable { name: String, reason: String },
}

/// All namespaces, as of a moment ago. Cheap to clone; clones share what is known.
#[derive(Clone)]
pub struct Namespaces {
    bucket: kv::Store,
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    /// With the revision of each record, by which a write notices another.
    by_id: BTreeMap<NamespaceId, (Arc<NamespaceRecord>, u64)>,
    ids: BTreeMap<String, NamespaceId>,
}

impl Known {
    fn put(&mut self, record: NamespaceRecord, revision: u64) {
        if self
            .by_id
            .get(&record.id)
            .is_some_and(|(_, known)| *known >= revision)
        {
            return;
        }
        // A renamed namespace is not known by its old name.
        self.remove(&record.id);
        self.ids.insert(record.name.clone(), record.id.clone());
        self.by_id
            .insert(record.id.clone(), (Arc::new(record), revision));
    }

    fn remove(&mut self, id: &NamespaceId) {
        if let Some((record, _)) = self.by_id.remove(id)
            && self.ids.get(&record.name) == Some(id)
        {
            self.ids.remove(&record.name);
        }
    }
}

impl Namespaces {
    /// Reads all namespaces and follows their changes.
    pub(crate) async fn watch(jetstream: &jetstream::Context) -> Result<Self, String> {
        let bucket = jetstream
            .get_key_value(subjects::NAMESPACES_BUCKET)
            .await
            .map_err(|error| error.to_string())?;
        let namespaces = Self {
            bucket,
            known: Arc::default(),
        };
        let mut keys = namespaces
            .bucket
            .keys()
            .await
            .map_err(|error| error.to_string())?;
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| error.to_string())?;
            if let Some(entry) = namespaces
                .bucket
                .entry(key)
                .await
                .map_err(|error| error.to_string())?
            {
                namespaces.take(&entry);
            }
        }
        if namespaces.all().is_empty() {
            return Err("no namespace is there yet".to_owned());
        }
        tokio::spawn(follow(
            namespaces.bucket.clone(),
            Arc::downgrade(&namespaces.known),
        ));
        Ok(namespaces)
    }

    pub fn by_name(&self, name: &str) -> Option<Arc<NamespaceRecord>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let id = known.ids.get(name)?;
        known.by_id.get(id).map(|(record, _)| Arc::clone(record))
    }

    pub fn by_id(&self, id: &NamespaceId) -> Option<Arc<NamespaceRecord>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_id.get(id).map(|(record, _)| Arc::clone(record))
    }

    /// In the order of their names.
    pub fn all(&self) -> Vec<Arc<NamespaceRecord>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .ids
            .values()
            .filter_map(|id| known.by_id.get(id))
            .map(|(record, _)| Arc::clone(record))
            .collect()
    }

    /// Writes a new namespace, or the next state of a known one as last seen here. Seen here at once, elsewhere within
    /// milliseconds.
    ///
    /// # Errors
    /// [`PutError`]
    pub async fn put(&self, record: NamespaceRecord) -> Result<(), PutError> {
        let revision = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.by_id.get(&record.id).map(|(_, revision)| *revision)
        };
        let key = record.id.0.clone();
        let bytes = codec::encode(&record);
        let written = match revision {
            Some(revision) => self
                .bucket
                .update(key, bytes, revision)
                .await
                .map_err(|error| {
                    (
                        error.kind() == kv::UpdateErrorKind::WrongLastRevision,
                        error.to_string(),
                    )
                }),
            None => self.bucket.create(key, bytes).await.map_err(|error| {
                (
                    error.kind() == kv::CreateErrorKind::AlreadyExists,
                    error.to_string(),
                )
            }),
        };
        match written {
            Ok(revision) => {
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.put(record, revision);
                Ok(())
            }
            Err((true, _)) => Err(PutError::Conflict(record.name)),
            Err((false, reason)) => Err(PutError::Unavailable {
                name: record.name,
                reason,
            }),
        }
    }

    fn take(&self, entry: &kv::Entry) {
        take(&self.known, entry);
    }
}

fn take(known: &RwLock<Known>, entry: &kv::Entry) {
    let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
    match entry.operation {
        kv::Operation::Put => match codec::decode::<NamespaceRecord>(&entry.value) {
            Ok(record) => known.put(record, entry.revision),
            Err(error) => tracing::error!(key = entry.key, %error, "read a namespace"),
        },
        kv::Operation::Delete | kv::Operation::Purge => {
            known.remove(&NamespaceId::from(entry.key.as_str()));
        }
    }
}

/// Follows changes until nobody looks any more.
async fn follow(bucket: kv::Store, known: std::sync::Weak<RwLock<Known>>) {
    loop {
        match bucket.watch_with_history(">").await {
            Ok(mut watch) => {
                while let Some(entry) = watch.next().await {
                    let Some(known) = known.upgrade() else { return };
                    match entry {
                        Ok(entry) => take(&known, &entry),
                        Err(error) => {
                            tracing::info!(%error, "the watch on namespaces was lost");
                            break;
                        }
                    }
                }
            }
            Err(error) => tracing::info!(%error, "watch namespaces"),
        }
        if known.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(RETRY_PERIOD).await;
    }
}
