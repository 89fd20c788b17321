//! What a broker must do, asked of both forms: the one on a real nats-server and the simulated one.
//!
//! Each test is written once over [`World`] and run twice; a simulation that drifts from the real thing fails here.

mod log;
mod members;
mod messages;
mod state;
mod tasks;
mod world;

pub use world::{Listener, World};

/// Runs each named test against both forms.
macro_rules! both {
    ($($module:ident :: $test:ident),* $(,)?) => {
        mod jetstream {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let world = crate::world::JetStreamWorld::start().await;
                let test = crate::$module::$test(&world);
                tokio::time::timeout(crate::world::TEST_MAX, test)
                    .await
                    .expect("the test ends");
            })*
        }

        mod simulated {
            $(#[tokio::test(start_paused = true)]
            async fn $test() {
                let world = crate::world::SimulatedWorld::new();
                let test = crate::$module::$test(&world);
                tokio::time::timeout(crate::world::TEST_MAX, test)
                    .await
                    .expect("the test ends");
            })*
        }
    };
}

both! {
    log::an_append_gets_the_next_sequence,
    log::an_append_with_a_wrong_expectation_is_a_conflict,
    log::appends_under_way_fail_with_the_first_that_fails,
    log::no_append_under_way_gets_behind_a_fence,
    log::a_fence_behind_a_wrong_sequence_writes_nothing,
    log::pages_of_the_log_are_in_order_and_end_empty,
    log::a_purge_removes_what_is_below_and_keeps_the_last_sequence,
    log::a_record_that_is_too_large_is_refused,
    state::a_store_is_read_by_the_next_load,
    state::the_last_write_under_a_subject_stands,
    state::a_deletion_hides_the_record_at_once,
    state::a_record_with_a_time_to_live_goes_by_itself,
    state::a_store_of_too_many_records_writes_none,
    state::a_store_of_the_most_records_allowed_writes_all,
    state::a_scan_finds_what_matches_and_ends,
    state::a_scan_of_nothing_ends,
    state::a_purge_removes_what_matches,
    state::a_name_with_a_wildcard_names_no_record,
    state::a_store_of_a_superseded_owner_fails,
    state::opening_anew_lets_an_owner_store_again,
    state::partitions_are_apart,
    tasks::a_task_goes_to_one_poller_once,
    tasks::a_repeated_message_id_is_one_task,
    tasks::tasks_dispatched_at_the_same_time_are_none_lost,
    tasks::queues_and_kinds_are_apart,
    tasks::a_sticky_task_is_heard_by_its_listener,
    tasks::a_sticky_task_that_nobody_hears_comes_back,
    tasks::visibility_records_are_taken,
    messages::a_request_is_answered,
    messages::a_refusal_is_an_answer,
    messages::a_request_to_nobody_fails_at_once,
    messages::a_request_that_is_not_answered_ends_in_time,
    messages::requests_wait_for_a_slow_server,
    members::a_member_is_seen_and_retires,
    members::a_member_that_falls_silent_expires,
    members::a_member_that_keeps_announcing_stays,
    members::an_empty_watch_is_complete_at_once,
    members::a_namespace_is_made_once,
    members::the_first_cluster_record_stands,
}
