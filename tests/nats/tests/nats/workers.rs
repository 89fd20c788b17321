//! Workers in Python and JavaScript serve the activities of workflows in Rust.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_test_support::wait_for;
use fermata_worker::*;
use serde_json::{Value, json};

use crate::deployment::{Deployment, SOON};
use crate::foreign::{ForeignWorker, Language};

const SECOND: Duration = Duration::from_secs(1);
const GREET: Activity<String, Value> = Activity::named("greet");
const FAIL_ONCE: Activity<String, String> = Activity::named("fail_once");
const TAKE_TIME: Activity<f64, i32> = Activity::named("take_time");
const WAIT_FOR_CANCEL: Activity<(), ()> = Activity::named("wait_for_cancel");

/// Many greetings at once, all from one queue.
async fn greet_many(ctx: WorkflowContext, names: Vec<String>) -> WorkflowResult<Vec<Value>> {
    let greetings: Vec<_> = names
        .into_iter()
        .map(|name| {
            ctx.activity(GREET, name)
                .queue("mixed")
                .start_to_close(SECOND * 30)
                .start()
        })
        .collect();
    let mut all = Vec::new();
    for greeting in greetings {
        all.push(greeting.await?);
    }
    Ok(all)
}

async fn fail_then_succeed(ctx: WorkflowContext, queue: String) -> WorkflowResult<String> {
    ctx.activity(FAIL_ONCE, "Grüße".to_owned())
        .queue(queue)
        .start_to_close(SECOND * 30)
        .retry(RetryPolicy {
            initial_interval: Some(SECOND / 10),
            ..RetryPolicy::default()
        })
        .await
}

async fn cancel_it(ctx: WorkflowContext, queue: String) -> WorkflowResult<String> {
    let activity = ctx
        .activity(WAIT_FOR_CANCEL, ())
        .queue(queue)
        .start_to_close(SECOND * 60)
        .heartbeat(SECOND)
        .on_cancel(ActivityCancellation::WaitCompleted)
        .start();
    match activity.await {
        Err(error) if error.is_cancelled() => Ok("cancelled by its worker".to_owned()),
        other => Ok(format!("{other:?}")),
    }
}

async fn take_time(ctx: WorkflowContext, queue: String) -> WorkflowResult<i32> {
    ctx.activity(TAKE_TIME, 2.0)
        .queue(queue)
        .start_to_close(SECOND * 30)
        .heartbeat(SECOND)
        .await
}

async fn ask_for_the_unknown(ctx: WorkflowContext, queue: String) -> WorkflowResult<String> {
    let unknown: Activity<(), ()> = Activity::named("nobody_has_this");
    let call = ctx.activity(unknown, ()).queue(queue);
    match call.start_to_close(SECOND * 30).attempts_max(1).await {
        Err(error) => Ok(error.message().into_owned()),
        Ok(()) => Ok("it was done".to_owned()),
    }
}

/// The workflows above in a worker of this process, until the test ends.
async fn workflows(deployment: &Deployment) -> Client {
    let client = Client::connect(deployment.nats.url()).await.unwrap();
    let worker = Worker::new(&client, "workflows")
        .workflow(greet_many)
        .workflow(fail_then_succeed)
        .workflow(cancel_it)
        .workflow(take_time)
        .workflow(ask_for_the_unknown);
    tokio::spawn(worker.run());
    client
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .expect("an end in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_python_and_node_share_the_activities_of_one_workflow() {
    let deployment = Deployment::start().await;
    let client = workflows(&deployment).await;
    let url = deployment.nats.url();
    let _python = ForeignWorker::start(Language::Python, &url, "mixed").await;
    let _node = ForeignWorker::start(Language::Node, &url, "mixed").await;
    // One at a time, so that it leaves something to the others.
    let options = WorkerOptions {
        activities_max: 1,
        activity_pollers: 1,
        ..WorkerOptions::default()
    };
    let rust = Worker::new(&client, "mixed").options(options).activity_as(
        GREET,
        async |_ctx: ActivityContext, name: String| {
            tokio::time::sleep(SECOND / 50).await;
            ActivityResult::Ok(json!({"greeting": format!("Hello {name}"), "by": "rust"}))
        },
    );
    tokio::spawn(rust.run());

    let mut by: BTreeMap<String, usize> = BTreeMap::new();
    let mut round = 0;
    // Who gets a task is the broker's choice, so it has several.
    while by.len() < 3 {
        round += 1;
        assert!(
            round <= 10,
            "after ten workflows only these had activities: {by:?}"
        );
        let names: Vec<String> = (0..60).map(|number| format!("Ünï {number}")).collect();
        let handle = client
            .start(greet_many, names.clone())
            .queue("workflows")
            .id(format!("mixed-{round}"))
            .await
            .unwrap();
        let greetings = within(handle.result()).await.unwrap();
        for (name, greeting) in names.iter().zip(&greetings) {
            assert_eq!(greeting["greeting"], format!("Hello {name}"));
            *by.entry(greeting["by"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        assert_eq!(greetings.len(), 60);
    }
    assert!(
        by.contains_key("rust") && by.contains_key("python") && by.contains_key("node"),
        "{by:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_workers_fail_cancel_and_do_not_know() {
    let deployment = Deployment::start().await;
    let client = workflows(&deployment).await;
    for language in Language::ALL {
        // A name that is no subject token, and one so long that the token ends in a hash.
        for queue in [
            format!("only {}.", language.name()),
            language.name().repeat(40),
        ] {
            let worker = ForeignWorker::start(language, &deployment.nats.url(), &queue).await;
            let handle = client
                .start(fail_then_succeed, queue.clone())
                .queue("workflows");
            let handle = handle.await.unwrap();
            assert_eq!(within(handle.result()).await.unwrap(), "Grüße at attempt 2");

            let id = format!("cancel-{}-{}", language.name(), queue.len());
            let start = client
                .start(cancel_it, queue.clone())
                .queue("workflows")
                .id(&id);
            let handle = start.await.unwrap();
            wait_for("running activity", SOON, async || {
                let described = handle.describe().await.unwrap();
                let pending = described.pending_activities.first()?;
                pending.last_heartbeat_time.map(drop)
            })
            .await;
            handle.cancel("no longer wanted").await.unwrap();
            assert_eq!(
                within(handle.result()).await.unwrap(),
                "cancelled by its worker"
            );
            let events = deployment.events(&id).await;
            let cancelled = events
                .iter()
                .find(|event| event["eventType"] == "EVENT_TYPE_ACTIVITY_TASK_CANCELED")
                .expect("the activity was cancelled");
            let identity = cancelled["activityTaskCanceledEventAttributes"]["identity"].as_str();
            assert!(
                identity.unwrap().starts_with(language.name()),
                "{cancelled}"
            );

            let handle = client.start(ask_for_the_unknown, queue).queue("workflows");
            let words = within(handle.await.unwrap().result()).await.unwrap();
            assert!(
                words.contains("nobody_has_this") && words.contains("not registered"),
                "{words}"
            );
            drop(worker);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_worker_that_is_told_to_stop_ends_what_it_began() {
    let deployment = Deployment::start().await;
    let client = workflows(&deployment).await;
    for language in Language::ALL {
        let queue = language.name().to_owned();
        let mut worker = ForeignWorker::start(language, &deployment.nats.url(), &queue).await;
        let handle = client
            .start(take_time, queue)
            .queue("workflows")
            .await
            .unwrap();
        wait_for("started activity", SOON, async || {
            let described = handle.describe().await.unwrap();
            described
                .pending_activities
                .first()?
                .last_started_time
                .map(drop)
        })
        .await;
        let log = worker.log();
        let process = worker.process.take().unwrap();
        let stopped = tokio::task::spawn_blocking(move || process.terminate());
        // The first attempt, by the worker that went down.
        assert_eq!(within(handle.result()).await.unwrap(), 1, "{log}");
        let status = stopped.await.unwrap();
        assert!(
            status.success(),
            "{language:?} ended with {status}: {}",
            worker.log()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_workers_outlive_a_restart_of_everything() {
    let mut deployment = Deployment::start().await;
    let client = workflows(&deployment).await;
    let url = deployment.nats.url();
    let mut workers = Vec::new();
    for language in Language::ALL {
        workers.push(ForeignWorker::start(language, &url, language.name()).await);
    }
    // The broker forgets the queues, and the engine is away for a while.
    deployment.fermata.kill();
    deployment.nats.kill();
    deployment.nats.restart().await;
    deployment.fermata.start_again();
    deployment.fermata.wait_until_ready().await;
    for (language, worker) in Language::ALL.into_iter().zip(&workers) {
        let start = client
            .start(fail_then_succeed, language.name().to_owned())
            .queue("workflows");
        let result = within(start.await.unwrap().result()).await;
        assert_eq!(result.unwrap(), "Grüße at attempt 2", "{}", worker.log());
    }
}
