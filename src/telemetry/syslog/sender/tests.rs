//! Tests a sender against sockets that are there, away, replaced or full.

use std::path::PathBuf;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// A path of a socket of this test, which is removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-syslog-{}-{name}", std::process::id()));
        drop(std::fs::remove_file(&path));
        Self(path)
    }

    fn bind(&self) -> UnixDatagram {
        let socket = UnixDatagram::bind(&self.0).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    fn sender(&self) -> Sender {
        Sender::new(SyslogServer::Unix(self.0.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn receive(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn bind_udp() -> (UdpSocket, Sender) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (
        socket,
        Sender::new(SyslogServer::Udp("127.0.0.1".to_owned(), port)),
    )
}

#[test]
fn each_line_is_one_datagram_without_its_newline() {
    let place = Place::new("lines");
    let (socket, mut sender) = (place.bind(), place.sender());
    let bytes = b"one\ntwo\n";
    let first = sender.send(bytes).unwrap();
    let second = sender.send(&bytes[first..]).unwrap();
    assert_eq!((first, second), (4, 4));
    assert_eq!(
        (receive(&socket), receive(&socket)),
        ("one".to_owned(), "two".to_owned())
    );
}

#[test]
fn a_socket_that_is_away_is_connected_to_when_it_is_back() {
    let place = Place::new("back");
    let mut sender = place.sender();
    assert_eq!(sender.send(b"a\n").unwrap_err().kind(), ErrorKind::NotFound);
    let socket = place.bind();
    sender.send(b"b\n").unwrap();
    assert_eq!(receive(&socket), "b");
    drop(socket);
    assert_eq!(
        sender.send(b"c\n").unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    std::fs::remove_file(&place.0).unwrap();
    let socket = place.bind();
    sender.send(b"c\n").unwrap();
    assert_eq!(receive(&socket), "c");
    assert_eq!(sender.take_lost(), 0, "a Unix socket reports what it refuses");
}

#[test]
fn a_full_socket_takes_lines_again_once_it_was_read() {
    let place = Place::new("full");
    let (socket, mut sender) = (place.bind(), place.sender());
    let mut sent = 0;
    let error = loop {
        match sender.send(b"line\n") {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1_000_000, "it has no bound");
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert!(sender.descriptor().is_some(), "it is still connected");
    for _ in 0..sent {
        receive(&socket);
    }
    sender.send(b"last\n").unwrap();
    assert_eq!(receive(&socket), "last");
}

#[test]
fn a_line_that_fits_no_datagram_is_lost_and_counted() {
    let (socket, mut sender) = bind_udp();
    let long = [&[b'x'; 70_000][..], b"\nshort\n"].concat();
    let first = sender.send(&long).unwrap();
    assert_eq!(first, 70_001);
    assert_eq!(sender.take_lost(), 1);
    sender.send(&long[first..]).unwrap();
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"short");
    assert_eq!(sender.take_lost(), 0);
}

#[test]
fn datagrams_that_a_closed_port_refused_are_counted() {
    let (socket, mut sender) = bind_udp();
    // A connected socket takes datagrams only from its peer, and keeps the port from other tests.
    socket.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
    let (mut written, mut lost) = (0, 0);
    // The kernel reports a refusal with the datagram after it.
    let begun = clock::now();
    while lost < 3 {
        assert!(clock::now() - begun < DEADLINE, "no refusal is reported");
        written += u64::from(sender.send(b"a\n").is_ok());
        lost += sender.take_lost();
    }
    assert!(written >= lost, "{written} lines were sent, {lost} were lost");
    assert_eq!(
        sender.turn as u64, lost,
        "each time, the next address has its turn"
    );
}

#[test]
fn a_closed_port_never_counts_as_a_server() {
    let (socket, mut sender) = bind_udp();
    socket.connect((Ipv4Addr::LOCALHOST, 9)).unwrap();
    sender.quiet = Duration::from_millis(20);
    let (begun, mut refused) = (clock::now(), 0);
    while refused < 10 {
        assert!(clock::now() - begun < DEADLINE, "no refusal is reported");
        std::thread::sleep(sender.quiet);
        match sender.send(b"a\n") {
            Ok(_) => assert!(
                !sender.is_confirmed(),
                "a datagram that the kernel took says nothing"
            ),
            Err(_) => refused += 1,
        }
    }
    sender.disconnect();
    sender.take_lost();
    // The refusal is known without another line.
    while sender.take_lost() == 0 {
        assert!(clock::now() - begun < DEADLINE, "no refusal is reported");
        sender.send(b"a\n").unwrap();
        std::thread::sleep(sender.quiet);
        sender.disconnect();
    }
}

#[test]
fn a_server_counts_as_present_when_it_has_refused_nothing_for_a_while() {
    let (_socket, mut sender) = bind_udp();
    sender.quiet = Duration::from_millis(20);
    sender.send(b"a\n").unwrap();
    assert!(!sender.is_confirmed(), "its refusal might still come");
    std::thread::sleep(sender.quiet);
    assert!(!sender.is_confirmed(), "no line has asked");
    sender.send(b"b\n").unwrap();
    assert!(sender.is_confirmed());
    sender.disconnect();
    assert!(!sender.is_confirmed(), "another server may be there now");

    let place = Place::new("present");
    let (_server, mut sender) = (place.bind(), place.sender());
    sender.send(b"a\n").unwrap();
    assert!(sender.is_confirmed(), "the line is in its queue");
}

#[test]
fn another_address_of_the_server_has_its_turn() {
    let [one, other]: [SocketAddr; 2] = [
        (Ipv6Addr::LOCALHOST, 514).into(),
        (Ipv4Addr::LOCALHOST, 514).into(),
    ];
    for (turn, expected) in [(0, [one, other]), (1, [other, one]), (2, [one, other])] {
        assert_eq!(in_turn(vec![one, other], turn), expected);
    }
    assert_eq!(in_turn(Vec::new(), 1), []);
}
