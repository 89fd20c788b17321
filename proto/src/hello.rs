//! The first words of a worker or client in any language, and the version of what is said after them.
//!
//! `proto/PROTOCOL.md` tells the whole conversation. A [`Hello`] goes to [`crate::subjects::HELLO`]; the answer is a
//! [`Welcome`] or a [`Rejection`]. Afterwards [`crate::rpc::Call`]s go to [`crate::subjects::CALL`], and tasks come from the
//! consumer that the welcome names. So nobody outside has to know the key-value buckets, how a subject is made of a queue's
//! name, or which partition a workflow is in.
//!
//! Sent between versions: names never change.

use serde::{Deserialize, Serialize};

use crate::ids::NamespaceId;
use crate::rpc::{Rejection, RejectionKind};

/// The version of the protocol that this build speaks. It changes only when an older worker could misunderstand; new fields
/// and new requests do not change it.
pub const PROTOCOL_VERSION: u16 = 1;

/// Who comes, and what for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub protocol: u16,
    /// The namespace's name.
    pub namespace: String,
    /// The queue that a worker takes activity tasks from; empty for a client that takes none.
    pub task_queue: String,
}

/// What the sender of a [`Hello`] needs to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Welcome {
    pub protocol: u16,
    /// Goes into each [`crate::rpc::Call`].
    pub namespace_id: NamespaceId,
    /// The stream of tasks; empty if no task queue was named.
    pub stream: String,
    /// The queue's pull consumer in it, which exists now.
    pub consumer: String,
}

/// What is answered to a [`Hello`].
pub type Welcomed = Result<Welcome, Rejection>;

/// Refuses a peer that speaks another version. One that does not say it (0) is older than this check, which is version 1.
///
/// # Errors
/// [`RejectionKind::ProtocolMismatch`], in words for the peer's author.
pub fn check_protocol(said: u16) -> Result<(), Rejection> {
    if said == 0 || said == PROTOCOL_VERSION {
        return Ok(());
    }
    Err(Rejection::new(
        RejectionKind::ProtocolMismatch,
        format!(
            "protocol version {said} is not spoken here: this Fermata speaks version {PROTOCOL_VERSION}; \
             use a worker and an engine of versions that go together"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_protocol_version_is_refused_with_both_numbers() {
        assert_eq!(check_protocol(0), Ok(()));
        assert_eq!(check_protocol(PROTOCOL_VERSION), Ok(()));
        let refused = check_protocol(7).unwrap_err();
        assert_eq!(refused.kind, RejectionKind::ProtocolMismatch);
        assert!(refused.message.contains('7') && refused.message.contains('1'));
    }
}
