//! Where a job wants to go, and how people write where it may.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::addresses::plain;

/// The ports that an entry without a port means.
const USUAL_PORTS: [u16; 2] = [80, 443];

/// A host, by name or by address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name in lower case, without a dot at its end.
    Name(String),
}

impl Host {
    /// Reads a name, or an address without brackets.
    ///
    /// # Errors
    /// When it is neither. What some resolvers take for an address (`127.1`,
    /// `0x7f000001`) is no name either.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(plain(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        let number = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
        if name.len() <= 253 && name.split('.').all(label) && !number {
            Ok(Self::Name(name))
        } else {
            Err(format!("`{}` is neither the name of a host nor an address", text.escape_debug()))
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Destination {
    /// Reads `host:port`.
    ///
    /// # Errors
    /// When it is no such thing.
    pub fn parse(text: &str) -> Result<Self, String> {
        match split(text)? {
            (host, Some(port)) => Ok(Self { host: Host::parse(host)?, port }),
            (_, None) => Err(format!("`{text}` has no port; write for example {text}:443")),
        }
    }
}

/// An entry of a list of hosts: `example.org`, `*.example.org` or an address,
/// with a port or without, which means 80 and 443.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Whether names below this one are meant, and not itself.
    below: bool,
    host: Host,
    port: Option<u16>,
}

impl Pattern {
    /// Reads one.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains("://") || text.contains('/') {
            return Err(format!("`{text}` is an address of a page; write the host alone, like example.org"));
        }
        let (host, port) = split(text)?;
        let (below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        if name.contains('*') {
            return Err(format!("`{text}`: a * stands only at the beginning, as in *.example.org"));
        }
        let host = Host::parse(name)?;
        if below && matches!(host, Host::Address(_)) {
            return Err(format!("`{text}`: there is nothing below an address"));
        }
        Ok(Self { below, host, port })
    }

    /// Whether it means this destination.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> bool {
        let port = match self.port {
            Some(port) => port == destination.port,
            None => USUAL_PORTS.contains(&destination.port),
        };
        let host = match (&self.host, &destination.host) {
            (Host::Name(wanted), Host::Name(name)) if self.below => {
                name.strip_suffix(wanted.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (wanted, host) => !self.below && wanted == host,
        };
        port && host
    }
}

/// The host without brackets, and the port.
fn split(text: &str) -> Result<(&str, Option<u16>), String> {
    let number = |digits: &str| {
        digits
            .parse()
            .ok()
            .filter(|&port| port > 0 && digits.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| format!("`{text}`: a port is a number from 1 to 65535"))
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return Err(format!("`{text}`: a bracket is missing"));
        };
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("`{text}`: in brackets is an IPv6 address"));
        }
        return match rest.strip_prefix(':') {
            Some(digits) => Ok((host, Some(number(digits)?))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(format!("`{text}`: after the bracket comes a colon and a port")),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    match text.split_once(':') {
        Some((host, digits)) => Ok((host, Some(number(digits)?))),
        None => Ok((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Destination {
        Destination::parse(text).unwrap()
    }

    #[test]
    fn patterns_mean_what_they_say() {
        for (pattern, yes, no) in [
            (
                "example.org",
                "example.org:443 EXAMPLE.org.:80",
                "example.org:8080 www.example.org:443 example.org.evil.com:443 notexample.org:443",
            ),
            ("Example.org:8443", "example.org:8443", "example.org:443"),
            (
                "*.example.org",
                "a.example.org:443 a.b.example.org:80",
                "example.org:443 evilexample.org:443 a.example.org:22 a.example.org.evil.com:443",
            ),
            ("*.example.org:22", "git.example.org:22", "git.example.org:443"),
            ("192.0.2.1", "192.0.2.1:443 [::ffff:192.0.2.1]:80", "192.0.2.2:443"),
            ("[2001:db8::1]:9000", "[2001:db8:0::1]:9000", "[2001:db8::1]:443"),
            ("2001:db8::1", "[2001:db8::1]:443", "[2001:db8::2]:443"),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for destination in yes.split(' ') {
                assert!(parsed.matches(&to(destination)), "{pattern} means {destination}");
            }
            for destination in no.split(' ') {
                assert!(!parsed.matches(&to(destination)), "{pattern} does not mean {destination}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_words() {
        for (pattern, words) in [
            ("https://example.org", "the host alone"),
            ("example.org/path", "the host alone"),
            ("*", "only at the beginning"),
            ("*.*.org", "only at the beginning"),
            ("a.*.org", "only at the beginning"),
            ("*example.org", "only at the beginning"),
            ("*.10.0.0.1", "nothing below an address"),
            ("example.org:0", "from 1 to 65535"),
            ("example.org:+80", "from 1 to 65535"),
            ("example.org:x", "from 1 to 65535"),
            ("[::1", "bracket"),
            ("[example.org]:80", "IPv6"),
            ("", "neither"),
            ("exa mple.org", "neither"),
            ("127.1", "neither"),
            ("0x7f000001", "neither"),
            ("2130706433", "neither"),
            ("-a.org", "neither"),
            ("a..org", "neither"),
            ("user@example.org", "neither"),
        ] {
            let said = Pattern::parse(pattern).unwrap_err();
            assert!(said.contains(words), "{pattern}: {said}");
        }
    }

    #[test]
    fn an_ipv4_address_in_disguise_is_itself() {
        assert_eq!(Host::parse("::ffff:10.0.0.1"), Host::parse("10.0.0.1"));
    }
}
