//! Answers that follow from no append: reads and refusals.
//!
//! An owner that another one has replaced learns of it by its next append. What it answers without one may be long past: a
//! workflow that was started since is "not found" there, and a task that waits is "gone". So the log is asked first, after the
//! question came: as long as it ends where this owner's appends do, nobody else has fenced it. Answers that come meanwhile are
//! asked for together.
//!
//! | the log | then the answers |
//! |---|---|
//! | ends with an own append | go out, once everything they tell of is durable |
//! | ends behind that | are not given: the partition is lost |
//! | does not answer | become UNAVAILABLE: the callers repeat |

use std::time::Duration;

use fermata_proto::ids::StreamSequence;
use fermata_proto::rpc::{Rejection, RejectionKind};
use futures::future::{BoxFuture, FutureExt};

use super::owner::{Exit, Owner};
use super::release::{Answering, Asker};
use crate::broker::BrokerError;

/// How long the log may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

type Answers = Vec<(Asker, Answering)>;

/// At most one question is under way.
#[derive(Default)]
pub struct Confirmations {
    under_way: Option<BoxFuture<'static, Result<StreamSequence, BrokerError>>>,
    /// What it decides about, and the last append that this may tell of.
    asked: Answers,
    told_of: StreamSequence,
    /// For the next question.
    next: Answers,
}

impl Confirmations {
    /// The log's answer; never without a question. Cancellation-safe.
    pub async fn next(&mut self) -> Result<StreamSequence, BrokerError> {
        let Some(under_way) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let answer = under_way.await;
        self.under_way = None;
        answer
    }

    /// Everybody who waits for one.
    pub fn take_askers(&mut self) -> Vec<Asker> {
        let asked = std::mem::take(&mut self.asked);
        let next = std::mem::take(&mut self.next);
        asked
            .into_iter()
            .chain(next)
            .map(|(asker, _)| asker)
            .collect()
    }
}

impl Owner {
    /// Lets `answers` out once it is certain that nobody else owned the partition when they were asked for.
    pub(super) fn confirm(&mut self, answers: Answers) {
        self.confirmations.next.extend(answers);
        self.ask_log();
    }

    fn ask_log(&mut self) {
        let confirmations = &mut self.confirmations;
        if confirmations.under_way.is_some() || confirmations.next.is_empty() {
            return;
        }
        confirmations.asked = std::mem::take(&mut confirmations.next);
        confirmations.told_of = self.appended;
        let (broker, partition) = (self.shared.broker.clone(), self.partition);
        let asking = async move {
            tokio::time::timeout(ANSWER_MAX, broker.log_last(partition))
                .await
                .unwrap_or_else(|_| {
                    let attempted = format!("confirm the owner of partition {partition}");
                    Err(BrokerError::new(attempted, "no answer in time"))
                })
        };
        confirmations.under_way = Some(asking.boxed());
    }

    /// # Errors
    /// If the log tells of another owner.
    pub(super) async fn on_confirmation(
        &mut self,
        result: Result<StreamSequence, BrokerError>,
    ) -> Result<(), Exit> {
        match result {
            // Fewer are under way than a fence has records, so that none ends here.
            Ok(last) if last <= self.appended => {
                let answers = std::mem::take(&mut self.confirmations.asked);
                let told_of = self.confirmations.told_of;
                let commit = self
                    .in_flight
                    .iter_mut()
                    .find(|commit| commit.sequence == told_of);
                match commit {
                    Some(commit) => commit.released.answers.extend(answers),
                    None => self.release_answers(answers).await,
                }
            }
            Ok(last) => {
                self.shared.metrics.append_conflicts.inc();
                return Err(Exit::Lost(format!(
                    "the log ends at {last}, behind the last own append {}",
                    self.appended
                )));
            }
            Err(error) => {
                for (asker, _) in std::mem::take(&mut self.confirmations.asked) {
                    let words = error.to_string();
                    asker.answer(Err(Rejection::new(RejectionKind::Unavailable, words)));
                }
            }
        }
        self.ask_log();
        Ok(())
    }
}
