//! How values of workflows, activities and clients become payloads, and payloads values.
//!
//! By default as Temporal's SDKs do it ([`crate::payload`] has the table). A [`DataConverter`] of one's own takes its place for
//! everything that code gives and takes: arguments, results, signals, queries, updates, memos, heartbeats. JSON stay: the
//! markers that the SDK writes for itself, custom search attributes, and the details of errors, which are made where no
//! context is at hand; a [`Payload`] is taken for details, too.
//!
//! Not here: what happens to payloads on the wire, which is the [`crate::PayloadCodec`]'s.

use std::any::{Any, TypeId};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use fermata_proto::common::{Payload, Payloads};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::payload::{self, PayloadError};

/// What a converter may fail with.
pub type ConverterFailure = Box<dyn Error + Send + Sync>;

/// Turns values into payloads and back, for a client, its workers, a test environment or a replayer.
///
/// Workflow code runs again in replays: equal values must give equal payloads. Both methods may give a value to the default
/// form by `value.to_default()` and `target.read_default(payload)`; the latter is what to do with payloads of an `encoding`
/// that is not one's own, such as those that an operator or the engine wrote.
///
/// ```
/// # use fermata_worker::*;
/// /// MessagePack in place of JSON.
/// struct MessagePack;
///
/// impl DataConverter for MessagePack {
///     fn to_payload(&self, value: &dyn ToValue) -> Result<Payload, ConverterFailure> {
///         let mut data = Vec::new();
///         let mut serializer = rmp_serde::Serializer::new(&mut data).with_struct_map();
///         value.serialize(&mut <dyn erased_serde::Serializer>::erase(&mut serializer))?;
///         Ok(Payload {
///             metadata: [("encoding".to_owned(), "binary/msgpack".into())].into(),
///             data: data.into(),
///             ..Payload::default()
///         })
///     }
///
///     fn read_payload(&self, payload: &Payload, target: &mut dyn FromValue) -> Result<(), ConverterFailure> {
///         if payload.metadata.get("encoding").is_none_or(|encoding| encoding != "binary/msgpack") {
///             return Ok(target.read_default(payload)?);
///         }
///         let mut deserializer = rmp_serde::Deserializer::new(&payload.data[..]);
///         Ok(target.deserialize(&mut <dyn erased_serde::Deserializer>::erase(&mut deserializer))?)
///     }
/// }
/// ```
pub trait DataConverter: Send + Sync + 'static {
    /// # Errors
    /// If the value has no payload form here. In a workflow it fails the workflow task, in an activity the attempt.
    fn to_payload(&self, value: &dyn ToValue) -> Result<Payload, ConverterFailure>;

    /// Reads a payload into `target`.
    ///
    /// # Errors
    /// If it is no such value; a target that was not filled is an error as well.
    fn read_payload(
        &self,
        payload: &Payload,
        target: &mut dyn FromValue,
    ) -> Result<(), ConverterFailure>;
}

/// A value that is to become a payload.
pub trait ToValue {
    fn as_any(&self) -> &dyn Any;

    fn type_name(&self) -> &'static str;

    /// # Errors
    /// As serde.
    fn serialize(
        &self,
        serializer: &mut dyn erased_serde::Serializer,
    ) -> Result<(), erased_serde::Error>;

    /// The form of the default converter.
    ///
    /// # Errors
    /// If the value has no JSON form.
    fn to_default(&self) -> Result<Payload, PayloadError>;
}

impl<T: Serialize + 'static> ToValue for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn serialize(
        &self,
        serializer: &mut dyn erased_serde::Serializer,
    ) -> Result<(), erased_serde::Error> {
        erased_serde::Serialize::erased_serialize(self, serializer)
    }

    fn to_default(&self) -> Result<Payload, PayloadError> {
        payload::to_payload(self)
    }
}

/// Where the value of a payload goes.
pub trait FromValue {
    fn value_type(&self) -> TypeId;

    fn type_name(&self) -> &'static str;

    /// # Errors
    /// As serde.
    fn deserialize(
        &mut self,
        deserializer: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<(), erased_serde::Error>;

    /// Takes a value that is already there. Gives it back if it is of another type than [`Self::value_type`].
    ///
    /// # Errors
    /// The value.
    fn set(&mut self, value: Box<dyn Any>) -> Result<(), Box<dyn Any>>;

    /// Reads a payload as the default converter does.
    ///
    /// # Errors
    /// As [`crate::from_payload`].
    fn read_default(&mut self, payload: &Payload) -> Result<(), PayloadError>;
}

struct Target<T>(Option<T>);

impl<T: DeserializeOwned + 'static> FromValue for Target<T> {
    fn value_type(&self) -> TypeId {
        TypeId::of::<T>()
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }

    fn deserialize(
        &mut self,
        deserializer: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<(), erased_serde::Error> {
        self.0 = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    }

    fn set(&mut self, value: Box<dyn Any>) -> Result<(), Box<dyn Any>> {
        self.0 = Some(*value.downcast()?);
        Ok(())
    }

    fn read_default(&mut self, payload: &Payload) -> Result<(), PayloadError> {
        self.0 = Some(payload::from_payload(payload)?);
        Ok(())
    }
}

/// A converter of one's own, or the default.
#[derive(Clone, Default)]
pub(crate) struct Converter(pub Option<Arc<dyn DataConverter>>);

impl fmt::Debug for Converter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "the default converter",
            Some(_) => "a converter",
        })
    }
}

impl Converter {
    pub fn of(converter: impl DataConverter) -> Self {
        Self(Some(Arc::new(converter)))
    }

    pub fn to_payload<T: Serialize + 'static>(&self, value: &T) -> Result<Payload, PayloadError> {
        let Some(converter) = &self.0 else {
            return payload::to_payload(value);
        };
        if let Some(payload) = (value as &dyn Any).downcast_ref::<Payload>() {
            return Ok(payload.clone());
        }
        converter
            .to_payload(value)
            .map_err(|source| failed("write", std::any::type_name::<T>(), source))
    }

    pub fn read_payload<T: DeserializeOwned + 'static>(
        &self,
        payload: &Payload,
    ) -> Result<T, PayloadError> {
        let Some(converter) = &self.0 else {
            return payload::from_payload(payload);
        };
        if TypeId::of::<T>() == TypeId::of::<Payload>() {
            return payload::from_payload(payload);
        }
        let mut target = Target(None);
        let read = converter.read_payload(payload, &mut target);
        let type_name = std::any::type_name::<T>();
        read.map_err(|source| failed("read", type_name, source))?;
        let unfilled = || failed("read", type_name, "the converter gave no value".into());
        target.0.ok_or_else(unfilled)
    }

    /// One argument or result as a list of payloads; `()` is the empty list.
    pub fn to_payloads<T: Serialize + 'static>(
        &self,
        value: &T,
    ) -> Result<Option<Payloads>, PayloadError> {
        let any: &dyn Any = value;
        if self.0.is_none() || any.is::<()>() || any.is::<Payloads>() {
            return payload::to_payloads(value);
        }
        Ok(Some(Payloads {
            payloads: vec![self.to_payload(value)?],
        }))
    }

    /// The value of the first payload; an empty list is what JSON null is.
    pub fn read_payloads<T: DeserializeOwned + 'static>(
        &self,
        payloads: Option<&Payloads>,
    ) -> Result<T, PayloadError> {
        let first = payloads.and_then(|payloads| payloads.payloads.first());
        let is_whole = [TypeId::of::<()>(), TypeId::of::<Payloads>()].contains(&TypeId::of::<T>());
        match first {
            Some(first) if self.0.is_some() && !is_whole => self.read_payload(first),
            _ => payload::from_payloads(payloads),
        }
    }
}

fn failed(
    attempted: &'static str,
    type_name: &'static str,
    source: ConverterFailure,
) -> PayloadError {
    PayloadError::Converter {
        attempted,
        type_name,
        source,
    }
}
