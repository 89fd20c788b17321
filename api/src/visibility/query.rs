//! Lists and counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use fermata_proto::enums::IndexedValueType;
use fermata_proto::ids::NamespaceId;
use fermata_proto::pb::workflow::v1::WorkflowExecutionInfo;
use prost::Message;
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, params_from_iter};
use serde::{Deserialize, Serialize};

use super::attribute::{self, EXECUTION_STATUS, NAMESPACE_DIVISION};
use super::filter::expression::{Expression, Query};
use super::filter::{self, FilterError};
use super::sql::{self, Condition, STATUSES};
use super::store::StoreError;
use super::{Inner, Visibility};

/// A page ends early when its runs get larger than this, so that it fits a message.
const PAGE_BYTES_MAX: usize = 3 << 20;

/// Which runs are meant.
#[derive(Debug)]
pub struct Selection {
    condition: Condition,
    by_status: bool,
}

/// Runs in the order of lists, and where to go on.
#[derive(Debug, Default)]
pub struct Page {
    pub executions: Vec<WorkflowExecutionInfo>,
    /// Of the last run, if the page is full.
    pub next: Option<PageToken>,
}

/// The place of a run in the order of lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageToken {
    closed_order: i64,
    start_time: i64,
    run_id: String,
}

/// How many runs there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub total: i64,
    /// By the names of statuses, if the query groups by them.
    pub groups: Vec<(&'static str, i64)>,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Selection {
    /// The runs of a namespace that a written query means. A grouping counts for counts only.
    ///
    /// # Errors
    /// If the query is refused.
    pub fn parse(
        query: &str,
        namespace_id: &NamespaceId,
        custom: &BTreeMap<String, IndexedValueType>,
    ) -> Result<Self, FilterError> {
        let query = filter::parse(query)?;
        let mut selection = Self::of(query.filter.as_ref(), namespace_id, custom)?;
        selection.by_status = grouping(&query, custom)?;
        Ok(selection)
    }

    /// The runs that a filter means.
    ///
    /// # Errors
    /// If the filter is refused.
    pub fn of(
        filter: Option<&Expression>,
        namespace_id: &NamespaceId,
        custom: &BTreeMap<String, IndexedValueType>,
    ) -> Result<Self, FilterError> {
        let mut condition = Condition {
            sql: "namespace_id = ?".to_owned(),
            values: vec![Bound::Text(namespace_id.0.clone())],
        };
        // The server's own workflows, such as schedules, are not shown unless asked for.
        if !filter.is_some_and(|filter| filter.mentions(NAMESPACE_DIVISION)) {
            condition.sql.push_str(" AND division IS NULL");
        }
        if let Some(filter) = filter {
            let more = sql::condition(filter, custom)?;
            condition.sql.push_str(&format!(" AND ({})", more.sql));
            condition.values.extend(more.values);
        }
        Ok(Self {
            condition,
            by_status: false,
        })
    }
}

/// Whether counts are grouped by status, the one grouping there is. What follows a filter besides is refused.
fn grouping(
    query: &Query,
    custom: &BTreeMap<String, IndexedValueType>,
) -> Result<bool, FilterError> {
    let unsupported = |what: &str| Err(FilterError::Unsupported(what.to_owned()));
    for name in query.order_by.iter().chain(&query.group_by) {
        if attribute::find(name, custom).is_none() {
            return Err(FilterError::UnknownAttribute(name.clone()));
        }
    }
    if query.has_limit {
        return unsupported("'LIMIT' clause");
    }
    if !query.order_by.is_empty() {
        return unsupported("'ORDER BY' clause");
    }
    match &query.group_by[..] {
        [] => Ok(false),
        [name] if name == EXECUTION_STATUS => Ok(true),
        [name] => unsupported(&format!(
            "'GROUP BY' clause is not supported for search attribute {name}"
        )),
        _ => unsupported("'GROUP BY' clause supports only a single field"),
    }
}

impl Visibility {
    /// Runs by close time, open ones first, then by start time, the newest first; at most `size` of them, behind `after`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn list(
        &self,
        selection: Selection,
        size: usize,
        after: Option<PageToken>,
    ) -> Result<Page, StoreError> {
        self.read(move |inner| {
            inner
                .store
                .read(|connection| list(connection, &selection.condition, size, after.as_ref()))
        })
        .await
    }

    /// How many runs there are.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn count(&self, selection: Selection) -> Result<Counts, StoreError> {
        self.read(move |inner| inner.store.read(|connection| count(connection, &selection)))
            .await
    }

    /// Reads on a thread that may block; only so many at a time, since each holds one.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self
            .inner
            .reads
            .acquire()
            .await
            .map_err(|closed| StoreError::new("read the visibility store", closed))?;
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || read(&inner))
            .await
            .unwrap_or_else(|failed| Err(StoreError::new("read the visibility store", failed)))
    }
}

fn list(
    connection: &Connection,
    condition: &Condition,
    size: usize,
    after: Option<&PageToken>,
) -> rusqlite::Result<Page> {
    let mut statement = format!(
        "SELECT info, closed_order, start_time, run_id FROM runs WHERE {}",
        condition.sql
    );
    let mut values = condition.values.clone();
    if let Some(after) = after {
        statement.push_str(" AND (closed_order, start_time, run_id) < (?, ?, ?)");
        values.push(Bound::Integer(after.closed_order));
        values.push(Bound::Integer(after.start_time));
        values.push(Bound::Text(after.run_id.clone()));
    }
    statement.push_str(" ORDER BY closed_order DESC, start_time DESC, run_id DESC LIMIT ?");
    values.push(Bound::Integer(i64::try_from(size).unwrap_or(i64::MAX)));

    let mut page = Page::default();
    let mut bytes = 0;
    let mut prepared = connection.prepare_cached(&statement)?;
    let mut rows = prepared.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let info = row.get_ref(0)?.as_blob()?;
        bytes += info.len();
        let execution = WorkflowExecutionInfo::decode(info).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                0,
                rusqlite::types::Type::Blob,
                Box::new(error),
            )
        })?;
        page.executions.push(execution);
        if page.executions.len() >= size || bytes > PAGE_BYTES_MAX {
            page.next = Some(PageToken {
                closed_order: row.get(1)?,
                start_time: row.get(2)?,
                run_id: row.get(3)?,
            });
            break;
        }
    }
    Ok(page)
}

fn count(connection: &Connection, selection: &Selection) -> rusqlite::Result<Counts> {
    let condition = &selection.condition;
    let statement = format!(
        "SELECT status, COUNT(*) FROM runs WHERE {} GROUP BY status",
        condition.sql
    );
    let mut counts = Counts::default();
    let mut prepared = connection.prepare_cached(&statement)?;
    let mut rows = prepared.query(params_from_iter(&condition.values))?;
    while let Some(row) = rows.next()? {
        let (status, count): (i32, i64) = (row.get(0)?, row.get(1)?);
        counts.total += count;
        let name = STATUSES
            .iter()
            .find(|(_, known)| *known as i32 == status)
            .map_or("", |(name, _)| name);
        counts.groups.push((name, count));
    }
    counts.groups.sort_unstable();
    if !selection.by_status {
        counts.groups.clear();
    }
    Ok(counts)
}
