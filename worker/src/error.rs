//! How code fails: [`ApplicationError`] says why, [`ActivityError`] ends an activity, [`WorkflowError`] a workflow.
//!
//! Neither of the last two is a [`std::error::Error`], so that both can be made by `?` from anything that is one.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use fermata_proto::common::Payloads;
use fermata_proto::enums::{RetryState, TimeoutType};
use fermata_proto::failure::{
    ApplicationFailureInfo, CanceledFailureInfo, Failure, FailureFailureInfo,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::payload::{from_payloads, to_payloads};
use crate::workflow::ContinueAsNew;

pub(crate) const SOURCE: &str = "RustSDK";

pub type ActivityResult<T> = Result<T, ActivityError>;
pub type WorkflowResult<T> = Result<T, WorkflowError>;

/// A failure with a reason that other code can act on: its type, whether retrying can help, and details.
///
/// ```
/// # use fermata_worker::{ActivityError, ApplicationError};
/// fn check(amount: i64) -> Result<(), ActivityError> {
///     if amount <= 0 {
///         return Err(ApplicationError::new("the amount must be positive")
///             .with_type("InvalidAmount")
///             .non_retryable()
///             .into());
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ApplicationError {
    message: String,
    info: ApplicationFailureInfo,
    cause: Option<Box<Failure>>,
}

impl ApplicationError {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            info: ApplicationFailureInfo::default(),
            cause: None,
        }
    }

    /// What retry policies and callers tell errors apart by.
    #[must_use]
    pub fn with_type(mut self, error_type: impl Into<String>) -> Self {
        self.info.r#type = error_type.into();
        self
    }

    /// Another attempt cannot help.
    #[must_use]
    pub fn non_retryable(mut self) -> Self {
        self.info.non_retryable = true;
        self
    }

    /// The next attempt comes after this long, whatever the retry policy says.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.info.next_retry_delay = Some(delay);
        self
    }

    /// A value for whoever handles the error; left out if it has no JSON form.
    #[must_use]
    pub fn with_details<T: Serialize + 'static>(mut self, details: &T) -> Self {
        self.info.details = to_payloads(details).unwrap_or_default();
        self
    }

    #[must_use]
    pub fn caused_by(mut self, cause: &(dyn Error + 'static)) -> Self {
        self.cause = Some(Box::new(failure_of(cause, String::new())));
        self
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_failure(self) -> Failure {
        Failure {
            message: self.message,
            source: SOURCE.to_owned(),
            cause: self.cause,
            failure_info: Some(FailureFailureInfo::ApplicationFailureInfo(self.info)),
            ..Failure::default()
        }
    }
}

impl fmt::Display for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ApplicationError {}

/// Any Rust error as a failure that may be retried, with its sources as causes.
fn failure_of(error: &(dyn Error + 'static), error_type: String) -> Failure {
    if let Some(error) = error.downcast_ref::<ApplicationError>() {
        return error.clone().into_failure();
    }
    Failure {
        message: error.to_string(),
        source: SOURCE.to_owned(),
        cause: error
            .source()
            .map(|source| Box::new(failure_of(source, String::new()))),
        failure_info: Some(FailureFailureInfo::ApplicationFailureInfo(
            ApplicationFailureInfo {
                r#type: error_type,
                ..ApplicationFailureInfo::default()
            },
        )),
        ..Failure::default()
    }
}

fn short_type_name<E>() -> String {
    let name = std::any::type_name::<E>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name).to_owned()
}

/// How an activity attempt ends without a result. Made by `?` from any error, which may then be retried.
#[derive(Debug, Clone)]
pub struct ActivityError(pub(crate) ActivityErrorKind);

#[derive(Debug, Clone)]
pub(crate) enum ActivityErrorKind {
    Failed(Box<Failure>),
    Cancelled(Option<Payloads>),
    /// The code has ended, the activity has not.
    Later,
}

impl ActivityError {
    /// The activity goes on elsewhere: somebody who has its [`crate::ActivityToken`] or knows its id completes it by a
    /// [`crate::ActivityHandle`]. Its time-outs count on; the end of this worker does not matter to it any more.
    pub fn complete_later() -> Self {
        Self(ActivityErrorKind::Later)
    }

    /// As the failure of an attempt, whatever kind it is.
    pub(crate) fn into_failure(self) -> Failure {
        match self.0 {
            ActivityErrorKind::Failed(failure) => *failure,
            ActivityErrorKind::Cancelled(_) => {
                ApplicationError::new("the activity stopped before its end")
                    .with_type("Cancelled")
                    .into_failure()
            }
            ActivityErrorKind::Later => {
                ApplicationError::new("nobody could complete this activity later")
                    .with_type("CompleteLater")
                    .non_retryable()
                    .into_failure()
            }
        }
    }

    /// The activity has stopped because it was asked to.
    pub fn cancelled() -> Self {
        Self(ActivityErrorKind::Cancelled(None))
    }

    /// As [`Self::cancelled`], with a value for the workflow.
    pub fn cancelled_with<T: Serialize + 'static>(details: &T) -> Self {
        Self(ActivityErrorKind::Cancelled(
            to_payloads(details).unwrap_or_default(),
        ))
    }

    pub(crate) fn from_failure(failure: Failure) -> Self {
        Self(ActivityErrorKind::Failed(Box::new(failure)))
    }
}

impl<E: Error + 'static> From<E> for ActivityError {
    fn from(error: E) -> Self {
        Self::from_failure(failure_of(&error, short_type_name::<E>()))
    }
}

impl fmt::Display for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ActivityErrorKind::Failed(failure) => write_failure(f, failure),
            ActivityErrorKind::Cancelled(_) => f.write_str("cancelled"),
            ActivityErrorKind::Later => f.write_str("to be completed later"),
        }
    }
}

/// How a workflow ends without a result, and what a step of a workflow (an activity, a child) fails with.
///
/// Made by `?` from any error, which then fails the workflow.
#[derive(Debug, Clone)]
pub enum WorkflowError {
    /// Fails the workflow. From a step: what it failed with, the step's own failure first, then its causes.
    Failed(Box<Failure>),
    /// Ends the workflow as canceled. From a step: it was cancelled.
    Cancelled(Box<Failure>),
    /// Closes this run and goes on in a new one; see [`crate::WorkflowContext::continue_as_new`].
    ContinueAsNew(Box<ContinueAsNew>),
    /// Fails the workflow task only. It is tried again until it succeeds, say because the code was corrected.
    TaskFailed(String),
}

impl WorkflowError {
    /// Fails the workflow task, not the workflow: for what a corrected worker will get right.
    pub fn task_failed(message: impl Into<String>) -> Self {
        Self::TaskFailed(message.into())
    }

    pub(crate) fn task_failed_by(error: &dyn Error) -> Self {
        Self::TaskFailed(chain(error))
    }

    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::Cancelled(Box::new(cancelled(message.into(), None)))
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }

    /// A time-out of the step, or anywhere among its causes.
    pub fn is_timeout(&self) -> bool {
        self.failures().any(|failure| {
            matches!(
                failure.failure_info,
                Some(FailureFailureInfo::TimeoutFailureInfo(_))
            )
        })
    }

    /// The type of the first application error among the failure and its causes.
    pub fn error_type(&self) -> Option<&str> {
        self.application().map(|(_, info)| &*info.r#type)
    }

    /// The details of the first application error; none if there are none or they are no `T`.
    pub fn details<T: DeserializeOwned + 'static>(&self) -> Option<T> {
        let (_, info) = self.application()?;
        from_payloads(Some(info.details.as_ref()?)).ok()
    }

    /// What the first application error says, or else the failure itself.
    pub fn message(&self) -> Cow<'_, str> {
        if let Some((message, _)) = self.application() {
            return message.into();
        }
        match self {
            Self::Failed(failure) | Self::Cancelled(failure) => failure.message.as_str().into(),
            Self::ContinueAsNew(_) => "continue as new".into(),
            Self::TaskFailed(message) => message.as_str().into(),
        }
    }

    fn application(&self) -> Option<(&str, &ApplicationFailureInfo)> {
        self.failures()
            .find_map(|failure| match &failure.failure_info {
                Some(FailureFailureInfo::ApplicationFailureInfo(info)) => {
                    Some((&*failure.message, info))
                }
                _ => None,
            })
    }

    /// What failed, and its causes: a step's own failure first (an activity, a child), the innermost cause last.
    pub fn causes(&self) -> impl Iterator<Item = &Failure> {
        self.failures()
    }

    /// Which time-out ran out, if one did.
    pub fn timeout_type(&self) -> Option<TimeoutType> {
        self.failures()
            .find_map(|failure| match &failure.failure_info {
                Some(FailureFailureInfo::TimeoutFailureInfo(info)) => Some(info.timeout_type),
                _ => None,
            })
    }

    /// Why a step was not tried again: the first that an activity or child among the causes tells.
    pub fn retry_state(&self) -> Option<RetryState> {
        self.failures()
            .find_map(|failure| match &failure.failure_info {
                Some(FailureFailureInfo::ActivityFailureInfo(info)) => Some(info.retry_state),
                Some(FailureFailureInfo::ChildWorkflowExecutionFailureInfo(info)) => {
                    Some(info.retry_state)
                }
                _ => None,
            })
    }

    fn failures(&self) -> impl Iterator<Item = &Failure> {
        let first = match self {
            Self::Failed(failure) | Self::Cancelled(failure) => Some(&**failure),
            Self::ContinueAsNew(_) | Self::TaskFailed(_) => None,
        };
        std::iter::successors(first, |failure| failure.cause.as_deref())
    }
}

impl<E: Error + 'static> From<E> for WorkflowError {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(failure_of(&error, short_type_name::<E>())))
    }
}

impl From<ContinueAsNew> for WorkflowError {
    fn from(next: ContinueAsNew) -> Self {
        Self::ContinueAsNew(Box::new(next))
    }
}

impl fmt::Display for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) | Self::Cancelled(failure) => write_failure(f, failure),
            Self::ContinueAsNew(_) | Self::TaskFailed(_) => f.write_str(&self.message()),
        }
    }
}

/// A failure and its causes on one line.
pub(crate) fn write_failure(f: &mut fmt::Formatter<'_>, failure: &Failure) -> fmt::Result {
    f.write_str(&failure.message)?;
    let mut cause = failure.cause.as_deref();
    while let Some(failure) = cause {
        write!(f, ": {}", failure.message)?;
        cause = failure.cause.as_deref();
    }
    Ok(())
}

pub(crate) fn cancelled(message: String, details: Option<Payloads>) -> Failure {
    Failure {
        message,
        source: SOURCE.to_owned(),
        failure_info: Some(FailureFailureInfo::CanceledFailureInfo(
            CanceledFailureInfo {
                details,
                ..CanceledFailureInfo::default()
            },
        )),
        ..Failure::default()
    }
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connect to the gateway")]
    struct GatewayDown(#[source] std::fmt::Error);

    #[test]
    fn any_error_becomes_a_retryable_failure_with_its_sources() {
        let ActivityErrorKind::Failed(failure) =
            ActivityError::from(GatewayDown(std::fmt::Error)).0
        else {
            panic!("not failed");
        };
        let Some(FailureFailureInfo::ApplicationFailureInfo(info)) = failure.failure_info else {
            panic!("no application failure");
        };
        assert_eq!((&*info.r#type, info.non_retryable), ("GatewayDown", false));
        assert!(failure.cause.is_some());
    }

    #[test]
    fn an_application_error_keeps_its_type_and_details_through_the_blanket_conversion() {
        let error = WorkflowError::from(
            ApplicationError::new("none left")
                .with_type("OutOfStock")
                .with_details(&3),
        );
        assert_eq!(error.error_type(), Some("OutOfStock"));
        assert_eq!(error.details::<i32>(), Some(3));
        assert_eq!(error.message(), "none left");
    }
}
