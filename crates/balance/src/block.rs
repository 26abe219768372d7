//! Blocks of addresses (CIDR), as the addresses of clients are compared with them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Reads a block, or an address as the block of it alone; bits behind the prefix are kept.
pub fn parse(text: &str) -> Option<IpNet> {
    let block = text.parse().ok();
    block.or_else(|| text.parse::<IpAddr>().map(IpNet::from).ok())
}

/// The block without bits behind its prefix, and with IPv4 addresses inside IPv6 (RFC 4291 §2.5.5.2) as IPv4, as clients have them.
pub fn canonical(block: IpNet) -> IpNet {
    let IpNet::V6(v6) = block else {
        return block.trunc();
    };
    let address = v6.network().to_ipv4_mapped();
    let mapped = address.zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or_else(|| block.trunc(), IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_what_its_addresses_are() {
        for (written, meant) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            let block = canonical(parse(written).unwrap());
            assert_eq!(block, meant.parse().unwrap(), "{written}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0", "a/8"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
