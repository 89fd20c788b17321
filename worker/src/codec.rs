//! A hook between this process and everything outside: payloads are encoded as they leave and decoded as they come, so that
//! engine, broker and histories hold only what the codec made of them.
//!
//! Seen by it are arguments, results, details, memos, summaries, markers and updates. Headers and search attributes are not:
//! the first must be readable for whoever stands in between, the second for lists. All payloads of a message come in one call,
//! so a codec with a key service asks it once.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::common::Payload;
use fermata_proto::payloads::{PayloadVisitor, VisitPayloads};
use fermata_proto::rpc::{Rejection, RejectionKind};
use futures::future::{BoxFuture, FutureExt};

/// How long a codec may take for the payloads of one message: half of a workflow task's usual time, so that the engine can still
/// be told that it failed.
const CODEC_MAX: Duration = Duration::from_secs(5);

/// Turns payloads into others and back: encryption, compression, storage elsewhere. Both methods may wait, for a key service
/// say, for some seconds: longer is a failure.
///
/// `decode` gets every payload, also those that were written without the codec (by an operator, by the engine itself): mark
/// what is yours in the metadata `encoding` and give back the rest as it is.
///
/// ```
/// # use fermata_worker::*;
/// /// Turns every byte around.
/// struct Inverse;
///
/// impl PayloadCodec for Inverse {
///     async fn encode(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, CodecFailure> {
///         let inverse = |payload: Payload| Payload {
///             metadata: [("encoding".to_owned(), "binary/inverse".into()), ("of".to_owned(), payload.metadata["encoding"].clone())].into(),
///             data: payload.data.iter().map(|byte| !byte).collect(),
///             ..Payload::default()
///         };
///         Ok(payloads.into_iter().map(inverse).collect())
///     }
///
///     async fn decode(&self, payloads: Vec<Payload>) -> Result<Vec<Payload>, CodecFailure> {
///         let plain = |payload: Payload| match payload.metadata.get("of") {
///             Some(encoding) => Payload {
///                 metadata: [("encoding".to_owned(), encoding.clone())].into(),
///                 data: payload.data.iter().map(|byte| !byte).collect(),
///                 ..Payload::default()
///             },
///             None => payload,
///         };
///         Ok(payloads.into_iter().map(plain).collect())
///     }
/// }
/// ```
pub trait PayloadCodec: Send + Sync + 'static {
    /// Gives as many payloads as it gets, in the same order.
    ///
    /// # Errors
    /// Whatever keeps it from encoding; the attempt or workflow task fails with it and is tried again.
    fn encode(
        &self,
        payloads: Vec<Payload>,
    ) -> impl Future<Output = Result<Vec<Payload>, CodecFailure>> + Send;

    /// As [`Self::encode`].
    ///
    /// # Errors
    /// As [`Self::encode`].
    fn decode(
        &self,
        payloads: Vec<Payload>,
    ) -> impl Future<Output = Result<Vec<Payload>, CodecFailure>> + Send;
}

/// What a codec may fail with.
pub type CodecFailure = Box<dyn Error + Send + Sync>;

type Coded<'a> = BoxFuture<'a, Result<Vec<Payload>, CodecFailure>>;

/// [`PayloadCodec`] behind a pointer.
trait AnyCodec: Send + Sync {
    fn encode(&self, payloads: Vec<Payload>) -> Coded<'_>;
    fn decode(&self, payloads: Vec<Payload>) -> Coded<'_>;
}

impl<C: PayloadCodec> AnyCodec for C {
    fn encode(&self, payloads: Vec<Payload>) -> Coded<'_> {
        PayloadCodec::encode(self, payloads).boxed()
    }

    fn decode(&self, payloads: Vec<Payload>) -> Coded<'_> {
        PayloadCodec::decode(self, payloads).boxed()
    }
}

/// A codec, or none.
#[derive(Clone, Default)]
pub(crate) struct Codec(Option<Arc<dyn AnyCodec>>);

/// Payloads could not be encoded or decoded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{attempted} payloads: {reason}")]
pub struct CodecError {
    attempted: &'static str,
    reason: String,
}

impl CodecError {
    /// What a caller hears; the engine never says that it lost data.
    pub(crate) fn rejection(&self) -> Rejection {
        Rejection::new(RejectionKind::Internal, self.to_string())
    }
}

impl Codec {
    pub fn of(codec: impl PayloadCodec) -> Self {
        Self(Some(Arc::new(codec)))
    }

    /// # Errors
    /// The codec's; what becomes of the message then is lost.
    pub async fn encode<T: VisitPayloads>(&self, message: &mut T) -> Result<(), CodecError> {
        let Some(codec) = &self.0 else { return Ok(()) };
        code(message, "encode", |payloads| codec.encode(payloads)).await
    }

    /// # Errors
    /// As [`Self::encode`].
    pub async fn decode<T: VisitPayloads>(&self, message: &mut T) -> Result<(), CodecError> {
        let Some(codec) = &self.0 else { return Ok(()) };
        code(message, "decode", |payloads| codec.decode(payloads)).await
    }
}

/// Takes the payloads out of a message, has them coded and puts them back.
async fn code<'a, T: VisitPayloads>(
    message: &mut T,
    attempted: &'static str,
    with: impl FnOnce(Vec<Payload>) -> Coded<'a>,
) -> Result<(), CodecError> {
    let mut taken = Taken(Vec::new());
    let Ok(()) = message.visit_payloads(&mut taken);
    if taken.0.is_empty() {
        return Ok(());
    }
    let failed = |reason: String| CodecError { attempted, reason };
    let count = taken.0.len();
    let coded = tokio::time::timeout(CODEC_MAX, with(taken.0)).await;
    let coded = coded.map_err(|_| failed(format!("no answer within {CODEC_MAX:?}")))?;
    let coded = coded.map_err(|error| failed(crate::error::chain(&*error)))?;
    if coded.len() != count {
        let text = format!("the codec gave {} for {count}", coded.len());
        return Err(failed(text));
    }
    let Ok(()) = message.visit_payloads(&mut Put(coded.into_iter()));
    Ok(())
}

/// Headers and search attributes stay readable.
fn enters(message: &str) -> bool {
    !matches!(message, "Header" | "SearchAttributes")
}

struct Taken(Vec<Payload>);

impl PayloadVisitor for Taken {
    type Error = std::convert::Infallible;

    fn payload(&mut self, payload: &mut Payload) -> Result<(), Self::Error> {
        self.0.push(std::mem::take(payload));
        Ok(())
    }

    fn enters(&self, message: &'static str) -> bool {
        enters(message)
    }
}

/// Visits the same payloads in the same order.
struct Put(std::vec::IntoIter<Payload>);

impl PayloadVisitor for Put {
    type Error = std::convert::Infallible;

    fn payload(&mut self, payload: &mut Payload) -> Result<(), Self::Error> {
        *payload = self
            .0
            .next()
            .expect("the second visit sees what the first saw");
        Ok(())
    }

    fn enters(&self, message: &'static str) -> bool {
        enters(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a key that never comes when it encodes, and loses what it decodes.
    struct Unfit;

    impl PayloadCodec for Unfit {
        async fn encode(&self, _: Vec<Payload>) -> Result<Vec<Payload>, CodecFailure> {
            std::future::pending().await
        }

        async fn decode(&self, _: Vec<Payload>) -> Result<Vec<Payload>, CodecFailure> {
            Ok(Vec::new())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_codec_that_hangs_or_loses_payloads_fails_in_words() {
        let codec = Codec::of(Unfit);
        let mut message = vec![Payload::default(), Payload::default()];
        let hung = codec.encode(&mut message).await.unwrap_err();
        assert_eq!(hung.to_string(), "encode payloads: no answer within 5s");
        let mut message = vec![Payload::default(), Payload::default()];
        let lost = codec.decode(&mut message).await.unwrap_err();
        assert_eq!(lost.to_string(), "decode payloads: the codec gave 0 for 2");
        // Nothing to code: it is not asked.
        codec.encode(&mut Vec::<Payload>::new()).await.unwrap();
    }
}
