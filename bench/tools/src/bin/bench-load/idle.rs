//! Connections that did one request each and then wait: what is measured is the memory that they take elsewhere.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use evenkeel_bench_tools::head;

use crate::options::Options;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the connections one after the other, holds them until stdin ends, and counts those that are still open.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let requests = options.requests();
    let open = |number: usize| open(options, &requests[number % requests.len()]);
    let mut held = (0..options.connections)
        .map(open)
        .collect::<io::Result<Vec<_>>>()?;
    println!("{{\"open\":{}}}", held.len());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    held.retain_mut(|stream| {
        let silent = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0]));
        matches!(silent, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    });
    println!("{{\"open\":{}}}", held.len());
    Ok(())
}

fn open(options: &Options, request: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&options.target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&part[..count]);
        let Some(head) = head::read(&answer) else {
            continue;
        };
        if !(200..300).contains(&head.status()) || head.close {
            return Err(io::Error::other(format!("status {}", head.status())));
        }
        if answer.len() as u64 >= head.length as u64 + head.body {
            return Ok(stream);
        }
    }
}
