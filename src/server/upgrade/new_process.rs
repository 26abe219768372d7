//! The side of the process that takes over.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::super::container::Role;
use super::table::Table;
use super::{READY, SERVE, SERVING, VARIABLE};
use crate::net::{self, Bound, FileIdentity, ListenAddress};

/// Time limit of the old process for one message. If it does not answer, this process serves without it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The listening sockets that this process was started with, and the process that has passed them.
#[derive(Debug, Default)]
pub(in super::super) struct Inherited {
    sockets: Vec<Socket>,
    /// The addresses of those that no listener has taken.
    unused: Vec<String>,
    old: Option<UnixStream>,
    /// To process 1 of the container.
    pipe: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

#[derive(Debug)]
struct Socket {
    address: ListenAddress,
    descriptor: OwnedFd,
    is_owned: bool,
    is_kept_open: bool,
    file: Option<FileIdentity>,
}

impl Inherited {
    /// Takes the sockets of the process that is upgraded, or of the service manager. There are none at a usual start.
    ///
    /// # Errors
    /// No descriptor is free.
    pub(in super::super) fn take() -> io::Result<Self> {
        if std::env::var_os(VARIABLE).is_some()
            && let Some(old) = net::take_standard_input()?
        {
            return Self::receive(old);
        }
        let variable = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        let is_for_us = variable("LISTEN_PID") == Some(std::process::id());
        let count = variable("LISTEN_FDS").filter(|_| is_for_us).unwrap_or(0);
        let descriptors = net::take_activated(count as usize).into_iter();
        let sockets = descriptors.filter_map(|descriptor| {
            let address = net::address_of(&descriptor)?;
            Some(Socket {
                address,
                descriptor,
                is_owned: false,
                is_kept_open: true,
                file: None,
            })
        });
        Ok(Self {
            sockets: sockets.collect(),
            ..Self::default()
        })
    }

    fn receive(old: UnixStream) -> io::Result<Self> {
        old.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        old.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let (text, mut descriptors) = match net::receive_descriptors(&old) {
            Ok(received) => received,
            // The old process has ended: its addresses are free.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let table: Table = serde_json::from_slice(&text)?;
        let stderr = descriptors.pop();
        let pipe = descriptors.pop_if(|_| table.has_pipe);
        let pairs = table.sockets.into_iter().zip(descriptors);
        let sockets = pairs.filter_map(|(entry, descriptor)| {
            Some(Socket {
                address: entry.parsed()?,
                descriptor,
                is_owned: entry.is_owned,
                is_kept_open: entry.is_kept_open,
                file: entry.file,
            })
        });
        Ok(Self {
            sockets: sockets.collect(),
            unused: Vec::new(),
            old: Some(old),
            pipe,
            stderr,
        })
    }

    /// Whether another process is upgraded to this one.
    pub(in super::super) fn is_upgrade(&self) -> bool {
        self.old.is_some()
    }

    /// The pipe to process 1 of the container, if that is Evenkeel too. `None` at the second call.
    pub(in super::super) fn take_pipe(&mut self) -> Option<OwnedFd> {
        self.pipe.take()
    }

    /// The socket that is bound to `address`, if there is one. The file of a Unix socket stays that of the old process until
    /// this one serves.
    pub(in super::super) fn socket(&mut self, address: &ListenAddress) -> Option<io::Result<(Bound, bool)>> {
        let place = self
            .sockets
            .iter()
            .position(|socket| socket.address == *address)?;
        let Socket {
            descriptor,
            is_owned,
            is_kept_open,
            file,
            ..
        } = self.sockets.remove(place);
        if !is_kept_open && net::is_removed(address) {
            tracing::warn!(%address, "The file of a Unix socket is gone, so nobody can connect to it; binding the address anew");
            self.unused.push(address.to_string());
            return None;
        }
        let adopted = net::adopt(descriptor, address, (is_kept_open, file));
        Some(adopted.map(|bound| (bound, is_owned)))
    }

    /// Closes the sockets that no listener has taken.
    pub(in super::super) fn close_unused(&mut self) {
        for Socket { address, .. } in self.sockets.drain(..) {
            tracing::warn!(%address, "Closed a socket that this process was started with: no listener has its address");
            self.unused.push(address.to_string());
        }
    }

    /// Says that everything is built, and waits until this process may serve. Blocks. Returns at once if it replaces none;
    /// if the old process has ended, this one serves too.
    ///
    /// # Errors
    /// The old process lives and does not want this one.
    pub(in super::super) fn ready(&mut self) -> io::Result<()> {
        let Some(old) = &mut self.old else {
            return Ok(());
        };
        let mut answer = [0; 1];
        // Only the end of what can be read says that the process has ended: it may have stopped to read.
        match old.write_all(READY) {
            Err(error) if !is_end(&error) => return Err(error),
            _ => {}
        }
        match old.read_exact(&mut answer) {
            Ok(()) if answer == SERVE => Ok(()),
            Ok(()) => Err(io::Error::other("that process has given the upgrade up")),
            Err(error) if is_end(&error) => {
                self.replace_stderr();
                tracing::warn!("The process that is upgraded has ended before its successor served");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Says that this process accepts, to process 1 of the container too.
    pub(in super::super) fn serving(&mut self, role: &Role) {
        self.replace_stderr();
        if let Some(mut old) = self.old.take() {
            let unused = serde_json::to_vec(&self.unused).unwrap_or_default();
            // It may have ended.
            let _ = old.write_all(&[SERVING, &unused].concat());
        }
        role.serving();
    }

    /// Until now the old process has read the standard error, to know why this one fails.
    fn replace_stderr(&mut self) {
        if let Some(Err(error)) = self.stderr.take().map(net::replace_standard_error) {
            tracing::warn!(%error, "Could not take over the standard error of the process that is upgraded");
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
