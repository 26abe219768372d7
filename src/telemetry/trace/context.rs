//! The trace context of a request: W3C `traceparent` (Trace Context Level 2) and B3, read strictly, and the sampling decision.
//!
//! A header that is not valid is ignored as a whole, as Trace Context §3.2 asks: the request then begins a trace.

use std::num::{NonZeroU64, NonZeroU128};

/// Length of a `traceparent` of version 00.
pub const TRACEPARENT_LENGTH: usize = 55;

/// The flag bit that says that the caller records the trace.
const SAMPLED: u8 = 0x01;

/// The flag bit that says that the low 56 bits of the trace id are random.
const RANDOM: u8 = 0x02;

/// Number of bits of a trace id that sampling compares, those that Level 2 declares as random.
const RANDOM_BITS: u32 = 56;

/// The id of a trace, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub NonZeroU128);

/// The id of a span, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub NonZeroU64);

/// The trace and the span of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParentIds {
    /// The trace of which the request is a part.
    pub trace_id: TraceId,
    /// The span of the caller.
    pub span_id: SpanId,
    /// Whether the caller says that the trace id is random.
    pub is_random: bool,
}

/// What the headers of a request say of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming {
    /// `None` if B3 carries a decision only.
    pub ids: Option<ParentIds>,
    /// The caller's decision. `None` leaves it to us.
    pub sampled: Option<bool>,
}

/// The values of the `X-B3-*` headers of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct B3Headers<'a> {
    /// `X-B3-TraceId`.
    pub trace_id: Option<&'a [u8]>,
    /// `X-B3-SpanId`.
    pub span_id: Option<&'a [u8]>,
    /// `X-B3-Sampled`.
    pub sampled: Option<&'a [u8]>,
    /// `X-B3-Flags`, where `1` means debug, which is always recorded.
    pub flags: Option<&'a [u8]>,
}

/// The share of traces that are recorded when the caller did not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRatio {
    /// A trace is recorded if its random bits reach this. 2^56 records none.
    threshold: u64,
}

/// The context of one request, or of one of its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span of the request or attempt itself.
    pub span_id: SpanId,
    /// The span above it. `None` if the trace begins here.
    pub parent: Option<SpanId>,
    /// Whether its spans are recorded.
    pub is_sampled: bool,
    is_random: bool,
}

impl TraceId {
    /// From random bits. The one value that is not allowed, zero, becomes one.
    pub fn from_bits(bits: u128) -> Self {
        Self(NonZeroU128::new(bits).unwrap_or(NonZeroU128::MIN))
    }

    /// Its 32 digits.
    pub fn hex(self) -> [u8; 32] {
        let mut digits = [0; 32];
        write_hex(&self.0.get().to_be_bytes(), &mut digits);
        digits
    }
}

impl SpanId {
    /// From random bits. The one value that is not allowed, zero, becomes one.
    pub fn from_bits(bits: u64) -> Self {
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }

    /// Its 16 digits.
    pub fn hex(self) -> [u8; 16] {
        let mut digits = [0; 16];
        write_hex(&self.0.get().to_be_bytes(), &mut digits);
        digits
    }
}

impl Incoming {
    /// Reads `traceparent`. A version above 00 may have more after the flags; the version ff is invalid (Trace Context §3.2.2).
    pub fn from_traceparent(value: &[u8]) -> Option<Self> {
        let known = value.get(..TRACEPARENT_LENGTH)?;
        let rest = value.get(TRACEPARENT_LENGTH..)?;
        let mut parts = known.split(|&byte| byte == b'-');
        let version = hex(parts.next()?, 2)?;
        let ids = ids(parts.next()?, parts.next()?, 32)?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        (is_whole && parts.next().is_none()).then_some(Self {
            ids: Some(ParentIds {
                is_random: flags & RANDOM != 0,
                ..ids
            }),
            sampled: Some(flags & SAMPLED != 0),
        })
    }

    /// Reads the `b3` header: `{trace id}-{span id}[-{decision}[-{parent span id}]]`, or a decision alone.
    pub fn from_b3(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|&byte| byte == b'-');
        let first = parts.next()?;
        let Some(span) = parts.next() else {
            let sampled = Some(b3_decision(first)?);
            return Some(Self { ids: None, sampled });
        };
        let ids = Some(ids(first, span, first.len())?);
        let sampled = match parts.next() {
            Some(decision) => Some(b3_decision(decision)?),
            None => None,
        };
        if let Some(parent) = parts.next() {
            hex(parent, 16)?;
        }
        parts.next().is_none().then_some(Self { ids, sampled })
    }

    /// Reads the `X-B3-*` headers.
    pub fn from_b3_headers(headers: B3Headers<'_>) -> Option<Self> {
        let sampled = match (headers.flags, headers.sampled) {
            (Some(b"1"), _) => Some(true),
            // Old senders write words.
            (_, Some(b"true")) => Some(true),
            (_, Some(b"false")) => Some(false),
            (_, Some(b"d")) => return None,
            (_, Some(decision)) => Some(b3_decision(decision)?),
            (_, None) => None,
        };
        let ids = match (headers.trace_id, headers.span_id) {
            (Some(trace), Some(span)) => Some(ids(trace, span, trace.len())?),
            (None, None) => None,
            _ => return None,
        };
        (ids.is_some() || sampled.is_some()).then_some(Self { ids, sampled })
    }
}

impl Default for SampleRatio {
    /// None.
    fn default() -> Self {
        Self {
            threshold: 1 << RANDOM_BITS,
        }
    }
}

impl SampleRatio {
    /// A share from 0 to 1. `None` for any other number.
    pub fn new(share: f64) -> Option<Self> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the range is checked, and 2^56 is exact"
        )]
        (0.0..=1.0).contains(&share).then_some(Self {
            threshold: ((1.0 - share) * (1_u64 << RANDOM_BITS) as f64) as u64,
        })
    }

    /// Whether a trace is recorded. The same for every process that uses this share, so that a trace is recorded whole.
    pub fn includes(self, trace_id: TraceId) -> bool {
        let random = trace_id.0.get() & ((1 << RANDOM_BITS) - 1);
        random >= u128::from(self.threshold)
    }
}

impl TraceContext {
    /// The context of a request. `trace` and `span` are random; `trace` is used only if the caller sent no trace id.
    pub fn of_request(incoming: Option<Incoming>, ratio: SampleRatio, trace: u128, span: u64) -> Self {
        let ids = incoming.and_then(|incoming| incoming.ids);
        let trace_id = ids.map_or_else(|| TraceId::from_bits(trace), |ids| ids.trace_id);
        let decided = incoming.and_then(|incoming| incoming.sampled);
        Self {
            trace_id,
            span_id: SpanId::from_bits(span),
            parent: ids.map(|ids| ids.span_id),
            is_sampled: decided.unwrap_or_else(|| ratio.includes(trace_id)),
            is_random: ids.is_none_or(|ids| ids.is_random),
        }
    }

    /// The context of an attempt of this request.
    pub fn of_attempt(&self, span: u64) -> Self {
        Self {
            span_id: SpanId::from_bits(span),
            parent: Some(self.span_id),
            ..*self
        }
    }

    /// The value of `traceparent` that is sent on.
    pub fn traceparent(&self) -> [u8; TRACEPARENT_LENGTH] {
        let random = if self.is_random { RANDOM } else { 0 };
        let sampled = if self.is_sampled { SAMPLED } else { 0 };
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        for (at, part) in [
            (3, &self.trace_id.hex()[..]),
            (36, &self.span_id.hex()),
            (54, &[b'0' + (random | sampled)]),
        ] {
            for (place, digit) in out.iter_mut().skip(at).zip(part) {
                *place = *digit;
            }
        }
        out
    }
}

/// Reads both ids. `trace_length` is 32, or 16 for the short ids of B3.
fn ids(trace: &[u8], span: &[u8], trace_length: usize) -> Option<ParentIds> {
    if !matches!(trace_length, 16 | 32) {
        return None;
    }
    Some(ParentIds {
        trace_id: TraceId(NonZeroU128::new(hex(trace, trace_length)?)?),
        span_id: SpanId(NonZeroU64::new(u64::try_from(hex(span, 16)?).ok()?)?),
        is_random: false,
    })
}

fn b3_decision(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

/// Reads exactly `length` lower-case digits, at most 32.
fn hex(text: &[u8], length: usize) -> Option<u128> {
    if text.len() != length {
        return None;
    }
    text.iter().try_fold(0, |number: u128, &byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some((number << 4) | u128::from(digit))
    })
}

/// Writes two digits for each byte.
fn write_hex(bytes: &[u8], out: &mut [u8]) {
    let digit = |nibble: u8| match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + nibble - 10,
    };
    for (byte, place) in bytes.iter().zip(out.as_chunks_mut::<2>().0) {
        *place = [digit(byte >> 4), digit(byte & 0x0f)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    const SPAN: u64 = 0x00f0_67aa_0ba9_02b7;
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn none() -> SampleRatio {
        SampleRatio::new(0.0).unwrap()
    }

    fn text(context: TraceContext) -> String {
        String::from_utf8(context.traceparent().to_vec()).unwrap()
    }

    #[test]
    fn reads_a_traceparent() {
        let read = Incoming::from_traceparent(PARENT.as_bytes()).unwrap();
        let ids = read.ids.unwrap();
        assert_eq!(ids.trace_id.0.get(), TRACE);
        assert_eq!(ids.span_id.0.get(), SPAN);
        assert_eq!(read.sampled, Some(true));
        assert!(!ids.is_random);
    }

    #[test]
    fn refuses_an_invalid_traceparent() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        for wrong in [
            "",
            &PARENT[..54],
            &format!("{PARENT}-00"),
            &PARENT.replacen("00-", "ff-", 1),
            &PARENT.to_uppercase(),
            &PARENT.replace('-', "_"),
            &format!("01{}x", &PARENT[2..]),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(Incoming::from_traceparent(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn reads_the_known_part_of_a_later_version() {
        let later = format!("cc{}-more", &PARENT[2..]);
        let read = Incoming::from_traceparent(later.as_bytes());
        assert_eq!(read, Incoming::from_traceparent(PARENT.as_bytes()));
    }

    #[test]
    fn reads_b3_in_one_header() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let span = "00f067aa0ba902b7";
        for (value, has_ids, sampled) in [
            ("0".to_owned(), false, Some(false)),
            ("d".to_owned(), false, Some(true)),
            (format!("{trace}-{span}"), true, None),
            (format!("{span}-{span}-1"), true, Some(true)),
            (format!("{trace}-{span}-0-{span}"), true, Some(false)),
        ] {
            let read = Incoming::from_b3(value.as_bytes()).unwrap();
            assert_eq!((read.ids.is_some(), read.sampled), (has_ids, sampled), "{value}");
        }
        for wrong in [
            "",
            "2",
            "1-1",
            &format!("{trace}-{span}-1-x"),
            &format!("{trace}-{span}-1-{span}-"),
        ] {
            assert_eq!(Incoming::from_b3(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn reads_b3_in_several_headers() {
        let both = B3Headers {
            trace_id: Some(b"4bf92f3577b34da6a3ce929d0e0e4736"),
            span_id: Some(b"00f067aa0ba902b7"),
            ..B3Headers::default()
        };
        let read = |headers| Incoming::from_b3_headers(headers);
        assert_eq!(read(both).unwrap().sampled, None);
        let debug = B3Headers {
            flags: Some(b"1"),
            sampled: Some(b"0"),
            ..both
        };
        assert_eq!(read(debug).unwrap().sampled, Some(true));
        let refused = B3Headers {
            sampled: Some(b"0"),
            ..B3Headers::default()
        };
        assert_eq!(
            read(refused),
            Some(Incoming {
                ids: None,
                sampled: Some(false)
            })
        );
        assert_eq!(
            read(B3Headers {
                span_id: None,
                ..both
            }),
            None
        );
        assert_eq!(read(B3Headers::default()), None);
    }

    #[test]
    fn the_decision_of_the_caller_wins_over_the_ratio() {
        let all = SampleRatio::new(1.0).unwrap();
        let yes = Incoming::from_traceparent(PARENT.as_bytes());
        let no = Incoming::from_traceparent(PARENT.replace("-01", "-00").as_bytes());
        assert!(TraceContext::of_request(yes, none(), 1, 2).is_sampled);
        assert!(!TraceContext::of_request(no, all, 1, 2).is_sampled);
    }

    #[test]
    fn a_ratio_samples_its_share_of_random_ids() {
        let tenth = SampleRatio::new(0.1).unwrap();
        let step = (1_u128 << RANDOM_BITS) / 1000;
        let sampled = (0..1000).filter(|n| tenth.includes(TraceId::from_bits(n * step + 1)));
        let count = sampled.count();
        assert!((99..=101).contains(&count), "{count}");
        let last = TraceId::from_bits(u128::MAX);
        assert!(!none().includes(last));
        assert!(SampleRatio::new(1.0).unwrap().includes(TraceId::from_bits(0)));
        assert!(SampleRatio::new(1.1).is_none() && SampleRatio::new(f64::NAN).is_none());
    }

    #[test]
    fn an_attempt_is_a_child_of_the_request_in_the_same_trace() {
        let incoming = Incoming::from_traceparent(PARENT.as_bytes());
        let request = TraceContext::of_request(incoming, none(), 1, 0xa);
        assert_eq!(request.parent.map(|id| id.0.get()), Some(SPAN));
        let attempt = request.of_attempt(0xb);
        assert_eq!(attempt.parent, Some(request.span_id));
        assert_eq!(
            text(attempt),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000000b-01"
        );
    }

    #[test]
    fn a_request_without_context_begins_a_random_trace() {
        let request = TraceContext::of_request(None, none(), 0, 0);
        assert_eq!(request.parent, None);
        assert_eq!(text(request), format!("00-{:032x}-{:016x}-02", 1, 1));
    }
}
