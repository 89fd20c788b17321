//! Which partitions this replica should own: rendezvous hashing over the replicas that announce themselves.
//!
//! No leader and no election. Two replicas may believe the same for a moment: the log's fence settles it, and the loser
//! takes the partition again only if it still should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::ids::Partition;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::broker::{MEMBER_REFRESH, Member, Watched};
use crate::engine::Shared;
use crate::partition::Handle;

const WATCH_AGAIN: Duration = Duration::from_millis(500);
/// How long a shutdown waits for its partitions.
const HAND_OVER_MAX: Duration = Duration::from_millis(900);

/// The member that should own `partition`: the one with the largest hash. A member that comes or goes moves only its own
/// share.
pub fn owner_of<'a>(
    partition: Partition,
    members: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    members
        .into_iter()
        .max_by_key(|member| (weight(member, partition), *member))
}

fn weight(member: &str, partition: Partition) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    hasher.update(member.as_bytes());
    hasher.update(&[0]);
    hasher.update(&partition.0.to_be_bytes());
    hasher.digest()
}

/// Announces this replica and owns what it should, until `stop`; then hands everything over.
pub fn start(shared: Arc<Shared>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut membership = Membership {
            shared,
            members: BTreeMap::new(),
            owned: BTreeMap::new(),
            is_complete: false,
            is_announced: true,
        };
        membership.run(&stop).await;
        membership.hand_over().await;
    })
}

struct Membership {
    shared: Arc<Shared>,
    members: BTreeMap<String, Member>,
    owned: BTreeMap<Partition, Handle>,
    /// The watch has told of everyone who was there.
    is_complete: bool,
    is_announced: bool,
}

impl Membership {
    async fn run(&mut self, stop: &CancellationToken) {
        let mut watch: Option<BoxStream<'static, Watched<Member>>> = None;
        let mut announce_at = Instant::now();
        let mut watch_at = Instant::now();
        loop {
            if watch.is_none() && watch_at <= Instant::now() {
                watch = self.shared.broker.watch_members().await.ok();
                watch_at = Instant::now() + WATCH_AGAIN;
            }
            let next = async {
                match &mut watch {
                    Some(watch) => watch.next().await,
                    None => {
                        tokio::time::sleep_until(watch_at).await;
                        None
                    }
                }
            };
            // Cancellation-safe: a watch keeps what is not taken.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(announce_at) => {
                    self.announce().await;
                    announce_at = Instant::now() + MEMBER_REFRESH;
                }
                watched = next => match watched {
                    Some(watched) => self.on_watched(watched),
                    None => watch = None,
                },
            }
        }
    }

    async fn announce(&mut self) {
        let member = Member {
            id: self.shared.options.id.clone(),
            leaving: false,
        };
        let announced = self.shared.broker.announce(&member).await;
        if let Err(error) = &announced
            && self.is_announced
        {
            info!(%error, "this replica cannot announce itself; others may take its partitions over");
        }
        self.is_announced = announced.is_ok();
        if self.is_complete {
            self.rebalance();
        }
    }

    fn on_watched(&mut self, watched: Watched<Member>) {
        match watched {
            Watched::Put(member) => {
                let is_news = self.members.get(&member.id) != Some(&member);
                self.members.insert(member.id.clone(), member);
                if !is_news {
                    return;
                }
            }
            Watched::Gone(id) => {
                self.members.remove(&id);
            }
            Watched::Complete => self.is_complete = true,
        }
        if self.is_complete {
            self.rebalance();
        }
    }

    /// Takes over what is ours now and lets go of what is not.
    fn rebalance(&mut self) {
        let own = self.shared.options.id.clone();
        let mut candidates: Vec<&str> = self
            .members
            .values()
            .filter(|member| !member.leaving)
            .map(|member| member.id.as_str())
            .collect();
        // Whether or not our own announcement has come back yet.
        if !candidates.contains(&own.as_str()) {
            candidates.push(&own);
        }
        let mut gone = Vec::new();
        for partition in (0..self.shared.partitions).map(Partition) {
            let is_ours = owner_of(partition, candidates.iter().copied()) == Some(own.as_str());
            match (self.owned.get(&partition), is_ours) {
                (None, true) => {
                    let handle = Handle::start(self.shared.clone(), partition);
                    self.owned.insert(partition, handle);
                }
                (Some(handle), true) if handle.is_finished() => {
                    let handle = Handle::start(self.shared.clone(), partition);
                    self.owned.insert(partition, handle);
                }
                (Some(handle), true) => handle.resume(),
                (Some(_), false) => gone.push(partition),
                (None, false) => {}
            }
        }
        self.shared.join();
        for partition in gone {
            if let Some(handle) = self.owned.get(&partition) {
                info!(%partition, "the partition goes to another replica");
                handle.stop();
            }
            self.owned
                .retain(|at, handle| *at != partition || !handle.is_finished());
        }
    }

    /// Lets every partition finish before this replica takes its announcement back: the next owner's fence would cut off
    /// what is under way.
    async fn hand_over(&mut self) {
        for handle in self.owned.values() {
            handle.stop();
        }
        let all = std::mem::take(&mut self.owned);
        let finished = futures::future::join_all(all.into_values().map(Handle::finished));
        if tokio::time::timeout(HAND_OVER_MAX, finished).await.is_err() {
            info!("some partitions were not handed over in time; the next owner reads their log");
        }
        if let Err(error) = self.shared.broker.retire(&self.shared.options.id).await {
            info!(%error, "the announcement was not taken back; it expires by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(members: &[&str]) -> Vec<String> {
        (0..256)
            .map(|partition| {
                owner_of(Partition(partition), members.iter().copied())
                    .expect("there are members")
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn every_replica_computes_the_same_whatever_the_order() {
        assert_eq!(owners(&["a", "b", "c"]), owners(&["c", "a", "b"]));
        assert_eq!(owner_of(Partition(0), []), None);
    }

    #[test]
    fn shares_are_about_even() {
        let owners = owners(&["a", "b", "c", "d"]);
        for member in ["a", "b", "c", "d"] {
            let share = owners.iter().filter(|owner| *owner == member).count();
            assert!((40..=90).contains(&share), "{member} owns {share} of 256");
        }
    }

    #[test]
    fn a_replica_that_goes_moves_only_its_own_share() {
        let before = owners(&["a", "b", "c"]);
        let after = owners(&["a", "c"]);
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || before == "b");
        }
    }
}
