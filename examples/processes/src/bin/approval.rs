//! Asks two people to approve an expense; plays one of them, or leaves the answer to you.

use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use fermata_examples::approval::{DECIDE, Decision, Expense, QUEUE, approve_expense, ask, pay};
use fermata_examples::play::{Connection, play, say, start, tell_end};
use fermata_worker::Worker;

#[derive(Debug, Parser)]
#[command(
    version,
    about = "An expense is paid when somebody approves it, by signal"
)]
struct Options {
    #[command(flatten)]
    connection: Connection,
    /// What the first who is asked answers
    #[arg(long, value_enum, default_value_t = Answer::Approve)]
    answer: Answer,
    /// How long each has to answer, such as 20s or 24h
    #[arg(long, default_value = "20s")]
    wait: jiff::SignedDuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Answer {
    Approve,
    Reject,
    /// Nothing: you send the signal, or nobody does
    Nothing,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let wait = Duration::try_from(options.wait).context("read --wait")?;
    let workers = |client: &_| {
        let worker = Worker::new(client, QUEUE)
            .workflow(approve_expense)
            .activity(ask)
            .activity(pay);
        vec![worker]
    };
    play(&options.connection, workers, async |client| {
        let expense = Expense {
            what: "a metronome".to_owned(),
            cents: 4_200,
            approvers: vec!["bo@example.com".to_owned(), "cy@example.com".to_owned()],
            deadline_seconds: wait.as_secs().max(1),
        };
        let handle = start(client.start(approve_expense, expense), QUEUE, "expense-1").await?;
        let decision = Decision {
            by: "bo@example.com".to_owned(),
            is_approved: options.answer == Answer::Approve,
        };
        if options.answer == Answer::Nothing {
            let input = serde_json::to_string(&Decision {
                is_approved: true,
                ..decision
            })?;
            say("nobody answers, unless you do:");
            say(format_args!(
                "  fermata workflow signal --workflow-id expense-1 --name {DECIDE} --input '{input}'"
            ));
        } else {
            say(format_args!("{} answers", decision.by));
            handle.signal(DECIDE, &decision).await?;
        }
        tell_end(&handle).await
    })
    .await
}
