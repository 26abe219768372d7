//! Binds and opens listening sockets, on IP addresses and Unix sockets.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::accept::StdListener;
use super::begin_closing::{begin_closing_tcp, begin_closing_unix};
use super::keepalive::enable_keepalive;

/// Maximum number of connections that the kernel queues until they are accepted. The kernel limits it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// File mode of a Unix socket: its owner and group may connect. This is the only access control of such a listener.
const UNIX_SOCKET_MODE: u32 = 0o660;

/// Longest path of a Unix socket, in bytes: the size of `sun_path` without the terminating zero (unix(7)).
pub const LONGEST_PATH: usize = 107;

/// An address that a listener binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// IP address and port; port 0 selects a free one.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// The IP address and port, unless it is a Unix socket.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl ListenAddress {
    /// Whether both cannot be bound at the same time. Our IPv6 sockets do not accept IPv4 connections.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (Self::Ip(one), Self::Ip(other)) = (self, other) else {
            return self == other;
        };
        let is_one_part = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
        one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && is_one_part
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

/// A bound socket, which refuses connections until [`Bound::listen`].
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    file: Option<UnixSocketFile>,
    /// The address that was asked for: port 0 is not the actual port.
    asked: ListenAddress,
    /// Whether the service manager keeps the socket open for the next start.
    is_kept_open: bool,
}

/// The file of a Unix socket. Dropping it removes the file if this process owns it.
#[derive(Debug)]
struct UnixSocketFile {
    path: PathBuf,
    is_owned: bool,
    /// Another process may have replaced the file by its own. `None` if the file was gone already.
    identity: Option<FileIdentity>,
}

/// Device and inode number of a file.
pub type FileIdentity = (u64, u64);

impl Drop for UnixSocketFile {
    fn drop(&mut self) {
        let is_same = || self.identity.is_some() && identity_of(&self.path) == self.identity;
        if self.is_owned && is_same() {
            // If it cannot be removed, the next start replaces it as stale.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds an address. Port 0 selects a free one; a stale Unix socket, on which no process listens, is replaced.
///
/// # Errors
/// Errors of the system: the address is in use, or we have no permission for it. [`io::ErrorKind::AlreadyExists`] if the path
/// exists and is not a socket.
pub fn bind(address: &ListenAddress) -> io::Result<Bound> {
    match address {
        ListenAddress::Ip(address) => bind_ip(*address, false),
        ListenAddress::Unix(path) => bind_unix(path),
    }
}

/// Binds an address and starts listening, although sockets of this process that are about to be closed may still listen on an
/// overlapping one: `closing`.
///
/// # Errors
/// As [`bind`] and [`Bound::listen`].
pub fn listen_beside<'b>(
    address: &ListenAddress,
    closing: impl Iterator<Item = &'b Bound>,
) -> io::Result<Bound> {
    let overlaps = |bound: &&Bound| bound.address().is_ok_and(|other| other.overlaps(address));
    let closing: Vec<&Bound> = match address {
        ListenAddress::Ip(_) => closing.filter(overlaps).collect(),
        ListenAddress::Unix(_) => Vec::new(),
    };
    // Only for as long as it takes: otherwise a second process could listen on the same address, and each would get a part of
    // the connections.
    let share = |is_shared| {
        let mut sockets = closing.iter();
        sockets.try_for_each(|bound| bound.socket.set_reuse_port(is_shared))
    };
    share(true)?;
    let bound = match address {
        ListenAddress::Ip(address) => bind_ip(*address, !closing.is_empty()),
        ListenAddress::Unix(path) => bind_unix(path),
    };
    let bound = bound.and_then(|bound| bound.listen().map(|()| bound));
    share(false)?;
    let bound = bound?;
    if !closing.is_empty() {
        bound.socket.set_reuse_port(false)?;
    }
    Ok(bound)
}

fn bind_ip(address: SocketAddr, is_port_shared: bool) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // IPv6 sockets accept no IPv4 connections, so that `[::]:80` and `0.0.0.0:80` can both be bound.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process in TIME_WAIT must not prevent the start.
    socket.set_reuse_address(true)?;
    if is_port_shared {
        socket.set_reuse_port(true)?;
    }
    // Accepted connections inherit both options, which saves two system calls for each.
    socket.set_tcp_nodelay(true)?;
    enable_keepalive(&socket)?;
    socket.bind(&address.into())?;
    Ok(Bound {
        socket,
        file: None,
        asked: ListenAddress::Ip(address),
        is_kept_open: false,
    })
}

fn bind_unix(path: &Path) -> io::Result<Bound> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = UnixSocketFile {
        path: path.to_owned(),
        is_owned: true,
        identity: identity_of(path),
    };
    // Nobody can have connected before: until the socket listens, connections are refused whatever the mode.
    fs::set_permissions(path, fs::Permissions::from_mode(UNIX_SOCKET_MODE))?;
    Ok(Bound {
        socket,
        file: Some(file),
        asked: ListenAddress::Unix(path.to_owned()),
        is_kept_open: false,
    })
}

/// Takes over a socket that another process has bound to `address`; `is_kept_open` says whether the service manager keeps it open for
/// the next start, `known` which file it has made, if it has said so. The file of a Unix socket stays that process's until [`Bound::set_owned`].
///
/// # Errors
/// It is no such socket.
pub fn adopt(
    socket: OwnedFd,
    address: &ListenAddress,
    (is_kept_open, known): (bool, Option<FileIdentity>),
) -> io::Result<Bound> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    let file = match address {
        ListenAddress::Ip(_) => {
            socket.set_tcp_nodelay(true)?;
            enable_keepalive(&socket)?;
            None
        }
        ListenAddress::Unix(path) => Some(UnixSocketFile {
            path: path.clone(),
            is_owned: false,
            identity: known.or_else(|| identity_of(path)),
        }),
    };
    Ok(Bound {
        socket,
        file,
        asked: address.clone(),
        is_kept_open,
    })
}

/// The address that a listening socket is bound to; `None` if it is neither an IP address nor a path.
pub fn address_of(socket: &OwnedFd) -> Option<ListenAddress> {
    let address = SockRef::from(socket).local_addr().ok()?;
    let ip = address.as_socket().map(ListenAddress::Ip);
    ip.or_else(|| {
        address
            .as_pathname()
            .map(|path| ListenAddress::Unix(path.to_owned()))
    })
}

/// Removes the Unix socket of a process that has ended.
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
        // A process listens on it; its queue may be full (`WouldBlock`).
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

/// Whether the address is that of a Unix socket without a file.
pub fn is_removed(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Ip(_) => false,
        ListenAddress::Unix(path) => {
            fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        }
    }
}

fn identity_of(path: &Path) -> Option<FileIdentity> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

impl Bound {
    /// The bound address.
    ///
    /// # Errors
    /// Errors of the system.
    pub fn address(&self) -> io::Result<ListenAddress> {
        if let Some(file) = &self.file {
            return Ok(ListenAddress::Unix(file.path.clone()));
        }
        self.ip().map(ListenAddress::Ip)
    }

    /// The bound IP address and port.
    ///
    /// # Errors
    /// Errors of the system; [`io::ErrorKind::Unsupported`] for a Unix socket.
    pub fn ip(&self) -> io::Result<SocketAddr> {
        self.socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// The address that it was asked for, which names it in the config.
    pub fn asked(&self) -> &ListenAddress {
        &self.asked
    }

    /// The file of a Unix socket.
    pub fn file_identity(&self) -> Option<FileIdentity> {
        self.file.as_ref()?.identity
    }

    /// Whether the file of a Unix socket is removed at the end.
    pub fn is_owned(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.is_owned)
    }

    /// Leaves the file of a Unix socket to another process, or takes it over from it.
    pub fn set_owned(&mut self, is_owned: bool) {
        if let Some(file) = &mut self.file {
            file.is_owned = is_owned;
        }
    }

    /// Whether the service manager keeps the socket open for the next start.
    pub fn is_kept_open(&self) -> bool {
        self.is_kept_open
    }

    /// Lets no further connection begin, because all descriptors of the socket are about to be closed: those that have begun can still be
    /// accepted, and none is reset. Where that is not possible, those that begin until then may be reset. A socket that the service
    /// manager keeps open stays as it is, and its clients wait for the next start.
    pub fn begin_closing(&self) {
        let begun = match self.file {
            _ if self.is_kept_open => return,
            Some(_) => begin_closing_unix(&self.socket),
            None => begin_closing_tcp(&self.socket),
        };
        if let Err(error) = begun {
            tracing::debug!(%error, "Clients that connect while a listening socket is closed may be reset");
        }
    }

    /// Duplicates the descriptor for another process.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    /// Starts listening: clients can connect from now on.
    ///
    /// # Errors
    /// Another process has started to listen on the same address.
    pub fn listen(&self) -> io::Result<()> {
        self.socket.listen(BACKLOG)
    }

    /// Duplicates the descriptor for one worker. The duplicate does not remove the file of a Unix socket.
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
    use super::super::keepalive::has_keepalive;
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};
    use std::os::unix::net::UnixListener;

    /// A temporary folder, removed on drop.
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
    fn accepted_connections_have_no_delay_and_keepalive() {
        let bound = bind(&ListenAddress::Ip((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        bound.listen().unwrap();
        let _client = TcpStream::connect(bound.ip().unwrap()).unwrap();
        let StdListener::Tcp(listener) = bound.share().unwrap() else {
            panic!("it has an IP address");
        };
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert!(has_keepalive(&accepted));
    }

    #[test]
    fn a_unix_socket_is_open_to_owner_and_group_and_is_removed_with_its_listener() {
        let folder = Folder::new("mode");
        let (path, address) = folder.address();
        let bound = bind(&address).unwrap();
        assert_eq!(bound.address().unwrap(), address);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(
            UnixStream::connect(&path).is_err(),
            "connections are refused before it listens"
        );
        bound.listen().unwrap();
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn an_address_is_taken_over_from_an_overlapping_one_that_is_closed() {
        let old = bind(&ListenAddress::Ip((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        old.listen().unwrap();
        let old_address = old.ip().unwrap();
        let wide = ListenAddress::Ip((Ipv4Addr::UNSPECIFIED, old_address.port()).into());
        let alone = listen_beside(&wide, std::iter::empty());
        assert_eq!(alone.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let new = listen_beside(&wide, std::iter::once(&old)).unwrap();
        drop(old);
        TcpStream::connect(old_address).unwrap();
        let again = bind(&wide).and_then(|bound| bound.listen());
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(new);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let folder = Folder::new("stale");
        let (path, address) = folder.address();
        let live = UnixListener::bind(&path).unwrap();
        assert_eq!(bind(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(live);
        assert!(path.exists(), "the standard library does not remove it");
        let bound = bind(&address).unwrap();
        bound.listen().unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_not_a_socket_is_kept() {
        let folder = Folder::new("file");
        let (path, address) = folder.address();
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&address).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_unix_socket_that_another_process_has_created_is_kept() {
        let folder = Folder::new("other");
        let (path, address) = folder.address();
        let bound = bind(&address).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(bound);
        UnixStream::connect(&path).unwrap();
    }
}
