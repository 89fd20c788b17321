//! Threads that are watched: code that does not give way is left behind with its thread, and another thread takes over.
//!
//! Workflow code runs to its next await without a pause, so code that waits for something outside, or never ends a loop,
//! would keep every other run of its thread from going on. Whoever asks a thread for something looks every half second
//! whether the thread still moves (its pulse). If it stands still on this very job for [`STUCK_AFTER`], the thread is given
//! up: it ends when the code lets it, and until then the same run is refused at once, so that one run cannot take thread
//! after thread.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

/// As in Temporal's SDKs.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Threads that may hang at once; beyond, the next one that hangs is waited for.
const LOST_THREADS_MAX: usize = 64;

/// Why there is no answer.
pub(super) enum NoAnswer {
    Stuck {
        seconds: u64,
    },
    /// The thread has ended, or the worker goes down.
    Gone,
}

type Serve<J> = dyn Fn(&mut Seat<J>) + Send + Sync;

struct Ticket<J> {
    number: u64,
    key: String,
    job: J,
}

/// What the threads of one lane share.
struct Shared<J> {
    name: String,
    waiting: Mutex<mpsc::Receiver<Ticket<J>>>,
    serve: Box<Serve<J>>,
    /// Keys of jobs that hang on threads that were given up.
    lost: Mutex<HashSet<String>>,
}

/// A lane: a queue, and the thread that serves it now.
pub(super) struct Watched<J> {
    jobs: mpsc::Sender<Ticket<J>>,
    shared: Arc<Shared<J>>,
    thread: Mutex<Arc<Thread>>,
    last_number: AtomicU64,
}

/// How one thread is doing.
#[derive(Default)]
struct Thread {
    /// The ticket that is worked on; 0 for none.
    number: Mutex<u64>,
    is_given_up: AtomicBool,
    pulse: Arc<AtomicU64>,
}

/// A thread's side of the lane.
pub(super) struct Seat<J> {
    shared: Arc<Shared<J>>,
    thread: Arc<Thread>,
}

impl<J: Send + 'static> Watched<J> {
    /// `serve` is called on each thread that takes the lane over, and must call [`Seat::serve`].
    pub fn start(
        name: String,
        queue_max: usize,
        serve: impl Fn(&mut Seat<J>) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(queue_max);
        let shared = Arc::new(Shared {
            name,
            waiting: Mutex::new(waiting),
            serve: Box::new(serve),
            lost: Mutex::default(),
        });
        let thread = take_over(&shared)?;
        Ok(Self {
            jobs,
            shared,
            thread: Mutex::new(thread),
            last_number: AtomicU64::new(0),
        })
    }

    /// Puts a job into the queue. `key` names what the job is about.
    pub async fn tell(&self, job: J) {
        // A lane that is gone has nothing left to do.
        let _ = self.send(String::new(), job).await;
    }

    /// As [`Self::tell`], and waits for the answer.
    pub async fn ask<T>(
        &self,
        key: String,
        job: J,
        mut answered: oneshot::Receiver<T>,
    ) -> Result<T, NoAnswer> {
        if !lock(&self.shared.lost).is_empty() && lock(&self.shared.lost).contains(&key) {
            let seconds = STUCK_AFTER.as_secs();
            return Err(NoAnswer::Stuck { seconds });
        }
        let number = self.send(key.clone(), job).await?;
        let mut seen: Option<(u64, Instant)> = None;
        loop {
            match tokio::time::timeout(LOOK_EVERY, &mut answered).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(_)) => return Err(NoAnswer::Gone),
                Err(_) => {}
            }
            let thread = lock(&self.thread).clone();
            if *lock(&thread.number) != number {
                // It waits its turn: whoever is before it watches.
                seen = None;
                continue;
            }
            let pulse = thread.pulse.load(Ordering::Relaxed);
            match seen {
                Some((before, since)) if before == pulse => {
                    if since.elapsed() >= STUCK_AFTER {
                        let seconds = since.elapsed().as_secs();
                        self.give_up(&thread, number, key);
                        return Err(NoAnswer::Stuck { seconds });
                    }
                }
                _ => seen = Some((pulse, Instant::now())),
            }
        }
    }

    async fn send(&self, key: String, job: J) -> Result<u64, NoAnswer> {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let ticket = Ticket { number, key, job };
        let sent = self.jobs.send(ticket).await;
        sent.map(|()| number).map_err(|_| NoAnswer::Gone)
    }

    /// Leaves the thread behind, if it still works on this ticket, and has another take over.
    fn give_up(&self, thread: &Arc<Thread>, number: u64, key: String) {
        {
            let mut lost = lock(&self.shared.lost);
            if lost.len() >= LOST_THREADS_MAX {
                tracing::error!(
                    lane = self.shared.name,
                    hanging = lost.len(),
                    "too much workflow code hangs: its thread is not replaced"
                );
                return;
            }
            let current = lock(&thread.number);
            if *current != number {
                return;
            }
            thread.is_given_up.store(true, Ordering::Relaxed);
            lost.insert(key.clone());
        }
        tracing::error!(
            lane = self.shared.name,
            run_id = key,
            "workflow code does not give way: its thread is left behind"
        );
        match take_over(&self.shared) {
            Ok(next) => *lock(&self.thread) = next,
            Err(error) => tracing::error!(lane = self.shared.name, %error, "replace a thread"),
        }
    }
}

fn take_over<J: Send + 'static>(shared: &Arc<Shared<J>>) -> std::io::Result<Arc<Thread>> {
    let thread = Arc::new(Thread::default());
    let mut seat = Seat {
        shared: shared.clone(),
        thread: thread.clone(),
    };
    std::thread::Builder::new()
        .name(shared.name.clone())
        .spawn(move || {
            let shared = seat.shared.clone();
            (shared.serve)(&mut seat);
        })?;
    Ok(thread)
}

impl<J> Seat<J> {
    /// To be counted up whenever the code moves.
    pub fn pulse(&self) -> Arc<AtomicU64> {
        self.thread.pulse.clone()
    }

    /// Works on one job after the other until the lane is closed or this thread is given up.
    pub fn serve(&mut self, mut work: impl FnMut(J)) {
        loop {
            // Held while waiting: there is one thread that serves, and those that were given up wait no more.
            let ticket = lock(&self.shared.waiting).blocking_recv();
            let Some(Ticket { number, key, job }) = ticket else {
                return;
            };
            *lock(&self.thread.number) = number;
            work(job);
            let mut current = lock(&self.thread.number);
            *current = 0;
            if self.thread.is_given_up.load(Ordering::Relaxed) {
                drop(current);
                lock(&self.shared.lost).remove(&key);
                return;
            }
        }
    }
}

/// Nothing here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Asked = (Duration, oneshot::Sender<()>);

    fn lane() -> Watched<Asked> {
        Watched::start("test".to_owned(), 8, |seat| {
            seat.serve(|(length, answer): Asked| {
                std::thread::sleep(length);
                let _ = answer.send(());
            });
        })
        .unwrap()
    }

    async fn ask(lane: &Watched<Asked>, key: &str, length: Duration) -> Result<(), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        lane.ask(key.to_owned(), (length, answer), answered).await
    }

    #[tokio::test]
    async fn a_job_that_hangs_is_left_behind_and_the_next_one_is_served() {
        let lane = lane();
        let hang = STUCK_AFTER * 3;
        let (stuck, behind) = tokio::join!(
            ask(&lane, "a", hang),
            ask(&lane, "b", Duration::from_millis(1))
        );
        assert!(matches!(stuck, Err(NoAnswer::Stuck { .. })));
        assert!(behind.is_ok());
        // Refused at once while the first still hangs, served again when it has ended.
        let again =
            tokio::time::timeout(Duration::from_millis(100), ask(&lane, "a", Duration::ZERO));
        assert!(matches!(again.await, Ok(Err(NoAnswer::Stuck { .. }))));
        let deadline = Instant::now() + hang * 2;
        while ask(&lane, "a", Duration::ZERO).await.is_err() {
            assert!(Instant::now() < deadline, "the hanging job has ended");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
