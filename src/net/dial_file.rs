//! One attempt to connect to a socket file within this machine.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix};
use tokio::time::{sleep, timeout};

use super::{DialError, Socket};

/// The kernel does not tell when a full queue has room again: it is asked this often.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// Connects to whoever listens at `path`, within `bound`. A queue that is full is waited for, as TCP does.
///
/// # Errors
/// [`DialError`]; a missing file is one of them.
pub async fn dial_file(path: &Path, bound: Duration) -> Result<Socket, DialError> {
    let connected = timeout(bound, async {
        loop {
            match connect(path).await {
                Err(error) if is_full(&error) => sleep(ASK_AGAIN).await,
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
    async fn connects_and_says_what_is_wrong() {
        let (socket, path) = listening("plain", 8);
        dial_file(&path, BOUND).await.unwrap();
        drop(socket);
        let refused = dial_file(&path, BOUND).await;
        assert!(matches!(refused, Err(DialError::Refused(_))), "{refused:?}");
        std::fs::remove_file(&path).unwrap();
        let missing = dial_file(&path, BOUND).await;
        assert!(matches!(missing, Err(DialError::Io(_))), "{missing:?}");
    }

    #[tokio::test]
    async fn a_full_queue_is_waited_for_within_the_bound() {
        let (socket, path) = listening("full", 0);
        let first = dial_file(&path, BOUND).await.unwrap();
        let short = dial_file(&path, Duration::from_millis(50)).await;
        assert!(matches!(short, Err(DialError::TimedOut)), "{short:?}");
        let waiting = dial_file(&path, BOUND);
        let accepting = async { drop(socket.accept().unwrap()) };
        let (connected, ()) = tokio::join!(waiting, accepting);
        connected.unwrap();
        drop(first);
        std::fs::remove_file(&path).unwrap();
    }
}
