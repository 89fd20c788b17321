//! The table of runs in SQLite: disposable, rebuilt from the stream at each start.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fermata_proto::time::Timestamp;
use rusqlite::{Connection, OpenFlags, params};

use super::record::Row;

/// Connections that read a file at the same time.
const READERS: usize = 2;

const SCHEMA: &str = "
    CREATE TABLE runs (
        namespace_id TEXT NOT NULL, run_id TEXT NOT NULL, workflow_id TEXT NOT NULL, workflow_type TEXT NOT NULL,
        status INTEGER NOT NULL, start_time INTEGER NOT NULL, execution_time INTEGER NOT NULL, close_time INTEGER,
        execution_duration INTEGER, task_queue TEXT NOT NULL, history_length INTEGER, history_bytes INTEGER,
        transitions INTEGER, parent_workflow_id TEXT, parent_run_id TEXT, root_workflow_id TEXT, root_run_id TEXT,
        division TEXT, attributes TEXT NOT NULL, info BLOB NOT NULL, expires_at INTEGER,
        closed_order INTEGER NOT NULL,
        PRIMARY KEY (namespace_id, run_id)
    );
    CREATE INDEX by_close ON runs (namespace_id, closed_order DESC, start_time DESC, run_id DESC);
    CREATE INDEX by_workflow_id ON runs (namespace_id, workflow_id);
    CREATE INDEX by_type ON runs (namespace_id, workflow_type, closed_order DESC, start_time DESC, run_id DESC);
    CREATE INDEX by_status ON runs (namespace_id, status, closed_order DESC, start_time DESC, run_id DESC);
    CREATE INDEX by_expiry ON runs (expires_at) WHERE expires_at IS NOT NULL;
";

const PUT: &str = "
    INSERT OR REPLACE INTO runs (
        namespace_id, run_id, workflow_id, workflow_type, status, start_time, execution_time, close_time,
        execution_duration, task_queue, history_length, history_bytes, transitions, parent_workflow_id, parent_run_id,
        root_workflow_id, root_run_id, division, attributes, info, expires_at, closed_order)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// The read model cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{attempted}")]
pub struct StoreError {
    attempted: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StoreError {
    pub(super) fn new(
        attempted: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            attempted: attempted.into(),
            source: source.into(),
        }
    }
}

/// One change of the table.
#[derive(Debug)]
pub enum Write {
    Put(Box<Row>),
    Remove {
        namespace_id: String,
        run_id: String,
    },
}

/// The table, to be written by one and read by many.
pub struct Store {
    writer: Arc<Mutex<Connection>>,
    /// The writer itself where the table lies in memory.
    readers: Vec<Arc<Mutex<Connection>>>,
    next_reader: AtomicUsize,
    file: Option<PathBuf>,
}

impl Store {
    /// An empty table in memory, or in a new file at `file`, which is removed when the store is dropped.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn open(file: Option<&Path>) -> Result<Self, StoreError> {
        let Some(path) = file else {
            let connection = Connection::open_in_memory()
                .and_then(prepared)
                .map_err(|source| StoreError::new("open a visibility store in memory", source))?;
            let writer = Arc::new(Mutex::new(connection));
            return Ok(Self {
                readers: vec![Arc::clone(&writer)],
                writer,
                next_reader: AtomicUsize::new(0),
                file: None,
            });
        };
        let attempted = || format!("open the visibility store {}", path.display());
        remove(path).map_err(|source| StoreError::new(attempted(), source))?;
        let open = || -> rusqlite::Result<_> {
            let writer = Connection::open(path)?;
            // Readers go on beside the writer. Nothing has to outlive the process.
            writer.pragma_update(None, "journal_mode", "WAL")?;
            writer.pragma_update(None, "synchronous", "OFF")?;
            let writer = Arc::new(Mutex::new(prepared(writer)?));
            let mut readers = Vec::new();
            for _ in 0..READERS {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let reader = Connection::open_with_flags(path, flags)?;
                readers.push(Arc::new(Mutex::new(reader)));
            }
            Ok((writer, readers))
        };
        let (writer, readers) = open().map_err(|source| StoreError::new(attempted(), source))?;
        Ok(Self {
            writer,
            readers,
            next_reader: AtomicUsize::new(0),
            file: Some(path.to_owned()),
        })
    }

    /// Makes all changes or none.
    ///
    /// # Errors
    /// If the store fails.
    pub fn write(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut connection = held(&self.writer);
        let mut change = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            {
                let mut put = transaction.prepare_cached(PUT)?;
                let mut remove = transaction
                    .prepare_cached("DELETE FROM runs WHERE namespace_id = ? AND run_id = ?")?;
                for write in writes {
                    match write {
                        Write::Put(row) => put_row(&mut put, row)?,
                        Write::Remove {
                            namespace_id,
                            run_id,
                        } => {
                            remove.execute([namespace_id, run_id])?;
                        }
                    }
                }
            }
            transaction.commit()
        };
        change().map_err(|source| {
            StoreError::new(format!("write {} visibility records", writes.len()), source)
        })
    }

    /// Removes what the broker has dropped by now.
    ///
    /// # Errors
    /// If the store fails.
    pub fn expire(&self, now: Timestamp) -> Result<usize, StoreError> {
        held(&self.writer)
            .execute("DELETE FROM runs WHERE expires_at <= ?", [now.as_nanos()])
            .map_err(|source| StoreError::new("remove expired visibility records", source))
    }

    /// Reads by one of the connections; blocks.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let turn = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.readers.len();
        read(&held(&self.readers[turn]))
            .map_err(|source| StoreError::new("read the visibility store", source))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(file) = &self.file
            && let Err(error) = remove(file)
        {
            tracing::info!(%error, file = %file.display(), "remove the visibility store");
        }
    }
}

fn prepared(connection: Connection) -> rusqlite::Result<Connection> {
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// A panic under the lock leaves no half-made change: transactions roll back when dropped.
fn held(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file and what SQLite puts beside it.
fn remove(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn put_row(put: &mut rusqlite::CachedStatement<'_>, row: &Row) -> rusqlite::Result<()> {
    put.execute(params![
        row.namespace_id,
        row.run_id,
        row.workflow_id,
        row.workflow_type,
        row.status,
        row.start_time,
        row.execution_time,
        row.close_time,
        row.execution_duration,
        row.task_queue,
        row.history_length,
        row.history_bytes,
        row.transitions,
        row.parent_workflow_id,
        row.parent_run_id,
        row.root_workflow_id,
        row.root_run_id,
        row.division,
        row.attributes,
        row.info,
        row.expires_at,
        // Open runs come before all that have closed.
        row.close_time.unwrap_or(i64::MAX),
    ])?;
    Ok(())
}
