//! The order process without any server: the workflow alone, in virtual time, and against recorded histories.

use std::time::Duration;

use fermata_example_orders::email::SEND_CONFIRMATION_EMAIL;
use fermata_example_orders::inventory::{RELEASE_INVENTORY, RESERVE_INVENTORY};
use fermata_example_orders::order::*;
use fermata_example_orders::payment::{PaymentServiceDown, REFUND_PAYMENT, VALIDATE_PAYMENT};
use fermata_example_orders::shipping::SHIP_ORDER;
use fermata_example_orders::workflow::{CHANGE_ADDRESS, PROCESS_ORDER, STATUS, process_order};
use fermata_worker::{ApplicationError, Replayer, TestEnvironment, WorkflowHistory};

const MINUTE: Duration = Duration::from_secs(60);

fn order() -> Order {
    Order {
        id: "1".to_owned(),
        customer_email: "ada@example.com".to_owned(),
        items: vec![Item {
            sku: "metronome".to_owned(),
            quantity: 1,
        }],
        payment: PaymentInfo {
            card_token: "tok_visa".to_owned(),
            amount_cents: 4_200,
        },
        address: address("Bern"),
    }
}

fn address(city: &str) -> Address {
    Address {
        street: "Lindenweg 3".to_owned(),
        city: city.to_owned(),
        country: "CH".to_owned(),
    }
}

/// All outside systems work.
fn shop() -> TestEnvironment {
    TestEnvironment::new()
        .workflow_as(PROCESS_ORDER, process_order)
        .mock(VALIDATE_PAYMENT, |payment| {
            Ok(Payment {
                payment_id: "p".to_owned(),
                amount_cents: payment.amount_cents,
            })
        })
        .mock(RESERVE_INVENTORY, |_| {
            Ok(Reservation {
                reservation_id: "r".to_owned(),
            })
        })
        .mock(SHIP_ORDER, |_| {
            Ok(Shipment {
                tracking_number: "t".to_owned(),
            })
        })
        .mock(SEND_CONFIRMATION_EMAIL, |_| Ok(()))
        .mock(RELEASE_INVENTORY, |_| Ok(()))
        .mock(REFUND_PAYMENT, |_| Ok(()))
}

#[tokio::test]
async fn an_order_outlives_an_outage_of_ten_minutes_and_follows_the_customer() {
    // An attempt costs no real time, so the outage is counted in attempts: 500 ms, 1 s, 2 s, 4 s, then every 5 s.
    let mut attempts = 0;
    let run = shop()
        .mock(VALIDATE_PAYMENT, move |payment| {
            attempts += 1;
            if attempts <= 122 {
                return Err(PaymentServiceDown.into());
            }
            Ok(Payment {
                payment_id: "p".to_owned(),
                amount_cents: payment.amount_cents,
            })
        })
        .start(PROCESS_ORDER, order())
        .after(MINUTE * 5, |running| {
            let status: Status = running.query(STATUS, &()).unwrap();
            assert_eq!(status, Status::ValidatingPayment);
            running.signal(CHANGE_ADDRESS, &address("Porto"));
        })
        .run()
        .await;
    let receipt = run.result.as_ref().unwrap();
    assert_eq!(receipt.address.city, "Porto");
    assert!(run.elapsed > MINUTE * 9, "{:?}", run.elapsed);
}

#[tokio::test]
async fn an_order_that_cannot_be_shipped_is_undone_in_reverse_order() {
    let run = shop()
        .mock(SHIP_ORDER, |_| {
            Err(ApplicationError::new("no carrier goes there")
                .with_type("Undeliverable")
                .non_retryable()
                .into())
        })
        .start(PROCESS_ORDER, order())
        .run()
        .await;
    let error = run.result.as_ref().unwrap_err();
    let error = error.workflow_error().unwrap();
    assert_eq!(error.error_type(), Some("Undeliverable"));
    assert_eq!(run.inputs::<Reservation>(RELEASE_INVENTORY.name()).len(), 1);
    assert_eq!(run.inputs::<Payment>(REFUND_PAYMENT.name()).len(), 1);
    assert_eq!(run.query::<_, Status>(STATUS, &()).unwrap(), Status::Undone);
}

/// Orders that are under way when new code is installed were begun by old code: they must fit it. What they look like lies in
/// `histories`, recorded by the tests in `orders.rs`.
#[test]
fn orders_of_earlier_versions_still_replay() {
    let replayer = Replayer::new().workflow_as(PROCESS_ORDER, process_order);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories");
    let mut replayed = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let history = WorkflowHistory::from_json(&std::fs::read_to_string(&file).unwrap());
        let replay = replayer.replay(&history.unwrap());
        replay.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        replayed += 1;
    }
    assert!(replayed >= 3, "histories are there");
}

/// What a change that breaks running orders looks like.
#[test]
fn a_step_that_was_left_out_is_found() {
    use fermata_worker::testing::ReplayError;
    use fermata_worker::{WorkflowContext, WorkflowResult};

    async fn hasty(ctx: WorkflowContext, order: Order) -> WorkflowResult<Receipt> {
        ctx.activity(RESERVE_INVENTORY, order.items.clone())
            .start_to_close(MINUTE)
            .await?;
        Err(ApplicationError::new("not written yet").into())
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories/shipped.json");
    let history = WorkflowHistory::from_json(&std::fs::read_to_string(file).unwrap()).unwrap();
    let replayer = Replayer::new().workflow_as(PROCESS_ORDER, hasty);
    let Err(ReplayError::NonDeterminism { source, .. }) = replayer.replay(&history) else {
        panic!("the history of other code was replayed");
    };
    assert!(
        source.event().unwrap().contains("validate_payment"),
        "{source}"
    );
    assert!(
        source.command().unwrap().contains("reserve_inventory"),
        "{source}"
    );
}
