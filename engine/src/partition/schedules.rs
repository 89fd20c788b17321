//! Describing a schedule that has just been told to act: the answer waits until the starts on their way have been answered,
//! so that whoever triggers an action and then looks sees it.

use fermata_proto::rpc::Call;

use super::owner::Owner;
use super::release::Asker;
use super::state::RunId;
use super::waiting::{Describer, WaitId};
use super::work::Address;

impl Owner {
    /// Whether the answer would lack actions that are being taken. Asked once more, a schedule is described as it is.
    pub(super) fn waits_for_starts(&mut self, address: &Address, asker: &Asker) -> bool {
        let (current, _) = self.view(address);
        !asker.is_repeat
            && !self.waiting.is_full()
            && current.is_some_and(|run| run.is_open() && run.has_scheduled_starts())
    }

    pub(super) fn park_describe(&mut self, call: Call, asker: Asker, address: &Address) {
        let (current, _) = self.view(address);
        let loaded = current.and_then(|run| self.state.runs.get_mut(run.run_id.as_str()));
        let loaded = loaded.expect("the schedule was looked at in memory");
        let id = self
            .waiting
            .describe(loaded.run.run_id.as_str().into(), call.wait_ms);
        let call = Box::new(call);
        loaded.describers.push(Describer { id, asker, call });
    }

    /// Answers who waits for a schedule's starts, if none is on its way any more.
    pub(super) fn settle_describes(&mut self, run_id: &RunId) {
        let Some(loaded) = self.state.runs.get_mut(run_id) else {
            return;
        };
        if loaded.describers.is_empty() || loaded.run.has_scheduled_starts() {
            return;
        }
        for describer in std::mem::take(&mut loaded.describers) {
            self.waiting.done(describer.id);
            self.again.push(describer.asks_again());
        }
    }

    pub(super) fn on_describer_expired(&mut self, run_id: &RunId, id: WaitId) {
        let Some(loaded) = self.state.runs.get_mut(run_id) else {
            return;
        };
        if let Some(at) = loaded.describers.iter().position(|one| one.id == id) {
            let describer = loaded.describers.swap_remove(at);
            self.on_work(describer.asks_again());
        }
    }
}
