//! Which addresses are public, and what the others are.
//!
//! IPv4 by the registry of special-purpose addresses (RFC 6890); IPv6 the other
//! way round: only global unicast is public, and of that not what is set apart or
//! what carries an IPv4 address inside, unless that one is public itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is that is not public: words after "which is". None for a
/// public one.
pub(crate) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

/// An IPv4 address that is written as an IPv6 one is what it is.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

const METADATA: &str = "the address of a cloud's metadata service";
const LOOPBACK: &str = "a loopback address";
const PRIVATE: &str = "a private address";
const LINK_LOCAL: &str = "a link-local address";
const MULTICAST: &str = "a multicast address";
const DOCUMENTATION: &str = "an address for documentation";
const BENCHMARK: &str = "an address for benchmarks";
const TUNNEL: &str = "an address of a tunnel";
const RESERVED: &str = "a reserved address";

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        // EC2 and most others; Azure's host, whose address looks public; Oracle's.
        [169, 254, 169, 254] | [168, 63, 129, 16] | [192, 0, 0, 192] | [100, 100, 100, 200] => METADATA,
        [0, ..] => "an address of no host",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => PRIVATE,
        [100, 64..=127, ..] => "an address that a provider shares among its customers",
        [127, ..] => LOOPBACK,
        [169, 254, ..] => LINK_LOCAL,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => DOCUMENTATION,
        [192, 88, 99, _] => TUNNEL,
        [198, 18 | 19, ..] => BENCHMARK,
        [224..=239, ..] => MULTICAST,
        [255, 255, 255, 255] => "the broadcast address",
        [192, 0, 0, _] | [240..=255, ..] => RESERVED,
        _ => return None,
    })
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let embedded =
        |high: u16, low: u16| special_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    Some(match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an address of no host",
        [0, 0, 0, 0, 0, 0, 0, 1] => LOOPBACK,
        // IPv4-mapped (RFC 4291), and NAT64's well-known prefix (RFC 6052), through
        // which a network without IPv4 reaches public hosts.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            return embedded(high, low);
        }
        [0x64, 0xff9b, 1, ..] => PRIVATE,
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => METADATA,
        [0xfc00..=0xfdff, ..] => PRIVATE,
        [0xfe80..=0xfebf, ..] => LINK_LOCAL,
        [0xfec0..=0xfeff, ..] => PRIVATE,
        [0xff00..=0xffff, ..] => MULTICAST,
        // Teredo and 6to4 carry packets to whichever IPv4 address is inside.
        [0x2001, 0, ..] | [0x2002, ..] => TUNNEL,
        [0x2001, 2, 0, ..] => BENCHMARK,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => DOCUMENTATION,
        [0x2001, 0..=0x01ff, ..] => RESERVED,
        [0x2000..=0x3fff, ..] => return None,
        _ => RESERVED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last address of each range, and what lies just outside.
    #[test]
    fn every_special_range_is_known() {
        for (addresses, words) in [
            ("0.0.0.0 0.255.255.255 ::", "no host"),
            ("10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255", PRIVATE),
            ("100.64.0.0 100.127.255.255", "a provider shares"),
            ("127.0.0.1 127.255.255.255 ::1", LOOPBACK),
            ("169.254.0.0 169.254.255.255 fe80::1 febf:ffff::1", LINK_LOCAL),
            ("169.254.169.254 168.63.129.16 192.0.0.192 100.100.100.200 fd00:ec2::254", METADATA),
            (
                "192.0.2.0 192.0.2.255 198.51.100.7 203.0.113.255 2001:db8::1 3fff::1 3fff:fff::1",
                DOCUMENTATION,
            ),
            ("198.18.0.0 198.19.255.255 2001:2::1", BENCHMARK),
            ("224.0.0.1 239.255.255.255 ff02::1 ffff::1", MULTICAST),
            ("255.255.255.255", "broadcast"),
            ("192.0.0.1 240.0.0.0 255.255.255.254 ::2 1::1 4000::1 5f00::1 2001:1::1 100::1", RESERVED),
            ("fc00::1 fdff::1 fec0::1 feff::1 64:ff9b:1::a00:1", PRIVATE),
            ("192.88.99.1 2001::1 2002:a00:1:: 2002:808:808::1", TUNNEL),
            // What is inside counts.
            ("::ffff:127.0.0.1 64:ff9b::127.0.0.1", LOOPBACK),
            ("::ffff:10.1.2.3 ::ffff:192.168.1.1 64:ff9b::10.0.0.1", PRIVATE),
            ("::ffff:169.254.169.254 64:ff9b::169.254.169.254", METADATA),
            ("::10.0.0.1 ::127.0.0.1", RESERVED),
        ] {
            for address in addresses.split(' ') {
                let said = special(address.parse().unwrap());
                assert!(said.is_some_and(|said| said.contains(words)), "{address}: {said:?} / {words}");
            }
        }
    }

    #[test]
    fn public_addresses_are_public() {
        for address in "1.0.0.0 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
                        169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 \
                        192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 2606:4700::1111 2001:4860:4860::8888 \
                        2001:200::1 2a00::1 3ffe::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8"
            .split_whitespace()
        {
            assert_eq!(special(address.parse().unwrap()), None, "{address}");
        }
    }
}
