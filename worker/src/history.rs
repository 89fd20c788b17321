//! Event histories as values: read from the engine or from a file, looked at, replayed.

use fermata_proto::event::{HistoryEvent, HistoryEventAttributes};

use crate::codec::{Codec, CodecError, PayloadCodec};

/// All events of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowHistory {
    workflow_id: String,
    pub(crate) events: Vec<HistoryEvent>,
}

impl WorkflowHistory {
    pub(crate) fn new(workflow_id: &str, events: Vec<HistoryEvent>) -> Self {
        Self {
            workflow_id: workflow_id.to_owned(),
            events,
        }
    }

    /// The history as code sees it: one that was read from a file holds what the codec made of its payloads.
    ///
    /// # Errors
    /// The codec's.
    pub async fn decoded(mut self, codec: impl PayloadCodec) -> Result<Self, CodecError> {
        Codec::of(codec).decode(&mut self.events).await?;
        Ok(self)
    }

    /// Empty if the history came from a file that does not tell.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// The run that the history began as, which a reset run shares with the one it branched off from.
    pub fn original_run_id(&self) -> &str {
        self.started()
            .map_or("", |started| &started.original_execution_run_id)
    }

    pub fn workflow_type(&self) -> &str {
        self.started()
            .and_then(|started| started.workflow_type.as_ref())
            .map_or("", |workflow_type| &workflow_type.name)
    }

    pub fn events(&self) -> &[HistoryEvent] {
        &self.events
    }

    /// `WorkflowExecutionStarted`, `WorkflowTaskScheduled` and so on, in order.
    pub fn event_types(&self) -> impl Iterator<Item = String> {
        self.events
            .iter()
            .map(|event| format!("{:?}", event.event_type()))
    }

    fn started(&self) -> Option<&fermata_proto::event::WorkflowExecutionStartedEventAttributes> {
        match self.events.first()?.attributes.as_ref()? {
            HistoryEventAttributes::WorkflowExecutionStarted(started) => Some(started),
            _ => None,
        }
    }
}
