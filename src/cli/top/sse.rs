//! Reads server-sent events from the bytes of a stream, as far as the admin API uses them.

/// Bound of one event in bytes. A line of the log has at most a few KiB.
const EVENT_BOUND: usize = 1 << 20;

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerEvent {
    /// Its type.
    pub(super) kind: String,
    /// Its data.
    pub(super) data: String,
}

/// An event was longer than the bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Collects bytes into events.
#[derive(Debug, Default)]
pub(super) struct Parser {
    bytes: Vec<u8>,
}

impl Parser {
    /// Adds received bytes.
    ///
    /// # Errors
    /// Without the end of an event there are too many of them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.bytes.len() + bytes.len() > EVENT_BOUND {
            return Err(TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next complete event; comments are skipped.
    pub(super) fn next(&mut self) -> Option<ServerEvent> {
        loop {
            let end = memchr::memmem::find(&self.bytes, b"\n\n")?;
            let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
            if let Some(event) = event(&String::from_utf8_lossy(&block)) {
                return Some(event);
            }
        }
    }
}

/// The event of a block of lines; `None` if it has no data.
fn event(block: &str) -> Option<ServerEvent> {
    let mut kind = "message";
    let mut data: Option<String> = None;
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => kind = value,
            "data" => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
    Some(ServerEvent {
        kind: kind.to_owned(),
        data: data?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_complete_however_the_bytes_are_split() {
        let stream = ": events of Evenkeel\n\nevent: event\nid: 7\ndata: {\"a\":1}\n\n:\n\nevent: sample\ndata: x\ndata:y\n\nrest";
        for size in [1, 3, 1000] {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for part in stream.as_bytes().chunks(size) {
                parser.push(part).unwrap();
                events.extend(std::iter::from_fn(|| parser.next()));
            }
            let event = |kind: &str, data: &str| ServerEvent {
                kind: kind.to_owned(),
                data: data.to_owned(),
            };
            assert_eq!(
                events,
                [event("event", "{\"a\":1}"), event("sample", "x\ny")],
                "{size}"
            );
        }
    }

    #[test]
    fn an_event_without_an_end_is_bounded() {
        let mut parser = Parser::default();
        let part = [b'x'; 1024];
        let refused = (0..2 * EVENT_BOUND / part.len()).find(|_| parser.push(&part).is_err());
        assert_eq!(refused, Some(EVENT_BOUND / part.len()));
    }
}
