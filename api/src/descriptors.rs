//! The descriptors of Temporal's API, options included: what exists, and how REST reaches it.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};

/// The encoded `FileDescriptorSet` of everything that is served, with comments.
pub const ENCODED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Full name of Temporal's main service.
pub const WORKFLOW_SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";
/// Full name of the service that operators' tools call.
pub const OPERATOR_SERVICE: &str = "temporal.api.operatorservice.v1.OperatorService";
/// Full name of the standard health service.
pub const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// Descriptors of everything that is served.
pub fn pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(ENCODED).expect("build.rs wrote a valid descriptor set")
    });
    &POOL
}

/// The service of this full name, if it is one of Temporal's.
pub fn service(name: &str) -> Option<ServiceDescriptor> {
    pool().get_service_by_name(name)
}

/// The methods that REST serves.
pub fn rest_methods() -> impl Iterator<Item = MethodDescriptor> {
    [WORKFLOW_SERVICE, OPERATOR_SERVICE]
        .into_iter()
        .filter_map(service)
        .flat_map(|service| service.methods().collect::<Vec<_>>())
}
