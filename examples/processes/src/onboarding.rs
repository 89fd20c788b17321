//! A new user is welcomed, has some days to fill in the profile, is reminded, and is handed to people at last.
//!
//! It waits for a person, for days: no worker is kept busy meanwhile, and restarts of everything do not matter.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use fermata_worker::{ActivityContext, ActivityResult, WorkflowContext, WorkflowResult};
use serde::{Deserialize, Serialize};

pub const QUEUE: &str = "onboarding";

/// Signal without argument: the user has filled in the profile.
pub const PROFILE_COMPLETED: &str = "profile_completed";

/// Query for the [`Stage`].
pub const STAGE: &str = "stage";

/// How often a user is reminded before people take over.
const REMINDERS_MAX: u32 = 2;

/// How long one attempt of a step may take.
const STEP: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignUp {
    pub email: String,
    /// How long the user has before each reminder; three days if not given.
    #[serde(default = "three_days")]
    pub patience_seconds: u64,
}

pub const fn three_days() -> u64 {
    3 * 24 * 3600
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    WaitingForProfile { reminders: u32 },
    Active,
    HandedOver,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    pub to: String,
    pub text: String,
}

pub async fn onboard_user(ctx: WorkflowContext, user: SignUp) -> WorkflowResult<Stage> {
    let stage = Rc::new(Cell::new(Stage::WaitingForProfile { reminders: 0 }));
    let asked = stage.clone();
    ctx.on_query(STAGE, move |()| asked.get());

    let completed = Rc::new(Cell::new(false));
    let signalled = completed.clone();
    ctx.on_signal(PROFILE_COMPLETED, move |()| signalled.set(true));

    let patience = Duration::from_secs(user.patience_seconds);
    mail(&ctx, &user, "Welcome! Tell us about yourself.").await?;
    for reminders in 0..=REMINDERS_MAX {
        stage.set(Stage::WaitingForProfile { reminders });
        if ctx.wait_until_timeout(patience, || completed.get()).await? {
            stage.set(Stage::Active);
            mail(&ctx, &user, "You are in. Here is what to try first.").await?;
            return Ok(stage.get());
        }
        if reminders < REMINDERS_MAX {
            mail(&ctx, &user, "Your profile is still empty.").await?;
        }
    }
    stage.set(Stage::HandedOver);
    ctx.activity(open_ticket, user.email)
        .start_to_close(STEP)
        .await?;
    Ok(stage.get())
}

async fn mail(ctx: &WorkflowContext, user: &SignUp, text: &str) -> WorkflowResult<()> {
    let mail = Mail {
        to: user.email.clone(),
        text: text.to_owned(),
    };
    ctx.activity(send_mail, mail).start_to_close(STEP).await
}

pub async fn send_mail(_ctx: ActivityContext, mail: Mail) -> ActivityResult<()> {
    tracing::info!("mail to {}: {}", mail.to, mail.text);
    Ok(())
}

/// For people who call the user.
pub async fn open_ticket(_ctx: ActivityContext, email: String) -> ActivityResult<()> {
    tracing::info!("ticket: call {email}");
    Ok(())
}
