//! What a job may reach: decided for each stream, from the project's policy and
//! what the administrator of this machine has named, before anything is resolved;
//! and again for each address that a name turns out to have.

use std::net::IpAddr;

use devenv_cloud_api::orgs::NetworkPolicy;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    addresses::special,
    destination::{Destination, Host, Pattern},
};

/// What a job may reach, as it is assigned. A server that does not say is one
/// that gives no network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// The policy.
    pub policy: NetworkPolicy,
    /// The hosts of an allow-list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

impl Default for Network {
    fn default() -> Self {
        Self { policy: NetworkPolicy::Off, hosts: Vec::new() }
    }
}

/// Which addresses a destination may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Public ones only.
    Public,
    /// Whichever: an administrator has named it.
    Any,
}

/// A job's policy, read.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    policy: NetworkPolicy,
    hosts: Vec<Pattern>,
    internal: Vec<Destination>,
    /// What to do about a policy that is off.
    off: &'static str,
}

impl Rules {
    pub(super) fn new(network: &Network, internal: Vec<Destination>, off: &'static str) -> Self {
        // One that cannot be read allows nothing.
        let hosts = network.hosts.iter().filter_map(|host| Pattern::parse(host).ok()).collect();
        Self { policy: network.policy, hosts, internal, off }
    }

    /// Whether the destination may be reached at all, before it is resolved.
    pub(super) fn allow(&self, to: &Destination) -> Result<Reach, String> {
        match self.policy {
            NetworkPolicy::Off => Err(self.off.to_owned()),
            _ if self.internal.contains(to) => Ok(Reach::Any),
            NetworkPolicy::Internet => Ok(Reach::Public),
            NetworkPolicy::AllowList if self.hosts.iter().any(|host| host.matches(to)) => Ok(Reach::Public),
            NetworkPolicy::AllowList => Err(format!(
                "{to} is not among the hosts that jobs of this project may reach; an admin can add it in the \
                 project's settings, Network"
            )),
        }
    }
}

/// Of the addresses of a destination, those that may be connected to.
///
/// # Errors
/// When there is none, why. An address that a name has is not told: names of a
/// network that jobs cannot see are not to be mapped by asking for them.
pub(super) fn choose(
    to: &Destination,
    reach: Reach,
    addresses: Vec<IpAddr>,
    is_own: impl Fn(IpAddr) -> bool,
) -> Result<Vec<IpAddr>, String> {
    if reach == Reach::Any {
        return Ok(addresses);
    }
    let what = |address: IpAddr| {
        special(address).or_else(|| is_own(address).then_some("an address of the machine that runs the jobs"))
    };
    let (public, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|&address| what(address).is_none());
    match others.first().and_then(|&address| what(address)) {
        Some(what) if public.is_empty() => {
            let verb = if matches!(to.host, Host::Address(_)) { "is" } else { "has" };
            Err(format!(
                "{} {verb} {what}, and jobs reach public addresses only; an administrator of this server can allow \
                 it with executor.network_internal = \"{to}\"",
                to.host
            ))
        }
        _ => Ok(public),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> Destination {
        Destination::parse(text).unwrap()
    }

    fn rules(policy: NetworkPolicy, hosts: &[&str]) -> Rules {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Rules::new(&Network { policy, hosts }, vec![to("cache.corp:443"), to("127.0.0.1:8080")], "it is off")
    }

    #[test]
    fn off_is_off_for_internal_destinations_too() {
        let rules = rules(NetworkPolicy::Off, &["example.org"]);
        for destination in ["example.org:443", "cache.corp:443", "127.0.0.1:8080"] {
            assert_eq!(rules.allow(&to(destination)), Err("it is off".to_owned()));
        }
    }

    #[test]
    fn an_allow_list_is_a_list() {
        let rules = rules(NetworkPolicy::AllowList, &["example.org", "*.nixos.org", "no pattern"]);
        assert_eq!(rules.allow(&to("example.org:443")), Ok(Reach::Public));
        assert_eq!(rules.allow(&to("cache.nixos.org:443")), Ok(Reach::Public));
        assert_eq!(rules.allow(&to("cache.corp:443")), Ok(Reach::Any));
        for destination in
            ["example.com:443", "example.org:22", "nixos.org:443", "cache.corp:80", "127.0.0.1:8081"]
        {
            assert!(
                rules.allow(&to(destination)).unwrap_err().contains("not among the hosts"),
                "{destination}"
            );
        }
    }

    #[test]
    fn whoever_says_nothing_gives_no_network() {
        assert_eq!(Network::default().policy, NetworkPolicy::Off);
    }

    #[test]
    fn of_mixed_addresses_only_public_ones_are_left() {
        let addresses = |text: &str| text.split(' ').map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>();
        let own = |address: IpAddr| address == "9.9.9.9".parse::<IpAddr>().unwrap();
        let name = to("example.org:443");
        let mixed = addresses("10.0.0.1 8.8.8.8 ::1 9.9.9.9 2606:4700::1111");
        assert_eq!(
            choose(&name, Reach::Public, mixed.clone(), own),
            Ok(addresses("8.8.8.8 2606:4700::1111"))
        );
        assert_eq!(choose(&name, Reach::Any, mixed.clone(), own), Ok(mixed));
        let error = choose(&name, Reach::Public, addresses("10.0.0.1"), own).unwrap_err();
        assert!(error.contains("private") && !error.contains("10.0.0.1"), "{error}");
        let error = choose(&name, Reach::Public, addresses("9.9.9.9"), own).unwrap_err();
        assert!(error.contains("runs the jobs"), "{error}");
    }
}
