//! Copies two tables; the connection breaks in the middle. Stop it with Ctrl-C or `kill -9` and start it again: it goes on.

use std::time::Duration;

use clap::Parser;
use fermata_examples::pipeline::{Night, QUEUE, copy_table, data_pipeline, publish, settle};
use fermata_examples::play::{Connection, play, say, start, tell_end};
use fermata_worker::{Worker, WorkerOptions};

#[derive(Debug, Parser)]
#[command(
    version,
    about = "A data pipeline that goes on where its last heartbeat was"
)]
struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Rows of each table
    #[arg(long, default_value_t = 3_000)]
    rows: u64,
    /// How long the source takes for a hundred rows
    #[arg(long, default_value_t = 100)]
    batch_ms: u64,
    /// Where the connection breaks at the first attempt
    #[arg(long, default_value_t = 1_500)]
    breaks_at_row: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let workers = |client: &_| {
        let worker = Worker::new(client, QUEUE)
            .workflow(data_pipeline)
            .activity(copy_table)
            .activity(settle)
            .activity(publish)
            // Heartbeats are sent after 80 % of their time-out, if nothing is said: what was copied since the last one that was
            // sent is copied again after a `kill -9`.
            .options(WorkerOptions {
                heartbeat_throttle_max: Duration::from_millis(500),
                ..WorkerOptions::default()
            });
        vec![worker]
    };
    play(&options.connection, workers, async |client| {
        let night = Night {
            day: "2026-01-31".to_owned(),
            rows: options.rows,
            batch_ms: options.batch_ms,
            breaks_at_row: Some(options.breaks_at_row),
        };
        let id = format!("pipeline-{}", night.day);
        let handle = start(client.start(data_pipeline, night), QUEUE, &id).await?;
        let row = options.breaks_at_row;
        say(format_args!("the connection will break at row {row}"));
        tell_end(&handle).await
    })
    .await
}
