//! The processes without any server: in virtual time, where days take milliseconds, and against recorded histories.

mod approval;
mod batch;
mod onboarding;
mod pipeline;
mod replay;
mod trip;

use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
