//! Connects to the Unix socket of a backend within a time limit.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix};

use super::{DialError, Socket};
use crate::clock::{sleep, timeout};

/// Pause before another try if the queue is full. The kernel does not report when it has room again.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Connects to the socket at `path` within `bound`. Waits while its queue is full, as TCP does.
///
/// # Errors
/// [`DialError`]; a missing file is one of them.
pub async fn dial_unix(path: &Path, bound: Duration) -> Result<Socket, DialError> {
    let connected = timeout(bound, async {
        loop {
            match connect(path).await {
                Err(error) if is_full(&error) => sleep(RETRY_INTERVAL).await,
                connected => return connected.map_err(DialError::from),
            }
        }
    });
    connected.await.unwrap_or(Err(DialError::TimedOut))
}

async fn connect(path: &Path) -> io::Result<Socket> {
    let address = SocketAddrUnix::new(path)?;
    Socket::connect(AddressFamily::UNIX, &address).await
}

fn is_full(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    const BOUND: Duration = Duration::from_secs(5);

    fn listening(name: &str, backlog: i32) -> (Socket, PathBuf) {
        let path = std::env::temp_dir().join(format!("evenkeel-dial-{name}-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(backlog).unwrap();
        (socket, path)
    }

    #[tokio::test]
    async fn connects_and_names_the_error() {
        let (socket, path) = listening("plain", 8);
        dial_unix(&path, BOUND).await.unwrap();
        drop(socket);
        let refused = dial_unix(&path, BOUND).await;
        assert!(matches!(refused, Err(DialError::Refused(_))), "{refused:?}");
        std::fs::remove_file(&path).unwrap();
        let missing = dial_unix(&path, BOUND).await;
        assert!(matches!(missing, Err(DialError::Io(_))), "{missing:?}");
    }

    #[tokio::test]
    async fn waits_for_a_full_queue_within_the_bound() {
        let (socket, path) = listening("full", 0);
        let first = dial_unix(&path, BOUND).await.unwrap();
        let short = dial_unix(&path, Duration::from_millis(50)).await;
        assert!(matches!(short, Err(DialError::TimedOut)), "{short:?}");
        let waiting = dial_unix(&path, BOUND);
        let accepting = async { drop(socket.accept().unwrap()) };
        let (connected, ()) = tokio::join!(waiting, accepting);
        connected.unwrap();
        drop(first);
        std::fs::remove_file(&path).unwrap();
    }
}
