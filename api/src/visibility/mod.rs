//! The read model behind lists and counts: FM_VISIBILITY projected into SQLite.
//!
//! Each api replica has its own ([`store`]), follows the stream from its beginning ([`projection`]) and answers Temporal's list
//! filter ([`filter`], [`sql`]) from it. It lags behind the engine by about a checkpoint. Deliberately absent: anything that
//! would be lost with it.

pub mod attribute;
pub mod filter;
mod projection;
mod query;
mod record;
mod sql;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use self::store::Store;

pub use projection::follow;
pub use query::{Counts, Page, PageToken, QueryError, Selection};
pub use record::TYPE_METADATA;
pub use store::StoreError;

/// Queries that run at the same time; others wait for their turn.
const READS_MAX: usize = 16;

/// The read model. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Visibility {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    caught_up: AtomicBool,
    reads: Semaphore,
}

impl Visibility {
    /// An empty model in memory, or in a file; to be filled by [`follow`].
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn open(file: Option<&Path>) -> Result<Self, StoreError> {
        Ok(Self {
            inner: Arc::new(Inner {
                store: Store::open(file)?,
                caught_up: AtomicBool::new(false),
                reads: Semaphore::new(READS_MAX),
            }),
        })
    }

    /// Whether everything that existed at the start is in.
    pub fn is_caught_up(&self) -> bool {
        self.inner.caught_up.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
