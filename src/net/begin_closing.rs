//! Begins to close a listening socket so that no client is reset. The kernel resets every connection that nobody has accepted when
//! the socket is closed, and nobody can accept and close in one step: a connection that is established in between is lost. So no
//! new one may begin first, while those that have begun still can be accepted.
//!
//! On a TCP socket a filter drops every SYN. The kernel shows a listening socket's filter the packets from the TCP header on, and asks
//! it about the packets of handshakes in progress too. A client whose SYN is dropped sends it again after a second, and is refused then.

use std::io;
use std::net::Shutdown;

use socket2::Socket;

/// Lets no further TCP connection begin. Handshakes that have begun go on, and connections that wait are accepted as usual. Accepted
/// connections inherit the filter, which none of their segments matches.
///
/// # Errors
/// The system has no such filters, or does not allow them. Nothing has changed then.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn begin_closing_tcp(socket: &Socket) -> io::Result<()> {
    socket.attach_filter(&filter::DROP_SYNS)
}

/// As on Linux.
///
/// # Errors
/// Always.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn begin_closing_tcp(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lets no further connection to a Unix socket begin: clients are refused at once. Connections that wait are accepted as usual.
///
/// # Errors
/// Errors of the system.
pub(super) fn begin_closing_unix(socket: &Socket) -> io::Result<()> {
    socket.shutdown(Shutdown::Read)
}

/// The filter, in the kernel's classic BPF.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod filter {
    use socket2::SockFilter;

    /// `BPF_LD | BPF_B | BPF_ABS`: loads a byte.
    const LOAD_BYTE: u16 = 0x30;
    /// `BPF_ALU | BPF_AND | BPF_K`.
    const AND: u16 = 0x54;
    /// `BPF_JMP | BPF_JEQ | BPF_K`: skips as many instructions as its second operand says if it is not equal.
    const SKIP_UNLESS_EQUAL: u16 = 0x15;
    /// `BPF_RET | BPF_K`: takes as many bytes of the packet; 0 drops it.
    const TAKE: u16 = 0x06;
    /// Where the flags stand in the TCP header (RFC 9293 §3.1).
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;

    /// Drops packets with SYN and without ACK.
    pub(super) const DROP_SYNS: [SockFilter; 5] = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(SKIP_UNLESS_EQUAL, 0, 1, SYN),
        SockFilter::new(TAKE, 0, 0, 0),
        SockFilter::new(TAKE, 0, 0, u32::MAX),
    ];

    /// Drops everything.
    #[cfg(test)]
    pub(super) const DROP_ALL: [SockFilter; 1] = [SockFilter::new(TAKE, 0, 0, 0)];
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;

    use socket2::{Domain, SockRef, Type};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);
    /// Less than the time after which a client sends its SYN again.
    const SOON: Duration = Duration::from_millis(300);

    fn listening(address: SocketAddr) -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(16).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    #[test]
    fn no_connection_begins_and_those_that_wait_are_accepted() {
        let addresses: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
        for address in addresses {
            let (socket, address) = listening(address);
            let waits = TcpStream::connect(address).unwrap();
            begin_closing_tcp(&socket).unwrap();
            let late = TcpStream::connect_timeout(&address, SOON);
            assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
            let (accepted, _) = socket.accept().unwrap();
            accepted.send(b"x").unwrap();
            let client = SockRef::from(&waits);
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            assert_eq!(client.recv(&mut [std::mem::MaybeUninit::uninit(); 1]).unwrap(), 1);
        }
    }

    #[test]
    fn a_handshake_that_has_begun_ends_and_is_accepted() {
        let (socket, address) = listening((Ipv4Addr::LOCALHOST, 0).into());
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        // The client does not see our SYN-ACK, which is sent again after a second.
        client.attach_filter(&filter::DROP_ALL).unwrap();
        client.connect(&address.into()).unwrap_err();
        begin_closing_tcp(&socket).unwrap();
        client.detach_filter().unwrap();
        let (_accepted, peer) = socket.accept().unwrap();
        assert_eq!(peer.as_socket(), client.local_addr().unwrap().as_socket());
    }

    #[test]
    fn a_client_whose_connection_did_not_begin_is_refused_later() {
        let (socket, address) = listening((Ipv4Addr::LOCALHOST, 0).into());
        begin_closing_tcp(&socket).unwrap();
        let client = std::thread::spawn(move || TcpStream::connect_timeout(&address, DEADLINE));
        std::thread::sleep(SOON);
        drop(socket);
        let refused = client.join().unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn connections_to_a_unix_socket_that_wait_are_accepted_and_others_are_refused() {
        let path = std::env::temp_dir().join(format!("evenkeel-closing-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let _waits = UnixStream::connect(&path).unwrap();
        let socket = Socket::from(listener);
        begin_closing_unix(&socket).unwrap();
        let late = UnixStream::connect(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(late.kind(), ErrorKind::ConnectionRefused);
        socket.accept().unwrap();
        assert_eq!(socket.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
