//! A hook between this process and everything outside: payloads are encoded as they leave and decoded as they come, so that
//! engine, broker and histories hold only what the codec made of them.
//!
//! Seen by it are arguments, results, details, memos, summaries and markers. Headers and search attributes are not: the
//! first must be readable for whoever stands in between, the second for lists.

use std::error::Error;
use std::sync::Arc;

use fermata_proto::common::Payload;
use fermata_proto::payloads::{PayloadVisitor, VisitPayloads};
use fermata_proto::rpc::{Rejection, RejectionKind};

/// Turns payloads into others and back: encryption, compression, storage elsewhere.
///
/// `decode` gets every payload, also those that were written without the codec (by an operator, by the engine itself): mark
/// what is yours in the metadata `encoding` and give back the rest as it is.
pub trait PayloadCodec: Send + Sync + 'static {
    /// # Errors
    /// Whatever keeps it from encoding; the attempt or workflow task fails with it and is tried again.
    fn encode(&self, payload: Payload) -> Result<Payload, CodecFailure>;

    /// # Errors
    /// As [`Self::encode`].
    fn decode(&self, payload: Payload) -> Result<Payload, CodecFailure>;
}

/// What a codec may fail with.
pub type CodecFailure = Box<dyn Error + Send + Sync>;

/// A codec, or none.
#[derive(Clone, Default)]
pub(crate) struct Codec(pub Option<Arc<dyn PayloadCodec>>);

/// Payloads could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[error("{attempted} payloads: {reason}")]
pub(crate) struct CodecError {
    attempted: &'static str,
    reason: String,
}

impl CodecError {
    /// What a caller hears; the engine never says that it lost data.
    pub fn rejection(&self) -> Rejection {
        Rejection::new(RejectionKind::Internal, self.to_string())
    }
}

impl Codec {
    pub fn encode<T: VisitPayloads>(&self, message: &mut T) -> Result<(), CodecError> {
        self.visit(message, "encode", |codec, payload| codec.encode(payload))
    }

    pub fn decode<T: VisitPayloads>(&self, message: &mut T) -> Result<(), CodecError> {
        self.visit(message, "decode", |codec, payload| codec.decode(payload))
    }

    fn visit<T: VisitPayloads>(
        &self,
        message: &mut T,
        attempted: &'static str,
        code: fn(&dyn PayloadCodec, Payload) -> Result<Payload, CodecFailure>,
    ) -> Result<(), CodecError> {
        let Some(codec) = &self.0 else { return Ok(()) };
        let mut coder = Coder {
            codec: &**codec,
            code,
        };
        message
            .visit_payloads(&mut coder)
            .map_err(|error| CodecError {
                attempted,
                reason: crate::error::chain(&*error),
            })
    }
}

struct Coder<'a> {
    codec: &'a dyn PayloadCodec,
    code: fn(&dyn PayloadCodec, Payload) -> Result<Payload, CodecFailure>,
}

impl PayloadVisitor for Coder<'_> {
    type Error = CodecFailure;

    fn payload(&mut self, payload: &mut Payload) -> Result<(), CodecFailure> {
        *payload = (self.code)(self.codec, std::mem::take(payload))?;
        Ok(())
    }

    fn enters(&self, message: &'static str) -> bool {
        !matches!(message, "Header" | "SearchAttributes")
    }
}
