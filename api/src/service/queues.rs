//! Task queues described: who polls them, and how much waits in them.

use std::collections::HashMap;
use std::time::Duration;

use fermata_proto::enums::{DescribeTaskQueueMode, TaskQueueType};
use fermata_proto::namespace::NamespaceRecord;
use fermata_proto::pb::taskqueue::v1 as taskqueue;
use fermata_proto::pb::workflowservice::v1 as rr;
use fermata_proto::rpc::{Rejection, RejectionKind};
use fermata_proto::subjects::{self, TaskKind};
use fermata_proto::time::Timestamp;
use fermata_proto::wire::Wire;
use futures::TryStreamExt;

use super::caller::Caller;
use super::{Handled, Service, checks};

/// How workers without a version are called.
const UNVERSIONED: &str = "__unversioned__";
/// How long a description waits for the broker.
const BROKER_WAIT_MAX: Duration = Duration::from_secs(5);

impl Service {
    pub(crate) async fn describe_task_queue(
        &self,
        _: &Caller,
        request: rr::DescribeTaskQueueRequest,
    ) -> Handled<rr::DescribeTaskQueueResponse> {
        let namespace = self.namespace(&request.namespace)?;
        let queue = checks::task_queue(request.task_queue.as_ref())?;
        if request.api_mode == DescribeTaskQueueMode::Enhanced as i32 {
            return self.describe_versions(&namespace, queue, &request).await;
        }
        let kind = kind_of(request.task_queue_type);
        let stats = if request.report_stats {
            Some(self.stats(&namespace, kind, queue).await?)
        } else {
            None
        };
        Ok(rr::DescribeTaskQueueResponse {
            pollers: self.pollers_of(&namespace, kind, queue),
            stats,
            versioning_info: Some(taskqueue::TaskQueueVersioningInfo {
                current_version: UNVERSIONED.to_owned(),
                update_time: Some(Timestamp::default().into_wire()),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    /// By build id; all workers count as unversioned, whose build id is empty.
    async fn describe_versions(
        &self,
        namespace: &NamespaceRecord,
        queue: &str,
        request: &rr::DescribeTaskQueueRequest,
    ) -> Handled<rr::DescribeTaskQueueResponse> {
        let mut types = request.task_queue_types.clone();
        if types.is_empty() {
            types = vec![
                TaskQueueType::Workflow as i32,
                TaskQueueType::Activity as i32,
            ];
        }
        let mut types_info = HashMap::new();
        for number in types {
            let kind = kind_of(number);
            let info = taskqueue::TaskQueueTypeInfo {
                pollers: if request.report_pollers {
                    self.pollers_of(namespace, kind, queue)
                } else {
                    Vec::new()
                },
                stats: if request.report_stats {
                    Some(self.stats(namespace, kind, queue).await?)
                } else {
                    None
                },
            };
            types_info.insert(number, info);
        }
        let version = taskqueue::TaskQueueVersionInfo {
            types_info,
            ..Default::default()
        };
        Ok(rr::DescribeTaskQueueResponse {
            versions_info: HashMap::from([(String::new(), version)]),
            ..Default::default()
        })
    }

    /// A queue is one piece: it has one partition, of its own name.
    pub(crate) async fn list_task_queue_partitions(
        &self,
        _: &Caller,
        request: rr::ListTaskQueuePartitionsRequest,
    ) -> Handled<rr::ListTaskQueuePartitionsResponse> {
        self.namespace(&request.namespace)?;
        let queue = checks::task_queue(request.task_queue.as_ref())?;
        let partition = taskqueue::TaskQueuePartitionMetadata {
            key: queue.to_owned(),
            owner_host_name: String::new(),
        };
        Ok(rr::ListTaskQueuePartitionsResponse {
            activity_task_queue_partitions: vec![partition.clone()],
            workflow_task_queue_partitions: vec![partition],
        })
    }

    fn pollers_of(
        &self,
        namespace: &NamespaceRecord,
        kind: TaskKind,
        queue: &str,
    ) -> Vec<taskqueue::PollerInfo> {
        let now = Timestamp::from_system(std::time::SystemTime::now());
        self.pollers.of(&namespace.id, kind, queue, now)
    }

    /// What waits on a queue: the messages under its subject, and the age of the first.
    async fn stats(
        &self,
        namespace: &NamespaceRecord,
        kind: TaskKind,
        queue: &str,
    ) -> Handled<taskqueue::TaskQueueStats> {
        let subject = subjects::task(kind, &namespace.id, queue);
        let asked = tokio::time::timeout(BROKER_WAIT_MAX, self.backlog(&subject)).await;
        let backlog = match asked {
            Ok(Ok(backlog)) => Ok(backlog),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(format!("no answer within {BROKER_WAIT_MAX:?}")),
        };
        let (count, age) = backlog.map_err(|reason| {
            Rejection::new(
                RejectionKind::Unavailable,
                format!("read the backlog of task queue {queue:?}: {reason}"),
            )
        })?;
        Ok(taskqueue::TaskQueueStats {
            approximate_backlog_count: i64::try_from(count).unwrap_or(i64::MAX),
            approximate_backlog_age: Some(age.into_wire()),
            ..Default::default()
        })
    }

    async fn backlog(&self, subject: &str) -> Result<(usize, Duration), String> {
        let stream = self
            .transport
            .jetstream()
            .get_stream_no_info(subjects::TASKS_STREAM)
            .await
            .map_err(|error| error.to_string())?;
        let counts: Vec<(String, usize)> = stream
            .info_with_subjects(subject)
            .await
            .map_err(|error| error.to_string())?
            .try_collect()
            .await
            .map_err(|error| error.to_string())?;
        let count = counts.iter().map(|(_, count)| count).sum();
        if count == 0 {
            return Ok((0, Duration::ZERO));
        }
        // Gone again meanwhile is no error: then it has no age.
        let age = match stream.get_first_raw_message_by_subject(subject, 1).await {
            Ok(first) => {
                let now = Timestamp::from_system(std::time::SystemTime::now());
                let sent = Timestamp::from_parts(
                    first.time.unix_timestamp(),
                    i32::try_from(first.time.nanosecond()).unwrap_or_default(),
                );
                now.since(sent.unwrap_or(now))
            }
            Err(_) => Duration::ZERO,
        };
        Ok((count, age))
    }
}

/// Workflow where none is named.
fn kind_of(number: i32) -> TaskKind {
    if number == TaskQueueType::Activity as i32 {
        TaskKind::Activity
    } else {
        TaskKind::Workflow
    }
}
