//! Polls workflow code until it can go no further. One thread, no runtime: only events of history and the code itself wake.
//!
//! Tasks are polled in the order in which they were spawned, again and again while any of them was woken; then the
//! conditions of `wait_until` are looked at again if anything has moved. Equal histories give equal orders.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};

use futures::future::LocalBoxFuture;

use super::Shared;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

struct Task {
    future: LocalBoxFuture<'static, ()>,
    woken: Arc<Flag>,
    waker: Waker,
}

/// The tasks of one run.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: Vec<Option<Task>>,
}

impl Executor {
    pub fn spawn(&mut self, future: LocalBoxFuture<'static, ()>) {
        let woken = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        self.tasks.push(Some(Task {
            future,
            woken,
            waker,
        }));
    }

    /// Spawns a task and lets it go as far as it can, before all others.
    pub fn begin(&mut self, future: LocalBoxFuture<'static, ()>, shared: &Rc<Shared>) {
        self.spawn(future);
        self.poll_one(self.tasks.len() - 1, shared);
    }

    /// Polls until nothing moves, or the workflow has ended.
    pub fn run(&mut self, shared: &Rc<Shared>) {
        self.poll_woken(shared);
        loop {
            let before = {
                let mut state = shared.state();
                for waker in state.conditions.drain(..) {
                    waker.wake();
                }
                state.progress
            };
            self.poll_woken(shared);
            let state = shared.state();
            // If no condition has become true, what the others depend on has not changed either.
            if state.progress == before || state.result.is_some() {
                break;
            }
        }
        self.tasks.retain(Option::is_some);
    }

    fn poll_woken(&mut self, shared: &Rc<Shared>) {
        loop {
            let mut moved = false;
            let mut index = 0;
            while index < self.tasks.len() {
                moved |= self.poll_one(index, shared);
                if shared.state().result.is_some() {
                    return;
                }
                index += 1;
            }
            if !moved {
                return;
            }
        }
    }

    /// Polls a task if it was woken, and takes in what it spawns.
    fn poll_one(&mut self, index: usize, shared: &Rc<Shared>) -> bool {
        let slot = &mut self.tasks[index];
        let mut moved = false;
        if let Some(task) = slot
            && task.woken.0.swap(false, Relaxed)
        {
            moved = true;
            let mut cx = Context::from_waker(&task.waker);
            if task.future.as_mut().poll(&mut cx).is_ready() {
                *slot = None;
                shared.state().progress += 1;
            }
        }
        let spawned = std::mem::take(&mut shared.state().spawned);
        for future in spawned {
            self.spawn(future);
        }
        moved
    }
}
