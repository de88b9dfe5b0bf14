use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::Instant,
};

use super::*;
use crate::{
    api::{protocol, server::Call},
    metrics::exposition::tests::sample,
};

/// Serves one status for ever; returns where, and how often it was asked for.
async fn start(bounds: Bounds) -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    let (calls, mut called) = mpsc::channel::<Call>(1);
    let asked = Arc::<std::sync::atomic::AtomicUsize>::default();
    let count = asked.clone();
    tokio::spawn(async move {
        while let Some(call) = called.recv().await {
            assert_eq!(call.request, protocol::Request::Status);
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let _ = call
                .reply
                .send(protocol::Response::Status(Box::new(sample())).into());
        }
    });
    (listen(Arc::new(Source::new(calls)), bounds).await, asked)
}

async fn listen(source: Arc<Source>, bounds: Bounds) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, source, bounds));
    address
}

fn bounds(clients: usize, milliseconds: u64) -> Bounds {
    Bounds {
        clients,
        patience: Duration::from_millis(milliseconds),
    }
}

async fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = String::new();
    // A server that has answered and closed while the request was still being written is fine.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    talk(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: withy\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn a_request_gets_the_metrics_of_the_status() {
    let (address, asked) = start(bounds(8, 5000)).await;
    let answer = get(address, "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert_eq!(body, crate::metrics::exposition::text(&sample()).unwrap());
    for _ in 0..20 {
        get(address, "/metrics?of=all").await;
    }
    // The loop is asked for as many as a second holds at most, not for each.
    let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(asked < 20, "{asked}");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let (address, asked) = start(bounds(8, 5000)).await;
    for path in ["/", "/metrics/", "/../metrics"] {
        let answer = get(address, path).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nHost: withy\r\ncontent-length: 0\r\n\r\n");
        let answer = talk(address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.contains("allow: GET\r\n"), "{answer}");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn heads_are_bounded() {
    let (address, asked) = start(bounds(8, 5000)).await;
    let long = format!(
        "GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n",
        "y".repeat(100_000)
    );
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(100));
    for request in [&*long, &many, "no HTTP at all\r\n\r\n"] {
        let answer = talk(address, request).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn slow_clients_are_given_up_and_their_places_taken() {
    let (address, _) = start(bounds(2, 300)).await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /met").await.unwrap();
        slow.push(stream);
    }
    let answer = get(address, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "served beyond the bound"
    );
    let mut rest = Vec::new();
    for mut stream in slow {
        // Closed, whether with a farewell or without.
        let _ = stream.read_to_end(&mut rest).await;
    }
    assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
}

#[tokio::test]
async fn without_a_status_there_are_no_metrics() {
    let (calls, called) = mpsc::channel(1);
    drop(called);
    let address = listen(Arc::new(Source::new(calls)), bounds(1, 5000)).await;
    let answer = get(address, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn a_loop_that_does_not_answer_holds_nobody_for_ever() {
    let (calls, _called) = mpsc::channel(1);
    let address = listen(Arc::new(Source::new(calls)), bounds(1, 100)).await;
    for _ in 0..3 {
        assert_eq!(get(address, "/metrics").await, "");
    }
}
