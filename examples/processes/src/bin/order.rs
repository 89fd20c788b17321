//! Plays the order process of `examples/orders` in one process, with a worker for each of its five task queues.

use clap::Parser;
use fermata_example_orders::order::{Address, Item, Order, PaymentInfo};
use fermata_example_orders::payment::PaymentService;
use fermata_example_orders::workflow::{PROCESS_ORDER, process_order};
use fermata_example_orders::{
    EMAIL_QUEUE, INVENTORY_QUEUE, ORDERS_QUEUE, PAYMENT_QUEUE, SHIPPING_QUEUE, email, inventory,
    payment, shipping,
};
use fermata_examples::play::{Connection, play, start, tell_end};
use fermata_worker::Worker;

#[derive(Debug, Parser)]
#[command(version, about = "An order from payment to confirmation")]
struct Options {
    #[command(flatten)]
    connection: Connection,
    /// Where to ship; nobody delivers to `nowhere`, and the order is undone
    #[arg(long, default_value = "CH")]
    country: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let workers = |client: &_| {
        let payments = Worker::new(client, PAYMENT_QUEUE);
        vec![
            Worker::new(client, ORDERS_QUEUE).workflow_as(PROCESS_ORDER, process_order),
            payment::host(payments, PaymentService::default()),
            inventory::host(Worker::new(client, INVENTORY_QUEUE)),
            shipping::host(Worker::new(client, SHIPPING_QUEUE)),
            email::host(Worker::new(client, EMAIL_QUEUE)),
        ]
    };
    play(&options.connection, workers, async |client| {
        let order = Order {
            id: "ada-1".to_owned(),
            customer_email: "ada@example.com".to_owned(),
            items: vec![Item {
                sku: "metronome".to_owned(),
                quantity: 1,
            }],
            payment: PaymentInfo {
                card_token: "tok_visa".to_owned(),
                amount_cents: 4_200,
            },
            address: Address {
                street: "Lindenweg 3".to_owned(),
                city: "Bern".to_owned(),
                country: options.country.clone(),
            },
        };
        let id = format!("order-{}", order.id);
        let handle = start(client.start(PROCESS_ORDER, order), ORDERS_QUEUE, &id).await?;
        tell_end(&handle).await
    })
    .await
}
