//! Signals that a run receives: kept in order until a handler or a stream takes them.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use fermata_proto::common::Payloads;

pub(crate) type SignalHandler = Rc<dyn Fn(Option<&Payloads>)>;

/// A signal as it came.
pub(crate) struct Signal {
    pub name: String,
    pub input: Option<Payloads>,
}

#[derive(Default)]
pub(crate) struct Signals {
    /// From events of this workflow task, before handlers have run.
    pub arrived: VecDeque<Signal>,
    pub handlers: BTreeMap<String, SignalHandler>,
    /// Without a handler, by name.
    pub waiting: BTreeMap<String, VecDeque<Option<Payloads>>>,
    pub wakers: BTreeMap<String, Waker>,
}

impl Signals {
    /// Keeps a signal for a stream and wakes it.
    pub fn keep(&mut self, signal: Signal) {
        if let Some(waker) = self.wakers.remove(&signal.name) {
            waker.wake();
        }
        self.waiting
            .entry(signal.name)
            .or_default()
            .push_back(signal.input);
    }

    pub fn take(&mut self, name: &str) -> Option<Option<Payloads>> {
        self.waiting.get_mut(name)?.pop_front()
    }
}
