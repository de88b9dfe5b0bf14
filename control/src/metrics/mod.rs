//! What the status shows, for Prometheus: `GET /metrics` over HTTP.
//!
//! The text is written from the same [`Status`](crate::api::status::Status) that the control socket tells, so that the two
//! cannot differ. Clients share what little they may cost the daemon: a bounded number of connections, each for a bounded
//! time, and one status for all that ask within half a second.

mod exposition;
mod families;
mod server;
mod source;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::info;

use self::{server::Bounds, source::Source};
use crate::{api::server::Call, config::MetricsListen};

const BOUNDS: Bounds = Bounds {
    clients: 8,
    patience: Duration::from_secs(5),
};
/// How often it is tried again to listen where that failed.
const RETRY: Duration = Duration::from_secs(5);

/// The metrics' port; closed when dropped.
#[derive(Debug)]
pub(crate) struct Metrics {
    problem: watch::Receiver<Option<String>>,
    task: Option<JoinHandle<()>>,
}

impl Metrics {
    /// Listens, and hands requests for the status to `calls`. Where it cannot listen it tries again, and has a problem.
    pub(crate) fn start(listen: MetricsListen, calls: mpsc::Sender<Call>) -> Self {
        let (report, problem) = watch::channel(None);
        let task = listen.address().map(|address| {
            let source = Arc::new(Source::new(calls));
            tokio::spawn(run(address, source, report, RETRY))
        });
        Self { problem, task }
    }

    /// Waits until there is a problem, or until there is none any more.
    pub(crate) async fn changed(&mut self) -> Option<String> {
        match self.problem.changed().await {
            Ok(()) => self.problem.borrow_and_update().clone(),
            // Metrics that are off have none.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn run(
    address: SocketAddr,
    source: Arc<Source>,
    report: watch::Sender<Option<String>>,
    retry: Duration,
) {
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                let problem = format!("metrics cannot be served at {address}: {error}");
                report.send_if_modified(|before| {
                    let fresh = before.as_ref() != Some(&problem);
                    *before = Some(problem);
                    fresh
                });
                tokio::time::sleep(retry).await;
            }
        }
    };
    report.send_if_modified(|before| before.take().is_some());
    info!(%address, "serving metrics");
    server::serve(listener, source, BOUNDS).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_a_problem_until_it_is_free() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = other.local_addr().unwrap();
        let (calls, _called) = mpsc::channel(1);
        let (report, problem) = watch::channel(None);
        let source = Arc::new(Source::new(calls));
        let task = tokio::spawn(run(address, source, report, Duration::from_millis(10)));
        let mut metrics = Metrics {
            problem,
            task: Some(task),
        };
        let problem = metrics.changed().await.unwrap();
        assert!(problem.contains("Address already in use"), "{problem}");
        drop(other);
        assert_eq!(metrics.changed().await, None);
        tokio::net::TcpStream::connect(address).await.unwrap();
    }

    #[tokio::test]
    async fn metrics_that_are_off_say_nothing() {
        let (calls, _called) = mpsc::channel(1);
        let mut metrics = Metrics::start("off".parse().unwrap(), calls);
        let said = tokio::time::timeout(Duration::from_millis(1), metrics.changed()).await;
        assert!(metrics.task.is_none() && said.is_err());
    }
}
