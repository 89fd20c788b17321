//! What activities and workflows are called by, with the types they take and give.
//!
//! The function itself is the handle: `validate_payment` registers as `"validate_payment"` and is called by passing the
//! function. Where the code is not at hand, or the name must outlive a rename, a constant serves both sides:
//!
//! ```
//! # use fermata_worker::Activity;
//! pub const CHARGE: Activity<i64, String> = Activity::named("charge");
//! ```

use std::borrow::Cow;
use std::future::Future;
use std::marker::PhantomData;

use crate::activity::ActivityContext;
use crate::error::{ActivityError, WorkflowError};
use crate::workflow::WorkflowContext;

/// An activity type by name, taking `A` and giving `R`.
pub struct Activity<A, R> {
    name: Cow<'static, str>,
    types: PhantomData<fn(A) -> R>,
}

/// A workflow type by name, taking `A` and giving `R`.
pub struct Workflow<A, R> {
    name: Cow<'static, str>,
    types: PhantomData<fn(A) -> R>,
}

macro_rules! named {
    ($name:ident) => {
        impl<A, R> $name<A, R> {
            pub const fn named(name: &'static str) -> Self {
                Self {
                    name: Cow::Borrowed(name),
                    types: PhantomData,
                }
            }

            pub fn name(&self) -> &str {
                &self.name
            }
        }

        impl<A, R> Clone for $name<A, R> {
            fn clone(&self) -> Self {
                Self {
                    name: self.name.clone(),
                    types: PhantomData,
                }
            }
        }
    };
}

named!(Activity);
named!(Workflow);

/// Marks how a handle names its type; inferred.
pub struct ByFunction;
/// See [`ByFunction`].
pub struct ByHandle;
/// See [`ByFunction`].
pub struct ByText;

/// See [`ByFunction`].
pub struct ByBlockingFunction;

/// What [`WorkflowContext::activity`] takes: an activity function, an [`Activity`] or a name.
pub trait IntoActivity<A, R, Kind> {
    fn activity_type(&self) -> Cow<'static, str>;
}

impl<F, Fut, A, R, E> IntoActivity<A, R, ByFunction> for F
where
    F: Fn(ActivityContext, A) -> Fut,
    Fut: Future<Output = Result<R, E>>,
    E: Into<ActivityError>,
{
    fn activity_type(&self) -> Cow<'static, str> {
        function_name::<F>().into()
    }
}

impl<F, A, R, E> IntoActivity<A, R, ByBlockingFunction> for F
where
    F: Fn(ActivityContext, A) -> Result<R, E>,
    E: Into<ActivityError>,
{
    fn activity_type(&self) -> Cow<'static, str> {
        function_name::<F>().into()
    }
}

impl<A, R> IntoActivity<A, R, ByHandle> for Activity<A, R> {
    fn activity_type(&self) -> Cow<'static, str> {
        self.name.clone()
    }
}

impl<A, R> IntoActivity<A, R, ByText> for &str {
    fn activity_type(&self) -> Cow<'static, str> {
        (*self).to_owned().into()
    }
}

/// What starts a workflow: a workflow function, a [`Workflow`] or a name.
pub trait IntoWorkflow<A, R, Kind> {
    fn workflow_type(&self) -> Cow<'static, str>;
}

impl<F, Fut, A, R> IntoWorkflow<A, R, ByFunction> for F
where
    F: Fn(WorkflowContext, A) -> Fut,
    Fut: Future<Output = Result<R, WorkflowError>>,
{
    fn workflow_type(&self) -> Cow<'static, str> {
        function_name::<F>().into()
    }
}

impl<A, R> IntoWorkflow<A, R, ByHandle> for Workflow<A, R> {
    fn workflow_type(&self) -> Cow<'static, str> {
        self.name.clone()
    }
}

impl<A, R> IntoWorkflow<A, R, ByText> for &str {
    fn workflow_type(&self) -> Cow<'static, str> {
        (*self).to_owned().into()
    }
}

/// The name of a function without its path.
///
/// # Panics
/// If `F` is a closure, which has no name.
pub(crate) fn function_name<F>() -> &'static str {
    let path = std::any::type_name::<F>();
    let path = path.split('<').next().unwrap_or(path);
    let name = path.rsplit("::").next().unwrap_or(path);
    assert!(
        name.starts_with(|first: char| first.is_alphabetic() || first == '_'),
        "{path} has no name of its own: name it with `Activity::named` or `Workflow::named`"
    );
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn charge(_ctx: ActivityContext, _amount: i64) -> Result<String, ActivityError> {
        Ok(String::new())
    }

    fn refund(_ctx: ActivityContext, _amount: i64) -> Result<String, ActivityError> {
        Ok(String::new())
    }

    fn type_of<A, R, K>(activity: impl IntoActivity<A, R, K>) -> String {
        activity.activity_type().into_owned()
    }

    #[test]
    fn a_function_a_handle_and_a_text_name_the_same_activity() {
        const CHARGE: Activity<i64, String> = Activity::named("charge");
        assert_eq!(type_of(charge), "charge");
        assert_eq!(type_of(refund), "refund");
        assert_eq!(type_of(CHARGE), "charge");
        assert_eq!(type_of::<i64, String, _>("charge"), "charge");
    }
}
