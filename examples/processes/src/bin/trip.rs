//! Books a trip of which a part is sold out, unless told otherwise: what was booked is cancelled in reverse order.

use clap::{Parser, ValueEnum};
use fermata_examples::play::{Connection, play, start, tell_end};
use fermata_examples::trip::{Part, QUEUE, Trip, book, book_trip, cancel};
use fermata_worker::Worker;

#[derive(Debug, Parser)]
#[command(version, about = "A trip is booked as a whole or not at all")]
struct Options {
    #[command(flatten)]
    connection: Connection,
    /// What is not to be had
    #[arg(long, value_enum, default_value_t = SoldOut::Car)]
    sold_out: SoldOut,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SoldOut {
    Flight,
    Hotel,
    Car,
    Nothing,
}

impl SoldOut {
    fn part(self) -> Option<Part> {
        match self {
            Self::Flight => Some(Part::Flight),
            Self::Hotel => Some(Part::Hotel),
            Self::Car => Some(Part::Car),
            Self::Nothing => None,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let workers = |client: &_| {
        let worker = Worker::new(client, QUEUE)
            .workflow(book_trip)
            .activity(book)
            .activity(cancel);
        vec![worker]
    };
    play(&options.connection, workers, async |client| {
        let trip = Trip {
            traveller: "Ada".to_owned(),
            city: "Lisbon".to_owned(),
            sold_out: options.sold_out.part(),
        };
        let handle = start(client.start(book_trip, trip), QUEUE, "trip-ada").await?;
        tell_end(&handle).await
    })
    .await
}
