//! What a decision may know besides the state: the time, ids yet to be given, namespaces and bounds.

use std::cell::Cell;
use std::time::Duration;

use fermata_proto::ids::NamespaceId;
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::time::Timestamp;

/// Looks namespaces up; the shell gives a snapshot that does not change during a decision.
pub trait Namespaces {
    fn by_name(&self, name: &str) -> Option<&NamespaceRecord>;
    fn by_id(&self, id: &NamespaceId) -> Option<&NamespaceRecord>;
}

/// The surroundings of one decision. Deciding twice with equal contexts gives equal decisions.
pub struct Context<'a> {
    /// The owner's clock, never backwards within a partition.
    pub now: Timestamp,
    /// The namespace of the addressed workflow.
    pub namespace: &'a NamespaceRecord,
    pub namespaces: &'a dyn Namespaces,
    pub limits: &'a Limits,
    entropy: Cell<u64>,
}

impl<'a> Context<'a> {
    /// `entropy` seeds the ids and the jitter of this decision; the shell draws it anew for each.
    pub fn new(
        now: Timestamp,
        entropy: u64,
        namespace: &'a NamespaceRecord,
        namespaces: &'a dyn Namespaces,
        limits: &'a Limits,
    ) -> Self {
        Self {
            now,
            namespace,
            namespaces,
            limits,
            entropy: Cell::new(entropy),
        }
    }

    /// The next number of the decision's stream (SplitMix64).
    pub fn next_u64(&self) -> u64 {
        let state = self.entropy.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.entropy.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A fresh run id, in the form of a version 7 UUID: it begins with the time.
    pub fn new_run_id(&self) -> String {
        let bytes = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        let random: [u8; 10] = std::array::from_fn(|at| bytes.to_be_bytes()[at]);
        let millis = u64::try_from(self.now.as_millis()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random)
            .into_uuid()
            .to_string()
    }

    /// A fresh id in the form of a version 4 UUID: a request id.
    pub fn new_id(&self) -> String {
        let bytes = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes())
            .into_uuid()
            .to_string()
    }

    /// `base` lengthened or shortened by up to `share` (0.0 to 1.0) of it.
    pub fn jitter(&self, base: Duration, share: f64) -> Duration {
        let unit = (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        base.mul_f64(1.0 + share * (2.0 * unit - 1.0))
    }
}

/// Bounds of one deployment; the defaults are Temporal's.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub history_events_max: i64,
    pub history_events_suggest_continue_as_new: i64,
    pub history_bytes_max: i64,
    pub history_bytes_suggest_continue_as_new: i64,
    pub blob_bytes_max: usize,
    pub memo_bytes_max: usize,
    pub id_length_max: usize,
    pub pending_activities_max: usize,
    pub pending_children_max: usize,
    pub pending_signals_max: usize,
    pub pending_cancel_requests_max: usize,
    pub signals_per_run_max: u64,
    pub updates_in_flight_max: usize,
    pub updates_total_max: usize,
    /// Requests of updates that are not accepted lie in mutable state: less than in Temporal, which keeps them in memory only.
    pub updates_in_flight_bytes_max: usize,
    /// A speculative workflow task that nobody takes becomes a real one after this; on a sticky queue after its own time-out.
    pub speculative_task_schedule_to_start_timeout: Duration,
    /// A speculative workflow task that brought more events than this does not vanish.
    pub speculative_task_events_max: i64,
    pub buffered_events_max: usize,
    pub buffered_bytes_max: usize,
    pub search_attributes_keys_max: usize,
    pub search_attribute_bytes_max: usize,
    pub search_attributes_bytes_max: usize,
    pub summary_bytes_max: usize,
    pub details_bytes_max: usize,
    pub links_max: usize,
    pub workflow_task_timeout_default: Duration,
    pub workflow_task_timeout_max: Duration,
    /// How long a worker may keep a workflow task by forcing new ones without a command.
    pub workflow_task_heartbeat_max: Duration,
    /// A workflow task's start-to-close grows from the third attempt on, up to this.
    pub workflow_task_retry_timeout_max: Duration,
    /// Least time between the starts of two runs of one chain.
    pub workflow_id_reuse_interval_min: Duration,
    pub allow_cross_namespace_commands: bool,
}

impl Default for Limits {
    fn default() -> Self {
        const KIB: usize = 1 << 10;
        const MIB: usize = 1 << 20;
        Self {
            history_events_max: 51_200,
            history_events_suggest_continue_as_new: 4_096,
            history_bytes_max: 50 * MIB as i64,
            history_bytes_suggest_continue_as_new: 4 * MIB as i64,
            blob_bytes_max: 2 * MIB,
            memo_bytes_max: 2 * MIB,
            id_length_max: 1_000,
            pending_activities_max: 2_000,
            pending_children_max: 2_000,
            pending_signals_max: 2_000,
            pending_cancel_requests_max: 2_000,
            signals_per_run_max: 10_000,
            updates_in_flight_max: 10,
            updates_total_max: 2_000,
            updates_in_flight_bytes_max: 4 * MIB,
            speculative_task_schedule_to_start_timeout: Duration::from_secs(5),
            speculative_task_events_max: 10,
            buffered_events_max: 100,
            buffered_bytes_max: 2 * MIB,
            search_attributes_keys_max: 100,
            search_attribute_bytes_max: 2 * KIB,
            search_attributes_bytes_max: 40 * KIB,
            summary_bytes_max: 400,
            details_bytes_max: 20_000,
            links_max: 10,
            workflow_task_timeout_default: Duration::from_secs(10),
            workflow_task_timeout_max: Duration::from_secs(120),
            workflow_task_heartbeat_max: Duration::from_secs(30 * 60),
            workflow_task_retry_timeout_max: Duration::from_secs(600),
            workflow_id_reuse_interval_min: Duration::from_secs(1),
            allow_cross_namespace_commands: true,
        }
    }
}
