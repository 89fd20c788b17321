//! Workers and a client against an engine on a real nats-server.

mod deployment;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use deployment::Deployment;
use fermata_test_support::wait_for;
use fermata_worker::*;
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(20);

/// A worker that runs until its test ends.
struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Result<(), WorkerError>>,
}

fn start(worker: Worker) -> Running {
    Running {
        shutdown: worker.shutdown(),
        task: tokio::spawn(worker.run()),
    }
}

impl Running {
    async fn stop(self) {
        self.shutdown.begin();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("a worker stops in time")
            .unwrap()
            .unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .expect("an end in time")
}

async fn greet(ctx: WorkflowContext, name: String) -> WorkflowResult<String> {
    let greeting = ctx
        .activity(compose, name)
        .start_to_close(SECOND * 5)
        .await?;
    ctx.sleep(Duration::from_millis(50)).await?;
    let again = ctx
        .activity(compose, greeting)
        .start_to_close(SECOND * 5)
        .await?;
    Ok(again)
}

async fn compose(_ctx: ActivityContext, name: String) -> ActivityResult<String> {
    Ok(format!("Hello {name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_runs_to_its_result_eagerly_over_queues_and_without_a_cache() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    for (queue, options) in [
        ("eager", WorkerOptions::default()),
        (
            "queued",
            WorkerOptions {
                eager_activities: false,
                ..WorkerOptions::default()
            },
        ),
        (
            "uncached",
            WorkerOptions {
                cached_workflows_max: 0,
                ..WorkerOptions::default()
            },
        ),
    ] {
        let worker = start(
            Worker::new(client, queue)
                .options(options)
                .workflow(greet)
                .activity(compose),
        );
        let handle = client.start(greet, "Ada".to_owned()).queue(queue).await;
        let handle = handle.unwrap();
        assert_eq!(
            within(handle.result()).await.unwrap(),
            "Hello Hello Ada",
            "{queue}"
        );
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_attempts_are_repeated_and_final_failures_arrive() {
    async fn flaky(ctx: WorkflowContext, bad: bool) -> WorkflowResult<i32> {
        let retry = RetryPolicy {
            initial_interval: Some(Duration::from_millis(10)),
            ..RetryPolicy::default()
        };
        let attempts = ctx.activity(if bad { "refuse" } else { "third_time" }, ());
        attempts.start_to_close(SECOND).retry(retry).await
    }
    async fn third_time(ctx: ActivityContext, (): ()) -> ActivityResult<i32> {
        let attempt = ctx.info().attempt;
        match attempt {
            1 => Err(std::io::Error::other("not yet").into()),
            2 => panic!("not yet either"),
            _ => Ok(attempt),
        }
    }
    async fn refuse(_ctx: ActivityContext, (): ()) -> ActivityResult<i32> {
        Err(ApplicationError::new("never")
            .with_type("Refused")
            .with_details(&"why")
            .non_retryable()
            .into())
    }
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(
        Worker::new(client, "q")
            .workflow(flaky)
            .activity(third_time)
            .activity(refuse),
    );
    let good = client.start(flaky, false).queue("q").await.unwrap();
    assert_eq!(within(good.result()).await.unwrap(), 3);
    let bad = client.start(flaky, true).queue("q").await.unwrap();
    let error = within(bad.result()).await.unwrap_err();
    let error = error.workflow_error().expect("a failure");
    assert_eq!(error.error_type(), Some("Refused"));
    assert_eq!(error.details::<String>().as_deref(), Some("why"));
    worker.stop().await;
}

async fn collect(ctx: WorkflowContext, wanted: usize) -> WorkflowResult<Vec<i32>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let asked = seen.clone();
    ctx.on_query("seen", move |()| asked.borrow().clone());
    let mut numbers = ctx.signal::<i32>("number");
    while seen.borrow().len() < wanted {
        let number = numbers.wait().await?;
        seen.borrow_mut().push(number);
    }
    let seen = seen.borrow().clone();
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_and_queries_reach_a_workflow_also_on_another_worker_and_after_its_end() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let first = start(Worker::new(client, "q").workflow(collect));
    let handle = client
        .start(collect, 2)
        .queue("q")
        .id("collect")
        .signal("number", &1)
        .await
        .unwrap();
    wait_for("a signal that was seen", SOON, async || {
        let seen: Vec<i32> = handle.query("seen", &()).await.ok()?;
        (seen == [1]).then_some(())
    })
    .await;
    let unknown = handle.query::<_, i32>("nothing", &()).await.unwrap_err();
    assert!(format!("{:?}", unknown).contains("seen"), "{unknown:?}");
    first.stop().await;
    // The next worker knows nothing: it reads the whole history.
    let second = start(Worker::new(client, "q").workflow(collect));
    let seen: Vec<i32> = within(handle.query("seen", &())).await.unwrap();
    assert_eq!(seen, [1]);
    handle.signal("number", &2).await.unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), [1, 2]);
    let seen: Vec<i32> = within(handle.query("seen", &())).await.unwrap();
    assert_eq!(seen, [1, 2]);
    assert!(
        handle
            .signal("number", &3)
            .await
            .unwrap_err()
            .is_not_found()
    );
    second.stop().await;
}

async fn long(ctx: WorkflowContext, (): ()) -> WorkflowResult<()> {
    ctx.activity(beating, ())
        .start_to_close(SECOND * 60)
        .heartbeat(SECOND)
        .on_cancel(ActivityCancellation::WaitCompleted)
        .await
}

async fn beating(ctx: ActivityContext, (): ()) -> ActivityResult<()> {
    loop {
        ctx.heartbeat(&"alive");
        tokio::select! {
            reason = ctx.cancelled() => {
                assert_eq!(reason, CancelReason::Requested);
                return Err(ActivityError::cancelled());
            }
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_reaches_the_activity_by_its_heartbeat() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(Worker::new(client, "q").workflow(long).activity(beating));
    let handle = client.start(long, ()).queue("q").await.unwrap();
    wait_for("a running activity", SOON, async || {
        let described = handle.describe().await.ok()?;
        let pending = described.pending_activities.first()?;
        pending.heartbeat_details.is_some().then_some(())
    })
    .await;
    handle.cancel("enough").await.unwrap();
    assert!(matches!(
        within(handle.result()).await,
        Err(ResultError::Cancelled { .. })
    ));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_and_continued_runs_give_their_results() {
    async fn parent(ctx: WorkflowContext, n: i32) -> WorkflowResult<i32> {
        let child = ctx.child(countdown, n).start().await?;
        child.signal("step", &()).await?;
        child.result().await
    }
    /// Goes down by one with each run.
    async fn countdown(ctx: WorkflowContext, n: i32) -> WorkflowResult<i32> {
        if n == 0 {
            return Ok(42);
        }
        Err(ctx.continue_as_new(&(n - 1)).into())
    }
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(
        Worker::new(client, "q")
            .workflow(parent)
            .workflow(countdown),
    );
    let handle = client.start(countdown, 2).queue("q").await.unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), 42);
    let handle = client.start(parent, 0).queue("q").await.unwrap();
    let result = within(handle.result()).await;
    // The child may be over before the signal comes.
    match result {
        Ok(result) => assert_eq!(result, 42),
        Err(error) => assert_eq!(
            error.workflow_error().unwrap().error_type(),
            Some("WorkflowNotFound")
        ),
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_code_stops_its_workflow_until_a_worker_is_right() {
    const FRAGILE: Workflow<(), i32> = Workflow::named("fragile");
    async fn broken(_ctx: WorkflowContext, (): ()) -> WorkflowResult<i32> {
        panic!("broken");
    }
    async fn right(_ctx: WorkflowContext, (): ()) -> WorkflowResult<i32> {
        Ok(7)
    }
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(Worker::new(client, "q").workflow_as(FRAGILE, broken));
    let handle = client
        .start(FRAGILE, ())
        .queue("q")
        .task_timeout(SECOND)
        .await
        .unwrap();
    wait_for("a second attempt", SOON, async || {
        let described = handle.describe().await.ok()?;
        (described.pending_workflow_task?.attempt > 1).then_some(())
    })
    .await;
    worker.stop().await;
    let worker = start(Worker::new(client, "q").workflow_as(FRAGILE, right));
    assert_eq!(within(handle.result()).await.unwrap(), 7);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_goes_down_lets_its_activities_end() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    async fn slow_flow(ctx: WorkflowContext, (): ()) -> WorkflowResult<i32> {
        ctx.activity(slow, ()).start_to_close(SECOND * 30).await
    }
    async fn slow(_ctx: ActivityContext, (): ()) -> ActivityResult<i32> {
        ENDED.fetch_add(1, SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
        ENDED.fetch_add(1, SeqCst);
        Ok(1)
    }
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(Worker::new(client, "q").workflow(slow_flow).activity(slow));
    let handle = client.start(slow_flow, ()).queue("q").await.unwrap();
    wait_for("a running activity", SOON, async || {
        (ENDED.load(SeqCst) == 1).then_some(())
    })
    .await;
    worker.stop().await;
    assert_eq!(ENDED.load(SeqCst), 2);
    let worker = start(Worker::new(client, "q").workflow(slow_flow));
    assert_eq!(within(handle.result()).await.unwrap(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_and_unknown_workflows_say_so_and_ids_are_unique() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let handle = client
        .start(collect, 1)
        .queue("nobody")
        .id("one")
        .await
        .unwrap();
    let twice = client.start(collect, 1).queue("nobody").id("one").await;
    assert_eq!(
        twice
            .err()
            .and_then(|error| error.already_started().map(str::to_owned)),
        Some(handle.run_id().to_owned())
    );
    handle.terminate("enough").await.unwrap();
    match within(handle.result()).await {
        Err(ResultError::Terminated { reason, .. }) => assert_eq!(reason, "enough"),
        other => panic!("{other:?}"),
    }
    let unknown = client.workflow::<()>("two").describe().await.unwrap_err();
    assert!(unknown.is_not_found(), "{unknown:?}");
    assert!(client.start(collect, 1).await.is_err(), "no queue");
    assert!(client.namespace("nowhere").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workflows_side_by_side_all_end_with_a_small_cache() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    const COUNT: Activity<i32, i32> = Activity::named("count");
    async fn steps(ctx: WorkflowContext, n: i32) -> WorkflowResult<i32> {
        let mut sum = 0;
        for step in 0..n {
            sum += ctx
                .activity(COUNT, step)
                .start_to_close(SECOND * 10)
                .await?;
        }
        Ok(sum)
    }
    let options = WorkerOptions {
        cached_workflows_max: 4,
        activities_max: 8,
        ..WorkerOptions::default()
    };
    let worker = start(
        Worker::new(client, "q")
            .options(options)
            .workflow(steps)
            .activity_as(COUNT, move |_ctx, n| {
                counted.fetch_add(1, SeqCst);
                async move { ActivityResult::Ok(n) }
            }),
    );
    let mut handles = Vec::new();
    for _ in 0..40 {
        handles.push(client.start(steps, 10).queue("q").await.unwrap());
    }
    for handle in handles {
        assert_eq!(within(handle.result()).await.unwrap(), 45);
    }
    assert_eq!(calls.load(SeqCst), 400);
    worker.stop().await;
}
