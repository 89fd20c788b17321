//! Two api replicas on one broker: what one of them hears of pollers and of workers that shut down, the other knows.

use std::time::Duration;

use fermata_api::stubs::workflowservice::workflow_service_server::WorkflowService;
use fermata_api::{Api, ApiOptions};
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_transport::{Options, Transport};
use tokio::net::TcpListener;

use crate::support::World;
use crate::{nobody, queue};

const DEADLINE: Duration = Duration::from_secs(10);

struct Replica {
    api: Api,
}

/// One more api replica on the world's broker.
async fn another_replica(world: &World) -> Replica {
    let options = Options {
        servers: world.nats.url(),
        ..Options::default()
    };
    let transport = Transport::connect(&options).await.unwrap();
    let options = ApiOptions {
        also_ready: Vec::new(),
        grpc: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        http: None,
        pages: None,
        visibility_file: None,
        sizes: fermata_api::service::SizeLimits::default(),
    };
    let api = fermata_api::start(transport, options, &prometheus::Registry::new()).unwrap();
    Replica { api }
}

fn poll(worker: &str) -> rr::PollActivityTaskQueueRequest {
    rr::PollActivityTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: queue("tq"),
        identity: format!("identity of {worker}"),
        worker_instance_key: worker.to_owned(),
        ..Default::default()
    }
}

fn shut_down(worker: &str) -> rr::ShutdownWorkerRequest {
    rr::ShutdownWorkerRequest {
        namespace: "default".to_owned(),
        task_queue: "tq".to_owned(),
        worker_instance_key: worker.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_poller_of_one_replica_is_known_to_the_other() {
    let world = World::start(nobody).await;
    let other = another_replica(&world).await;
    let polling = world.api.service().clone();
    tokio::spawn(async move {
        let _ = WorkflowService::poll_activity_task_queue(
            &polling,
            tonic::Request::new(poll("worker")),
        )
        .await;
    });
    let mut known = Vec::new();
    for _ in 0..200 {
        let request = rr::DescribeTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: queue("tq"),
            task_queue_type: 2,
            ..Default::default()
        };
        let described = call!(other, describe_task_queue, request).unwrap();
        known = described.pollers;
        if !known.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].identity, "identity of worker");
}

#[tokio::test]
async fn a_shutdown_ends_the_polls_of_its_worker_at_all_replicas() {
    let world = World::start(nobody).await;
    let other = another_replica(&world).await;
    let here = async { call!(world, poll_activity_task_queue, poll("worker")) };
    let ending = async {
        // Until its poll is open, a worker is known by its identity only.
        tokio::time::sleep(Duration::from_millis(300)).await;
        call!(other, shutdown_worker, shut_down("worker")).unwrap();
    };
    let both = async { tokio::join!(here, ending).0 };
    let ended = tokio::time::timeout(DEADLINE, both).await;
    let answer = ended.expect("the poll ends with its worker").unwrap();
    assert!(answer.task_token.is_empty());
    // Nor does it get a task afterwards; others do wait.
    let again = async { call!(world, poll_activity_task_queue, poll("worker")) };
    let again = tokio::time::timeout(DEADLINE, again).await;
    assert!(again.expect("it is answered at once").is_ok());
    let of_other = async { call!(world, poll_activity_task_queue, poll("another")) };
    let waits = tokio::time::timeout(Duration::from_millis(500), of_other).await;
    assert!(waits.is_err(), "another worker waits for a task");
}

/// Workers that offer Nexus operations wait like any other, although nothing calls them.
#[tokio::test]
async fn a_poll_for_nexus_tasks_waits_and_ends_with_its_worker() {
    let world = World::start(nobody).await;
    let request = rr::PollNexusTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: queue("tq"),
        worker_instance_key: "worker".to_owned(),
        ..Default::default()
    };
    let polling = async { call!(world, poll_nexus_task_queue, request) };
    let ending = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        call!(world, shutdown_worker, shut_down("worker")).unwrap();
    };
    let both = async { tokio::join!(polling, ending).0 };
    let ended = tokio::time::timeout(DEADLINE, both).await;
    assert!(ended.expect("the poll ends with its worker").is_ok());
}
