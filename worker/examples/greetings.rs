//! The first workflow of the README, to be run beside `fermata dev`.

use fermata_worker::*;
use std::time::Duration;

async fn greet(ctx: WorkflowContext, name: String) -> WorkflowResult<String> {
    let greeting = ctx
        .activity(compose, name)
        .start_to_close(Duration::from_secs(10))
        .await?;
    ctx.sleep(Duration::from_secs(5)).await?; // or sixty days: it survives restarts of everything
    Ok(greeting)
}

async fn compose(_ctx: ActivityContext, name: String) -> ActivityResult<String> {
    Ok(format!("Hello {name}")) // may fail: it is tried again
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::connect("nats://127.0.0.1:4222").await?;
    let worker = Worker::new(&client, "greetings")
        .workflow(greet)
        .activity(compose);
    tokio::spawn(worker.run());

    let handle = client
        .start(greet, "Ada".to_owned())
        .queue("greetings")
        .id("greet-ada")
        .await?;
    println!("{}", handle.result().await?);
    Ok(())
}
