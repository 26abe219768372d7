//! Servers of tests that run in the background, until the test process ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Serves each connection to a port of its own, on one thread; returns the address.
pub(crate) fn serve<F>(mut connection: impl FnMut(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener
        .set_nonblocking(true)
        .expect("a listener can be made non-blocking");
    let address = listener.local_addr().expect("a listener has an address");
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(stream));
            }
        });
    });
    address
}
