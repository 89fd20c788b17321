//! The workflows and activities that a worker hosts, by type name.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use fermata_proto::common::Payloads;
use futures::future::{BoxFuture, FutureExt, LocalBoxFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::ActivityContext;
use crate::error::{ActivityError, ApplicationError, WorkflowError, WorkflowResult, chain};
use crate::machine::{Definition, Ended};
use crate::payload::{from_payloads, to_payloads};
use crate::workflow::WorkflowContext;

type Attempt = BoxFuture<'static, Result<Option<Payloads>, ActivityError>>;

/// Activity code.
pub(crate) type ActivityCode =
    Arc<dyn Fn(ActivityContext, Option<Payloads>) -> Attempt + Send + Sync>;

#[derive(Default, Clone)]
pub(crate) struct Registry {
    pub workflows: BTreeMap<String, Definition>,
    pub activities: BTreeMap<String, ActivityCode>,
    /// The activities that cannot be dropped halfway: each has a thread until it ends.
    pub blocking: BTreeSet<String>,
}

/// A name that is registered twice.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} {name:?} is registered twice")]
pub struct RegisteredTwice {
    pub what: &'static str,
    pub name: String,
}

impl Registry {
    pub fn add_workflow(
        &mut self,
        name: String,
        definition: Definition,
    ) -> Result<(), RegisteredTwice> {
        match self.workflows.insert(name.clone(), definition) {
            None => Ok(()),
            Some(_) => Err(RegisteredTwice {
                what: "workflow",
                name,
            }),
        }
    }

    pub fn add_activity(
        &mut self,
        name: String,
        code: ActivityCode,
    ) -> Result<(), RegisteredTwice> {
        match self.activities.insert(name.clone(), code) {
            None => Ok(()),
            Some(_) => Err(RegisteredTwice {
                what: "activity",
                name,
            }),
        }
    }
}

/// A workflow function as a definition.
pub(crate) fn definition<F, Fut, A, R>(function: F) -> Definition
where
    F: Fn(WorkflowContext, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = WorkflowResult<R>> + 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    Arc::new(move |ctx, input| -> LocalBoxFuture<'static, Ended> {
        let argument: A = match from_payloads(input) {
            Ok(argument) => argument,
            Err(error) => {
                let text = format!("read the workflow's argument: {}", chain(&error));
                return async { Err(WorkflowError::task_failed(text)) }.boxed_local();
            }
        };
        let running = function(ctx, argument);
        async move {
            let result = running.await?;
            to_payloads(&result).map_err(|error| WorkflowError::task_failed_by(&error))
        }
        .boxed_local()
    })
}

/// An activity function as code.
pub(crate) fn activity_code<F, Fut, A, R, E>(function: F) -> ActivityCode
where
    F: Fn(ActivityContext, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
    E: Into<ActivityError>,
{
    Arc::new(move |ctx, input| {
        let argument: A = match from_payloads(input.as_ref()) {
            Ok(argument) => argument,
            Err(error) => {
                let text = format!("read the activity's argument: {}", chain(&error));
                let error = ApplicationError::new(text).with_type("PayloadError").into();
                return futures::future::ready(Err(error)).boxed();
            }
        };
        function(ctx, argument)
            .map(|result| {
                let result = result.map_err(Into::into)?;
                Ok(to_payloads(&result)?)
            })
            .boxed()
    })
}

/// A blocking function as code: it runs on a thread for such.
pub(crate) fn blocking_code<F, A, R, E>(function: F) -> ActivityCode
where
    F: Fn(ActivityContext, A) -> Result<R, E> + Send + Sync + 'static,
    A: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
    E: Into<ActivityError>,
{
    let function = Arc::new(function);
    Arc::new(move |ctx, input| {
        let function = function.clone();
        // The worker's span holds on the other thread as well.
        let span = tracing::Span::current();
        let running = tokio::task::spawn_blocking(move || -> Result<_, ActivityError> {
            let _in_span = span.enter();
            let argument: A = from_payloads(input.as_ref()).map_err(|error| {
                let text = format!("read the activity's argument: {}", chain(&error));
                ApplicationError::new(text).with_type("PayloadError")
            })?;
            let result = function(ctx, argument).map_err(Into::into)?;
            Ok(to_payloads(&result)?)
        });
        async move {
            match running.await {
                Ok(ended) => ended,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => Err(error.into()),
                },
            }
        }
        .boxed()
    })
}
