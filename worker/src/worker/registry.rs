//! The workflows and activities that a worker hosts, by type name, and how they are registered: the same way with a
//! worker, a test environment and a replayer ([`registers_workflows`], [`registers_activities`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use fermata_proto::common::Payloads;
use futures::future::{BoxFuture, FutureExt, LocalBoxFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::activity::ActivityContext;
use crate::converter::Converter;
use crate::error::{ActivityError, ApplicationError, WorkflowError, WorkflowResult, chain};
use crate::machine::{Definition, Ended};
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
    /// What their arguments and results are read and written by.
    pub converter: Converter,
}

/// A name that is registered twice.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} {name:?} is registered twice")]
pub struct RegisteredTwice {
    pub what: &'static str,
    pub name: String,
}

/// What a builder has taken in so far, and the first name that came twice.
#[derive(Default, Clone)]
pub(crate) struct Registration {
    registry: Registry,
    error: Option<RegisteredTwice>,
}

impl Registration {
    pub fn add_workflow(&mut self, name: &str, definition: Definition) {
        let before = self.registry.workflows.insert(name.to_owned(), definition);
        self.check("workflow", name, before.is_none());
    }

    pub fn add_activity(&mut self, name: &str, code: ActivityCode) {
        let before = self.registry.activities.insert(name.to_owned(), code);
        self.check("activity", name, before.is_none());
    }

    pub fn add_blocking(&mut self, name: &str, code: ActivityCode) {
        self.add_activity(name, code);
        self.registry.blocking.insert(name.to_owned());
    }

    fn check(&mut self, what: &'static str, name: &str, is_new: bool) {
        if !is_new && self.error.is_none() {
            let name = name.to_owned();
            self.error = Some(RegisteredTwice { what, name });
        }
    }

    pub fn convert_with(&mut self, converter: Converter) {
        self.registry.converter = converter;
    }

    #[cfg(feature = "testing")]
    pub fn converter(&self) -> &Converter {
        &self.registry.converter
    }

    /// # Errors
    /// If a name was registered twice.
    pub fn registry(&self) -> Result<&Registry, RegisteredTwice> {
        match &self.error {
            None => Ok(&self.registry),
            Some(error) => Err(error.clone()),
        }
    }
}

/// The methods of a builder that hosts workflows. It keeps its [`Registration`] in the field `registration`.
macro_rules! registers_workflows {
    () => {
        /// Hosts a workflow under the name of its function.
        ///
        /// # Panics
        /// If it is a closure, which has no name: see [`Self::workflow_as`].
        #[must_use]
        pub fn workflow<F, Fut, A, R>(self, function: F) -> Self
        where
            F: Fn($crate::WorkflowContext, A) -> Fut + Send + Sync + 'static,
            Fut: std::future::Future<Output = $crate::WorkflowResult<R>> + 'static,
            A: serde::de::DeserializeOwned + 'static,
            R: serde::Serialize + 'static,
        {
            let name = $crate::name::function_name::<F>();
            self.workflow_as($crate::Workflow::named(name), function)
        }

        /// Hosts a workflow under a name of its own.
        #[must_use]
        pub fn workflow_as<F, Fut, A, R>(
            mut self,
            name: $crate::Workflow<A, R>,
            function: F,
        ) -> Self
        where
            F: Fn($crate::WorkflowContext, A) -> Fut + Send + Sync + 'static,
            Fut: std::future::Future<Output = $crate::WorkflowResult<R>> + 'static,
            A: serde::de::DeserializeOwned + 'static,
            R: serde::Serialize + 'static,
        {
            let definition = $crate::worker::definition(function);
            self.registration.add_workflow(name.name(), definition);
            self
        }
    };
}

/// As [`registers_workflows`], of a builder that hosts activities.
macro_rules! registers_activities {
    () => {
        /// Hosts an activity under the name of its function.
        ///
        /// # Panics
        /// If it is a closure, which has no name: see [`Self::activity_as`].
        #[must_use]
        pub fn activity<F, Fut, A, R, E>(self, function: F) -> Self
        where
            F: Fn($crate::ActivityContext, A) -> Fut + Send + Sync + 'static,
            Fut: std::future::Future<Output = Result<R, E>> + Send + 'static,
            A: serde::de::DeserializeOwned + 'static,
            R: serde::Serialize + 'static,
            E: Into<$crate::ActivityError>,
        {
            let name = $crate::name::function_name::<F>();
            self.activity_as($crate::Activity::named(name), function)
        }

        /// Hosts an activity under a name of its own: for closures, which can hold connections and settings.
        #[must_use]
        pub fn activity_as<F, Fut, A, R, E>(
            mut self,
            name: $crate::Activity<A, R>,
            function: F,
        ) -> Self
        where
            F: Fn($crate::ActivityContext, A) -> Fut + Send + Sync + 'static,
            Fut: std::future::Future<Output = Result<R, E>> + Send + 'static,
            A: serde::de::DeserializeOwned + 'static,
            R: serde::Serialize + 'static,
            E: Into<$crate::ActivityError>,
        {
            let code = $crate::worker::activity_code(function);
            self.registration.add_activity(name.name(), code);
            self
        }

        /// Hosts an activity that blocks its thread: it has one of its own while it runs, on a worker as many at once as there
        /// are slots for activities. It cannot be dropped: it has to ask [`crate::ActivityContext::is_cancelled`], and keeps
        /// its slot until it ends.
        ///
        /// # Panics
        /// If it is a closure, which has no name: see [`Self::blocking_activity_as`].
        #[must_use]
        pub fn blocking_activity<F, A, R, E>(self, function: F) -> Self
        where
            F: Fn($crate::ActivityContext, A) -> Result<R, E> + Send + Sync + 'static,
            A: serde::de::DeserializeOwned + Send + 'static,
            R: serde::Serialize + 'static,
            E: Into<$crate::ActivityError>,
        {
            let name = $crate::name::function_name::<F>();
            self.blocking_activity_as($crate::Activity::named(name), function)
        }

        /// As [`Self::blocking_activity`], under a name of its own.
        #[must_use]
        pub fn blocking_activity_as<F, A, R, E>(
            mut self,
            name: $crate::Activity<A, R>,
            function: F,
        ) -> Self
        where
            F: Fn($crate::ActivityContext, A) -> Result<R, E> + Send + Sync + 'static,
            A: serde::de::DeserializeOwned + Send + 'static,
            R: serde::Serialize + 'static,
            E: Into<$crate::ActivityError>,
        {
            let code = $crate::worker::blocking_code(function);
            self.registration.add_blocking(name.name(), code);
            self
        }
    };
}

pub(crate) use {registers_activities, registers_workflows};

/// A workflow function as a definition.
pub(crate) fn definition<F, Fut, A, R>(function: F) -> Definition
where
    F: Fn(WorkflowContext, A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = WorkflowResult<R>> + 'static,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    Arc::new(move |ctx, input| -> LocalBoxFuture<'static, Ended> {
        let converter = ctx.converter().clone();
        let argument: A = match converter.read_payloads(input) {
            Ok(argument) => argument,
            Err(error) => {
                let text = format!("read the workflow's argument: {}", chain(&error));
                return async { Err(WorkflowError::task_failed(text)) }.boxed_local();
            }
        };
        let running = function(ctx, argument);
        async move {
            let result = running.await?;
            converter
                .to_payloads(&result)
                .map_err(|error| WorkflowError::task_failed_by(&error))
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
        let converter = ctx.converter().clone();
        let argument: A = match converter.read_payloads(input.as_ref()) {
            Ok(argument) => argument,
            Err(error) => {
                let text = format!("read the activity's argument: {}", chain(&error));
                let error = ApplicationError::new(text).with_type("PayloadError").into();
                return futures::future::ready(Err(error)).boxed();
            }
        };
        function(ctx, argument)
            .map(move |result| {
                let result = result.map_err(Into::into)?;
                Ok(converter.to_payloads(&result)?)
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
            let converter = ctx.converter().clone();
            let argument: A = converter.read_payloads(input.as_ref()).map_err(|error| {
                let text = format!("read the activity's argument: {}", chain(&error));
                ApplicationError::new(text).with_type("PayloadError")
            })?;
            let result = function(ctx, argument).map_err(Into::into)?;
            Ok(converter.to_payloads(&result)?)
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
