//! Activities and the worker's bounds, against an engine on a real nats-server.

mod deployment;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deployment::Deployment;
use fermata_test_support::{free_port, wait_for};
use fermata_worker::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(30);

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
        within(self.task).await.unwrap().unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .expect("an end in time")
}

fn once() -> RetryPolicy {
    RetryPolicy {
        maximum_attempts: 1,
        ..RetryPolicy::default()
    }
}

/// Calls the activity of this name, which takes an hour at most and has one attempt.
async fn call(ctx: WorkflowContext, name: String) -> WorkflowResult<String> {
    ctx.activity::<_, String, _>(&*name, ())
        .start_to_close(SECOND * 3_600)
        .retry(once())
        .await
}

// -- completed later --------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn an_activity_is_completed_from_elsewhere_by_token_and_by_id_after_its_worker_is_gone() {
    const APPROVE: Activity<(), String> = Activity::named("approve");
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let given = tokens.clone();
    let hosting = start(Worker::new(client, "approvals").activity_as(
        APPROVE,
        move |ctx: ActivityContext, ()| {
            let given = given.clone();
            async move {
                let id = ctx.info().activity_id.clone();
                given.lock().unwrap().push((ctx.token().clone(), id));
                Err::<String, _>(ActivityError::complete_later())
            }
        },
    ));
    let flows = start(Worker::new(client, "flows").workflow(two_approvals));
    let handle = client
        .start(two_approvals, ())
        .queue("flows")
        .id("approvals")
        .await
        .unwrap();
    wait_for("two tokens", SOON, async || {
        (tokens.lock().unwrap().len() == 2).then_some(())
    })
    .await;
    // Its end says nothing of what it has handed on; without that it would be tried again or fail.
    hosting.stop().await;
    tokio::time::sleep(SECOND).await;
    let (first, second) = {
        let tokens = tokens.lock().unwrap();
        (tokens[0].clone(), tokens[1].clone())
    };
    let text = first.0.as_bytes().to_vec();
    let by_token = client.activity(&ActivityToken::from_bytes(text)).unwrap();
    assert_eq!(by_token.heartbeat(&1).await.unwrap(), None);
    by_token.complete(&"yes".to_owned()).await.unwrap();
    let by_id = client.activity_by_id("approvals", second.1);
    by_id
        .fail(ApplicationError::new("no").with_type("Refused"))
        .await
        .unwrap();
    let answers: Vec<String> = within(handle.result()).await.unwrap();
    let mut sorted = answers.clone();
    sorted.sort();
    assert_eq!(sorted, ["Refused", "yes"]);
    let over = by_token.complete(&"again".to_owned()).await.unwrap_err();
    assert!(over.is_not_found(), "{over}");
    assert_eq!(
        by_token.heartbeat(&2).await.unwrap(),
        Some(CancelReason::Gone)
    );
    assert!(client.activity(&ActivityToken::from_bytes("x")).is_err());
    flows.stop().await;
}

async fn two_approvals(ctx: WorkflowContext, (): ()) -> WorkflowResult<Vec<String>> {
    let both: Vec<_> = (0..2)
        .map(|_| {
            ctx.activity::<_, String, _>("approve", ())
                .queue("approvals")
                .start_to_close(SECOND * 3_600)
                .retry(once())
                .start()
        })
        .collect();
    let mut answers = Vec::new();
    for one in both {
        answers.push(match one.await {
            Ok(answer) => answer,
            Err(error) => error.error_type().unwrap_or_default().to_owned(),
        });
    }
    Ok(answers)
}

// -- blocking, panics, failures ---------------------------------------------------------------------------------------

fn sum(ctx: ActivityContext, numbers: Vec<u64>) -> Result<u64, ActivityError> {
    // Would stop the whole runtime if it ran on it.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!ctx.is_cancelled());
    Ok(numbers.iter().sum())
}

async fn sums(ctx: WorkflowContext, (): ()) -> WorkflowResult<u64> {
    let all: Vec<_> = (0..4)
        .map(|n| {
            ctx.activity(sum, vec![n, 1])
                .start_to_close(SECOND * 20)
                .start()
        })
        .collect();
    let mut total = 0;
    for one in all {
        total += one.await?;
    }
    Ok(total)
}

#[tokio::test]
async fn blocking_activities_run_beside_one_another_and_a_panic_is_a_failure_to_retry() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    let worker = start(
        Worker::new(client, "blocking")
            .workflow(sums)
            .workflow(call)
            .workflow(retried)
            .blocking_activity(sum)
            .blocking_activity_as(
                Activity::<(), String>::named("shaky"),
                move |_ctx: ActivityContext, ()| -> ActivityResult<String> {
                    if counted.fetch_add(1, SeqCst) == 0 {
                        panic!("the first attempt");
                    }
                    Ok("stands".to_owned())
                },
            ),
    );
    let began = Instant::now();
    let handle = client.start(sums, ()).queue("blocking").await.unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), 10);
    assert!(began.elapsed() < SECOND * 10);
    let handle = client.start(retried, ()).queue("blocking").await.unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), "stands");
    assert_eq!(attempts.load(SeqCst), 2);
    worker.stop().await;
}

async fn retried(ctx: WorkflowContext, (): ()) -> WorkflowResult<String> {
    let policy = RetryPolicy {
        initial_interval: Some(Duration::from_millis(10)),
        ..RetryPolicy::default()
    };
    ctx.activity::<_, String, _>("shaky", ())
        .start_to_close(SECOND * 20)
        .retry(policy)
        .await
}

async fn huge(_ctx: ActivityContext, (): ()) -> ActivityResult<String> {
    Ok("x".repeat(3 << 20))
}

async fn endless(_ctx: ActivityContext, (): ()) -> ActivityResult<String> {
    Ok("x".repeat(12 << 20))
}

async fn huge_failure(_ctx: ActivityContext, (): ()) -> ActivityResult<String> {
    Err(ApplicationError::new("too much to tell")
        .with_type("Huge")
        .with_details(&"x".repeat(12 << 20))
        .into())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_a_clear_failure_and_never_a_stuck_activity() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let worker = start(
        Worker::new(client, "large")
            .workflow(call)
            .activity(huge)
            .activity(endless)
            .activity(huge_failure),
    );
    for (activity, words) in [
        ("huge", "exceeds size limit"),
        ("endless", "result was refused"),
        ("huge_failure", "too much to tell"),
        ("nowhere", "\"nowhere\" is not registered with this worker"),
    ] {
        let handle = client
            .start(call, activity.to_owned())
            .queue("large")
            .await
            .unwrap();
        let error = within(handle.result()).await.unwrap_err().to_string();
        assert!(error.contains(words), "{activity}: {error}");
    }
    worker.stop().await;
}

// -- bounds -----------------------------------------------------------------------------------------------------------

async fn many(ctx: WorkflowContext, count: u32) -> WorkflowResult<u32> {
    let all: Vec<_> = (0..count)
        .map(|_| {
            ctx.activity::<_, u32, _>("one", ())
                .queue("many")
                .start_to_close(SECOND * 60)
                .start()
        })
        .collect();
    let mut sum = 0;
    for one in all {
        sum += one.await?;
    }
    Ok(sum)
}

fn ones(client: &Client, options: WorkerOptions, count: &Arc<AtomicUsize>) -> Worker {
    let count = count.clone();
    Worker::new(client, "many").options(options).activity_as(
        Activity::<(), u32>::named("one"),
        move |_ctx: ActivityContext, ()| {
            count.fetch_add(1, SeqCst);
            async { ActivityResult::Ok(1) }
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_keep_the_rate_of_their_queue_together() {
    const RATE: f64 = 20.0;
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let options = WorkerOptions {
        task_queue_activities_per_second: Some(RATE),
        ..WorkerOptions::default()
    };
    let counts = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let workers = [0, 1].map(|n| start(ones(client, options.clone(), &counts[n])));
    let flows = start(Worker::new(client, "flows").workflow(many));
    // Both know of each other.
    tokio::time::sleep(SECOND * 2).await;
    let began = Instant::now();
    let handle = client.start(many, 80).queue("flows").await.unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), 80);
    let took = began.elapsed().as_secs_f64();
    assert!(
        took >= 80.0 / RATE - 1.0,
        "80 activities took {took} s only"
    );
    assert!(took <= 80.0 / RATE * 3.0, "80 activities took {took} s");
    for count in counts {
        let count = count.load(SeqCst);
        assert!((20..=60).contains(&count), "one worker ran {count} of 80");
    }
    for worker in workers {
        worker.stop().await;
    }
    flows.stop().await;
    let refused = Worker::new(client, "many")
        .options(WorkerOptions {
            task_queue_activities_per_second: Some(RATE),
            liveness: None,
            ..WorkerOptions::default()
        })
        .workflow(many)
        .run()
        .await;
    assert!(matches!(refused, Err(WorkerError::Options { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_activities_wait_for_the_first_worker_and_a_slow_one_does_not_starve_others() {
    const RUNS: u32 = 10;
    const EACH: u32 = 1_000;
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let flows = start(Worker::new(client, "flows").workflow(many));
    let mut handles = Vec::new();
    for n in 0..RUNS {
        let start = client.start(many, EACH).queue("flows");
        handles.push(start.id(format!("many-{n}")).await.unwrap());
    }
    // Hosts the same activity on the same queue and never gets anything done.
    let stuck = Arc::new(AtomicUsize::new(0));
    let seen = stuck.clone();
    let slow_options = WorkerOptions {
        activities_max: 4,
        activity_pollers: 4,
        graceful_shutdown: Duration::ZERO,
        ..WorkerOptions::default()
    };
    let slow = start(
        Worker::new(client, "many")
            .options(slow_options)
            .activity_as(
                Activity::<(), u32>::named("one"),
                move |_ctx: ActivityContext, ()| {
                    seen.fetch_add(1, SeqCst);
                    std::future::pending::<ActivityResult<u32>>()
                },
            ),
    );
    wait_for("a slow worker that is full", SOON, async || {
        (stuck.load(SeqCst) == 4).then_some(())
    })
    .await;
    let count = Arc::new(AtomicUsize::new(0));
    let fast = start(ones(client, WorkerOptions::default(), &count));
    let all = usize::try_from(RUNS * EACH).unwrap();
    wait_for("all but what the slow worker holds", SOON * 3, async || {
        (count.load(SeqCst) >= all - 4).then_some(())
    })
    .await;
    assert_eq!(stuck.load(SeqCst), 4, "a full worker takes nothing more");
    slow.stop().await;
    for handle in handles {
        assert_eq!(within(handle.result()).await.unwrap(), EACH);
    }
    fast.stop().await;
    flows.stop().await;
}

async fn waits(ctx: WorkflowContext, padding: String) -> WorkflowResult<usize> {
    let mut signals = ctx.signal::<()>("go");
    signals.wait().await?;
    Ok(padding.len())
}

async fn scrape(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn value(text: &str, series: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_runs_are_bounded_by_bytes_and_the_metrics_tell() {
    let deployment = Deployment::start().await;
    let client = &deployment.client;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let worker = start(
        Worker::new(client, "cached")
            .options(WorkerOptions {
                workflow_threads: 1,
                cached_workflows_bytes_max: 1 << 20,
                metrics_address: Some(address),
                ..WorkerOptions::default()
            })
            .workflow(waits),
    );
    let mut handles = Vec::new();
    for _ in 0..12 {
        let padding = "x".repeat(100 << 10);
        handles.push(client.start(waits, padding).queue("cached").await.unwrap());
    }
    let series =
        |unit: &str| format!("fermata_worker_cache_size{{task_queue=\"cached\",unit=\"{unit}\"}}");
    wait_for("a cache that is full", SOON, async || {
        let polls =
            "fermata_worker_polls_total{kind=\"workflow\",outcome=\"task\",task_queue=\"cached\"}";
        let text = scrape(address).await;
        (value(&text, polls) == Some(12.0) && value(&text, &series("runs")) == Some(4.0))
            .then_some(())
    })
    .await;
    let bytes = value(&scrape(address).await, &series("bytes")).unwrap();
    assert!((800_000.0..=1_048_576.0).contains(&bytes), "{bytes}");
    for handle in &handles {
        handle.signal("go", &()).await.unwrap();
    }
    for handle in handles {
        assert_eq!(within(handle.result()).await.unwrap(), 100 << 10);
    }
    let text = scrape(address).await;
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert_eq!(value(&text, &series("runs")), Some(0.0));
    let free = "fermata_worker_slots{kind=\"workflow\",state=\"free\",task_queue=\"cached\"}";
    assert_eq!(value(&text, free), Some(200.0));
    worker.stop().await;
}

// -- codec and interceptors -------------------------------------------------------------------------------------------

/// Turns every byte around, and can be told to fail.
struct Inverse {
    broken: Arc<AtomicBool>,
}

const INVERSE: &[u8] = b"binary/inverse";

impl PayloadCodec for Inverse {
    async fn encode(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, CodecFailure> {
        // As if a key service were asked.
        tokio::task::yield_now().await;
        payloads.into_iter().map(|plain| self.turn(plain)).collect()
    }

    async fn decode(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, CodecFailure> {
        payloads.into_iter().map(Self::turn_back).collect()
    }
}

impl Inverse {
    fn turn(&self, payload: Payload) -> Result<Payload, CodecFailure> {
        if self.broken.load(SeqCst) {
            return Err("the key is not to be had".into());
        }
        let plain = serde_json::to_vec(&(
            String::from_utf8(payload.metadata["encoding"].to_vec())?,
            payload.data.to_vec(),
        ))?;
        let data: Vec<u8> = plain.into_iter().map(|byte| !byte).collect();
        Ok(Payload {
            metadata: [("encoding".to_owned(), INVERSE.into())].into(),
            data: data.into(),
            ..Payload::default()
        })
    }

    fn turn_back(payload: Payload) -> Result<Payload, CodecFailure> {
        if payload.metadata.get("encoding").map(|bytes| &bytes[..]) != Some(INVERSE) {
            return Ok(payload);
        }
        let plain: Vec<u8> = payload.data.iter().map(|byte| !byte).collect();
        let (encoding, data): (String, Vec<u8>) = serde_json::from_slice(&plain)?;
        Ok(Payload {
            metadata: [("encoding".to_owned(), encoding.into())].into(),
            data: data.into(),
            ..Payload::default()
        })
    }
}

async fn secretive(ctx: WorkflowContext, secret: String) -> WorkflowResult<String> {
    let seen = ctx
        .activity(whisper, secret)
        .start_to_close(SECOND * 20)
        .await?;
    Ok(seen)
}

async fn whisper(ctx: ActivityContext, secret: String) -> ActivityResult<String> {
    let trace: String = match ctx.info().headers.get("trace") {
        Some(header) => from_payload(header)?,
        None => "none".to_owned(),
    };
    Ok(format!("{secret} by {trace}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_leave_encoded_and_a_codec_that_fails_holds_up_but_loses_nothing() {
    let deployment = Deployment::start().await;
    let plain = &deployment.client;
    let broken = Arc::new(AtomicBool::new(false));
    let client = plain.clone().with_codec(Inverse {
        broken: broken.clone(),
    });
    let worker = start(
        Worker::new(&client, "secrets")
            .workflow(secretive)
            .activity(whisper),
    );
    let handle = client
        .start(secretive, "hush".to_owned())
        .queue("secrets")
        .id("secret")
        .await
        .unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), "hush by none");
    // Without the codec nobody reads it.
    let outside = plain.workflow::<String>("secret");
    let error = within(outside.result()).await.unwrap_err();
    assert!(matches!(error, ResultError::Payload { .. }), "{error}");
    let history = outside.history().await.unwrap();
    let events = format!("{:?}", history);
    assert!(!events.contains("hush"), "{events}");

    broken.store(true, SeqCst);
    let error = client
        .start(secretive, "hush".to_owned())
        .queue("secrets")
        .await
        .err()
        .unwrap();
    let words = format!("{error}: {:?}", std::error::Error::source(&error));
    assert!(words.contains("the key is not to be had"), "{words}");
    let held = plain
        .start(secretive, "hush".to_owned())
        .queue("secrets")
        .id("held")
        .await
        .unwrap();
    // The worker cannot encode the argument of the activity: the workflow task fails, in these words.
    wait_for("a failed workflow task", SOON, async || {
        let history = format!("{:?}", held.history().await.ok()?);
        history.contains("the key is not to be had").then_some(())
    })
    .await;
    broken.store(false, SeqCst);
    let held = client.workflow::<String>("held");
    assert_eq!(within(held.result()).await.unwrap(), "hush by none");
    worker.stop().await;
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Interceptor for Notes {
    fn client_headers(&self, call: ClientCall, workflow_id: &str, headers: &mut Headers) {
        if call == ClientCall::Start {
            let trace = to_payload(&format!("trace of {workflow_id}")).unwrap();
            headers.insert("trace".to_owned(), trace);
        }
    }

    fn activity_ended(&self, info: &ActivityInfo, outcome: AttemptOutcome, _took: Duration) {
        let note = format!("{} {outcome:?} on {}", info.activity_type, info.task_queue);
        self.0.lock().unwrap().push(note);
    }

    fn workflow_task_ended(&self, info: &WorkflowTaskInfo, _took: Duration) {
        let note = format!("{} attempt {}", info.workflow_type, info.attempt);
        self.0.lock().unwrap().push(note);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_go_from_a_client_through_a_workflow_into_its_activities() {
    let deployment = Deployment::start().await;
    let notes = Notes::default();
    let client = deployment
        .client
        .clone()
        .with_interceptor(notes.clone())
        .with_interceptor(PropagateHeaders::named(["trace"]));
    let worker = start(
        Worker::new(&client, "traced")
            .workflow(secretive)
            .activity(whisper),
    );
    let handle = client
        .start(secretive, "hi".to_owned())
        .queue("traced")
        .id("one")
        .await
        .unwrap();
    assert_eq!(within(handle.result()).await.unwrap(), "hi by trace of one");
    worker.stop().await;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for note in notes.0.lock().unwrap().iter() {
        *counts.entry(note.clone()).or_default() += 1;
    }
    assert_eq!(counts["whisper Completed on traced"], 1);
    assert!(counts["secretive attempt 1"] >= 1);
}
