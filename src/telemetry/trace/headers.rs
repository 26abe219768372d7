//! The headers by which the context of a trace travels: which of them a request has, and what they say together.

use super::context::{B3Headers, Incoming};

/// The headers of W3C Trace Context.
const TRACEPARENT: &[u8] = b"traceparent";
const TRACESTATE: &[u8] = b"tracestate";

/// The headers of B3.
const B3: &[u8] = b"b3";
const B3_TRACE_ID: &[u8] = b"x-b3-traceid";
const B3_SPAN_ID: &[u8] = b"x-b3-spanid";
const B3_PARENT: &[u8] = b"x-b3-parentspanid";
const B3_SAMPLED: &[u8] = b"x-b3-sampled";
const B3_FLAGS: &[u8] = b"x-b3-flags";

/// Length of the longest of these names.
const LONGEST: usize = B3_PARENT.len();

/// What a request has of these headers. A header that comes twice is ignored, because senders and receivers may take different ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceHeaders<'a> {
    traceparent: Value<'a>,
    b3: Value<'a>,
    trace_id: Value<'a>,
    span_id: Value<'a>,
    sampled: Value<'a>,
    flags: Value<'a>,
}

/// The forms in which a context came beside `traceparent`, in which it is also sent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Formats {
    /// The `b3` header.
    pub has_b3: bool,
    /// The `X-B3-*` headers.
    pub has_b3_headers: bool,
}

#[derive(Debug, Clone, Copy, Default)]
enum Value<'a> {
    #[default]
    Absent,
    One(&'a [u8]),
    Several,
}

impl<'a> Value<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Self::Absent => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    fn get(self) -> Option<&'a [u8]> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Several => None,
        }
    }

    fn is_there(self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl<'a> TraceHeaders<'a> {
    /// Takes down a header of the request, if it is one of these.
    pub fn add(&mut self, name: &[u8], value: &'a [u8]) {
        if name.len() > LONGEST {
            return;
        }
        let slots = [
            (TRACEPARENT, &mut self.traceparent),
            (B3, &mut self.b3),
            (B3_TRACE_ID, &mut self.trace_id),
            (B3_SPAN_ID, &mut self.span_id),
            (B3_SAMPLED, &mut self.sampled),
            (B3_FLAGS, &mut self.flags),
        ];
        for (known, slot) in slots {
            if name.eq_ignore_ascii_case(known) {
                slot.add(value);
            }
        }
    }

    /// What a valid `traceparent` says.
    pub fn w3c(&self) -> Option<Incoming> {
        self.traceparent.get().and_then(Incoming::from_traceparent)
    }

    /// What valid B3 headers say.
    pub fn b3(&self) -> Option<Incoming> {
        let one = self.b3.get().and_then(Incoming::from_b3);
        let several = B3Headers {
            trace_id: self.trace_id.get(),
            span_id: self.span_id.get(),
            sampled: self.sampled.get(),
            flags: self.flags.get(),
        };
        one.or_else(|| Incoming::from_b3_headers(several))
    }

    /// The forms that the request has beside `traceparent`.
    pub fn formats(&self) -> Formats {
        let headers = [self.trace_id, self.span_id, self.sampled, self.flags];
        Formats {
            has_b3: self.b3.is_there(),
            has_b3_headers: headers.iter().any(|header| header.is_there()),
        }
    }

    /// Whether this header of a request is replaced by our own context.
    pub fn is_replaced(name: &[u8]) -> bool {
        let names = [
            TRACEPARENT,
            B3,
            B3_TRACE_ID,
            B3_SPAN_ID,
            B3_PARENT,
            B3_SAMPLED,
            B3_FLAGS,
        ];
        name.len() <= LONGEST && names.iter().any(|known| name.eq_ignore_ascii_case(known))
    }

    /// Whether this is the header with what vendors add to a context: it belongs to the `traceparent` beside it.
    pub fn is_state(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(TRACESTATE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::context::{SampleRatio, TraceContext};
    use super::*;

    const NAMES: [&str; 6] = [
        "traceparent",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-sampled",
        "x-b3-flags",
    ];

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const SINGLE: &[u8] = b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0";

    fn headers<'a>(of: &[(&str, &'a [u8])]) -> TraceHeaders<'a> {
        let mut headers = TraceHeaders::default();
        for (name, value) in of {
            headers.add(name.as_bytes(), value);
        }
        headers
    }

    #[test]
    fn names_are_compared_without_case() {
        let found = headers(&[("TraceParent", PARENT), ("B3", SINGLE)]);
        assert_eq!(found.w3c(), Incoming::from_traceparent(PARENT));
        assert_eq!(found.b3(), Incoming::from_b3(SINGLE));
        assert!(found.formats().has_b3 && !found.formats().has_b3_headers);
    }

    #[test]
    fn a_header_that_comes_twice_is_ignored() {
        let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_eq!(twice.w3c(), None);
        let twice = headers(&[("b3", b"0"), ("b3", b"1")]);
        assert_eq!(twice.b3(), None);
        assert!(twice.formats().has_b3, "it is replaced all the same");
    }

    #[test]
    fn several_b3_headers_are_read_where_the_single_one_is_absent() {
        let found = headers(&[
            ("X-B3-TraceId", b"80f198ee56343ba864fe8b2a57d3eff7"),
            ("X-B3-SpanId", b"e457b5a2e4d86bd1"),
            ("X-B3-Sampled", b"0"),
        ]);
        assert_eq!(found.b3(), Incoming::from_b3(SINGLE));
        assert!(found.formats().has_b3_headers && !found.formats().has_b3);
    }

    #[test]
    fn replaced_headers_are_those_of_a_context_and_no_others() {
        for name in [
            "traceparent",
            "TRACEPARENT",
            "b3",
            "X-B3-ParentSpanId",
            "x-b3-flags",
        ] {
            assert!(TraceHeaders::is_replaced(name.as_bytes()), "{name}");
        }
        for name in ["tracestate", "x-b3", "b33", "baggage", "x-b3-parentspanid2"] {
            assert!(!TraceHeaders::is_replaced(name.as_bytes()), "{name}");
        }
        assert!(TraceHeaders::is_state(b"TraceState"));
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_client_are_passed_on(
            name in proptest::sample::select(&NAMES[..]),
            value in proptest::collection::vec(any::<u8>(), 0..80),
            near in "(00|01|ff)-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]{0,9})?",
        ) {
            for value in [&value[..], near.as_bytes()] {
                let found = headers(&[(name, value)]);
                let incoming = found.w3c().or_else(|| found.b3());
                let context = TraceContext::of_request(incoming, SampleRatio::default(), 1, 2);
                let written = context.traceparent();
                let read = Incoming::from_traceparent(&written).unwrap();
                prop_assert_eq!(read.ids.map(|ids| ids.trace_id), Some(context.trace_id));
            }
        }
    }
}
