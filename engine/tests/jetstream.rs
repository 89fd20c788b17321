//! What only a real nats-server shows: servers that Fermata cannot run on, restarts, silence.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use fermata_engine::broker::{AppendError, Broker, MEMBER_TTL, Member, StateWrite, Watched};
use fermata_engine::jetstream::{ConnectError, JetStream, NatsOptions};
use fermata_proto::codec;
use fermata_proto::ids::{Partition, StreamSequence};
use fermata_proto::presence::WorkerRecord;
use fermata_proto::rpc::TaskReference;
use fermata_proto::subjects::{self, TaskKind};
use fermata_test_support::{NatsServer, free_port, wait_for};
use futures::StreamExt;

const P: Partition = Partition(0);
const PATIENCE: Duration = Duration::from_secs(20);

fn options(server: &NatsServer) -> NatsOptions {
    NatsOptions {
        servers: server.url(),
        ..NatsOptions::default()
    }
}

async fn refusal(options: &NatsOptions) -> ConnectError {
    match JetStream::connect(options).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

fn record(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn connected(server: &NatsServer) -> JetStream {
    let broker = JetStream::connect(&options(server)).await.unwrap();
    broker.open(P).await.unwrap();
    broker
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let options = NatsOptions {
        servers: format!("nats://127.0.0.1:{}", free_port()),
        ..NatsOptions::default()
    };
    let error = refusal(&options).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&options.servers), "{error}");
    assert!(error.source().is_some());
}

/// The NATS client takes none from a URL by itself.
#[tokio::test]
async fn credentials_in_the_url_let_in_and_are_not_shown() {
    let server = NatsServer::options()
        .only_user("ada", "s@cret")
        .start()
        .await;
    let with = |credentials: &str| NatsOptions {
        servers: server.url().replace("://", &format!("://{credentials}@")),
        ..NatsOptions::default()
    };
    let broker = JetStream::connect(&with("ada:s%40cret")).await.unwrap();
    broker.open(P).await.unwrap();
    let error = refusal(&with("ada:wrong")).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("wrong"), "{error:?}");
}

/// A server allows 1,000 consumers where a stream does not say: a consumer is a task queue, or a process that watches a bucket.
#[tokio::test]
async fn streams_take_more_than_a_thousand_consumers_also_those_of_older_deployments() {
    let server = NatsServer::start().await;
    let jetstream = async_nats::jetstream::new(server.client().await);
    let older = async_nats::jetstream::stream::Config {
        name: subjects::TASKS_STREAM.to_owned(),
        subjects: vec![subjects::TASKS_SUBJECTS.to_owned()],
        retention: async_nats::jetstream::stream::RetentionPolicy::WorkQueue,
        storage: async_nats::jetstream::stream::StorageType::Memory,
        ..Default::default()
    };
    jetstream.create_stream(older).await.unwrap();
    JetStream::connect(&options(&server)).await.unwrap();
    let namespaces = format!("KV_{}", subjects::NAMESPACES_BUCKET);
    for name in [
        subjects::TASKS_STREAM,
        subjects::VISIBILITY_STREAM,
        &namespaces,
    ] {
        let mut stream = jetstream.get_stream(name).await.unwrap();
        let most = stream.info().await.unwrap().config.max_consumers;
        assert!(most >= 100_000, "{name}: {most}");
    }
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused_with_what_to_do() {
    let server = NatsServer::options().without_jetstream().start().await;
    let error = refusal(&options(&server)).await;
    assert!(
        matches!(error, ConnectError::WithoutJetStream { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("jetstream {"), "{error}");
}

#[tokio::test]
async fn a_server_with_too_small_messages_is_refused_with_what_to_do() {
    let server = NatsServer::options()
        .max_payload_bytes(1 << 20)
        .start()
        .await;
    let error = refusal(&options(&server)).await;
    assert!(
        matches!(
            error,
            ConnectError::PayloadTooSmall {
                found: 1_048_576,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("max_payload: 8MB"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_server_everything_goes_on() {
    let mut server = NatsServer::start().await;
    let broker = connected(&server).await;
    let mut lost = broker.tasks_lost().await.unwrap();
    let mut members = broker.watch_members().await.unwrap();
    assert!(matches!(members.next().await.unwrap(), Watched::Complete));
    let first = StreamSequence(0);
    broker.append(P, first, record("a")).await.await.unwrap();
    let put = |text| StateWrite {
        subject: subjects::run(P, "a"),
        record: Some(record(text)),
        ttl: None,
    };
    broker.store(P, vec![put("x")]).await.unwrap();
    assert_eq!(broker.trouble(), None);

    server.kill();
    wait_for("notice of the loss", PATIENCE, async || {
        broker.trouble().is_some().then_some(())
    })
    .await;
    let outcome = broker.append(P, first.next(), record("b")).await.await;
    assert!(
        matches!(outcome, Err(AppendError::Refused { .. })),
        "{outcome:?}"
    );
    let task = TaskReference::default();
    let (kind, namespace) = (TaskKind::Workflow, "ns".into());
    broker
        .dispatch(kind, &namespace, "q", &task, "a")
        .await
        .unwrap_err();

    server.restart().await;
    tokio::time::timeout(PATIENCE, lost.next())
        .await
        .expect("the owners are told")
        .unwrap();
    assert_eq!(broker.trouble(), None);
    // The stream of tasks was in memory and is there again.
    broker
        .dispatch(kind, &namespace, "q", &task, "a")
        .await
        .unwrap();
    let context = async_nats::jetstream::new(server.client().await);
    wait_for("task", PATIENCE, async || {
        let stream = context.get_stream(subjects::TASKS_STREAM).await.ok()?;
        (stream.cached_info().state.messages == 1).then_some(())
    })
    .await;
    assert_eq!(
        broker
            .append(P, first.next(), record("b"))
            .await
            .await
            .unwrap(),
        StreamSequence(2)
    );
    broker.store(P, vec![put("y"), put("z")]).await.unwrap();
    let found = broker.load(P, &subjects::run(P, "a")).await.unwrap();
    assert_eq!(found.unwrap(), "z");
    // A watch goes on by itself.
    let member = Member {
        id: "one".to_owned(),
        leaving: false,
    };
    broker.announce(&member).await.unwrap();
    let change = tokio::time::timeout(PATIENCE, members.next())
        .await
        .expect("the watch goes on")
        .unwrap();
    assert!(matches!(change, Watched::Put(seen) if seen == member));
    let change = tokio::time::timeout(MEMBER_TTL * 3, members.next()).await;
    assert!(matches!(change, Ok(Some(Watched::Gone(id))) if id == "one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_gone_after_the_time_that_it_announced() {
    let server = NatsServer::start().await;
    let broker = connected(&server).await;
    let context = async_nats::jetstream::new(server.client().await);
    let bucket = context
        .get_key_value(subjects::WORKERS_BUCKET)
        .await
        .unwrap();
    let announce = async |id: &str, ttl_ms: u64| {
        let worker = WorkerRecord {
            id: id.to_owned(),
            ttl_ms,
            ..WorkerRecord::default()
        };
        bucket.put(id, codec::encode(&worker)).await.unwrap();
    };
    announce("early", 60_000).await;
    let mut workers = broker.watch_workers().await.unwrap();
    let mut next = async || {
        tokio::time::timeout(PATIENCE, workers.next())
            .await
            .expect("the watch goes on")
            .unwrap()
    };
    assert!(matches!(next().await, Watched::Put(worker) if worker.id == "early"));
    assert!(matches!(next().await, Watched::Complete));
    announce("short", 1_000).await;
    let began = std::time::Instant::now();
    assert!(matches!(next().await, Watched::Put(worker) if worker.id == "short"));
    assert!(matches!(next().await, Watched::Gone(id) if id == "short"));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(900), "gone after {took:?}");
    assert!(took <= Duration::from_secs(5), "gone after {took:?}");
    bucket.delete("early").await.unwrap();
    assert!(matches!(next().await, Watched::Gone(id) if id == "early"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_makes_an_append_ambiguous() {
    let server = NatsServer::start().await;
    let broker = connected(&server).await;
    server.pause();
    let outcome = broker.append(P, StreamSequence(0), record("a")).await.await;
    server.resume();
    assert!(
        matches!(outcome, Err(AppendError::Ambiguous { .. })),
        "{outcome:?}"
    );
    // It had arrived.
    let entries = wait_for("record", PATIENCE, async || {
        let entries = broker.read_log(P, StreamSequence(1)).await.ok()?;
        (!entries.is_empty()).then_some(entries)
    })
    .await;
    assert_eq!(entries[0].record, "a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_an_answer_can_be_repeated() {
    let server = NatsServer::start().await;
    let broker = connected(&server).await;
    let write = |run_id: &str, text| StateWrite {
        subject: subjects::run(P, run_id),
        record: Some(record(text)),
        ttl: None,
    };
    // Dropped at every stage of the way: the fence finds out by itself how far it came.
    for round in 0..40_u64 {
        let writes = vec![write("a", "dropped"), write("b", "dropped")];
        let patience = Duration::from_micros(round * 100);
        let _ = tokio::time::timeout(patience, broker.store(P, writes)).await;
        let writes = vec![write("a", "kept"), write("b", "kept")];
        broker.store(P, writes).await.unwrap();
        let found = broker.load(P, &subjects::run(P, "b")).await.unwrap();
        assert_eq!(found.unwrap(), "kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_of_tasks_is_made_anew_when_it_is_deleted() {
    let server = NatsServer::start().await;
    let broker = connected(&server).await;
    let mut lost = broker.tasks_lost().await.unwrap();
    let context = async_nats::jetstream::new(server.client().await);
    context.delete_stream(subjects::TASKS_STREAM).await.unwrap();
    tokio::time::timeout(PATIENCE, lost.next())
        .await
        .expect("the owners are told")
        .unwrap();
    context.get_stream(subjects::TASKS_STREAM).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatch_that_is_not_acknowledged_shows_as_lost() {
    let server = NatsServer::start().await;
    let broker = connected(&server).await;
    let mut lost = broker.tasks_lost().await.unwrap();
    let context = async_nats::jetstream::new(server.client().await);
    context.delete_stream(subjects::TASKS_STREAM).await.unwrap();
    broker
        .dispatch(
            TaskKind::Workflow,
            &"ns".into(),
            "q",
            &TaskReference::default(),
            "a",
        )
        .await
        .unwrap();
    // Sooner than the regular look at the stream would tell.
    tokio::time::timeout(PATIENCE, lost.next())
        .await
        .expect("the owners are told")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_does_not_decode_is_answered_so() {
    use fermata_proto::codec;
    use fermata_proto::rpc::{Answer, RejectionKind};

    let server = NatsServer::start().await;
    let broker = connected(&server).await;
    let mut requests = broker.serve(P).await.unwrap();
    tokio::spawn(async move { requests.next().await.is_none() });
    let reply = server
        .client()
        .await
        .request(subjects::rpc(P), "rubbish".into())
        .await
        .unwrap();
    let answer: Answer = codec::decode(&reply.payload).unwrap();
    assert_eq!(answer.unwrap_err().kind, RejectionKind::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_refuses_and_says_so_until_there_is_room() {
    use async_nats::jetstream::stream::DiscardPolicy;

    let server = NatsServer::start().await;
    let broker = connected(&server).await;
    let context = async_nats::jetstream::new(server.client().await);
    let stream = context.get_stream(subjects::log_stream(P)).await.unwrap();
    let roomy = stream.cached_info().config.clone();
    let mut tight = roomy.clone();
    tight.max_bytes = 1_000;
    tight.discard = DiscardPolicy::New;
    context.update_stream(tight).await.unwrap();
    let large = Bytes::from(vec![0; 2_000]);
    let first = StreamSequence(0);
    let outcome = broker.append(P, first, large.clone()).await.await;
    assert!(
        matches!(outcome, Err(AppendError::Refused { .. })),
        "{outcome:?}"
    );
    assert!(broker.trouble().is_some());
    context.update_stream(roomy).await.unwrap();
    broker.append(P, first, large).await.await.unwrap();
    assert_eq!(broker.trouble(), None);
}
