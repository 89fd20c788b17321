//! What the log's refusals mean.
//!
//! | an append ends | then |
//! |---|---|
//! | acknowledged | what follows from it is released |
//! | conflict | somebody else's record is there: the owner stops at once; callers are told to ask again |
//! | ambiguous | the log's tail is read: our own record goes on as acknowledged, a foreign one ends it, and what is not there is appended again, byte for byte, behind the same sequence |
//! | refused | nothing was written: callers hear UNAVAILABLE and why, and the partition is loaded again |
//!
//! Appends behind one that failed expect a sequence that does not come: they fail too, and are judged with it.

use std::time::Duration;

use bytes::Bytes;
use fermata_proto::ids::StreamSequence;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::owner::{Exit, Owner};
use crate::broker::{AppendError, BrokerError};

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

impl Owner {
    pub(super) async fn on_append_result(
        &mut self,
        result: Result<StreamSequence, AppendError>,
        stop: &CancellationToken,
    ) -> Result<(), Exit> {
        match result {
            Ok(sequence) => self.on_acknowledged(sequence).await,
            Err(error @ AppendError::Conflict { .. }) => {
                self.shared.metrics.append_conflicts.inc();
                Err(Exit::Lost(error.to_string()))
            }
            Err(error @ AppendError::Refused { .. }) => Err(self.on_refused(&error.to_string())),
            Err(error @ AppendError::Ambiguous { .. }) => {
                info!(%error, "whether a commit is in the log is not known; its tail is read");
                tokio::select! {
                    biased;
                    () = stop.cancelled() => Err(Exit::Lost(error.to_string())),
                    settled = self.settle_ambiguity() => settled,
                }
            }
        }
    }

    fn on_refused(&self, reason: &str) -> Exit {
        warn!(partition = %self.partition, reason, "the log takes no more; callers are refused");
        Exit::Refused(reason.to_owned())
    }

    /// Finds out which of the commits under way are in the log, and appends the others again until they are.
    async fn settle_ambiguity(&mut self) -> Result<(), Exit> {
        let mut backoff = BACKOFF_FIRST;
        loop {
            // The verdicts of those behind the lost one are no news: the log itself tells.
            while self.acknowledgements.next().await.is_some() {}
            match self.read_tail().await {
                Ok(None) => {
                    let reason = "another owner has purged the log behind the last commit known";
                    return Err(Exit::Lost(reason.to_owned()));
                }
                Ok(Some(records)) => {
                    for (sequence, record) in records {
                        self.on_found(sequence, &record).await?;
                    }
                    if self.in_flight.is_empty() {
                        return Ok(());
                    }
                    if self.append_again().await? {
                        return Ok(());
                    }
                }
                Err(error) => info!(%error, "the log's tail cannot be read yet"),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn on_found(&mut self, sequence: StreamSequence, record: &Bytes) -> Result<(), Exit> {
        let is_own = self
            .in_flight
            .front()
            .is_some_and(|commit| commit.sequence == sequence && commit.record == *record);
        if is_own {
            return self.on_acknowledged(sequence).await;
        }
        self.shared.metrics.append_conflicts.inc();
        Err(Exit::Lost(format!(
            "record {sequence} of the log is another owner's"
        )))
    }

    /// Everything behind the last acknowledged record. Nothing stands for a log that the next owner has purged already:
    /// only it removes records that this one does not know of.
    async fn read_tail(&mut self) -> Result<Option<Vec<(StreamSequence, Bytes)>>, BrokerError> {
        let broker = self.shared.broker.clone();
        let last = broker.log_last(self.partition).await?;
        let mut from = self.durable.next();
        let mut records = Vec::new();
        loop {
            let page = broker.read_log(self.partition, from).await?;
            let Some(end) = page.last() else {
                let is_purged = records.is_empty() && last > self.durable;
                return Ok((!is_purged).then_some(records));
            };
            from = end.sequence.next();
            records.extend(page.into_iter().map(|entry| (entry.sequence, entry.record)));
        }
    }

    /// Sends what is not in the log once more. True if the log has all of it now; false if that is not known again.
    async fn append_again(&mut self) -> Result<bool, Exit> {
        let mut verdicts = FuturesOrdered::new();
        let broker = self.shared.broker.clone();
        let again: Vec<_> = self
            .in_flight
            .iter()
            .map(|commit| (commit.expected(), commit.record.clone()))
            .collect();
        for (expected, record) in again {
            let acknowledged = broker.append(self.partition, expected, record).await;
            verdicts.push_back(acknowledged);
        }
        while let Some(verdict) = verdicts.next().await {
            match verdict {
                Ok(sequence) => self.on_acknowledged(sequence).await?,
                Err(error @ AppendError::Refused { .. }) => {
                    return Err(self.on_refused(&error.to_string()));
                }
                // A conflict may be the first append, which came late: the tail tells whose record it is.
                Err(AppendError::Conflict { .. } | AppendError::Ambiguous { .. }) => {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
