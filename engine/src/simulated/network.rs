//! Messages under way: a queue of what arrives when.
//!
//! Everything that a simulated broker does happens in the arrival of a message, in the order of arrival times; equal times
//! in the order of sending. That, one seeded random source and a paused clock make a run repeatable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::world::World;

/// One handle; 0 is everybody who is no engine.
pub(super) type Connection = u32;

/// What a message does where it arrives.
pub(super) type Arrival = Box<dyn FnOnce(&mut World) + Send>;

/// Where a message comes from or goes to, beside the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    ToBroker(Connection),
    FromBroker(Connection),
    /// A time that passes within the broker.
    Within,
}

struct Message {
    way: Way,
    arrival: Arrival,
}

/// Messages by arrival time and number.
#[derive(Default)]
pub(super) struct Network {
    under_way: BTreeMap<(Instant, u64), Message>,
    sent: u64,
    /// The last arrival on each way: nothing overtakes.
    latest: BTreeMap<Way, Instant>,
}

impl Network {
    /// Puts a message on its way, to arrive at `at` or after those before it on the same way.
    pub(super) fn send(&mut self, way: Way, at: Instant, arrival: Arrival) {
        let at = match way {
            Way::Within => at,
            Way::ToBroker(_) | Way::FromBroker(_) => {
                let latest = self.latest.entry(way).or_insert(at);
                *latest = at.max(*latest);
                *latest
            }
        };
        self.sent += 1;
        self.under_way
            .insert((at, self.sent), Message { way, arrival });
    }

    fn next_arrival(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    fn take_due(&mut self, now: Instant) -> Option<Arrival> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove().arrival)
    }

    /// Cuts a connection: of what is on its way to the broker the first few still arrive, of the rest nothing.
    pub(super) fn cut(&mut self, connection: Connection, random: &mut fastrand::Rng) {
        let outgoing: Vec<_> = self
            .under_way
            .iter()
            .filter(|(_, message)| message.way == Way::ToBroker(connection))
            .map(|(key, _)| *key)
            .collect();
        for key in outgoing.iter().skip(random.usize(0..=outgoing.len())) {
            self.under_way.remove(key);
        }
        self.under_way
            .retain(|_, message| message.way != Way::FromBroker(connection));
    }

    /// Cuts all connections.
    pub(super) fn cut_all(&mut self) {
        self.under_way
            .retain(|_, message| message.way == Way::Within);
    }
}

/// The world behind its lock. The lock is never held over an await.
pub(super) struct Shared {
    world: Mutex<World>,
    /// Something was sent: the driver looks anew at what arrives next.
    sent: Notify,
}

impl Shared {
    pub(super) fn new(world: World) -> Arc<Self> {
        Arc::new(Self {
            world: Mutex::new(world),
            sent: Notify::new(),
        })
    }

    /// For a look, or to send; the driver is woken.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.sent.notify_one();
        self.world
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Lets messages arrive in their time, for ever.
    pub(super) async fn drive(self: Arc<Self>) {
        loop {
            let next = {
                let mut world = self
                    .world
                    .lock()
                    .expect("nothing panics while it holds this lock");
                while let Some(arrival) = world.network.take_due(Instant::now()) {
                    arrival(&mut world);
                }
                world.network.next_arrival()
            };
            // Dropping either arm loses nothing: the queue is looked at anew in each turn.
            tokio::select! {
                biased;
                () = self.sent.notified() => {}
                () = sleep_until(next) => {}
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
