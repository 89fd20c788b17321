//! ProtoJSON over descriptors, with Temporal's payload shorthand.
//!
//! Why not serde: the shorthand replaces whole subtrees by type (`Payload`, `Payloads`) at any depth and in both directions, and
//! Temporal's refusals name line and column of the offending token. So the text is read into a tree that keeps positions
//! ([`syntax`]), which is laid over a message ([`decode`]); the way back is one writer ([`encode`]). The shorthand itself is
//! [`payload`].
//!
//! Source of the rules: the protobuf JSON mapping (protobuf.dev/programming-guides/json) and, where it is silent, answers recorded
//! from Temporal's HTTP API.

mod decode;
mod encode;
mod enums;
mod payload;
mod scalar;
mod syntax;
#[cfg(test)]
mod tests;

pub use decode::{decode, decode_tagged};
pub use encode::{Style, encode};
pub use scalar::{from_text, is_text_message};

/// Why a text is not the wanted message. The caller's mistake: INVALID_ARGUMENT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    /// JSON of another shape than the message.
    #[error("temporalproto: {syntax}(line {line}:{column}): {what}", syntax = if *.of_token { "syntax error " } else { "" })]
    Shape {
        /// Whether the kind of token was wrong, rather than its value.
        of_token: bool,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
}
