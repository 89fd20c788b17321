//! What is done to the world while its workflows run, and in the end nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fermata_engine::simulated::Faults;
use tokio::time::Instant;

use crate::check;
use crate::gate::Gate;
use crate::world::{Replica, World};

/// How long there are faults.
const FAULTY: Duration = Duration::from_secs(40);
/// So small that every run leaves memory as soon as it can.
const CACHE_BYTES_SMALL: usize = 1;
const CACHE_BYTES_LARGE: usize = 16 << 20;

/// Engine replicas and what happens to them.
pub struct Chaos {
    world: Arc<World>,
    /// By place; each start in it has a new id.
    replicas: BTreeMap<usize, Replica>,
    starts: u64,
    cache_bytes_max: usize,
    faults: Faults,
}

impl Chaos {
    /// A world with one to three replicas.
    pub async fn begin(world: Arc<World>) -> Self {
        let places = 1 + world.below(3);
        let cache_bytes_max = if world.chance(0.5) {
            CACHE_BYTES_SMALL
        } else {
            CACHE_BYTES_LARGE
        };
        let faults = random_faults(&world);
        let mut chaos = Self {
            world,
            replicas: BTreeMap::new(),
            starts: 0,
            cache_bytes_max,
            faults,
        };
        for place in 0..places {
            chaos.start(place).await;
        }
        chaos.world.broker.set_faults(chaos.faults.clone());
        chaos
    }

    /// Faults until their time is over, then calm.
    pub async fn run(mut self) -> Self {
        let until = Instant::now() + FAULTY;
        while Instant::now() < until {
            self.world.sleep_up_to(2_500).await;
            self.strike().await;
            if self.world.chance(0.3) {
                check::storage(&self.world);
            }
        }
        self.world.broker.note(|| "calm".to_owned());
        self.world.broker.set_faults(Faults::none());
        for replica in self.replicas.values() {
            replica.keeper.set(Gate::default());
        }
        if self.replicas.is_empty() {
            self.start(0).await;
        }
        self.world.calm_down();
        self
    }

    async fn start(&mut self, place: usize) {
        self.starts += 1;
        let id = format!("engine-{place}.{}", self.starts);
        self.world.broker.note(|| format!("start {id}"));
        let replica = self.world.start_replica(&id, self.cache_bytes_max).await;
        self.replicas.insert(place, replica);
    }

    fn random_place(&self) -> Option<usize> {
        let places: Vec<usize> = self.replicas.keys().copied().collect();
        (!places.is_empty()).then(|| places[self.world.below(places.len())])
    }

    /// Ends a replica as a killed process ends.
    fn crash(&mut self, place: usize) {
        if let Some(replica) = self.replicas.remove(&place) {
            self.world.broker.crash(&replica.id);
            // Cut off from the broker it can do nothing any more; this ends its tasks.
            replica.keeper.set(Gate::default());
            tokio::spawn(replica.engine.shutdown());
        }
    }

    async fn strike(&mut self) {
        let world = self.world.clone();
        let Some(place) = self.random_place() else {
            return self.start(0).await;
        };
        match world.below(12) {
            0..3 => {
                world.count("crashes");
                self.crash(place);
                world.sleep_up_to(4_000).await;
                self.start(place).await;
                if world.chance(0.3) {
                    // In the middle of taking over.
                    world.sleep_up_to(60).await;
                    world.count("crashes");
                    self.crash(place);
                    self.start(place).await;
                }
            }
            3 => {
                world.count("shutdowns");
                if let Some(replica) = self.replicas.remove(&place) {
                    world.broker.note(|| format!("shut down {}", replica.id));
                    replica.engine.shutdown().await;
                    world.broker.crash(&replica.id);
                }
                world.sleep_up_to(1_000).await;
                self.start(place).await;
            }
            4..6 => {
                world.count("pauses");
                self.close_gate(place, |gate| gate.paused = true, 9_000)
                    .await;
            }
            6 => {
                world.count("isolations");
                self.close_gate(place, |gate| gate.isolated = true, 9_000)
                    .await;
            }
            7 => {
                world.count("broker restarts");
                world.broker.go_down();
                world.sleep_up_to(6_000).await;
                world.broker.come_back();
            }
            8 => {
                world.count("lost task streams");
                world.broker.lose_tasks();
            }
            9 => {
                world.count("full disks");
                let full = Faults {
                    disk_full: true,
                    ..self.faults.clone()
                };
                self.with_faults(full, 4_000).await;
            }
            10 => {
                world.count("slow times");
                let slow = Faults {
                    delay: Duration::ZERO..=Duration::from_millis(800),
                    ..self.faults.clone()
                };
                self.with_faults(slow, 5_000).await;
            }
            _ => {
                world.count("lossy times");
                let lossy = Faults {
                    acknowledgement_lost: 0.1,
                    append_lost: 0.1,
                    answer_lost: 0.1,
                    request_repeated: 0.3,
                    request_lost: 0.1,
                    task_repeated: 0.3,
                    task_lost: 0.1,
                    ..self.faults.clone()
                };
                self.with_faults(lossy, 5_000).await;
            }
        }
    }

    async fn close_gate(&self, place: usize, close: fn(&mut Gate), millis: u64) {
        let replica = &self.replicas[&place];
        let mut gate = Gate::default();
        close(&mut gate);
        replica.keeper.set(gate);
        self.world
            .broker
            .note(|| format!("{} is {gate:?}", replica.id));
        self.world.sleep_up_to(millis).await;
        self.world.broker.note(|| format!("{} goes on", replica.id));
        replica.keeper.set(Gate::default());
    }

    async fn with_faults(&self, faults: Faults, millis: u64) {
        self.world.broker.note(|| format!("{faults:?}"));
        self.world.broker.set_faults(faults);
        self.world.sleep_up_to(millis).await;
        self.world.broker.set_faults(self.faults.clone());
    }

    /// Hands everything over in order, and starts one replica that knows nothing.
    pub async fn start_afresh(mut self) -> Replica {
        let places: Vec<usize> = self.replicas.keys().copied().collect();
        for place in places {
            if let Some(replica) = self.replicas.remove(&place) {
                replica.engine.shutdown().await;
                self.world.broker.crash(&replica.id);
            }
        }
        check::storage(&self.world);
        self.start(0).await;
        let replica = self.replicas.remove(&0).expect("it was started");
        let until = Instant::now() + Duration::from_secs(60);
        while !replica.engine.not_ready().is_empty() {
            assert!(
                Instant::now() < until,
                "a new replica is not ready: {:?}",
                replica.engine.not_ready()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        replica
    }
}

/// What can go wrong by itself at any time in this world.
fn random_faults(world: &World) -> Faults {
    match world.below(3) {
        0 => Faults::none(),
        1 => Faults {
            delay: Duration::ZERO..=Duration::from_millis(5),
            ..Faults::none()
        },
        _ => Faults::rough(),
    }
}
