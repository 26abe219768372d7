//! Recognises a server that expects TLS by what it sends to a client that does not use it. For error messages only: nothing is
//! decided by it.

/// What servers write in a response with status 400 to plain HTTP on their TLS port: nginx, Apache httpd, and servers in Go.
const PHRASES: [&[u8]; 3] = [
    b"plain HTTP request was sent to HTTPS port",
    b"speaking plain HTTP to an SSL-enabled server port",
    b"Client sent an HTTP request to an HTTPS server",
];

/// Whether the first bytes from a server are a TLS alert (RFC 8446 §5.1, §6): a record of its type, with a version of TLS and two
/// bytes of content, the first of which is a level.
pub fn is_tls_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [0x15, 3, 0..=4, 0, 2, 1 | 2, ..])
}

/// Whether a response with status 400 says that the server expects TLS. `bytes` is what has come of it.
pub fn expects_tls(bytes: &[u8]) -> bool {
    PHRASES
        .iter()
        .any(|phrase| memchr::memmem::find(bytes, phrase).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_alert_is_one() {
        assert!(is_tls_alert(&[0x15, 3, 3, 0, 2, 2, 0x32]));
        assert!(is_tls_alert(&[0x15, 3, 1, 0, 2, 2, 70]));
        for other in [
            &b""[..],
            &[0x15],
            &[0x15, 3, 3, 0, 2],
            &[0x16, 3, 3, 0, 2, 2, 0x32],
            &[0x15, 2, 0, 0, 2, 2, 0x32],
            &[0x15, 3, 3, 0, 9, 2, 0x32],
            &[0x15, 3, 3, 0, 2, 3, 0x32],
            b"HTTP/1.1 400 Bad Request\r\n",
        ] {
            assert!(!is_tls_alert(other), "{other:?}");
        }
    }

    #[test]
    fn the_words_of_known_servers_are_recognised() {
        assert!(expects_tls(
            b"\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
        ));
        assert!(expects_tls(
            b"<title>400 The plain HTTP request was sent to HTTPS port</title>"
        ));
        assert!(!expects_tls(b"HTTP/1.1 400 Bad Request\r\n\r\nHTTPS"));
    }
}
