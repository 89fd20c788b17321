//! Values as payloads, in the forms that Temporal's default data converter writes and reads.
//!
//! | value | metadata `encoding` | data |
//! |---|---|---|
//! | JSON null: `None`, `()` | `binary/null` | nothing |
//! | `bytes::Bytes`, `Vec<u8>` | `binary/plain` | the bytes |
//! | all else | `json/plain` | JSON |
//!
//! Read are `json/protobuf` payloads too, which are JSON as well. [`Payload`] and [`Payloads`] pass through as they are, so any
//! other form can be handed on. Absent: compression and encryption, which are a codec's; other forms of one's own are a
//! [`crate::DataConverter`]'s.

use std::any::{Any, TypeId};

use bytes::Bytes;
use fermata_proto::common::{Payload, Payloads};
use serde::Serialize;
use serde::de::DeserializeOwned;

const ENCODING: &str = "encoding";
const JSON: &str = "json/plain";
const JSON_PROTOBUF: &str = "json/protobuf";
const NULL: &str = "binary/null";
const PLAIN: &str = "binary/plain";

/// What can travel as an argument or a result.
pub trait Value: Serialize + DeserializeOwned + 'static {}
impl<T: Serialize + DeserializeOwned + 'static> Value for T {}

/// A value that has no payload form, or a payload that is no such value.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("write {type_name} as JSON")]
    Encode {
        type_name: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("read {type_name} from a {encoding} payload of {length} bytes")]
    Decode {
        type_name: &'static str,
        encoding: String,
        length: usize,
        #[source]
        source: serde_json::Error,
    },
    /// A [`crate::DataConverter`] failed.
    #[error("{attempted} {type_name}")]
    Converter {
        attempted: &'static str,
        type_name: &'static str,
        #[source]
        source: crate::converter::ConverterFailure,
    },
    #[error("read {type_name}: payloads of encoding {encoding:?} are not understood here")]
    Encoding {
        type_name: &'static str,
        encoding: String,
    },
}

/// The payload form of `value`.
///
/// # Errors
/// If `value` has no JSON form (a map with keys that are no text).
pub fn to_payload<T: Serialize + 'static>(value: &T) -> Result<Payload, PayloadError> {
    let any: &dyn Any = value;
    if let Some(payload) = any.downcast_ref::<Payload>() {
        return Ok(payload.clone());
    }
    if let Some(bytes) = any.downcast_ref::<Bytes>() {
        return Ok(payload(PLAIN, bytes.clone()));
    }
    if let Some(bytes) = any.downcast_ref::<Vec<u8>>() {
        return Ok(payload(PLAIN, bytes.clone().into()));
    }
    let json = serde_json::to_vec(value).map_err(|source| PayloadError::Encode {
        type_name: std::any::type_name::<T>(),
        source,
    })?;
    Ok(if json == b"null" {
        payload(NULL, Bytes::new())
    } else {
        payload(JSON, json.into())
    })
}

/// The value of a payload.
///
/// # Errors
/// If the payload is in another encoding, or holds something else than a `T`.
pub fn from_payload<T: DeserializeOwned + 'static>(payload: &Payload) -> Result<T, PayloadError> {
    if TypeId::of::<T>() == TypeId::of::<Payload>() {
        return Ok(cast(payload.clone()).expect("the types are the same"));
    }
    let type_name = std::any::type_name::<T>();
    let encoding = payload
        .metadata
        .get(ENCODING)
        .map(|encoding| String::from_utf8_lossy(encoding))
        .unwrap_or_default();
    let json: &[u8] = match &*encoding {
        JSON | JSON_PROTOBUF => &payload.data,
        NULL => b"null",
        PLAIN => {
            return cast(payload.data.clone())
                .or_else(|bytes| cast(Vec::from(bytes)))
                .map_err(|_| PayloadError::Encoding {
                    type_name,
                    encoding: encoding.into_owned(),
                });
        }
        _ => {
            return Err(PayloadError::Encoding {
                type_name,
                encoding: encoding.into_owned(),
            });
        }
    };
    serde_json::from_slice(json).map_err(|source| PayloadError::Decode {
        type_name,
        encoding: encoding.into_owned(),
        length: payload.data.len(),
        source,
    })
}

/// One argument or result as a list of payloads; `()` is the empty list.
///
/// # Errors
/// As [`to_payload`].
pub fn to_payloads<T: Serialize + 'static>(value: &T) -> Result<Option<Payloads>, PayloadError> {
    let any: &dyn Any = value;
    if any.is::<()>() {
        return Ok(None);
    }
    if let Some(payloads) = any.downcast_ref::<Payloads>() {
        return Ok(Some(payloads.clone()));
    }
    Ok(Some(Payloads {
        payloads: vec![to_payload(value)?],
    }))
}

/// The value of the first payload; of an empty list, what JSON null is. Further payloads are not looked at, as in other SDKs.
///
/// # Errors
/// As [`from_payload`].
pub fn from_payloads<T: DeserializeOwned + 'static>(
    payloads: Option<&Payloads>,
) -> Result<T, PayloadError> {
    if TypeId::of::<T>() == TypeId::of::<Payloads>() {
        return Ok(cast(payloads.cloned().unwrap_or_default()).expect("the types are the same"));
    }
    if TypeId::of::<T>() == TypeId::of::<()>() {
        return Ok(cast(()).expect("the types are the same"));
    }
    match payloads.and_then(|payloads| payloads.payloads.first()) {
        Some(payload) => from_payload(payload),
        None => from_payload(&payload(NULL, Bytes::new())),
    }
}

/// Whether a payload holds nothing.
pub(crate) fn is_null(payload: &Payload) -> bool {
    payload
        .metadata
        .get(ENCODING)
        .is_some_and(|encoding| encoding == NULL)
}

fn payload(encoding: &'static str, data: Bytes) -> Payload {
    Payload {
        metadata: [(ENCODING.to_owned(), Bytes::from_static(encoding.as_bytes()))].into(),
        data,
        ..Payload::default()
    }
}

/// `value` as a `T` if it is one.
fn cast<U: 'static, T: 'static>(value: U) -> Result<T, U> {
    let mut value = Some(value);
    let slot: &mut dyn Any = &mut value;
    if let Some(value) = slot.downcast_mut::<Option<T>>().and_then(Option::take) {
        return Ok(value);
    }
    Err(value.expect("it was not taken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(payload: &Payload) -> &str {
        std::str::from_utf8(&payload.metadata[ENCODING]).unwrap()
    }

    #[test]
    fn encodings_are_those_of_the_default_converter() {
        let json = to_payload(&"text").unwrap();
        assert_eq!((encoding(&json), &json.data[..]), (JSON, &b"\"text\""[..]));
        assert_eq!(encoding(&to_payload(&None::<u8>).unwrap()), NULL);
        let bytes = to_payload(&vec![1_u8, 2]).unwrap();
        assert_eq!((encoding(&bytes), &bytes.data[..]), (PLAIN, &[1, 2][..]));
        assert_eq!(to_payloads(&()).unwrap(), None);
    }

    #[test]
    fn values_come_back() {
        assert_eq!(
            from_payload::<String>(&to_payload(&"x").unwrap()).unwrap(),
            "x"
        );
        let bytes = Bytes::from_static(b"raw");
        assert_eq!(
            from_payload::<Bytes>(&to_payload(&bytes).unwrap()).unwrap(),
            bytes
        );
        assert_eq!(
            from_payload::<Vec<u8>>(&to_payload(&bytes).unwrap()).unwrap(),
            b"raw"
        );
        assert_eq!(from_payloads::<Option<u8>>(None).unwrap(), None);
        from_payloads::<()>(to_payloads(&7).unwrap().as_ref()).unwrap();
    }

    #[test]
    fn what_is_no_such_value_is_an_error() {
        let error = from_payload::<u8>(&to_payload(&"x").unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("u8 from a json/plain payload"),
            "{error}"
        );
        from_payload::<u8>(&to_payload(&vec![1_u8]).unwrap()).unwrap_err();
    }
}
