//! Connections that each sent one request and then stay idle, to measure the memory that they use in the balancer.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;

use evenkeel_bench_tools::head;

use crate::channel::Channel;
use crate::http2;
use crate::options::{Options, Speak};

/// Opens the connections one by one, holds them until stdin ends, and counts those still open. With TLS only the socket
/// is kept, so that 10,000 sessions use no memory here.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let requests = options.requests();
    let open = |number: usize| open(options, &requests[number % requests.len()]);
    let mut held = (0..options.connections)
        .map(open)
        .collect::<io::Result<Vec<_>>>()?;
    println!("{{\"open\":{}}}", held.len());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    held.retain_mut(is_open);
    println!("{{\"open\":{}}}", held.len());
    Ok(())
}

fn open(options: &Options, request: &[u8]) -> io::Result<TcpStream> {
    let mut channel = options.target.connect()?;
    match options.speak {
        Speak::Http1 => request_and_read(&mut channel, request)?,
        Speak::Http2(call) => {
            http2::request_and_read(&mut channel, &options.target.address.to_string(), call)?
        }
    }
    Ok(channel.into_stream())
}

/// Sends an HTTP/1.1 request and reads its response.
fn request_and_read(channel: &mut Channel, mut request: &[u8]) -> io::Result<()> {
    while !request.is_empty() {
        let count = channel.write(request)?;
        request = &request[count..];
    }
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = channel.read(&mut part)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&part[..count]);
        let Some(head) = head::read(&answer) else {
            continue;
        };
        if !(200..300).contains(&head.status()) || head.close {
            return Err(io::Error::other(format!("status {}", head.status())));
        }
        if answer.len() as u64 >= head.length as u64 + head.body {
            return Ok(());
        }
    }
}

/// Reads bytes that arrived meanwhile, such as TLS tickets, to check whether the connection has ended after them.
fn is_open(stream: &mut TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn bytes_received_while_idle_do_not_close_a_connection_but_its_end_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.write_all(b"a ticket").unwrap();
        assert!(is_open(&mut ours));
        drop(theirs);
        ours.set_nonblocking(false).unwrap();
        // Until the end has arrived.
        let _ = ours.peek(&mut [0]);
        assert!(!is_open(&mut ours));
    }
}
