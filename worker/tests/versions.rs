//! Code that changes while its workflows run, against an engine on a real nats-server.

mod deployment;

use std::time::Duration;

use deployment::Deployment;
use fermata_test_support::wait_for;
use fermata_worker::*;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(30);
const SHIP: Workflow<(), String> = Workflow::named("ship");

async fn old(ctx: WorkflowContext, (): ()) -> WorkflowResult<String> {
    ctx.on_query("way", |()| "old");
    ctx.local_activity(pack, ()).start_to_close(SECOND).await?;
    ctx.signal::<()>("go").wait().await?;
    ctx.local_activity(pack, ()).start_to_close(SECOND).await
}

/// Another step first: runs of the old code cannot replay with it.
async fn careless(ctx: WorkflowContext, (): ()) -> WorkflowResult<String> {
    ctx.activity(weigh, ()).start_to_close(SECOND).await?;
    ctx.signal::<()>("go").wait().await?;
    ctx.local_activity(pack, ()).start_to_close(SECOND).await
}

/// The same change, behind a patch.
async fn careful(ctx: WorkflowContext, (): ()) -> WorkflowResult<String> {
    ctx.on_query("way", |()| "new");
    if ctx.patched("weigh") {
        ctx.activity(weigh, ()).start_to_close(SECOND).await?;
    } else {
        ctx.local_activity(pack, ()).start_to_close(SECOND).await?;
    }
    ctx.signal::<()>("go").wait().await?;
    ctx.local_activity(pack, ()).start_to_close(SECOND).await
}

async fn pack(_ctx: ActivityContext, (): ()) -> ActivityResult<String> {
    Ok("packed".to_owned())
}

async fn weigh(_ctx: ActivityContext, (): ()) -> ActivityResult<String> {
    Ok("weighed".to_owned())
}

fn worker(client: &Client) -> Worker {
    let options = WorkerOptions {
        cached_workflows_max: 0,
        ..WorkerOptions::default()
    };
    Worker::new(client, "q")
        .options(options)
        .activity(pack)
        .activity(weigh)
}

async fn result(handle: &WorkflowHandle<String>) -> String {
    let ended = tokio::time::timeout(SOON, handle.result()).await;
    ended.expect("an end in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_breaks_running_workflows_unless_it_is_a_patch() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let running = tokio::spawn(worker(client).workflow_as(SHIP, old).run());
    let call = client.start(SHIP, ()).queue("q").id("old");
    let before = call.task_timeout(SECOND).await.unwrap();
    wait_for("a workflow under way", SOON, async || {
        before.query::<_, String>("way", &()).await.ok()
    })
    .await;
    running.abort();

    let running = tokio::spawn(worker(client).workflow_as(SHIP, careless).run());
    before.signal("go", &()).await.unwrap();
    let told = wait_for("a failed workflow task", SOON, async || {
        let history = before.history().await.ok()?;
        let failed = |name: String| name == "WorkflowTaskFailed";
        let is_told = history.event_types().any(failed);
        is_told.then_some(history)
    })
    .await;
    let json = told.to_json();
    for part in [
        "WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR",
        "history event 5 is RecordMarker (core_local_activity, id \\\"1 pack\\\")",
        "ctx.patched(",
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    running.abort();

    let running = tokio::spawn(worker(client).workflow_as(SHIP, careful).run());
    let call = client.start(SHIP, ()).queue("q").id("new");
    let after = call.await.unwrap();
    after.signal("go", &()).await.unwrap();
    assert_eq!(result(&after).await, "packed");
    let types: Vec<String> = after.history().await.unwrap().event_types().collect();
    assert!(
        types.iter().any(|name| name == "ActivityTaskCompleted"),
        "{types:?}"
    );
    let described = after.describe().await.unwrap();
    let info = described.workflow_execution_info.unwrap();
    let attributes = info.search_attributes.unwrap().indexed_fields;
    let patches: Vec<String> = from_payload(&attributes["TemporalChangeVersion"]).unwrap();
    assert_eq!(patches, ["weigh"]);
    // The old run has found back by itself.
    assert_eq!(result(&before).await, "packed");
    running.abort();
}
