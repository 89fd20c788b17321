//! A nightly pipeline: copies two tables, joins them, publishes the sum.
//!
//! Copying takes long and may break anywhere. It tells how far it is by heartbeats, and the next attempt goes on there.

use std::time::Duration;

use fermata_worker::{
    ActivityCall, ActivityContext, ActivityResult, RetryPolicy, WorkflowContext, WorkflowResult,
};
use serde::{Deserialize, Serialize};

pub const QUEUE: &str = "pipeline";

/// Rows that are read and written at once.
const BATCH_ROWS: u64 = 100;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Night {
    pub day: String,
    /// In each table.
    pub rows: u64,
    /// How long the source takes for a batch.
    #[serde(default)]
    pub batch_ms: u64,
    /// Where the connection breaks at the first attempt, for trying out.
    #[serde(default)]
    pub breaks_at_row: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    pub name: String,
    pub night: Night,
}

/// How far a copy is: what its heartbeats tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub rows: u64,
    pub cents: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    pub table: String,
    pub rows: u64,
    pub cents: u64,
    /// The row at which the attempt that came to the end had begun.
    pub resumed_at_row: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub day: String,
    pub rows: u64,
    pub revenue_cents: u64,
    pub copied: Vec<Copied>,
}

pub async fn data_pipeline(ctx: WorkflowContext, night: Night) -> WorkflowResult<Report> {
    // Both at once; what follows needs both.
    let (sales, refunds) = futures::try_join!(
        copy(&ctx, "sales", &night).start(),
        copy(&ctx, "refunds", &night).start(),
    )?;
    let report = ctx
        .activity(settle, (night.day, sales, refunds))
        .start_to_close(Duration::from_secs(60))
        .await?;
    ctx.activity(publish, report.clone())
        .start_to_close(Duration::from_secs(60))
        .await?;
    Ok(report)
}

fn copy(ctx: &WorkflowContext, name: &str, night: &Night) -> ActivityCall<Copied> {
    let table = Table {
        name: name.to_owned(),
        night: night.clone(),
    };
    ctx.activity(copy_table, table)
        // A copy may take hours. One that says nothing for half a minute has lost its machine: another worker takes over.
        .start_to_close(Duration::from_secs(6 * 3600))
        .heartbeat(Duration::from_secs(30))
        .retry(RetryPolicy {
            initial_interval: Some(Duration::from_secs(1)),
            backoff_coefficient: 2.0,
            maximum_interval: Some(Duration::from_secs(60)),
            ..RetryPolicy::default()
        })
}

pub async fn copy_table(ctx: ActivityContext, table: Table) -> ActivityResult<Copied> {
    // None at the first attempt; later what the attempt before told last.
    let mut progress = ctx.heartbeat_details::<Progress>()?.unwrap_or_default();
    let resumed_at_row = progress.rows;
    tracing::info!(
        "copy {}: attempt {} begins at row {resumed_at_row}",
        table.name,
        ctx.info().attempt
    );
    while progress.rows < table.night.rows {
        let batch = read(&table, progress.rows, ctx.info().attempt).await?;
        // Written by primary key: rows that were copied but not yet told of are copied twice and are there once.
        progress.rows += batch.len() as u64;
        progress.cents += batch.iter().sum::<u64>();
        ctx.heartbeat(&progress);
    }
    tracing::info!("copy {}: {} rows are there", table.name, progress.rows);
    Ok(Copied {
        table: table.name,
        rows: progress.rows,
        cents: progress.cents,
        resumed_at_row,
    })
}

/// The connection to the source broke. An ordinary error: the copy is tried again.
#[derive(Debug, thiserror::Error)]
#[error("the connection to table {table} broke at row {row}")]
struct ConnectionLost {
    table: String,
    row: u64,
}

/// A stand-in for the source: the amounts of a batch of rows, in cents.
async fn read(table: &Table, from: u64, attempt: i32) -> Result<Vec<u64>, ConnectionLost> {
    let night = &table.night;
    tokio::time::sleep(Duration::from_millis(night.batch_ms)).await;
    let until = night.rows.min(from + BATCH_ROWS);
    if attempt == 1
        && let Some(row) = night.breaks_at_row.filter(|row| *row < until)
    {
        return Err(ConnectionLost {
            table: table.name.clone(),
            row,
        });
    }
    let cents = |row| if table.name == "sales" { row + 100 } else { 1 };
    Ok((from..until).map(cents).collect())
}

/// An activity takes one argument; a tuple makes it several.
pub async fn settle(
    _ctx: ActivityContext,
    (day, sales, refunds): (String, Copied, Copied),
) -> ActivityResult<Report> {
    Ok(Report {
        day,
        rows: sales.rows + refunds.rows,
        revenue_cents: sales.cents - refunds.cents,
        copied: vec![sales, refunds],
    })
}

pub async fn publish(_ctx: ActivityContext, report: Report) -> ActivityResult<()> {
    tracing::info!(
        "published {}: {} cents from {} rows",
        report.day,
        report.revenue_cents,
        report.rows
    );
    Ok(())
}
