//! What a request asks its backend to do, as the query of its path.

use std::fmt;
use std::time::Duration;

/// How to respond to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behaviour {
    /// Time until the response.
    pub delay: Duration,
    /// Status of the response.
    pub status: u16,
    /// Whether there is no response, ever.
    pub is_hanging: bool,
    /// Bytes of the response's body.
    pub size: usize,
    /// Whether the body is chunked; otherwise it has a `Content-Length`.
    pub is_chunked: bool,
    /// Where the response is cut.
    pub cut: Option<Cut>,
}

/// A cut inside a response. What is sent is never a whole message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The part that is cut.
    pub place: CutPlace,
    /// Where in this part, from 0 to 999.
    pub permille: u64,
    /// How the connection ends.
    pub end: CutEnd,
}

/// A part of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutPlace {
    /// The status line and the headers; nothing at all may be sent.
    Head,
    /// The line with the size of a chunk; in the body where there are no chunks.
    SizeLine,
    /// The body.
    Body,
    /// The last chunk; the last byte of the body where there are no chunks; over HTTP/2, the frame that ends the stream.
    LastChunk,
    /// The head of a frame of HTTP/2. In HTTP/1.1 this and the places below are the body.
    FrameHead,
    /// A frame of HTTP/2 with the rest of the headers (CONTINUATION).
    Continuation,
    /// Any place; over HTTP/2 the stream is reset there, and the connection stays.
    Stream,
    /// Any place; over HTTP/2 the connection ends there, with a GOAWAY.
    Goaway,
}

impl CutPlace {
    /// All of them, with the names that stand in a query.
    const ALL: [(&'static str, Self); 8] = [
        ("head", Self::Head),
        ("size_line", Self::SizeLine),
        ("body", Self::Body),
        ("last_chunk", Self::LastChunk),
        ("frame_head", Self::FrameHead),
        ("continuation", Self::Continuation),
        ("stream", Self::Stream),
        ("goaway", Self::Goaway),
    ];
}

/// How a connection ends after a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutEnd {
    /// It is closed.
    Fin,
    /// It is reset.
    Reset,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            status: 200,
            is_hanging: false,
            size: 1_024,
            is_chunked: false,
            cut: None,
        }
    }
}

impl Behaviour {
    /// Reads what [`fmt::Display`] wrote. Unknown words and what is missing count as the default.
    pub(crate) fn read(query: &str) -> Self {
        let mut behaviour = Self::default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let number = value.parse().unwrap_or_default();
            match key {
                "delay" => behaviour.delay = Duration::from_millis(number),
                "status" => behaviour.status = u16::try_from(number).unwrap_or(200),
                "hang" => behaviour.is_hanging = true,
                "size" => behaviour.size = usize::try_from(number).unwrap_or_default(),
                "chunked" => behaviour.is_chunked = true,
                "cut" => behaviour.cut = cut(value),
                _ => {}
            }
        }
        behaviour
    }
}

fn cut(text: &str) -> Option<Cut> {
    let mut words = text.split('.');
    let name = words.next()?;
    let (_, place) = CutPlace::ALL.into_iter().find(|(known, _)| *known == name)?;
    let permille = words.next()?.parse().ok()?;
    let end = match words.next()? {
        "rst" => CutEnd::Reset,
        _ => CutEnd::Fin,
    };
    Some(Cut { place, permille, end })
}

impl fmt::Display for Behaviour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "size={}", self.size)?;
        if !self.delay.is_zero() {
            write!(formatter, "&delay={}", self.delay.as_millis())?;
        }
        if self.status != 200 {
            write!(formatter, "&status={}", self.status)?;
        }
        if self.is_hanging {
            formatter.write_str("&hang=1")?;
        }
        if self.is_chunked {
            formatter.write_str("&chunked=1")?;
        }
        let Some(Cut { place, permille, end }) = self.cut else {
            return Ok(());
        };
        let place = CutPlace::ALL.into_iter().find(|(_, known)| *known == place);
        let place = place.map_or("", |(name, _)| name);
        let end = match end {
            CutEnd::Fin => "fin",
            CutEnd::Reset => "rst",
        };
        write!(formatter, "&cut={place}.{permille}.{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (_, place) in CutPlace::ALL {
            let cut = Cut {
                place,
                permille: 999,
                end: CutEnd::Reset,
            };
            let all = Behaviour {
                delay: Duration::from_millis(7),
                status: 404,
                is_hanging: true,
                size: 3,
                is_chunked: true,
                cut: Some(cut),
            };
            assert_eq!(Behaviour::read(&all.to_string()), all);
        }
        assert_eq!(
            Behaviour::read(&Behaviour::default().to_string()),
            Behaviour::default()
        );
    }
}
