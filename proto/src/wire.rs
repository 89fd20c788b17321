//! How our types and Temporal's protobuf types turn into each other: [`Wire`], and the macros that define a mirrored type
//! together with its conversion.
//!
//! Each mirrored struct lists every field of its message: a message that gains a field no longer compiles here, so
//! nothing can get lost unseen.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A type that mirrors the protobuf type `P`.
pub trait Wire<P>: Sized {
    /// # Errors
    /// If `P` holds what our type cannot: an enum number nobody knows, a negative duration.
    fn from_wire(wire: P) -> Result<Self, WireError>;
    fn into_wire(self) -> P;
}

/// A protobuf message that holds something Fermata cannot take; names the field by its path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct WireError {
    pub field: String,
    pub reason: String,
}

impl WireError {
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            field: String::new(),
            reason: reason.into(),
        }
    }

    #[must_use]
    pub fn within(mut self, field: &str) -> Self {
        let field = field.trim_start_matches("r#");
        self.field = if self.field.is_empty() {
            field.to_owned()
        } else {
            format!("{field}.{}", self.field)
        };
        self
    }
}

/// Whether a field may be left out of MessagePack.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! message {
    ($(#[$meta:meta])* $name:ident = $wire:path { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_meta])* #[serde(skip_serializing_if = "crate::wire::is_default")] pub $field: $type,)*
        }

        impl crate::payloads::VisitPayloads for $name {
            #[allow(unused_variables)]
            fn visit_payloads<V: crate::payloads::PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
                // Which type this is, is known when it is compiled.
                if let Some(payload) = (self as &mut dyn std::any::Any).downcast_mut::<crate::common::Payload>() {
                    return visitor.payload(payload);
                }
                if !visitor.enters(stringify!($name)) {
                    return Ok(());
                }
                $(crate::payloads::VisitPayloads::visit_payloads(&mut self.$field, visitor)?;)*
                Ok(())
            }
        }

        const _: () = {
            type Counterpart = $wire;
            impl crate::wire::Wire<Counterpart> for $name {
                #[allow(unused_variables)]
                fn from_wire(wire: Counterpart) -> Result<Self, crate::wire::WireError> {
                    Ok(Self { $($field: crate::wire::Wire::from_wire(wire.$field)
                        .map_err(|error: crate::wire::WireError| error.within(stringify!($field)))?,)* })
                }
                fn into_wire(self) -> Counterpart {
                    Counterpart { $($field: crate::wire::Wire::into_wire(self.$field),)* }
                }
            }
        };
    };
}

macro_rules! enumeration {
    ($(#[$meta:meta])* $name:ident { $zero:ident = 0 $(, $variant:ident = $number:literal)* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum $name { #[default] $zero = 0, $($variant = $number,)* }

        impl $name {
            /// All values, in the order of their numbers in the proto.
            pub const ALL: &[Self] = &[Self::$zero, $(Self::$variant,)*];
        }

        impl crate::wire::Wire<i32> for $name {
            fn from_wire(number: i32) -> Result<Self, crate::wire::WireError> {
                match number {
                    0 => Ok(Self::$zero),
                    $($number => Ok(Self::$variant),)*
                    other => Err(crate::wire::WireError::new(
                        format!("{other} is no {}", stringify!($name)))),
                }
            }
            fn into_wire(self) -> i32 {
                self as i32
            }
        }

        impl crate::payloads::VisitPayloads for $name {
            fn visit_payloads<V: crate::payloads::PayloadVisitor>(&mut self, _: &mut V) -> Result<(), V::Error> {
                Ok(())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_i32(*self as i32)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = i32::deserialize(deserializer)?;
                crate::wire::Wire::from_wire(number).map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! oneof {
    ($(#[$meta:meta])* $name:ident = $wire:path { $($(#[$variant_meta:meta])* $variant:ident = $wire_variant:ident($type:ty),)* }) => {
        crate::wire::oneof! { @ $(#[$meta])* #[allow(clippy::large_enum_variant)] $name = $wire {
            $($(#[$variant_meta])* $variant = $wire_variant($type) from |value| value, into |value| value,)*
        } }
    };
    // Each variant in a box of its own: for choices whose largest kind is far larger than the usual ones.
    (boxed $(#[$meta:meta])* $name:ident = $wire:path { $($(#[$variant_meta:meta])* $variant:ident = $wire_variant:ident($type:ty),)* }) => {
        crate::wire::oneof! { @ $(#[$meta])* $name = $wire {
            $($(#[$variant_meta])* $variant = $wire_variant(Box<$type>) from Box::new, into |value: Box<$type>| *value,)*
        } }
    };
    // The same, for kinds that several hold: a clone is one more holder.
    (shared $(#[$meta:meta])* $name:ident = $wire:path { $($(#[$variant_meta:meta])* $variant:ident = $wire_variant:ident($type:ty),)* }) => {
        crate::wire::oneof! { @ $(#[$meta])* $name = $wire {
            $($(#[$variant_meta])* $variant = $wire_variant(std::sync::Arc<$type>) from std::sync::Arc::new, into std::sync::Arc::<$type>::unwrap_or_clone,)*
        } }
    };
    (@ $(#[$meta:meta])* $name:ident = $wire:path { $($(#[$variant_meta:meta])* $variant:ident = $wire_variant:ident($type:ty) from $from:expr, into $into:expr,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$variant_meta])* $variant($type),)* }

        impl crate::payloads::VisitPayloads for $name {
            fn visit_payloads<V: crate::payloads::PayloadVisitor>(&mut self, visitor: &mut V) -> Result<(), V::Error> {
                match self {
                    $(Self::$variant(value) => crate::payloads::VisitPayloads::visit_payloads(value, visitor),)*
                }
            }
        }

        const _: () = {
            use $wire as Choice;
            impl crate::wire::Wire<Choice> for $name {
                fn from_wire(wire: Choice) -> Result<Self, crate::wire::WireError> {
                    match wire {
                        $(Choice::$wire_variant(value) => crate::wire::Wire::from_wire(value).map($from).map(Self::$variant)
                            .map_err(|error: crate::wire::WireError| error.within(stringify!($variant))),)*
                    }
                }
                fn into_wire(self) -> Choice {
                    match self {
                        $(Self::$variant(value) => Choice::$wire_variant(crate::wire::Wire::into_wire(($into)(value))),)*
                    }
                }
            }
        };
    };
}

pub(crate) use {enumeration, message, oneof};

macro_rules! same {
    ($($type:ty),*) => {$(
        impl Wire<$type> for $type {
            fn from_wire(wire: $type) -> Result<Self, WireError> {
                Ok(wire)
            }
            fn into_wire(self) -> $type {
                self
            }
        }
    )*};
}

same!(String, bool, i32, i64, u32, u64, f32, f64);

impl Wire<Vec<u8>> for Bytes {
    fn from_wire(wire: Vec<u8>) -> Result<Self, WireError> {
        Ok(wire.into())
    }
    fn into_wire(self) -> Vec<u8> {
        self.into()
    }
}

impl<P, T: Wire<P>> Wire<Option<P>> for Option<T> {
    fn from_wire(wire: Option<P>) -> Result<Self, WireError> {
        wire.map(T::from_wire).transpose()
    }
    fn into_wire(self) -> Option<P> {
        self.map(T::into_wire)
    }
}

impl<P, T: Wire<P>> Wire<Box<P>> for Box<T> {
    fn from_wire(wire: Box<P>) -> Result<Self, WireError> {
        T::from_wire(*wire).map(Box::new)
    }
    fn into_wire(self) -> Box<P> {
        Box::new((*self).into_wire())
    }
}

impl<P, T: Wire<P>> Wire<Vec<P>> for Vec<T> {
    fn from_wire(wire: Vec<P>) -> Result<Self, WireError> {
        wire.into_iter()
            .enumerate()
            .map(|(index, item)| {
                T::from_wire(item).map_err(|error| error.within(&index.to_string()))
            })
            .collect()
    }
    fn into_wire(self) -> Vec<P> {
        self.into_iter().map(T::into_wire).collect()
    }
}

impl<K, P, T: Wire<P>> Wire<HashMap<K, P>> for BTreeMap<K, T>
where
    K: Ord + Hash + ToString,
{
    fn from_wire(wire: HashMap<K, P>) -> Result<Self, WireError> {
        wire.into_iter()
            .map(|(key, item)| match T::from_wire(item) {
                Ok(item) => Ok((key, item)),
                Err(error) => Err(error.within(&key.to_string())),
            })
            .collect()
    }
    fn into_wire(self) -> HashMap<K, P> {
        self.into_iter()
            .map(|(key, item)| (key, item.into_wire()))
            .collect()
    }
}

impl Wire<prost_wkt_types::Duration> for Duration {
    fn from_wire(wire: prost_wkt_types::Duration) -> Result<Self, WireError> {
        Duration::try_from(wire)
            .map_err(|_| WireError::new("a duration must not be negative or out of range"))
    }
    fn into_wire(self) -> prost_wkt_types::Duration {
        prost_wkt_types::Duration {
            seconds: i64::try_from(self.as_secs()).unwrap_or(i64::MAX),
            nanos: self.subsec_nanos().cast_signed(),
        }
    }
}

impl Wire<prost_wkt_types::Timestamp> for Timestamp {
    fn from_wire(wire: prost_wkt_types::Timestamp) -> Result<Self, WireError> {
        Timestamp::from_parts(wire.seconds, wire.nanos)
            .ok_or_else(|| WireError::new("a time must lie between the years 1677 and 2262"))
    }
    fn into_wire(self) -> prost_wkt_types::Timestamp {
        let (seconds, nanos) = self.to_parts();
        prost_wkt_types::Timestamp { seconds, nanos }
    }
}

/// `google.protobuf.Any`: a message of whatever type, encoded in protobuf.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Any {
    pub type_url: String,
    pub value: Bytes,
}

impl Wire<prost_wkt_types::Any> for Any {
    fn from_wire(wire: prost_wkt_types::Any) -> Result<Self, WireError> {
        Ok(Self {
            type_url: wire.type_url,
            value: wire.value.into(),
        })
    }
    fn into_wire(self) -> prost_wkt_types::Any {
        prost_wkt_types::Any {
            type_url: self.type_url,
            value: self.value.into(),
        }
    }
}

/// `google.protobuf.FieldMask`: which fields an update means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldMask {
    pub paths: Vec<String>,
}

impl Wire<prost_wkt_types::FieldMask> for FieldMask {
    fn from_wire(wire: prost_wkt_types::FieldMask) -> Result<Self, WireError> {
        Ok(Self { paths: wire.paths })
    }
    fn into_wire(self) -> prost_wkt_types::FieldMask {
        prost_wkt_types::FieldMask { paths: self.paths }
    }
}

/// `google.protobuf.Empty`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

impl Wire<()> for Empty {
    fn from_wire((): ()) -> Result<Self, WireError> {
        Ok(Self {})
    }
    fn into_wire(self) {}
}
