//! Welcomes a user who fills in the profile after the first reminder, or never.

use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use fermata_examples::onboarding::{
    PROFILE_COMPLETED, QUEUE, STAGE, SignUp, Stage, onboard_user, open_ticket, send_mail,
};
use fermata_examples::play::{Connection, play, say, start, tell_end};
use fermata_worker::{Worker, WorkflowHandle};

/// How often to look whether the first reminder is out.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Parser)]
#[command(
    version,
    about = "A new user has some days, is reminded, and is handed to people at last"
)]
struct Options {
    #[command(flatten)]
    connection: Connection,
    /// How long the user has before each reminder, such as 3s or 72h
    #[arg(long, default_value = "3s")]
    wait: jiff::SignedDuration,
    /// The user never fills in the profile
    #[arg(long)]
    silent: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let wait = Duration::try_from(options.wait).context("read --wait")?;
    let workers = |client: &_| {
        let worker = Worker::new(client, QUEUE)
            .workflow(onboard_user)
            .activity(send_mail)
            .activity(open_ticket);
        vec![worker]
    };
    play(&options.connection, workers, async |client| {
        let user = SignUp {
            email: "ada@example.com".to_owned(),
            patience_seconds: wait.as_secs().max(1),
        };
        let handle = start(client.start(onboard_user, user), QUEUE, "onboarding-ada").await?;
        say(format_args!("Ada has {wait:?} before each reminder"));
        if !options.silent && is_reminded(&handle).await? {
            say("Ada fills in the profile");
            handle.signal(PROFILE_COMPLETED, &()).await?;
        }
        tell_end(&handle).await
    })
    .await
}

/// Waits for the first reminder; false if there is none any more.
async fn is_reminded(handle: &WorkflowHandle<Stage>) -> anyhow::Result<bool> {
    loop {
        match handle.query(STAGE, &()).await? {
            Stage::WaitingForProfile { reminders: 0 } => tokio::time::sleep(LOOK_EVERY).await,
            Stage::WaitingForProfile { .. } => return Ok(true),
            Stage::Active | Stage::HandedOver => return Ok(false),
        }
    }
}
