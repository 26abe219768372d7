//! Resolves names to addresses with the system's resolver, so that `/etc/hosts`, search domains and other system settings
//! apply.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::lookup_host;
use tokio::sync::Semaphore;

use super::MAX_RESOLVED;

/// Limits concurrent lookups of this process: each blocks a thread until the system's resolver gives up, which takes tens of
/// seconds if a name server does not respond.
static LOOKUPS: Semaphore = Semaphore::const_new(64);

/// Resolves a name or IP literal (IPv6 without brackets) to at least one and at most [`MAX_RESOLVED`] addresses. The families
/// alternate, beginning with the one that the system prefers.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(literal) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, port)]);
    }
    let _permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let addresses = interleave(lookup_host((host, port)).await?.collect());
    if addresses.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(addresses)
}

/// Alternates the families (RFC 8305 §4), so that neither can displace the other; drops duplicates.
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, second): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv6() == is_first_v6);
    let mut second = second.into_iter();
    let mut interleaved = Vec::new();
    let ordered = first.drain(..).flat_map(|address| [Some(address), second.next()]);
    let mut ordered: Vec<_> = ordered.flatten().collect();
    ordered.extend(second);
    for address in ordered {
        if interleaved.len() < MAX_RESOLVED && !interleaved.contains(&address) {
            interleaved.push(address);
        }
    }
    interleaved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn literals_need_no_lookup() {
        assert_eq!(
            resolve("127.0.0.1", 80).await.unwrap(),
            addresses(&["127.0.0.1:80"])
        );
        assert_eq!(resolve("::1", 81).await.unwrap(), addresses(&["[::1]:81"]));
    }

    #[tokio::test]
    async fn localhost_is_loopback() {
        let found = resolve("localhost", 80).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()));
    }

    #[tokio::test]
    async fn a_name_that_cannot_exist_is_an_error() {
        // Reserved by RFC 6761 §6.4; the label is too long for a query to leave the machine at all.
        let name = format!("{}.invalid", "x".repeat(64));
        assert!(resolve(&name, 80).await.is_err());
    }

    #[test]
    fn families_alternate_and_duplicates_are_dropped() {
        let found = addresses(&[
            "[::1]:1",
            "[::2]:1",
            "[::1]:1",
            "1.1.1.1:1",
            "1.1.1.2:1",
            "1.1.1.3:1",
        ]);
        let wanted = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "1.1.1.3:1"];
        assert_eq!(interleave(found), addresses(&wanted));
    }

    /// Otherwise addresses would seem to disappear whenever a name server changes their order.
    #[test]
    fn keeps_more_addresses_than_one_attempt_tries() {
        let found: Vec<_> = (0..20_u16)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .collect();
        assert_eq!(interleave(found.clone()), found);
    }

    #[test]
    fn many_addresses_are_cut_to_the_bound() {
        let found: Vec<_> = (0..500_u16)
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            .collect();
        assert_eq!(interleave(found.clone()), found[..MAX_RESOLVED]);
        assert!(interleave(Vec::new()).is_empty());
    }
}
