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

#[cfg(test)]
pub(crate) use self::exposition::tests::sample;
use self::{server::Bounds, source::Source};
use crate::{api::server::Call, config::MetricsListen};

const BOUNDS: Bounds = Bounds {
    clients: 8,
    patience: Duration::from_secs(5),
};
/// How often it is tried again to listen where that failed.
const RETRY: Duration = Duration::from_secs(5);

/// The metrics' port; closed when dropped.
pub(crate) struct Metrics {
    listen: MetricsListen,
    source: Arc<Source>,
    report: Arc<watch::Sender<Option<String>>>,
    problem: watch::Receiver<Option<String>>,
    task: Option<JoinHandle<()>>,
}

impl Metrics {
    /// Listens, and hands requests for the status to `calls`. Where it cannot listen it tries again, and has a problem.
    pub(crate) fn start(listen: MetricsListen, calls: mpsc::Sender<Call>) -> Self {
        let (report, problem) = watch::channel(None);
        let mut metrics = Self {
            listen,
            source: Arc::new(Source::new(calls)),
            report: Arc::new(report),
            problem,
            task: None,
        };
        metrics.listen(RETRY);
        metrics
    }

    /// Listens elsewhere, if it is elsewhere. Answers under way are finished.
    pub(crate) fn set(&mut self, listen: MetricsListen) {
        if self.listen != listen {
            self.listen = listen;
            self.listen(RETRY);
        }
    }

    fn listen(&mut self, retry: Duration) {
        if let Some(before) = self.task.take() {
            before.abort();
        }
        self.report
            .send_if_modified(|before| before.take().is_some());
        self.task = self.listen.address().map(|address| {
            let run = run(address, self.source.clone(), self.report.clone(), retry);
            tokio::spawn(run)
        });
    }

    /// Waits until there is a problem, or until there is none any more.
    pub(crate) async fn changed(&mut self) -> Option<String> {
        match self.problem.changed().await {
            Ok(()) => self.problem.borrow_and_update().clone(),
            // It reports as long as it lives.
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
    report: Arc<watch::Sender<Option<String>>>,
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
        let mut metrics = Metrics::start("off".parse().unwrap(), calls);
        metrics.listen = address.to_string().parse().unwrap();
        metrics.listen(Duration::from_millis(10));
        let problem = metrics.changed().await.unwrap();
        assert!(problem.contains("Address already in use"), "{problem}");
        drop(other);
        assert_eq!(metrics.changed().await, None);
        tokio::net::TcpStream::connect(address).await.unwrap();
    }

    #[tokio::test]
    async fn it_moves_and_leaves_its_port_and_its_problem_behind() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = other.local_addr().unwrap();
        let (calls, _called) = mpsc::channel(1);
        let mut metrics = Metrics::start(taken.to_string().parse().unwrap(), calls);
        assert!(metrics.changed().await.is_some());
        metrics.set("off".parse().unwrap());
        assert_eq!(metrics.changed().await, None);
        assert!(metrics.task.is_none());
    }

    #[tokio::test]
    async fn metrics_that_are_off_say_nothing() {
        let (calls, _called) = mpsc::channel(1);
        let mut metrics = Metrics::start("off".parse().unwrap(), calls);
        let said = tokio::time::timeout(Duration::from_millis(1), metrics.changed()).await;
        assert!(metrics.task.is_none() && said.is_err());
    }
}
