//! Ports for balancers that do not say which one they got, and for those that are to listen there again.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::{Error, Result};

/// Ports below those that the kernel gives to clients by default, from 32,768 on.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;

/// The same as [`free_addresses`] for one.
pub(super) fn free_address() -> Result<SocketAddr> {
    free_addresses().map(|[address]| address)
}

/// Addresses whose ports are free now, each another one. They are none that the kernel gives to clients, which could have taken
/// one of them when the balancer is to listen there again.
pub fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap_or_default();
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut addresses {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            if number > PORTS {
                return Err(Error::new("cannot find a free port"));
            }
            address.set_port(FIRST_PORT + own.wrapping_add(number) % PORTS);
            if TcpListener::bind(*address).is_ok() {
                break;
            }
        }
    }
    Ok(addresses)
}
