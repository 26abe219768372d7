//! Listening sockets.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::accept::StdListener;
use super::keepalive::keep_alive;

/// Connections that the kernel keeps until they are accepted; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Who may connect to a socket file: its owner and its group, which is the only trust that such a listener asks for.
const FILE_MODE: u32 = 0o660;

/// Longest path of a socket file, in bytes: `sun_path` less its end (unix(7)).
pub const LONGEST_PATH: usize = 107;

/// Where clients can connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// IP address and port; port 0 takes a free one.
    Ip(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The IP address and port, where it has them.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A socket that has its address but refuses connections until [`Bound::listen`].
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    file: Option<SocketFile>,
}

/// A socket file that this process has made, until it is dropped.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and number of the file: another process may have put its own in the place.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            // One that cannot be removed is found to be stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Takes an address. Port 0 takes a free one; a socket file at which nobody listens is replaced.
///
/// # Errors
/// Those of the system: the address is in use, or not ours to take. [`io::ErrorKind::AlreadyExists`] where a file stands
/// in the place that is no socket.
pub fn bind(address: &ListenAddress) -> io::Result<Bound> {
    match address {
        ListenAddress::Ip(address) => bind_ip(*address),
        ListenAddress::Unix(path) => bind_file(path),
    }
}

fn bind_ip(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // An IPv6 address is no IPv4 address: `[::]:80` and `0.0.0.0:80` can both be listened on.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process that are still dying must not keep this one from starting.
    socket.set_reuse_address(true)?;
    // Accepted connections inherit both, which saves calls for each.
    socket.set_tcp_nodelay(true)?;
    keep_alive(&socket)?;
    socket.bind(&address.into())?;
    Ok(Bound { socket, file: None })
}

fn bind_file(path: &Path) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(&fs::symlink_metadata(path)?),
    };
    // Nobody can have come in before: until it listens, connecting is refused whatever the mode.
    fs::set_permissions(path, fs::Permissions::from_mode(FILE_MODE))?;
    Ok(Bound {
        socket,
        file: Some(file),
    })
}

/// Makes room where a process that is gone has left its socket.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Also one whose queue is full: somebody is there.
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Bound {
    /// The address that it has.
    ///
    /// # Errors
    /// Those of the system.
    pub fn address(&self) -> io::Result<ListenAddress> {
        if let Some(file) = &self.file {
            return Ok(ListenAddress::Unix(file.path.clone()));
        }
        self.ip().map(ListenAddress::Ip)
    }

    /// The IP address and port that it has.
    ///
    /// # Errors
    /// Those of the system; [`io::ErrorKind::Unsupported`] for a socket file.
    pub fn ip(&self) -> io::Result<SocketAddr> {
        self.socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Lets clients in.
    ///
    /// # Errors
    /// Another process took the same address in the meantime.
    pub fn listen(&self) -> io::Result<()> {
        self.socket.listen(BACKLOG)
    }

    /// Another descriptor of the same socket, for one worker. It does not keep a socket file.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn share(&self) -> io::Result<StdListener> {
        let socket = self.socket.try_clone()?;
        Ok(match self.file {
            Some(_) => StdListener::Unix(socket.into()),
            None => StdListener::Tcp(socket.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::keepalive::is_kept_alive;
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};
    use std::os::unix::net::UnixListener;

    /// A folder of its own, gone with its owner.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn address(&self) -> (PathBuf, ListenAddress) {
            let path = self.0.join("socket");
            (path.clone(), ListenAddress::Unix(path))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn accepted_connections_send_small_pieces_at_once_and_are_kept_alive() {
        let bound = bind(&ListenAddress::Ip((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        bound.listen().unwrap();
        let _client = TcpStream::connect(bound.ip().unwrap()).unwrap();
        let StdListener::Tcp(listener) = bound.share().unwrap() else {
            panic!("it has an IP address");
        };
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert!(is_kept_alive(&accepted));
    }

    #[test]
    fn a_socket_file_is_for_owner_and_group_and_goes_with_its_listener() {
        let folder = Folder::new("mode");
        let (path, address) = folder.address();
        let bound = bind(&address).unwrap();
        assert_eq!(bound.address().unwrap(), address);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(
            UnixStream::connect(&path).is_err(),
            "nobody comes in before it listens"
        );
        bound.listen().unwrap();
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let folder = Folder::new("stale");
        let (path, address) = folder.address();
        let live = UnixListener::bind(&path).unwrap();
        assert_eq!(bind(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(path.exists(), "the standard library leaves it");
        let bound = bind(&address).unwrap();
        bound.listen().unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = Folder::new("file");
        let (path, address) = folder.address();
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&address).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_file_that_another_has_put_there_stays() {
        let folder = Folder::new("other");
        let (path, address) = folder.address();
        let bound = bind(&address).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(bound);
        UnixStream::connect(&path).unwrap();
    }
}
