//! Descriptors that another process has passed to this one: over a Unix socket (`SCM_RIGHTS`, unix(7)), or by starting it with
//! them (`LISTEN_FDS`, sd_listen_fds(3)).

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Descriptors in one message; the kernel takes up to 253.
const BATCH: usize = 64;
/// Most descriptors that a process takes from another.
const MOST: usize = 4096;
/// Most bytes of the text that comes with them.
const TEXT_BOUND: u32 = 4 << 20;
/// The first descriptor of `LISTEN_FDS`.
const FIRST_ACTIVATED: i32 = 3;

/// Sends a text and descriptors; [`receive_descriptors`] receives both.
///
/// # Errors
/// The other process has ended, or does not read in the time limit of the socket.
pub fn send_descriptors(socket: &UnixStream, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let count = u32::try_from(descriptors.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut writer = socket;
    writer.write_all(&[&length.to_be_bytes()[..], &count.to_be_bytes(), text].concat())?;
    for batch in descriptors.chunks(BATCH) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(batch));
        rustix::net::sendmsg(socket, &[IoSlice::new(b"+")], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Receives what [`send_descriptors`] has sent. No child of this process inherits the descriptors.
///
/// # Errors
/// The other process has ended, sends something else, or no descriptor is free.
pub fn receive_descriptors(socket: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut length, mut count) = ([0; 4], [0; 4]);
    let mut reader = socket;
    reader.read_exact(&mut length)?;
    reader.read_exact(&mut count)?;
    let (length, count) = (u32::from_be_bytes(length), u32::from_be_bytes(count) as usize);
    if length > TEXT_BOUND || count > MOST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length as usize];
    reader.read_exact(&mut text)?;
    let mut descriptors = Vec::new();
    while descriptors.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let received = rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let before = descriptors.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptors.extend(passed);
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The kernel drops descriptors that the process has no room for.
        if descriptors.len() - before < BATCH.min(count - before) {
            return Err(rustix::io::Errno::MFILE.into());
        }
    }
    Ok((text, descriptors))
}

/// Takes the Unix socket that this process was started with as its standard input, which becomes empty. `None` if it is
/// another kind of file.
///
/// # Errors
/// No descriptor is free.
pub fn take_standard_input() -> io::Result<Option<UnixStream>> {
    let stdin = io::stdin();
    let is_unix = rustix::net::getsockname(stdin.as_fd())
        .is_ok_and(|address| address.address_family() == AddressFamily::UNIX);
    if !is_unix {
        return Ok(None);
    }
    let socket = stdin.as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(Some(socket.into()))
}

/// Makes this the standard error of the process.
///
/// # Errors
/// Errors of the system.
pub fn replace_standard_error(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(file)?)
}

/// Takes the listening sockets that this process was started with: `count` descriptors from number 3 on. The second call
/// returns none.
pub fn take_activated(count: usize) -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let numbers = (FIRST_ACTIVATED..).take(count.min(MOST));
    let is_socket = |number: &i32| {
        #[allow(unsafe_code, reason = "a descriptor by its number has no safe function")]
        // SAFETY: it is borrowed for the next call only, which fails if the number is not open.
        let borrowed = unsafe { BorrowedFd::borrow_raw(*number) };
        rustix::net::getsockname(borrowed).is_ok()
    };
    let owned = numbers.filter(is_socket).map(|number| {
        #[allow(unsafe_code, reason = "a descriptor by its number has no safe function")]
        // SAFETY: it is open, the starter of the process has given it to us, and no other code takes it: this runs once.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        // A child would keep the port open.
        let _ = rustix::io::fcntl_setfd(&descriptor, FdFlags::CLOEXEC);
        descriptor
    });
    owned.collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_text_and_more_descriptors_than_one_message_holds_arrive_in_order() {
        let (from, to) = UnixStream::pair().unwrap();
        let sockets: Vec<_> = (0..BATCH + 3)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let borrowed: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        send_descriptors(&from, b"text", &borrowed).unwrap();
        let (text, received) = receive_descriptors(&to).unwrap();
        assert_eq!(text, b"text");
        let ports = received
            .into_iter()
            .map(|socket| TcpListener::from(socket).local_addr().unwrap());
        let sent = sockets.iter().map(|socket| socket.local_addr().unwrap());
        assert_eq!(ports.collect::<Vec<_>>(), sent.collect::<Vec<_>>());
    }

    #[test]
    fn a_sender_that_ends_or_sends_something_else_is_an_error() {
        let (from, to) = UnixStream::pair().unwrap();
        drop(from);
        let error = receive_descriptors(&to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let (mut from, to) = UnixStream::pair().unwrap();
        from.write_all(&[0xff; 8]).unwrap();
        let error = receive_descriptors(&to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
