use std::time::Duration;

use fermata_examples::trip::*;
use fermata_worker::testing::TestEnd;
use fermata_worker::{TestEnvironment, WorkflowResult};

fn trip(sold_out: Option<Part>) -> Trip {
    Trip {
        traveller: "Ada".to_owned(),
        city: "Lisbon".to_owned(),
        sold_out,
    }
}

fn environment() -> TestEnvironment {
    TestEnvironment::new()
        .workflow(book_trip)
        .activity(book)
        .activity(cancel)
}

fn parts(bookings: &[Booking]) -> Vec<Part> {
    bookings.iter().map(|booking| booking.part).collect()
}

#[tokio::test]
async fn a_trip_that_is_to_be_had_is_booked() {
    let run = environment().start(book_trip, trip(None)).run().await;
    let bookings = run.result.as_ref().unwrap();
    assert_eq!(parts(bookings), [Part::Flight, Part::Hotel, Part::Car]);
    assert!(run.inputs::<Booking>("cancel").is_empty());
}

#[tokio::test]
async fn a_sold_out_car_cancels_everything_in_reverse_order() {
    let trip = trip(Some(Part::Car));
    let run = environment().start(book_trip, trip).run().await;
    let end = run.result.as_ref().unwrap_err();
    let error = end.workflow_error().unwrap();
    assert_eq!(error.error_type(), Some("SoldOut"));
    assert_eq!(error.message(), "no car in Lisbon");
    let cancelled = parts(&run.inputs::<Booking>("cancel"));
    assert_eq!(cancelled, [Part::Car, Part::Hotel, Part::Flight]);
}

#[tokio::test]
async fn a_trip_cancelled_while_the_hotel_is_booked_is_undone_too() {
    let run = environment()
        .mock_taking(book, Duration::from_secs(5), |_| Ok(()))
        .start(book_trip, trip(None))
        .after(Duration::from_secs(7), |trip| trip.cancel("no holiday"))
        .run()
        .await;
    assert!(matches!(run.result, Err(TestEnd::Cancelled)));
    let cancelled = parts(&run.inputs::<Booking>("cancel"));
    assert_eq!(cancelled.last(), Some(&Part::Flight));
    assert!(cancelled.contains(&Part::Hotel), "{cancelled:?}");
}

/// Partners that are down for an hour are asked again until they cancel.
#[tokio::test]
async fn a_compensation_is_tried_until_it_succeeds() {
    let mut attempts = 0;
    let run = environment()
        .mock(cancel, move |_| {
            attempts += 1;
            if attempts <= 40 {
                return Err(std::io::Error::other("the partner is down").into());
            }
            Ok(())
        })
        .start(book_trip, trip(Some(Part::Flight)))
        .run()
        .await;
    let result: WorkflowResult<()> = match run.result.as_ref().unwrap_err() {
        TestEnd::Failed(error) => Err(error.clone()),
        end => panic!("{end}"),
    };
    assert_eq!(result.unwrap_err().error_type(), Some("SoldOut"));
    assert_eq!(run.inputs::<Booking>("cancel").len(), 41);
}
