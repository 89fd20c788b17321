//! Orders that go well and orders that do not, against an engine on a real nats-server.

#[path = "../../../worker/tests/deployment/mod.rs"]
mod deployment;

use std::path::PathBuf;
use std::time::Duration;

use deployment::Deployment;
use fermata_example_orders::order::*;
use fermata_example_orders::payment::PaymentService;
use fermata_example_orders::workflow::{CHANGE_ADDRESS, PROCESS_ORDER, STATUS, process_order};
use fermata_example_orders::*;
use fermata_test_support::wait_for;
use fermata_worker::{Client, ResultError, Worker, WorkflowHandle};

const SOON: Duration = Duration::from_secs(20);

fn start_workers(client: &Client, outage_file: PathBuf) {
    let service = PaymentService {
        outage_file: Some(outage_file),
        ..PaymentService::default()
    };
    let workers = [
        Worker::new(client, ORDERS_QUEUE).workflow_as(PROCESS_ORDER, process_order),
        payment::host(Worker::new(client, PAYMENT_QUEUE), service),
        inventory::host(Worker::new(client, INVENTORY_QUEUE)),
        shipping::host(Worker::new(client, SHIPPING_QUEUE)),
        email::host(Worker::new(client, EMAIL_QUEUE)),
    ];
    for worker in workers {
        tokio::spawn(worker.run());
    }
}

fn order(id: &str) -> Order {
    Order {
        id: id.to_owned(),
        customer_email: "ada@example.com".to_owned(),
        items: vec![Item {
            sku: "book".to_owned(),
            quantity: 1,
        }],
        payment: PaymentInfo {
            card_token: "card-1".to_owned(),
            amount_cents: 4_200,
        },
        address: address("Lisbon", "PT"),
    }
}

fn address(city: &str, country: &str) -> Address {
    Address {
        street: "1 Main Street".to_owned(),
        city: city.to_owned(),
        country: country.to_owned(),
    }
}

async fn place(client: &Client, order: Order) -> WorkflowHandle<Receipt> {
    let id = format!("order-{}", order.id);
    let call = client.start(PROCESS_ORDER, order);
    call.queue(ORDERS_QUEUE).id(id).await.unwrap()
}

/// `RECORD_HISTORIES=1 cargo test -p fermata-example-orders --test orders` writes down the histories that `workflow.rs`
/// replays: when the code of the workflow has changed for good, and the old runs are gone.
async fn record(handle: &WorkflowHandle<Receipt>, name: &str) {
    if std::env::var_os("RECORD_HISTORIES").is_some() {
        let file = format!("{}/tests/histories/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let history = handle.history().await.unwrap();
        std::fs::write(file, history.to_json() + "\n").unwrap();
    }
}

async fn result(handle: &WorkflowHandle<Receipt>) -> Result<Receipt, ResultError> {
    tokio::time::timeout(SOON, handle.result())
        .await
        .expect("an end in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_for_the_payment_service_and_goes_where_the_signal_says() {
    let deployment = Deployment::start().await;
    let folder = tempfile::tempdir().unwrap();
    let outage = folder.path().join("outage");
    std::fs::write(&outage, "").unwrap();
    start_workers(&deployment.client, outage.clone());
    let handle = place(&deployment.client, order("1")).await;
    wait_for("a repeated attempt", SOON, async || {
        let described = handle.describe().await.ok()?;
        (described.pending_activities.first()?.attempt > 1).then_some(())
    })
    .await;
    let status: Status = handle.query(STATUS, &()).await.unwrap();
    assert_eq!(status, Status::ValidatingPayment);
    handle
        .signal(CHANGE_ADDRESS, &address("Porto", "PT"))
        .await
        .unwrap();
    std::fs::remove_file(&outage).unwrap();
    let receipt = result(&handle).await.unwrap();
    assert_eq!(receipt.address.city, "Porto");
    assert_eq!(receipt.tracking_number, "track-order-1");
    let status: Status = handle.query(STATUS, &()).await.unwrap();
    assert_eq!(status, Status::Completed);
    record(&handle, "shipped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_shipped_is_undone() {
    let deployment = Deployment::start().await;
    let folder = tempfile::tempdir().unwrap();
    start_workers(&deployment.client, folder.path().join("outage"));
    let order = Order {
        address: address("Atlantis", "nowhere"),
        ..order("2")
    };
    let handle = place(&deployment.client, order).await;
    let error = result(&handle).await.unwrap_err();
    let error = error.workflow_error().expect("a failure");
    assert_eq!(error.error_type(), Some("Undeliverable"));
    let status: Status = handle.query(STATUS, &()).await.unwrap();
    assert_eq!(status, Status::Undone);
    record(&handle, "undeliverable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_cancelled_while_payment_is_down_ends_as_canceled() {
    let deployment = Deployment::start().await;
    let folder = tempfile::tempdir().unwrap();
    let outage = folder.path().join("outage");
    std::fs::write(&outage, "").unwrap();
    start_workers(&deployment.client, outage);
    let handle = place(&deployment.client, order("3")).await;
    wait_for("a failed attempt", SOON, async || {
        let described = handle.describe().await.ok()?;
        (described.pending_activities.first()?.attempt > 1).then_some(())
    })
    .await;
    handle.cancel("changed my mind").await.unwrap();
    assert!(matches!(
        result(&handle).await,
        Err(ResultError::Cancelled { .. })
    ));
    record(&handle, "cancelled").await;
}
