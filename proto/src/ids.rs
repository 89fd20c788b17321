//! Ids and sequences, each a type of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

text_id! {
    /// A namespace's id: a UUID that outlives renames. Users see names.
    NamespaceId
}
text_id! {
    /// What a caller names a workflow; unique among the open runs of a namespace.
    WorkflowId
}

/// A fixed slice of all workflow ids.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Partition(pub u16);

impl Partition {
    /// The partition of a workflow id among `partitions`. Persisted: the function never changes.
    pub fn of(namespace_id: &NamespaceId, workflow_id: &WorkflowId, partitions: u16) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        hasher.update(namespace_id.0.as_bytes());
        hasher.update(&[0]);
        hasher.update(workflow_id.0.as_bytes());
        let slot = hasher.digest() % u64::from(partitions.max(1));
        Self(u16::try_from(slot).expect("a remainder of a u16 fits one"))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A message's place in a JetStream stream, from 1; 0 before the first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct StreamSequence(pub u64);

impl StreamSequence {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for StreamSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_known_ids_never_change() {
        let of = |workflow_id: &str| Partition::of(&"default".into(), &workflow_id.into(), 16).0;
        assert_eq!([of("order-1"), of("order-2"), of("")], [6, 7, 7]);
    }
}
