//! Responses with the files of a folder as bodies.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::Path;

/// Bytes in a chunk of a response without length.
const CHUNK: usize = 8 << 10;

/// Whole responses by request target.
#[derive(Debug, Default)]
pub(crate) struct Bodies(HashMap<Vec<u8>, Vec<u8>>);

impl Bodies {
    /// Reads all files of a folder. `/bodies/NAME` returns one with its length, `/chunked/NAME` in chunks.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let mut responses = HashMap::new();
        for file in std::fs::read_dir(folder)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let body = std::fs::read(file.path())?;
            responses.insert(format!("/bodies/{name}").into_bytes(), with_length(&name, &body)?);
            responses.insert(format!("/chunked/{name}").into_bytes(), chunked(&name, &body)?);
        }
        Ok(Self(responses))
    }

    /// The response to a request for this target.
    pub(crate) fn response(&self, target: &[u8]) -> Option<&[u8]> {
        self.0.get(target).map(Vec::as_slice)
    }
}

fn with_length(name: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut response = head(name);
    write!(response, "Content-Length: {}\r\n\r\n", body.len())?;
    response.extend_from_slice(body);
    Ok(response)
}

fn chunked(name: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut response = head(name);
    response.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
    for chunk in body.chunks(CHUNK) {
        write!(response, "{:x}\r\n", chunk.len())?;
        response.extend_from_slice(chunk);
        response.extend_from_slice(b"\r\n");
    }
    response.extend_from_slice(b"0\r\n\r\n");
    Ok(response)
}

fn head(name: &str) -> Vec<u8> {
    let kind = match name.rsplit('.').next() {
        Some("json") => "application/json",
        Some("html") => "text/html",
        Some("js") => "application/javascript",
        _ => "text/plain",
    };
    format!("HTTP/1.1 200 OK\r\nServer: b\r\nContent-Type: {kind}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_length_or_ends_with_the_last_chunk() {
        let body = vec![b'x'; CHUNK + 1];
        let response = with_length("a.json", &body).unwrap();
        let head =
            b"HTTP/1.1 200 OK\r\nServer: b\r\nContent-Type: application/json\r\nContent-Length: 8193\r\n\r\n";
        assert_eq!(response, [head.as_slice(), &body].concat());
        let response = chunked("a.js", &body).unwrap();
        assert!(response.ends_with(b"x\r\n1\r\nx\r\n0\r\n\r\n"));
    }
}
