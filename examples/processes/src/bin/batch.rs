//! Bills customers by child workflows; the card of every tenth is declined.

use clap::Parser;
use fermata_examples::batch::{
    Batch, Bill, QUEUE, bill_customer, bill_customers, charge, send_receipt,
};
use fermata_examples::play::{Connection, play, say, start, tell_end};
use fermata_worker::Worker;

#[derive(Debug, Parser)]
#[command(version, about = "A child workflow for each customer, a few at a time")]
struct Options {
    #[command(flatten)]
    connection: Connection,
    #[arg(long, default_value_t = 20)]
    customers: u64,
    /// How many children run at a time
    #[arg(long, default_value_t = 5)]
    at_once: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let workers = |client: &_| {
        let worker = Worker::new(client, QUEUE)
            .workflow(bill_customers)
            .workflow(bill_customer)
            .activity(charge)
            .activity(send_receipt);
        vec![worker]
    };
    play(&options.connection, workers, async |client| {
        let bill = |number: u64| Bill {
            customer: format!("customer-{number}"),
            cents: number * 100,
            is_declined: number.is_multiple_of(10),
        };
        let batch = Batch {
            bills: (1..=options.customers).map(bill).collect(),
            at_once: options.at_once,
        };
        let handle = start(client.start(bill_customers, batch), QUEUE, "bills-2026-01").await?;
        let (customers, at_once) = (options.customers, options.at_once);
        say(format_args!("{customers} children, {at_once} at a time"));
        tell_end(&handle).await
    })
    .await
}
