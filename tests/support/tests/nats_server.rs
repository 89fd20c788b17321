//! The nats-server of a test does what tests build on.

use std::time::Duration;

use async_nats::jetstream;
use fermata_test_support::{NatsServer, wait_for};

const SOON: Duration = Duration::from_secs(20);

async fn stream_of(server: &NatsServer) -> jetstream::Context {
    let context = jetstream::new(server.client().await);
    context
        .get_or_create_stream(jetstream::stream::Config {
            name: "KEPT".to_owned(),
            subjects: vec!["kept".to_owned()],
            ..Default::default()
        })
        .await
        .unwrap();
    context
}

async fn publish(context: &jetstream::Context) -> u64 {
    let ack = context.publish("kept", "1".into()).await.unwrap();
    ack.await.unwrap().sequence
}

#[tokio::test]
async fn acknowledged_messages_survive_a_kill_on_the_same_url() {
    let mut server = NatsServer::start().await;
    let url = server.url();
    assert_eq!(publish(&stream_of(&server).await).await, 1);
    server.kill();
    assert!(async_nats::connect(&url).await.is_err());
    server.restart().await;
    assert_eq!(server.url(), url);
    assert_eq!(publish(&stream_of(&server).await).await, 2);
    server.stop();
    server.restart().await;
    assert_eq!(publish(&stream_of(&server).await).await, 3);
}

#[tokio::test]
async fn a_paused_server_answers_only_after_resume() {
    let server = NatsServer::start().await;
    let context = jetstream::new(server.client().await);
    context.query_account().await.unwrap();
    server.pause();
    let answer = tokio::time::timeout(Duration::from_millis(200), context.query_account()).await;
    assert!(answer.is_err());
    server.resume();
    wait_for("answer", SOON, async || context.query_account().await.ok()).await;
}

#[tokio::test]
async fn options_reach_the_server() {
    let usual = NatsServer::start().await;
    assert_eq!(usual.client().await.server_info().max_payload, 8 << 20);
    let other = NatsServer::options()
        .max_payload_bytes(1 << 20)
        .without_jetstream()
        .start()
        .await;
    let client = other.client().await;
    assert_eq!(client.server_info().max_payload, 1 << 20);
    assert!(jetstream::new(client).query_account().await.is_err());
}

#[tokio::test]
async fn nothing_is_left_after_drop() {
    let server = NatsServer::start().await;
    let url = server.url();
    drop(server);
    assert!(async_nats::connect(&url).await.is_err());
}

#[tokio::test]
async fn a_server_ends_with_a_test_process_that_never_drops_it() {
    const NAME: &str = "a_server_ends_with_a_test_process_that_never_drops_it";
    if std::env::var_os("FERMATA_TEST_LEAK").is_some() {
        let server = NatsServer::start().await;
        println!("\nleaked {}", server.url());
        std::process::exit(0);
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("FERMATA_TEST_LEAK", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let url = text.lines().find_map(|line| line.strip_prefix("leaked "));
    let url = url.unwrap_or_else(|| panic!("no url in {text}"));
    wait_for("end of the server", SOON, async || {
        async_nats::connect(url).await.is_err().then_some(())
    })
    .await;
}
