//! Local activities, and workflow code that does not give way, against an engine on a real nats-server.

mod deployment;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use deployment::Deployment;
use fermata_test_support::wait_for;
use fermata_worker::*;
use futures::future::join_all;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(40);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .expect("an end in time")
}

async fn add_one(_ctx: ActivityContext, number: u64) -> ActivityResult<u64> {
    Ok(number + 1)
}

async fn hundred(ctx: WorkflowContext, (): ()) -> WorkflowResult<u64> {
    let beside = (0..90).map(|n| {
        ctx.local_activity(add_one, n)
            .start_to_close(SECOND)
            .start()
    });
    let mut sum: u64 = join_all(beside).await.into_iter().flatten().sum();
    for _ in 0..10 {
        sum = ctx
            .local_activity(add_one, sum)
            .start_to_close(SECOND)
            .await?;
    }
    Ok(sum)
}

fn types(history: &WorkflowHistory) -> Vec<String> {
    history.event_types().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_local_activities_are_one_workflow_task() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = Worker::new(client, "q").workflow(hundred).activity(add_one);
    let running = tokio::spawn(worker.run());
    let handle = client.start(hundred, ()).queue("q").await.unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), 4_095 + 10);
    let history = handle.history().await.unwrap();
    let types = types(&history);
    let count = |wanted: &str| types.iter().filter(|name| *name == wanted).count();
    assert_eq!(count("MarkerRecorded"), 100);
    assert_eq!(count("WorkflowTaskCompleted"), 1);
    Replayer::new().workflow(hundred).replay(&history).unwrap();

    // How fast: told in the log of the test, not judged in a debug build.
    const WORKFLOWS: u32 = 50;
    let began = Instant::now();
    let starts = (0..WORKFLOWS).map(async |_| {
        let handle = client.start(hundred, ()).queue("q").await.unwrap();
        within(handle.result()).await.unwrap()
    });
    join_all(starts).await;
    let rate = f64::from(WORKFLOWS * 100) / began.elapsed().as_secs_f64();
    println!("{rate:.0} local activities per second");
    running.abort();
}

static SLOW_RUNS: AtomicU32 = AtomicU32::new(0);

async fn slow(_ctx: ActivityContext, (): ()) -> ActivityResult<u32> {
    SLOW_RUNS.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(SECOND * 5).await;
    Ok(7)
}

async fn patient(ctx: WorkflowContext, (): ()) -> WorkflowResult<u32> {
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let asked = seen.clone();
    ctx.on_query("seen", move |()| asked.get());
    let signalled = seen.clone();
    ctx.on_signal("note", move |number: u32| signalled.set(number));
    let slow = ctx.local_activity(slow, ()).start_to_close(SECOND * 20);
    let beside = ctx.activity(add_one, 1).start_to_close(SECOND * 5).start();
    let (slow, beside) = futures::join!(slow.start(), beside);
    Ok(slow? + u32::try_from(beside?)? + seen.get())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_activity_may_take_longer_than_a_workflow_task() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    for (queue, cached_workflows_max) in [("cached", 100), ("uncached", 0)] {
        let options = WorkerOptions {
            cached_workflows_max,
            ..WorkerOptions::default()
        };
        let worker = Worker::new(client, queue)
            .options(options)
            .workflow(patient)
            .activity(slow)
            .activity(add_one);
        let running = tokio::spawn(worker.run());
        SLOW_RUNS.store(0, Ordering::Relaxed);
        let call = client
            .start(patient, ())
            .queue(queue)
            .task_timeout(SECOND * 2);
        let handle = call.await.unwrap();
        wait_for("a local activity at work", SOON, async || {
            (SLOW_RUNS.load(Ordering::Relaxed) == 1).then_some(())
        })
        .await;
        handle.signal("note", &30_u32).await.unwrap();
        // Signals come in with the next heartbeat, and queries are answered in between.
        wait_for("the signal seen", SOON, async || {
            let seen: u32 = handle.query("seen", &()).await.ok()?;
            (seen == 30).then_some(())
        })
        .await;
        assert_eq!(
            within(handle.result()).await.unwrap(),
            7 + 2 + 30,
            "{queue}"
        );
        assert_eq!(SLOW_RUNS.load(Ordering::Relaxed), 1, "{queue}");
        let history = handle.history().await.unwrap();
        let types = types(&history);
        assert!(
            !types.iter().any(|name| name == "WorkflowTaskTimedOut"),
            "{types:?}"
        );
        Replayer::new().workflow(patient).replay(&history).unwrap();
        running.abort();
    }
}

async fn flaky(ctx: ActivityContext, (): ()) -> ActivityResult<i32> {
    match ctx.info().attempt {
        1 => Err(std::io::Error::other("not yet").into()),
        2 => panic!("not yet either"),
        attempt => Ok(attempt),
    }
}

async fn never(_ctx: ActivityContext, (): ()) -> ActivityResult<()> {
    std::future::pending().await
}

async fn retrying(ctx: WorkflowContext, (): ()) -> WorkflowResult<i32> {
    let retry = |millis| RetryPolicy {
        initial_interval: Some(Duration::from_millis(millis)),
        ..RetryPolicy::default()
    };
    let timed_out = ctx
        .local_activity(never, ())
        .start_to_close(Duration::from_millis(50))
        .retry(retry(10))
        .attempts_max(2)
        .await
        .unwrap_err();
    assert!(timed_out.is_timeout(), "{timed_out}");
    let local = ctx.local_activity(flaky, ()).start_to_close(SECOND);
    let local = local.retry(retry(10)).await?;
    let by_timer = ctx
        .local_activity(flaky, ())
        .start_to_close(SECOND)
        .retry(retry(50))
        .local_backoff_max(Duration::from_millis(1))
        .await?;
    Ok(local + by_timer)
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_attempts_are_repeated_here_or_by_a_timer() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = Worker::new(client, "q")
        .workflow(retrying)
        .activity(flaky)
        .activity(never);
    let running = tokio::spawn(worker.run());
    let handle = client.start(retrying, ()).queue("q").await.unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), 6);
    let history = handle.history().await.unwrap();
    let types = types(&history);
    let timers = types.iter().filter(|name| *name == "TimerFired").count();
    assert_eq!(timers, 2, "{types:?}");
    Replayer::new().workflow(retrying).replay(&history).unwrap();
    running.abort();
}

static BLOCKED: AtomicU32 = AtomicU32::new(0);

async fn blocking(_ctx: WorkflowContext, (): ()) -> WorkflowResult<()> {
    if BLOCKED.fetch_add(1, Ordering::Relaxed) == 0 {
        std::thread::sleep(SECOND * 8);
    }
    Ok(())
}

async fn panicking(ctx: WorkflowContext, (): ()) -> WorkflowResult<()> {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let _bomb = Bomb;
    ctx.wait_until(|| false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_blocks_its_thread_or_panics_does_not_keep_others_from_running() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let options = WorkerOptions {
        workflow_threads: 1,
        cached_workflows_max: 1,
        ..WorkerOptions::default()
    };
    let worker = Worker::new(client, "q")
        .options(options)
        .workflow(blocking)
        .workflow(panicking)
        .workflow(hundred)
        .activity(add_one);
    let running = tokio::spawn(worker.run());
    // The cache holds one: the second drives the first out of it.
    client.start(panicking, ()).queue("q").await.unwrap();
    client.start(panicking, ()).queue("q").await.unwrap();
    let blocked = client.start(blocking, ()).queue("q").await.unwrap();
    wait_for("blocking code", SOON, async || {
        (BLOCKED.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    let began = Instant::now();
    let handle = client.start(hundred, ()).queue("q").await.unwrap();
    within(handle.result()).await.unwrap();
    assert!(began.elapsed() < SECOND * 6, "{:?}", began.elapsed());
    within(blocked.result()).await.unwrap();
    let history = blocked.history().await.unwrap();
    let json = history.to_json();
    assert!(json.contains("has not given way"), "{json}");
    running.abort();
}
