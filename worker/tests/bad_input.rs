//! What workers and clients in Rust are asked for and cannot do: an error where its author looks, another try where Temporal
//! tries again, and never a workflow that is stuck.

mod deployment;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use deployment::Deployment;
use fermata_proto::hello::{Hello, Welcomed, check_protocol};
use fermata_proto::{codec, subjects};
use fermata_test_support::wait_for;
use fermata_worker::*;
use futures::StreamExt;
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(40);

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
        within(self.task).await.unwrap().unwrap();
    }
}

async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future.into_future())
        .await
        .expect("an end in time")
}

/// An error with its sources.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// Waits until the history tells of a failed workflow task in these words.
async fn failed_task<R: Value>(handle: &WorkflowHandle<R>, text: &str) {
    wait_for("a failed workflow task", SOON, async || {
        let history = format!("{:?}", handle.history().await.ok()?);
        (history.contains("WorkflowTaskFailed") && history.contains(text)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_does_not_exist_is_named() {
    async fn wanders(ctx: WorkflowContext, by_child: bool) -> WorkflowResult<()> {
        if by_child {
            let child = ctx.child::<_, (), _>("anything", ());
            return child.namespace("nowhere").await;
        }
        let other = ctx.external("anybody").namespace("nowhere");
        other.signal("hello", &()).await
    }
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let elsewhere = Client::connect_with(ClientOptions {
        servers: deployment.nats_url(),
        namespace: "nowhere".to_owned(),
        ..ClientOptions::default()
    });
    let error = within(elsewhere).await.err().unwrap().to_string();
    assert_eq!(error, "namespace \"nowhere\" does not exist");
    let error = client.namespace("nowhere").err().unwrap().to_string();
    assert_eq!(error, "namespace \"nowhere\" does not exist");

    let worker = start(Worker::new(client, "q").workflow(wanders));
    // A command in such a namespace fails the workflow task, as one that is corrected or a namespace that is made would not.
    for by_child in [true, false] {
        let call = client.start(wanders, by_child).queue("q");
        let handle = call.await.unwrap();
        failed_task(&handle, "Namespace nowhere is not found.").await;
        handle.terminate("it was told").await.unwrap();
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_another_protocol_version_hears_both_numbers() {
    let deployment = Deployment::start().await;
    // A replica of another version: it greets as replicas do, and knows this client's version for none of its own.
    let replica = async_nats::connect(deployment.nats_url()).await.unwrap();
    let mut hellos = replica.subscribe(subjects::HELLO).await.unwrap();
    replica.flush().await.unwrap();
    let greeting = tokio::spawn(async move {
        let hello = hellos.next().await.unwrap();
        let said: Hello = codec::decode(&hello.payload).unwrap();
        let answer: Welcomed = Err(check_protocol(said.protocol + 6).unwrap_err());
        let to = hello.reply.unwrap();
        replica.publish(to, codec::encode(&answer)).await.unwrap();
        replica.flush().await.unwrap();
    });
    let error = within(Client::connect(deployment.nats_url())).await;
    let text = words(&error.err().unwrap());
    assert!(text.contains("versions that do not go together"), "{text}");
    assert!(text.contains("version 7 is not spoken here"), "{text}");
    within(greeting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_type_that_nobody_registered_waits_for_the_worker_that_has_it() {
    async fn known(_ctx: WorkflowContext, (): ()) -> WorkflowResult<i32> {
        Ok(1)
    }
    const LATER: Workflow<(), i32> = Workflow::named("later");
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(Worker::new(client, "q").workflow(known));
    let call = client.start(LATER, ()).queue("q").task_timeout(SECOND);
    let handle = call.await.unwrap();
    failed_task(
        &handle,
        "\\\"later\\\" is not registered with this worker, which hosts [known]",
    )
    .await;
    // The worker does not suffer from it.
    let other = client.start(known, ()).queue("q").await.unwrap();
    assert_eq!(within(other.result()).await.unwrap(), 1);
    worker.stop().await;
    let worker = start(
        Worker::new(client, "q")
            .workflow(known)
            .workflow_as(LATER, known),
    );
    assert_eq!(within(handle.result()).await.unwrap(), 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_type_that_nobody_registered_is_tried_again_until_a_worker_has_it() {
    async fn calls(ctx: WorkflowContext, attempts: i32) -> WorkflowResult<i32> {
        let retry = RetryPolicy {
            initial_interval: Some(Duration::from_millis(100)),
            maximum_interval: Some(Duration::from_millis(500)),
            maximum_attempts: attempts,
            ..RetryPolicy::default()
        };
        let call = ctx.activity("absent", ()).start_to_close(SECOND * 5);
        call.retry(retry).await
    }
    async fn absent(ctx: ActivityContext, (): ()) -> ActivityResult<i32> {
        Ok(ctx.info().attempt)
    }
    async fn present(_ctx: ActivityContext, (): ()) -> ActivityResult<()> {
        Ok(())
    }
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(Worker::new(client, "q").workflow(calls).activity(present));
    let bounded = client.start(calls, 2).queue("q").await.unwrap();
    let error = within(bounded.result()).await.unwrap_err();
    let text = words(&error);
    assert!(
        text.contains(
            "activity type \"absent\" is not registered with this worker, which hosts [present]"
        ),
        "{text}"
    );
    let error = error.workflow_error().unwrap();
    assert_eq!(error.error_type(), Some("ActivityNotRegistered"));
    let patient = client.start(calls, 0).queue("q").await.unwrap();
    wait_for("a second attempt", SOON, async || {
        let described = patient.describe().await.ok()?;
        (described.pending_activities.first()?.attempt > 1).then_some(())
    })
    .await;
    worker.stop().await;
    let worker = start(Worker::new(client, "q").workflow(calls).activity(absent));
    assert!(within(patient.result()).await.unwrap() > 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_blocks_or_panics_fails_its_task_and_is_tried_again_and_others_go_on() {
    static BLOCKS: AtomicBool = AtomicBool::new(true);
    static PANICS: AtomicU32 = AtomicU32::new(1);
    async fn blocks(ctx: WorkflowContext, (): ()) -> WorkflowResult<i32> {
        ctx.sleep(Duration::from_millis(10)).await?;
        if BLOCKS.swap(false, SeqCst) {
            std::thread::sleep(SECOND * 5);
        }
        Ok(1)
    }
    async fn panics(_ctx: WorkflowContext, (): ()) -> WorkflowResult<i32> {
        if PANICS.fetch_sub(1, SeqCst) == 1 {
            panic!("out of paper");
        }
        Ok(2)
    }
    async fn fine(_ctx: WorkflowContext, (): ()) -> WorkflowResult<i32> {
        Ok(3)
    }
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    // One thread: whoever blocks it is in everybody's way.
    let options = WorkerOptions {
        workflow_threads: 1,
        ..WorkerOptions::default()
    };
    let worker = Worker::new(client, "q")
        .options(options)
        .workflow(blocks)
        .workflow(panics)
        .workflow(fine);
    let worker = start(worker);
    let blocking = client.start(blocks, ()).queue("q").await.unwrap();
    wait_for("code that blocks", SOON, async || {
        (!BLOCKS.load(SeqCst)).then_some(())
    })
    .await;
    let beside = client.start(fine, ()).queue("q").await.unwrap();
    assert_eq!(within(beside.result()).await.unwrap(), 3);
    let panicking = client.start(panics, ()).queue("q").await.unwrap();
    assert_eq!(within(panicking.result()).await.unwrap(), 2);
    failed_task(&panicking, "the workflow code panicked: out of paper").await;
    assert_eq!(within(blocking.result()).await.unwrap(), 1);
    failed_task(&blocking, "the workflow code has not given way for 2 s").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_over_the_limit_ends_its_workflow_or_fails_its_task_and_says_so() {
    static LARGE: AtomicBool = AtomicBool::new(true);
    /// More than a payload may hold: the rules end the workflow, as Temporal's do.
    async fn large(_ctx: WorkflowContext, (): ()) -> WorkflowResult<String> {
        Ok("x".repeat(3 << 20))
    }
    /// More than the broker takes: the engine never sees it.
    async fn endless(_ctx: WorkflowContext, (): ()) -> WorkflowResult<String> {
        let length = if LARGE.load(SeqCst) { 12 << 20 } else { 1 };
        Ok("x".repeat(length))
    }
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(Worker::new(client, "q").workflow(large).workflow(endless));
    let handle = client.start(large, ()).queue("q").await.unwrap();
    let text = words(&within(handle.result()).await.unwrap_err());
    assert!(text.contains("exceeds size limit"), "{text}");
    let call = client.start(endless, ()).queue("q").task_timeout(SECOND);
    let handle = call.await.unwrap();
    failed_task(&handle, "larger than max").await;
    LARGE.store(false, SeqCst);
    assert_eq!(within(handle.result()).await.unwrap(), "x");
    // An argument that is too large is refused where it is sent.
    let refused = client.start("anything", "x".repeat(12 << 20));
    let refused: Result<WorkflowHandle<()>, _> = refused.queue("q").await;
    let text = words(&refused.err().unwrap());
    assert!(text.contains("larger than max"), "{text}");
    worker.stop().await;
}
