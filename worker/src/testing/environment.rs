//! [`TestEnvironment`]: what a test sets up, and what it gets. How it runs: [`super::driver`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fermata_proto::common::{Payloads, WorkflowType};
use fermata_proto::enums::{IndexedValueType, WorkflowIdReusePolicy};
use fermata_proto::rpc::Rejection;
use fermata_proto::service::StartWorkflowExecutionRequest;
use fermata_proto::update::Outcome;
use futures::future::{FutureExt, LocalBoxFuture};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::driver::Driver;
use super::running::{self, RunningWorkflow};
use super::world::NAMESPACE;
use crate::converter::{Converter, DataConverter};
use crate::error::{ActivityError, ActivityResult, WorkflowError, WorkflowResult, chain};
use crate::history::WorkflowHistory;
use crate::machine::{Ended, Machine, TaskFailure};
use crate::name::{IntoActivity, IntoWorkflow};
use crate::payload::{PayloadError, Value};
use crate::worker::{RegisteredTwice, Registration, registers_activities, registers_workflows};
use crate::workflow::{WorkflowContext, queue};

pub(super) type MockCode =
    Box<dyn FnMut(&Converter, Option<&Payloads>) -> Result<Option<Payloads>, ActivityError>>;

/// An activity that is only played.
#[derive(Clone)]
pub(super) struct Mock {
    pub code: Rc<RefCell<MockCode>>,
    /// On the virtual clock.
    pub length: Duration,
}

/// Runs workflow code without any server: the rules are the server's, the clock is virtual and jumps to the next timer,
/// activities are real or mocked. While a real activity runs, the virtual clock goes no faster than the real one.
///
/// ```
/// # use std::time::Duration;
/// # use fermata_worker::*;
/// # async fn remind(_: ActivityContext, _: String) -> ActivityResult<()> { Ok(()) }
/// async fn reminder(ctx: WorkflowContext, who: String) -> WorkflowResult<u32> {
///     let mut sent = 0;
///     loop {
///         let answered = ctx.signal::<()>("answered");
///         ctx.sleep(Duration::from_secs(86_400)).await?;
///         if { answered }.try_next().is_some() {
///             return Ok(sent);
///         }
///         ctx.activity(remind, who.clone()).start_to_close(Duration::from_secs(9)).await?;
///         sent += 1;
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let run = TestEnvironment::new()
///     .workflow(reminder)
///     .mock(remind, |_who| Ok(()))
///     .start(reminder, "Ada".to_owned())
///     .after(Duration::from_secs(86_400 * 5 / 2), |workflow| workflow.signal("answered", &()))
///     .run()
///     .await;
/// assert_eq!(run.result.unwrap(), 2);
/// assert_eq!(run.elapsed, Duration::from_secs(86_400 * 3));
/// # });
/// ```
#[derive(Default)]
pub struct TestEnvironment {
    registration: Registration,
    pub(super) mocks: BTreeMap<String, Mock>,
    search_attributes: BTreeMap<String, IndexedValueType>,
}

impl TestEnvironment {
    pub fn new() -> Self {
        Self::default()
    }

    /// Values are read and written by `converter`, as by [`crate::Client::with_converter`].
    #[must_use]
    pub fn with_converter(mut self, converter: impl DataConverter) -> Self {
        self.registration.convert_with(Converter::of(converter));
        self
    }

    registers_workflows!();
    registers_activities!();

    /// Plays a child workflow: `answer` is what it ends with, at once.
    #[must_use]
    pub fn mock_workflow<A: Value, R: Value, Kind>(
        mut self,
        workflow: impl IntoWorkflow<A, R, Kind>,
        answer: impl Fn(A) -> WorkflowResult<R> + Send + Sync + 'static,
    ) -> Self {
        let answer = move |converter: &Converter, input: Option<&Payloads>| -> Ended {
            let argument = converter.read_payloads(input);
            let argument = argument.map_err(|error| WorkflowError::task_failed(chain(&error)))?;
            let result = converter.to_payloads(&answer(argument)?);
            result.map_err(|error| WorkflowError::task_failed(chain(&error)))
        };
        let definition = Arc::new(
            move |ctx: WorkflowContext,
                  input: Option<&Payloads>|
                  -> LocalBoxFuture<'static, Ended> {
                futures::future::ready(answer(ctx.converter(), input)).boxed_local()
            },
        );
        self.registration
            .add_workflow(&workflow.workflow_type(), definition);
        self
    }

    /// Plays an activity: `answer` is called for each attempt, and takes no time. It takes the place of a real one.
    #[must_use]
    pub fn mock<A: Value, R: Value, Kind>(
        self,
        activity: impl IntoActivity<A, R, Kind>,
        answer: impl FnMut(A) -> ActivityResult<R> + 'static,
    ) -> Self {
        self.mock_taking(activity, Duration::ZERO, answer)
    }

    /// As [`Self::mock`]; each attempt takes `length` on the virtual clock.
    #[must_use]
    pub fn mock_taking<A: Value, R: Value, Kind>(
        mut self,
        activity: impl IntoActivity<A, R, Kind>,
        length: Duration,
        mut answer: impl FnMut(A) -> ActivityResult<R> + 'static,
    ) -> Self {
        let code: MockCode = Box::new(move |converter, input| {
            let result = answer(converter.read_payloads(input)?)?;
            Ok(converter.to_payloads(&result)?)
        });
        let mock = Mock {
            code: Rc::new(RefCell::new(code)),
            length,
        };
        self.mocks
            .insert(activity.activity_type().into_owned(), mock);
        self
    }

    /// Registers a custom search attribute, as an operator does with the namespace.
    #[must_use]
    pub fn search_attribute(mut self, name: impl Into<String>, of: IndexedValueType) -> Self {
        self.search_attributes.insert(name.into(), of);
        self
    }

    /// A workflow about to be run: by its function, by a [`Workflow`] or by name.
    pub fn start<A: Value, R: Value, Kind>(
        &self,
        workflow: impl IntoWorkflow<A, R, Kind>,
        argument: A,
    ) -> TestWorkflow<'_, R> {
        let (input, error) = match self.registration.converter().to_payloads(&argument) {
            Ok(input) => (input, None),
            Err(error) => (None, Some(error)),
        };
        TestWorkflow {
            environment: self,
            request: StartWorkflowExecutionRequest {
                namespace: NAMESPACE.to_owned(),
                workflow_id: "test".to_owned(),
                workflow_type: Some(WorkflowType {
                    name: workflow.workflow_type().into_owned(),
                }),
                task_queue: Some(queue("test".to_owned())),
                input,
                request_id: "test".to_owned(),
                workflow_id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate,
                ..StartWorkflowExecutionRequest::default()
            },
            error,
            steps: Vec::new(),
            follows: true,
            result: PhantomData,
        }
    }
}

/// Something that a test does while the workflow runs.
pub(super) type TestStep = Box<dyn FnOnce(&mut RunningWorkflow<'_>)>;

/// See [`TestEnvironment::start`].
#[must_use = "nothing happens before `run` is awaited"]
pub struct TestWorkflow<'a, R> {
    environment: &'a TestEnvironment,
    request: StartWorkflowExecutionRequest,
    error: Option<PayloadError>,
    steps: Vec<(Duration, TestStep)>,
    follows: bool,
    result: PhantomData<fn() -> R>,
}

impl<R: Value> TestWorkflow<'_, R> {
    /// By default `test`.
    pub fn id(mut self, workflow_id: impl Into<String>) -> Self {
        self.request.workflow_id = workflow_id.into();
        self
    }

    /// Changes what a start can say besides: time-outs, a retry policy, a memo.
    pub fn with(mut self, change: impl FnOnce(&mut StartWorkflowExecutionRequest)) -> Self {
        change(&mut self.request);
        self
    }

    /// Does something when this much virtual time has passed since the start: signal, query, cancel, look. Nothing if the
    /// workflow has closed before.
    pub fn after(
        mut self,
        delay: Duration,
        step: impl FnOnce(&mut RunningWorkflow<'_>) + 'static,
    ) -> Self {
        self.steps.push((delay, Box::new(step)));
        self
    }

    /// Ends with [`TestEnd::ContinuedAsNew`] instead of following the workflow into its next run.
    pub fn stop_at_continue_as_new(mut self) -> Self {
        self.follows = false;
        self
    }

    /// Runs it to its end. Every history that it makes is replayed too, so code that is not deterministic is found here.
    pub async fn run(self) -> TestRun<R> {
        let environment = self.environment;
        let registry = environment.registration.registry();
        let mut driver = Driver::new(
            environment,
            registry.as_ref().copied().cloned().unwrap_or_default(),
            environment.search_attributes.clone(),
        );
        let ended = if let Err(error) = registry {
            Err(TestEnd::Registered(error))
        } else if let Some(error) = self.error {
            Err(TestEnd::Payload(error))
        } else {
            driver.run(self.request, self.steps, self.follows).await
        };
        let converter = environment.registration.converter();
        let result = ended.and_then(|payloads| {
            let result = converter.read_payloads(payloads.as_ref());
            result.map_err(TestEnd::Payload)
        });
        driver.into_run(result)
    }
}

/// How a workflow ended without a result, or why it has no end.
#[derive(Debug, thiserror::Error)]
pub enum TestEnd {
    #[error("the workflow failed: {0}")]
    Failed(WorkflowError),
    #[error("the workflow was cancelled")]
    Cancelled,
    #[error("the workflow was terminated: {reason}")]
    Terminated { reason: String },
    #[error("the workflow ran into its time-out")]
    TimedOut,
    #[error("the workflow continued as new")]
    ContinuedAsNew {
        workflow_type: String,
        input: Option<Payloads>,
    },
    /// A server would try the task again, until the code is corrected.
    #[error("a workflow task of {workflow_id:?} failed")]
    TaskFailed {
        workflow_id: String,
        #[source]
        source: TaskFailure,
    },
    #[error("the engine refused what {workflow_id:?} asked for")]
    Refused {
        workflow_id: String,
        #[source]
        source: Rejection,
    },
    #[error("{what} {name:?} is neither registered with the test environment nor mocked")]
    NotRegistered { what: &'static str, name: String },
    #[error(
        "the workflow waits for something that never comes: no timer, activity or step of the test is left"
    )]
    Stuck,
    #[error("the workflow has no end: it is still running after {tasks} workflow tasks")]
    Endless { tasks: usize },
    #[error("set the test environment up")]
    Registered(#[source] RegisteredTwice),
    #[error("a value of the test and its payload do not fit")]
    Payload(#[source] PayloadError),
}

impl TestEnd {
    /// What the workflow failed with, if it did.
    pub fn workflow_error(&self) -> Option<&WorkflowError> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// A workflow that was run, with all that it left behind.
pub struct TestRun<R> {
    pub result: Result<R, TestEnd>,
    /// Virtual time from the start to the end.
    pub elapsed: Duration,
    pub(super) histories: Vec<WorkflowHistory>,
    pub(super) inputs: BTreeMap<String, Vec<Option<Payloads>>>,
    pub(super) workflow_id: String,
    pub(super) converter: Converter,
    pub(super) updates: BTreeMap<(String, String), Result<Outcome, Rejection>>,
    pub(super) last: Option<Machine>,
}

impl<R> TestRun<R> {
    /// The histories of its runs, in order: more than one if it was retried or continued as new.
    pub fn histories(&self) -> &[WorkflowHistory] {
        &self.histories
    }

    /// The arguments of all attempts of an activity, in order.
    ///
    /// # Panics
    /// If one is no `A`.
    pub fn inputs<A: DeserializeOwned + 'static>(&self, activity_type: &str) -> Vec<A> {
        let inputs = self.inputs.get(activity_type).into_iter().flatten();
        let read = |input: &Option<Payloads>| {
            let input = self.converter.read_payloads(input.as_ref());
            input.unwrap_or_else(|error| panic!("arguments of {activity_type}: {}", chain(&error)))
        };
        inputs.map(read).collect()
    }

    /// What the caller of an update heard, see [`RunningWorkflow::update`].
    ///
    /// # Errors
    /// If it was refused or failed, or the workflow closed before it.
    ///
    /// # Panics
    /// If there was no such update.
    pub fn update<T: DeserializeOwned + 'static>(
        &self,
        update_id: &str,
    ) -> Result<T, WorkflowError> {
        let key = (self.workflow_id.clone(), update_id.to_owned());
        let ended = self.updates.get(&key);
        let ended =
            ended.unwrap_or_else(|| panic!("no update {update_id:?} of the workflow ended"));
        running::outcome(&self.converter, ended)
    }

    /// Asks the closed workflow.
    ///
    /// # Errors
    /// If it does not answer such queries, or never ran.
    pub fn query<A: Serialize + 'static, T: DeserializeOwned + 'static>(
        &self,
        name: &str,
        argument: &A,
    ) -> Result<T, WorkflowError> {
        running::query(&self.converter, self.last.as_ref(), name, argument)
    }
}
