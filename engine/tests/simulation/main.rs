//! The whole engine in simulated worlds: replicas, workers and clients over a broker with faults, every choice from one seed.
//!
//! A world goes through faults to calm; then every workflow has ended as planned, everything that was acknowledged is in
//! history once, and what is stored, what the log says and what the engine shows are the same.
//!
//! `SEED=n` plays one world, `SEEDS=n` n of them from `FROM=n` or 0 (`SEEDS=1000 cargo test -p fermata-engine --test simulation`). A failure
//! names its seed and shows the end of the trace; `TRACE=path` keeps all of it.
//!
//! Start reading at [`play`], then [`model`] (workflows), [`chaos`] (faults), [`check`] (what must hold).

/// Prints past the test runner's capture: what was played shows in every run, not only in one that failed.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod chaos;
mod check;
mod client;
mod gate;
#[path = "../../core/tests/support/invariants.rs"]
#[expect(
    dead_code,
    reason = "only what concerns runs and their histories is used here"
)]
mod invariants;
mod model;
mod truth;
mod worker;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use chaos::Chaos;
use world::World;

const SEEDS: u64 = 100;
const WORKFLOWS: usize = 6;
const WORKERS: usize = 3;
/// After so many, no more worlds are begun.
const FAILURES_MAX: usize = 5;
const FAILURE_CHARACTERS_SHOWN: usize = 300;
const TRACE_LINES_SHOWN: usize = 60;
/// Time for the last checkpoint and the last deliveries.
const QUIET: Duration = Duration::from_secs(10);
const STACK_BYTES: usize = 16 << 20;

thread_local! {
    /// Panics of this thread, also of those that the engine catches: none of them may be.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// How a world went.
struct Played {
    trace: Vec<String>,
    outcome: Result<Outcome, String>,
}

#[derive(Default)]
struct Outcome {
    counts: BTreeMap<&'static str, u64>,
}

fn play(seed: u64) -> Played {
    PANICS.with_borrow_mut(Vec::clear);
    let trace = Mutex::new(Vec::new());
    let result = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::new(seed);
            let outcome = AssertUnwindSafe(play_world(world.clone()));
            let outcome = futures::FutureExt::catch_unwind(outcome).await;
            *trace.lock().unwrap() = world.broker.take_trace();
            outcome
        })
    }));
    let panics = PANICS.with_borrow(Clone::clone);
    let outcome = match result {
        Ok(Ok(outcome)) if panics.is_empty() => Ok(outcome),
        _ => Err(panics.join("\n")),
    };
    Played {
        trace: trace.into_inner().unwrap(),
        outcome,
    }
}

async fn play_world(world: std::sync::Arc<World>) -> Outcome {
    let mut people: JoinSet<()> = JoinSet::new();
    let chaos = Chaos::begin(world.clone()).await;
    for number in 0..WORKERS {
        let (sticky, name) = (number > 0, format!("worker-{number}"));
        people.spawn(worker::workflow_worker(world.clone(), name.clone(), sticky));
        people.spawn(worker::activity_worker(world.clone(), name));
    }
    let mut clients = JoinSet::new();
    for number in 0..WORKFLOWS {
        clients.spawn(client::client(world.clone(), number, WORKFLOWS));
    }
    let mut chaos = Some(tokio::spawn(chaos.run()));
    let mut calm = None;
    loop {
        // Join sets and handles keep what is not taken.
        tokio::select! {
            biased;
            Some(Err(error)) = people.join_next() => std::panic::resume_unwind(error.into_panic()),
            done = async { chaos.as_mut().expect("not calm yet").await }, if chaos.is_some() => {
                chaos = None;
                calm = Some(done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
            }
            Some(done) = clients.join_next() => {
                if let Err(error) = done {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            else => break,
        }
        if clients.is_empty() && chaos.is_none() {
            break;
        }
    }
    tokio::time::sleep(QUIET).await;
    let chaos = calm.expect("faults end");
    let replica = chaos.start_afresh().await;
    let ended = check::end(&world).await;
    people.shutdown().await;
    replica.engine.shutdown().await;
    let mut counts = world.book().counts.clone();
    counts.insert("runs ended", ended);
    let transitions = check::storage(&world)
        .iter()
        .map(|one| one.transitions)
        .sum();
    counts.insert("transitions", transitions);
    Outcome { counts }
}

/// Panics are noted rather than printed: a world that fails tells of its own.
fn note_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some(PLAYER) {
                PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            } else {
                default(panic);
            }
        }));
    });
}

/// The name of threads that play worlds.
const PLAYER: &str = "player";

fn on_player_thread<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    note_panics();
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name(PLAYER.to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, body)
            .unwrap()
            .join()
            .unwrap()
    })
}

fn number_from(variable: &str) -> Option<u64> {
    let words = std::env::var(variable).ok()?;
    Some(
        words
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={words} is no number")),
    )
}

#[test]
fn whatever_goes_wrong_nothing_is_lost_and_nothing_happens_twice() {
    let seeds = match number_from("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let from = number_from("FROM").unwrap_or(0);
            from..from + number_from("SEEDS").unwrap_or(SEEDS)
        }
    };
    let next = AtomicU64::new(seeds.start);
    let totals: Mutex<BTreeMap<&'static str, u64>> = Mutex::default();
    let failed: Mutex<BTreeMap<u64, Played>> = Mutex::default();
    let began = std::time::Instant::now();
    let players = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..players {
            scope.spawn(|| {
                on_player_thread(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end || failed.lock().unwrap().len() >= FAILURES_MAX {
                            return;
                        }
                        let played = play(seed);
                        match &played.outcome {
                            Ok(outcome) => {
                                let mut totals = totals.lock().unwrap();
                                for (kind, count) in &outcome.counts {
                                    *totals.entry(kind).or_default() += count;
                                }
                            }
                            Err(_) => {
                                failed.lock().unwrap().insert(seed, played);
                            }
                        }
                    }
                });
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    tell!(
        "{} worlds in {:.0?}",
        seeds.end - seeds.start,
        began.elapsed()
    );
    for (kind, count) in &totals {
        tell!("{count:>9} {kind}");
    }
    let mut failed = failed.into_inner().unwrap();
    for (seed, played) in &failed {
        let words = played.outcome.as_ref().err().map_or("", String::as_str);
        let words: String = words.chars().take(FAILURE_CHARACTERS_SHOWN).collect();
        tell!("SEED={seed} fails: {words}");
    }
    if let Some((seed, played)) = failed.pop_first() {
        if let Ok(path) = std::env::var("TRACE") {
            std::fs::write(&path, played.trace.join("\n")).unwrap();
        }
        let from = played.trace.len().saturating_sub(TRACE_LINES_SHOWN);
        let words = played.outcome.err().unwrap_or_default();
        panic!(
            "SEED={seed} fails:\n{words}\nthe trace ends:\n{}",
            played.trace[from..].join("\n")
        );
    }
    if seeds.end - seeds.start >= SEEDS {
        invariant_everything_was_tried(&totals);
    }
}

/// A simulation in which something never happens proves nothing of it; and what may go wrong now and then stays rare.
fn invariant_everything_was_tried(totals: &BTreeMap<&'static str, u64>) {
    let stale = totals.get(check::STALE_LISTS).copied().unwrap_or(0);
    assert!(
        stale * 100 <= totals["runs ended"],
        "{stale} {}",
        check::STALE_LISTS
    );
    for kind in [
        "activities failed",
        "activities forgotten",
        "activities taken over",
        "answers repeated by workers",
        "broker restarts",
        "cancel requests",
        "crashes",
        "full disks",
        "isolations",
        "lossy times",
        "lost task streams",
        "pauses",
        "queries answered",
        "runs ended",
        "shutdowns",
        "signals",
        "slow times",
        "starts",
        "terminations",
        "workers died",
        "workflow tasks failed",
        "workflow tasks forgotten",
    ] {
        assert!(
            totals.get(kind).copied().unwrap_or(0) >= 10,
            "{kind} hardly ever: {totals:?}"
        );
    }
}

#[test]
fn the_same_seed_plays_the_same_world() {
    for seed in [3, 8] {
        let one = on_player_thread(|| play(seed)).trace;
        let two = on_player_thread(|| play(seed)).trace;
        for (number, (one, two)) in one.iter().zip(&two).enumerate() {
            assert_eq!(one, two, "line {number} of the trace of SEED={seed}");
        }
        assert_eq!(one.len(), two.len());
        assert!(one.len() > 300, "hardly anything happens");
    }
}
