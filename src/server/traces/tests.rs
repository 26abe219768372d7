//! Exports to scripted collectors on loopback.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::tasks::Tasks;
use crate::telemetry::trace::{Endpoint, Parents, SPANS_IN_BATCH, SpanCounters, SpanQueue};

/// Maximum wait for an event that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// A batch, which is exported at once.
const SPANS: usize = SPANS_IN_BATCH;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A collector that sends these responses, the last one again and again.
struct Scripted {
    address: SocketAddr,
    requests: mpsc::Receiver<String>,
    _tasks: Tasks,
}

impl Scripted {
    async fn start(responses: &[&'static str]) -> Self {
        let responses = responses.to_vec();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, requests) = mpsc::channel(100);
        let mut tasks = Tasks::default();
        tasks.spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let response = responses.get(number).or(responses.last()).unwrap();
                seen.try_send(serve(stream, response).await).unwrap();
            }
        });
        Self {
            address,
            requests,
            _tasks: tasks,
        }
    }

    async fn request(&mut self) -> String {
        timeout(DEADLINE, self.requests.recv()).await.unwrap().unwrap()
    }
}

/// Reads a request with its body, and sends the response.
async fn serve(mut stream: TcpStream, response: &str) -> String {
    let mut bytes = Vec::new();
    loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "it ended");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let length = text.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if bytes.len() == end + 4 + length {
                stream.write_all(response.as_bytes()).await.unwrap();
                return text;
            }
        }
    }
}

/// A queue, its counters and a running exporter to this address.
fn exporting(
    url: &str,
) -> (
    Arc<SpanQueue>,
    Arc<SpanCounters>,
    watch::Sender<Arc<Settings>>,
    Tasks,
) {
    let counters = Arc::<SpanCounters>::default();
    let queue = Arc::new(SpanQueue::new(Arc::clone(&counters)));
    let (settings, current) = watch::channel(Arc::new(settings(url)));
    let mut tasks = Tasks::default();
    tasks.spawn(export(current, queue.receiver().unwrap()));
    (queue, counters, settings, tasks)
}

fn settings(url: &str) -> Settings {
    Settings {
        endpoint: Endpoint::parse(url).unwrap(),
        sample: Settings::ALL,
        parents: Parents::Any,
        service_name: "edge".to_owned(),
        headers: vec![("Authorization".to_owned(), "Bearer abc".to_owned())],
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn spans(count: usize) -> EncodedSpans {
    EncodedSpans {
        bytes: b"spans".repeat(count),
        count,
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap();
}

#[tokio::test]
async fn an_export_is_a_post_with_the_headers_of_the_config() {
    let mut collector = Scripted::start(&[OK]).await;
    let (queue, counters, _settings, _tasks) = exporting(&url(collector.address));
    queue.push(spans(SPANS));
    let request = collector.request().await;
    assert!(request.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{request}");
    for line in [
        format!("host: {}", collector.address),
        "authorization: Bearer abc".to_owned(),
        "content-type: application/x-protobuf".to_owned(),
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{line}: {request}");
    }
    assert!(request.contains("service.name") && request.contains("edge"));
    until(|| counters.exported() == SPANS as u64).await;
}

#[tokio::test]
async fn a_collector_that_asks_for_it_gets_the_same_export_again() {
    let later = "HTTP/1.1 503 later\r\nContent-Length: 0\r\n\r\n";
    let mut collector = Scripted::start(&[later, OK]).await;
    let (queue, counters, _settings, _tasks) = exporting(&url(collector.address));
    queue.push(spans(SPANS));
    assert_eq!(collector.request().await, collector.request().await);
    until(|| counters.exported() == SPANS as u64).await;
    assert!(SpanDrop::ALL.iter().all(|why| counters.dropped(*why) == 0));
}

#[tokio::test]
async fn refused_spans_are_dropped_and_not_sent_again() {
    let refused = "HTTP/1.1 401 no\r\nContent-Length: 0\r\n\r\n";
    let partly = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x05";
    let mut collector = Scripted::start(&[refused, partly, OK]).await;
    let (queue, counters, _settings, _tasks) = exporting(&url(collector.address));
    queue.push(spans(SPANS));
    collector.request().await;
    until(|| counters.dropped(SpanDrop::Rejected) == SPANS as u64).await;
    queue.push(spans(SPANS));
    until(|| counters.dropped(SpanDrop::Rejected) == SPANS as u64 + 5).await;
    assert_eq!(counters.exported(), SPANS as u64 - 5);
}

#[tokio::test]
async fn spans_are_dropped_while_the_collector_is_away_and_exported_again_when_it_is_back() {
    let away = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = away.local_addr().unwrap();
    drop(away);
    let (queue, counters, settings_in_use, _tasks) = exporting(&url(address));
    queue.push(spans(SPANS));
    until(|| counters.dropped(SpanDrop::Unavailable) == SPANS as u64).await;
    // A reload may name another collector.
    let mut collector = Scripted::start(&[OK]).await;
    settings_in_use.send_replace(Arc::new(settings(&url(collector.address))));
    queue.push(spans(1));
    collector.request().await;
    until(|| counters.exported() == 1).await;
}

#[tokio::test]
async fn what_waits_is_exported_at_a_stop() {
    let mut collector = Scripted::start(&[OK]).await;
    let (queue, counters, _settings, _tasks) = exporting(&url(collector.address));
    queue.push(spans(1));
    queue.push(spans(1));
    queue.drain(DEADLINE).await;
    assert_eq!(counters.exported(), 2);
    collector.request().await;
}
