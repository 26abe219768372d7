//! Finished spans on their way from the workers to the control plane. Bounded in bytes and in entries; what does not fit is dropped
//! and counted. Workers never wait here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

/// Spans that are exported together.
pub const SPANS_IN_BATCH: usize = 512;

/// Bytes of encoded spans that are exported together. gRPC servers refuse messages of more than 4 MiB unless told otherwise.
const BYTES_IN_BATCH: usize = 2 << 20;

/// Bytes of encoded spans that wait: some ten thousand spans.
const MOST_BYTES: usize = 8 << 20;

/// Requests whose spans wait.
const MOST_REQUESTS: usize = 16 << 10;

/// The spans of one request, encoded.
#[derive(Debug)]
pub struct EncodedSpans {
    /// What `Span::encode` has written.
    pub bytes: Vec<u8>,
    /// Their number.
    pub count: usize,
}

/// Why spans were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanDrop {
    /// The queue was full.
    QueueFull,
    /// The collector could not be reached, or asked to try later, several times.
    Unavailable,
    /// The collector refused them.
    Rejected,
}

impl SpanDrop {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::Unavailable, Self::Rejected];

    /// The value of the label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
        }
    }
}

/// What became of the spans of this process.
#[derive(Debug, Default)]
pub struct SpanCounters {
    exported: AtomicU64,
    dropped: [AtomicU64; SpanDrop::ALL.len()],
}

impl SpanCounters {
    /// Counts spans that the collector has accepted.
    pub fn count_exported(&self, count: usize) {
        self.exported.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Counts spans that were dropped.
    pub fn count_dropped(&self, why: SpanDrop, count: usize) {
        if let Some(dropped) = self.dropped.get(why as usize) {
            dropped.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// The number of exported spans.
    pub fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// The number of dropped spans.
    pub fn dropped(&self, why: SpanDrop) -> u64 {
        let dropped = self.dropped.get(why as usize);
        dropped.map_or(0, |dropped| dropped.load(Ordering::Relaxed))
    }
}

/// The spans that wait for export.
#[derive(Debug)]
pub struct SpanQueue {
    sender: mpsc::Sender<EncodedSpans>,
    /// Taken by the one exporter.
    receiver: Mutex<Option<mpsc::Receiver<EncodedSpans>>>,
    bytes: AtomicUsize,
    spans: AtomicUsize,
    /// A batch is complete.
    is_due: Notify,
    /// Whether the process stops.
    closing: watch::Sender<bool>,
    /// The exporter has nothing left after that.
    is_drained: Notify,
    /// What became of the spans.
    pub counters: Arc<SpanCounters>,
}

/// The exporter's end of the queue.
#[derive(Debug)]
pub struct SpanReceiver {
    queue: Arc<SpanQueue>,
    receiver: mpsc::Receiver<EncodedSpans>,
    /// What did not fit into the last batch.
    next: Option<EncodedSpans>,
}

impl Default for SpanQueue {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl SpanQueue {
    /// An empty queue with these counters.
    pub fn new(counters: Arc<SpanCounters>) -> Self {
        let (sender, receiver) = mpsc::channel(MOST_REQUESTS);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            bytes: AtomicUsize::new(0),
            spans: AtomicUsize::new(0),
            is_due: Notify::new(),
            closing: watch::Sender::new(false),
            is_drained: Notify::new(),
            counters,
        }
    }

    /// Adds the spans of a request, or drops them where they do not fit. The exporter is woken once for each complete batch only.
    pub fn push(&self, spans: EncodedSpans) {
        let (bytes, count) = (spans.bytes.len(), spans.count);
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = self.spans.fetch_add(count, Ordering::Relaxed);
        let has_room = waiting.saturating_add(bytes) <= MOST_BYTES;
        if !has_room || self.sender.try_send(spans).is_err() {
            self.forget(bytes, count);
            self.counters.count_dropped(SpanDrop::QueueFull, count);
            return;
        }
        if !is_batch(before, waiting) && is_batch(before + count, waiting + bytes) {
            self.is_due.notify_one();
        }
    }

    /// The exporter's end; `None` after the first call.
    pub fn receiver(self: &Arc<Self>) -> Option<SpanReceiver> {
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        receiver.map(|receiver| SpanReceiver {
            queue: Arc::clone(self),
            receiver,
            next: None,
        })
    }

    /// Lets the exporter send what waits, without further attempts at a collector that is away, and waits for that, at most this long.
    pub async fn drain(&self, most: Duration) {
        self.closing.send_replace(true);
        // Without it, what is left is lost with the process.
        let _ = tokio::time::timeout(most, self.is_drained.notified()).await;
    }

    fn forget(&self, bytes: usize, count: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.spans.fetch_sub(count, Ordering::Relaxed);
    }
}

impl SpanReceiver {
    /// Waits until a batch is complete, or for this time. Returns early once the process stops.
    pub async fn wait(&mut self, most: Duration) {
        if self.has_batch() || self.is_closing() {
            return;
        }
        let mut closing = self.queue.closing.subscribe();
        tokio::select! {
            () = self.queue.is_due.notified() => {}
            _ = closing.wait_for(|is_closing| *is_closing) => {}
            () = tokio::time::sleep(most) => {}
        }
    }

    /// Waits for this time. Returns early once the process stops.
    pub async fn pause(&self, time: Duration) {
        let mut closing = self.queue.closing.subscribe();
        tokio::select! {
            _ = closing.wait_for(|is_closing| *is_closing) => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Takes the spans of one export; `None` if there are none.
    pub fn batch(&mut self) -> Option<EncodedSpans> {
        let mut batch = self.take()?;
        while batch.count < SPANS_IN_BATCH {
            let Some(more) = self.take() else { break };
            let bytes = batch.bytes.len() + more.bytes.len();
            if batch.count + more.count > SPANS_IN_BATCH || bytes > BYTES_IN_BATCH {
                self.next = Some(more);
                break;
            }
            batch.bytes.extend_from_slice(&more.bytes);
            batch.count += more.count;
        }
        self.queue.forget(batch.bytes.len(), batch.count);
        Some(batch)
    }

    /// Whether a whole batch waits.
    pub fn has_batch(&self) -> bool {
        let spans = self.queue.spans.load(Ordering::Relaxed);
        is_batch(spans, self.queue.bytes.load(Ordering::Relaxed))
    }

    /// Whether the process stops.
    pub fn is_closing(&self) -> bool {
        *self.queue.closing.borrow()
    }

    /// Says that nothing is left.
    pub fn is_drained(&self) {
        self.queue.is_drained.notify_one();
    }

    /// The counters of the queue.
    pub fn counters(&self) -> &SpanCounters {
        &self.queue.counters
    }

    fn take(&mut self) -> Option<EncodedSpans> {
        self.next.take().or_else(|| self.receiver.try_recv().ok())
    }
}

/// Whether so many spans with so many bytes are exported without waiting for more.
fn is_batch(spans: usize, bytes: usize) -> bool {
    spans >= SPANS_IN_BATCH || bytes >= BYTES_IN_BATCH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(count: usize, bytes: usize) -> EncodedSpans {
        EncodedSpans {
            bytes: vec![b'x'; bytes],
            count,
        }
    }

    fn queue() -> (Arc<SpanQueue>, SpanReceiver) {
        let queue = Arc::<SpanQueue>::default();
        let receiver = queue.receiver().unwrap();
        (queue, receiver)
    }

    #[test]
    fn a_batch_has_whole_requests_up_to_the_bound() {
        let (queue, mut receiver) = queue();
        assert!(receiver.batch().is_none());
        for _ in 0..3 {
            queue.push(spans(200, 10));
        }
        assert!(receiver.has_batch());
        let batch = receiver.batch().unwrap();
        assert_eq!((batch.count, batch.bytes.len()), (400, 20));
        assert!(!receiver.has_batch());
        assert_eq!(receiver.batch().unwrap().count, 200);
        assert!(receiver.batch().is_none());
        assert!(queue.receiver().is_none(), "there is one exporter");
    }

    #[test]
    fn a_batch_is_small_enough_for_every_collector() {
        let (queue, mut receiver) = queue();
        for _ in 0..3 {
            queue.push(spans(1, BYTES_IN_BATCH / 2));
        }
        assert!(receiver.has_batch());
        assert_eq!(receiver.batch().unwrap().count, 2);
        assert!(!receiver.has_batch());
        assert_eq!(receiver.batch().unwrap().count, 1);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let (queue, mut receiver) = queue();
        queue.push(spans(2, MOST_BYTES - 1));
        queue.push(spans(3, 2));
        assert_eq!(queue.counters.dropped(SpanDrop::QueueFull), 3);
        queue.push(spans(1, 1));
        assert_eq!(queue.counters.dropped(SpanDrop::QueueFull), 3);
        assert_eq!(receiver.batch().unwrap().count, 2);
        queue.push(spans(3, 2));
        assert_eq!(
            queue.counters.dropped(SpanDrop::QueueFull),
            3,
            "there is room again"
        );
        for _ in 0..=MOST_REQUESTS {
            queue.push(spans(1, 1));
        }
        assert_eq!(queue.counters.dropped(SpanDrop::QueueFull), 5);
    }

    /// Longer than any test runs.
    const LONG: Duration = Duration::from_secs(3600);
    /// Maximum wait for an event that must happen.
    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_exporter_is_woken_by_a_whole_batch_or_by_time() {
        let (queue, mut receiver) = queue();
        queue.push(spans(1, 1));
        let timed = tokio::time::timeout(DEADLINE, receiver.wait(Duration::from_millis(1)));
        assert!(timed.await.is_ok());
        let filling = async {
            tokio::task::yield_now().await;
            queue.push(spans(SPANS_IN_BATCH - 1, 1));
        };
        let both = async { tokio::join!(receiver.wait(LONG), filling) };
        assert!(tokio::time::timeout(DEADLINE, both).await.is_ok());
    }

    #[tokio::test]
    async fn a_stop_ends_every_wait_and_is_bounded() {
        let (queue, mut receiver) = queue();
        let exporter = async {
            receiver.wait(LONG).await;
            assert!(receiver.is_closing());
            receiver.pause(LONG).await;
            receiver.is_drained();
        };
        let both = async { tokio::join!(exporter, queue.drain(LONG)) };
        assert!(tokio::time::timeout(DEADLINE, both).await.is_ok());
        // Nobody drains it any more.
        let alone = tokio::time::timeout(DEADLINE, queue.drain(Duration::from_millis(1)));
        assert!(alone.await.is_ok());
    }
}
