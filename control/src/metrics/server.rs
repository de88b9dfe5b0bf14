//! Answering Prometheus: one request a connection, within bounds.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tracing::debug;

use super::source::Source;

/// Where the metrics are.
const PATH: &str = "/metrics";
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 8192;
/// The most header fields of a request.
const MAX_FIELDS: usize = 64;

/// What clients can take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How many are answered at once; the others wait.
    pub(super) clients: usize,
    /// How long each has, from its connection to the last byte of the answer.
    pub(super) patience: Duration,
}

/// Answers clients for ever.
pub(super) async fn serve(listener: TcpListener, source: Arc<Source>, bounds: Bounds) {
    let places = Arc::new(Semaphore::new(bounds.clients));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let source = source.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, source, bounds.patience).await {
                        debug!(%error, "a reader of the metrics");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "the metrics' port");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, source: Arc<Source>, patience: Duration) -> io::Result<()> {
    let service = service_fn(move |request| {
        let source = source.clone();
        async move { Ok::<_, Infallible>(answer(&request, &source).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    timeout(patience, connection)
        .await?
        .map_err(io::Error::other)
}

async fn answer(request: &Request<Incoming>, source: &Source) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        let allowed = HeaderValue::from_static("GET");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match source.text().await {
        Ok(text) => {
            let mut response = Response::new(Full::new(text));
            let form = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, form);
            response
        }
        Err(error) => {
            debug!(%error, "no metrics");
            plain(StatusCode::SERVICE_UNAVAILABLE, "no status at present\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let form = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, form);
    response
}

#[cfg(test)]
mod tests;
