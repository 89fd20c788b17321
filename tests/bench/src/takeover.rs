//! How long partitions are away when their owner is killed.

use std::time::{Duration, Instant};

use fermata_proto::ids::{NamespaceId, Partition, WorkflowId};
use fermata_proto::rpc::{RejectionKind, Request};
use fermata_proto::service::DescribeWorkflowExecutionRequest;
use fermata_test_support::NatsServer;
use fermata_transport::{Options, Transport};

use crate::deployment::server;

const OPEN: u64 = 2_000;
const WAIT: Duration = Duration::from_secs(60);

/// Two replicas share the partitions; one is killed. Seconds until every partition answers again.
pub async fn measure() -> anyhow::Result<f64> {
    let nats = NatsServer::start().await;
    let _stays = server(&nats.url()).start().await;
    let mut dies = server(&nats.url()).start().await;
    let transport = Transport::connect(&Options {
        servers: nats.url(),
        name: "bench".to_owned(),
        wait: Duration::from_secs(20),
    })
    .await?;
    let namespace = transport
        .namespaces()
        .by_name("default")
        .expect("a new deployment has the namespace default");
    let deployment = Opened {
        transport,
        namespace_id: namespace.id.clone(),
    };
    deployment.open().await?;
    dies.kill();
    let began = Instant::now();
    deployment.all_answer().await?;
    Ok(began.elapsed().as_secs_f64())
}

struct Opened {
    transport: Transport,
    namespace_id: NamespaceId,
}

impl Opened {
    async fn open(&self) -> anyhow::Result<()> {
        for number in 0..OPEN {
            let id = format!("takeover-{number}");
            let request = crate::load::start_request(&id);
            self.transport
                .call(&self.namespace_id, &id.into(), WAIT, request)
                .await?;
        }
        Ok(())
    }

    /// Describes one workflow of each partition at the same time.
    async fn all_answer(&self) -> anyhow::Result<()> {
        let partitions = self.transport.partitions();
        let asked = (0..partitions).map(|partition| async move {
            let id = self.id_in(Partition(partition));
            let request = DescribeWorkflowExecutionRequest {
                execution: Some(fermata_proto::common::WorkflowExecution {
                    workflow_id: id.0.clone(),
                    run_id: String::new(),
                }),
                ..DescribeWorkflowExecutionRequest::default()
            };
            let request = Request::DescribeWorkflowExecution(Box::new(request));
            let answer = self.transport.call(&self.namespace_id, &id, WAIT, request);
            match answer.await {
                Err(rejection) if rejection.kind == RejectionKind::Unavailable => {
                    Err(anyhow::Error::from(rejection))
                }
                _ => Ok(()),
            }
        });
        futures::future::try_join_all(asked).await?;
        Ok(())
    }

    fn id_in(&self, partition: Partition) -> WorkflowId {
        (0..)
            .map(|number| WorkflowId::from(format!("takeover-{number}")))
            .find(|id| {
                Partition::of(&self.namespace_id, id, self.transport.partitions()) == partition
            })
            .expect("there is no end of numbers")
    }
}
