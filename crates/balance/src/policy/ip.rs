//! Allows or denies clients by their address. `deny` wins over `allow`; with `allow`, every other address is denied.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{BuildError, Context, Decision, Notes, Policy, Refusal};
use crate::block::{canonical, parse};
use crate::request::Request;
use crate::schema::{Form, Key, Kind, Params, Value};

const BLOCKS: Kind = Kind::List(&Kind::Text(
    Form::new("an IP address or a CIDR block such as 10.0.0.0/8")
        .matching(r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$")
        .checked(|text| parse(text).is_some()),
));

/// The error codes of its refusals.
pub(super) const CODES: &[(&str, &str)] = &[(
    "ip_denied",
    "the address of the client is denied, or is not allowed (status 403)",
)];

pub(super) const KEYS: &[Key] = &[
    Key::new("allow", BLOCKS, "Addresses that may send requests.")
        .otherwise("every address that `deny` does not list"),
    Key::new(
        "deny",
        BLOCKS,
        "Addresses that may not send requests, even if `allow` lists them.",
    )
    .otherwise("none"),
];

/// The lists as sorted ranges without overlap, so that a lookup is a binary search.
#[derive(Debug)]
struct Ip {
    allow: Option<Ranges>,
    deny: Ranges,
}

pub(super) fn build(context: Context<'_>) -> Result<Box<dyn Policy>, BuildError> {
    let blocks = |key| blocks(context.params, key);
    let has_allow = context.params.get("allow").is_some();
    if !has_allow && blocks("deny").is_empty() {
        return Err(BuildError {
            key: None,
            message: "`ip` requires `allow` or `deny`".to_owned(),
        });
    }
    Ok(Box::new(Ip {
        allow: has_allow.then(|| Ranges::new(blocks("allow"))),
        deny: Ranges::new(blocks("deny")),
    }))
}

fn blocks(params: &Params, key: &str) -> Vec<IpNet> {
    let texts = params.list(key).iter();
    texts
        .filter_map(|value| match value {
            Value::Text(text) => parse(text),
            _ => None,
        })
        .collect()
}

impl Policy for Ip {
    fn check(&self, request: &Request<'_>, _: &mut Notes) -> Decision {
        let allow = self.allow.as_ref();
        let is_allowed = match request.client_ip {
            Some(IpAddr::V4(ip)) => {
                !self.deny.contains_v4(ip) && allow.is_none_or(|allow| allow.contains_v4(ip))
            }
            Some(ip) => {
                let ip = ip.to_canonical();
                !self.deny.contains(ip) && allow.is_none_or(|allow| allow.contains(ip))
            }
            // A client of a Unix socket has no address, so no list can name it.
            None => allow.is_none(),
        };
        match is_allowed {
            true => Decision::Continue,
            false => Decision::Refuse(Refusal::new(403, "ip_denied")),
        }
    }
}

/// Sorted ranges of addresses of both families, without overlap.
#[derive(Debug, Default)]
struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    /// Of long lists, the number of IPv4 ranges that begin before each first octet, so that fewer are searched.
    octets: Option<Box<[u32; OCTETS]>>,
}

/// The first octets of IPv4 addresses, and one more for the end of the last.
const OCTETS: usize = 257;
/// A list with fewer IPv4 ranges is searched as a whole.
const LONG: usize = 16;

impl Ranges {
    fn new(blocks: Vec<IpNet>) -> Self {
        let mut ranges = Self::default();
        for block in blocks {
            match canonical(block) {
                IpNet::V4(block) => ranges.v4.push((block.network().into(), block.broadcast().into())),
                IpNet::V6(block) => ranges.v6.push((block.network().into(), block.broadcast().into())),
            }
        }
        ranges.v4 = merged(ranges.v4);
        ranges.octets = (ranges.v4.len() >= LONG).then(|| Box::new(octets(&ranges.v4)));
        ranges.v6 = merged(ranges.v6);
        ranges
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.contains_v4(ip),
            IpAddr::V6(ip) => is_within(&self.v6, ip.into()),
        }
    }

    #[inline]
    fn contains_v4(&self, ip: Ipv4Addr) -> bool {
        is_within(self.near(ip), ip.into())
    }

    /// The ranges among which one with this address is: those that begin in its first octet, and the one before, which may reach
    /// into it.
    #[inline]
    fn near(&self, ip: Ipv4Addr) -> &[(u32, u32)] {
        let all = &*self.v4;
        let Some(octets) = &self.octets else {
            return all;
        };
        let [first, ..] = ip.octets();
        let first = usize::from(first);
        let bounds = octets.get(first).zip(octets.get(first + 1));
        let near = bounds.and_then(|(from, to)| all.get(from.saturating_sub(1) as usize..*to as usize));
        near.unwrap_or(all)
    }
}

fn octets(ranges: &[(u32, u32)]) -> [u32; OCTETS] {
    let mut octets = [0; OCTETS];
    for (octet, before) in octets.iter_mut().enumerate() {
        let start = (octet as u64) << 24;
        *before = ranges.partition_point(|(from, _)| u64::from(*from) < start) as u32;
    }
    octets
}

fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

fn is_within<T: Copy + Ord>(ranges: &[(T, T)], ip: T) -> bool {
    let after = ranges.partition_point(|(from, _)| *from <= ip);
    let last = after.checked_sub(1).and_then(|index| ranges.get(index));
    last.is_some_and(|(_, to)| ip <= *to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Kept;
    use crate::request::tests::{head, request};

    fn policy(allow: Option<&[&str]>, deny: &[&str]) -> Result<Box<dyn Policy>, BuildError> {
        let list =
            |texts: &[&str]| Value::List(texts.iter().map(|text| Value::Text((*text).to_owned())).collect());
        let mut params = Params::default();
        if let Some(allow) = allow {
            params.set("allow", list(allow));
        }
        params.set("deny", list(deny));
        build(Context {
            name: "office",
            params: &params,
            kept: &mut Kept::default().next(),
        })
    }

    fn is_allowed(policy: &dyn Policy, ip: Option<&str>) -> bool {
        let head = head("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let request = Request {
            client_ip: ip.map(|ip| ip.parse().unwrap()),
            ..request(&head)
        };
        match policy.check(&request, &mut Notes::default()) {
            Decision::Continue => true,
            Decision::Refuse(refusal) => {
                assert_eq!((refusal.status, refusal.code), (403, "ip_denied"));
                false
            }
            Decision::Wait(job) => panic!("{job:?}"),
        }
    }

    #[test]
    fn deny_wins_over_allow() {
        let policy = policy(Some(&["10.0.0.0/8", "::1", "2001:db8::/32"]), &["10.6.6.0/24"]).unwrap();
        for (ip, expected) in [
            ("10.0.0.1", true),
            ("10.255.255.255", true),
            ("10.6.5.255", true),
            ("10.6.6.0", false),
            ("10.6.6.255", false),
            ("10.6.7.0", true),
            ("11.0.0.0", false),
            ("::1", true),
            ("::2", false),
            ("2001:db8:ffff::1", true),
            ("::ffff:10.1.2.3", true),
        ] {
            assert_eq!(is_allowed(&*policy, Some(ip)), expected, "{ip}");
        }
        assert!(!is_allowed(&*policy, None));
    }

    #[test]
    fn a_long_list_says_the_same_as_each_of_its_blocks() {
        let mut blocks: Vec<(u32, u32)> = (0..40)
            .map(|index: u32| (index * 0x0611_2233, index * 0x0611_2233 + 0xFFFF))
            .collect();
        // One that covers several first octets, and both ends.
        blocks.extend([(0x7A80_0000, 0x7D80_0000), (0, 0), (u32::MAX, u32::MAX)]);
        let v4 = merged(blocks);
        let ranges = Ranges {
            octets: Some(Box::new(octets(&v4))),
            v4: v4.clone(),
            v6: Vec::new(),
        };
        let edges = v4.iter().flat_map(|&(from, to)| {
            [
                from.saturating_sub(1),
                from,
                from + (to - from) / 2,
                to,
                to.saturating_add(1),
            ]
        });
        let octets = (0..256).flat_map(|octet: u32| [octet << 24, (octet << 24) | 0x00FF_FFFF]);
        for ip in edges.chain(octets) {
            let expected = v4.iter().any(|(from, to)| (*from..=*to).contains(&ip));
            assert_eq!(ranges.contains(Ipv4Addr::from(ip).into()), expected, "{ip:x}");
        }
    }

    #[test]
    fn without_allow_everybody_else_is_allowed() {
        let policy = policy(None, &["10.0.0.0/8", "10.1.0.0/16", "9.0.0.0/8"]).unwrap();
        assert!(is_allowed(&*policy, Some("11.0.0.0")) && is_allowed(&*policy, None));
        assert!(!is_allowed(&*policy, Some("10.200.0.1")) && !is_allowed(&*policy, Some("9.9.9.9")));
    }

    /// A client has one address, whether the kernel or a proxy names it as IPv4 or as IPv4 inside IPv6.
    #[test]
    fn a_block_of_ipv4_addresses_inside_ipv6_is_one_of_ipv4() {
        let policy = policy(
            None,
            &["::ffff:10.1.2.3", "::ffff:192.168.0.0/112", "2001:db8::/32"],
        )
        .unwrap();
        for (ip, expected) in [
            ("10.1.2.3", false),
            ("::ffff:10.1.2.3", false),
            ("10.1.2.4", true),
            ("192.168.255.255", false),
            ("192.169.0.0", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_allowed(&*policy, Some(ip)), expected, "{ip}");
        }
    }

    #[test]
    fn an_empty_allow_list_allows_nobody() {
        assert!(!is_allowed(&*policy(Some(&[]), &[]).unwrap(), Some("1.1.1.1")));
    }

    #[test]
    fn one_of_the_lists_is_required() {
        assert!(policy(None, &[]).is_err());
    }
}
