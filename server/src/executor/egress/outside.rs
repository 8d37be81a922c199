//! The world outside of the machine: names, addresses, connections.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection to a host.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What jobs are connected to.
#[async_trait]
pub(crate) trait Outside: Send + Sync + 'static {
    /// The addresses of a name.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;

    /// Connects to exactly this address.
    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>>;

    /// Whether it is an address of this machine.
    fn is_own(&self, address: IpAddr) -> bool;
}

/// The network that this process is in.
#[derive(Debug)]
pub(crate) struct RealOutside;

#[async_trait]
impl Outside for RealOutside {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        let mut addresses = Vec::new();
        for address in found.map(|found| found.ip()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Ok(addresses)
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Connection>> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        let listed = match address {
            IpAddr::V4(address) => {
                std::fs::read_to_string("/proc/net/fib_trie").map(|text| is_local_v4(&text, address))
            }
            IpAddr::V6(address) => {
                std::fs::read_to_string("/proc/net/if_inet6").map(|text| is_local_v6(&text, address))
            }
        };
        match listed {
            Ok(own) => own,
            // Without the kernel's list: nobody can listen on another's address.
            Err(_) => UdpSocket::bind((address, 0)).is_ok(),
        }
    }
}

/// Whether the address is this machine's by the kernel's routing table: each
/// network is a line with an address, and below it one that says how long its
/// prefix is and that it is local.
fn is_local_v4(text: &str, address: Ipv4Addr) -> bool {
    let mut network = None;
    text.lines().map(str::trim).any(|line| {
        if let Some(found) = line.strip_prefix("|-- ") {
            network = found.parse::<Ipv4Addr>().ok();
        }
        let prefix = line.strip_prefix('/').filter(|line| line.ends_with(" LOCAL"));
        let length = prefix.and_then(|line| line.split(' ').next()?.parse::<u32>().ok());
        let bits = |address: Ipv4Addr, length| address.to_bits().checked_shr(32 - length).unwrap_or(0);
        match (network, length) {
            (Some(network), Some(length @ 0..=32)) => bits(network, length) == bits(address, length),
            _ => false,
        }
    })
}

/// The same for IPv6: each line begins with an address of an interface, as 32
/// hexadecimal digits.
fn is_local_v6(text: &str, address: Ipv6Addr) -> bool {
    let of = |line: &str| u128::from_str_radix(line.split(' ').next()?, 16).ok();
    text.lines().any(|line| of(line) == Some(address.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_read_from_the_kernels_tables() {
        let text = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 203.0.113.0\n        /24 link UNICAST\n     |-- 203.0.113.7\n        \
                    /32 host LOCAL\n     |-- 203.0.113.255\n        /32 link BROADCAST\n     |-- 127.0.0.0\n        /8 host LOCAL\n";
        for (address, own) in [
            ("203.0.113.7", true),
            ("203.0.113.8", false),
            ("203.0.113.255", false),
            ("127.1.2.3", true),
            ("128.0.0.1", false),
        ] {
            assert_eq!(is_local_v4(text, address.parse().unwrap()), own, "{address}");
        }
        let text = "20010db8000000000000000000000007 02 40 00 80     eth0\n00000000000000000000000000000001 01 80 10 80 lo\n";
        for (address, own) in [("2001:db8::7", true), ("::1", true), ("2001:db8::8", false)] {
            assert_eq!(is_local_v6(text, address.parse().unwrap()), own, "{address}");
        }
    }

    #[test]
    fn this_machine_knows_itself() {
        assert!(RealOutside.is_own("127.0.0.1".parse().unwrap()));
        assert!(!RealOutside.is_own("198.51.100.1".parse().unwrap()));
    }
}
