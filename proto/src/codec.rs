//! MessagePack with named fields: a newer reader takes an older record, and an older reader skips what it does not know.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Values within values. Bytes from outside can nest as deep as they are long, and each level takes stack: a thread of 2 MiB
/// holds at least this many of our largest types. Temporal's door lets 100 messages stand in one another (protobuf's limit).
const DEPTH_MAX: usize = 128;

/// A record or message that is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("decode {what} of {length} bytes")]
pub struct CodecError {
    pub what: &'static str,
    pub length: usize,
    #[source]
    pub source: rmp_serde::decode::Error,
}

/// The MessagePack form of `value`.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Bytes {
    encode_vec(value).into()
}

/// As [`encode`], into a vector.
pub fn encode_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    encode_into(&mut out, value);
    out
}

/// Appends the MessagePack form of `value` to `out`.
pub fn encode_into<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    rmp_serde::encode::write_named(out, value).expect("our types have a MessagePack form");
}

/// The number of bytes of the MessagePack form.
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> usize {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    rmp_serde::encode::write_named(&mut counter, value).expect("our types have a MessagePack form");
    counter.0
}

/// # Errors
/// If `bytes` hold no `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes);
    decoder.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut decoder).map_err(|source| CodecError {
        what: std::any::type_name::<T>()
            .rsplit("::")
            .next()
            .unwrap_or("value"),
        length: bytes.len(),
        source,
    })
}
