//! What a job did with the network, host by host. Bounded, whatever it asks for.

use std::collections::BTreeMap;

/// Hosts that are counted one by one; what comes later is counted together.
const HOSTS: usize = 1000;
/// Hosts that are shown, those with the most bytes.
const SHOWN: usize = 50;
/// Refusals that are told one by one.
const TOLD: usize = 100;

/// What was done with one host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    connections: u64,
    refused: u64,
    sent: u64,
    received: u64,
}

impl Account {
    fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.refused += other.refused;
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// All that was done.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    hosts: BTreeMap<String, Account>,
    others: Account,
    /// Refusals that nobody has been told of yet.
    news: Vec<String>,
    told: usize,
}

impl Accounts {
    fn of(&mut self, host: &str) -> &mut Account {
        if self.hosts.contains_key(host) || self.hosts.len() < HOSTS {
            self.hosts.entry(host.to_owned()).or_default()
        } else {
            &mut self.others
        }
    }

    /// A connection to this host was made.
    pub(super) fn connected(&mut self, host: &str) {
        self.of(host).connections += 1;
    }

    /// A connection was not made. Said once for each host.
    pub(super) fn refused(&mut self, host: &str, why: &str) {
        let account = self.of(host);
        account.refused += 1;
        if account.refused > 1 {
            return;
        }
        self.told += 1;
        match self.told {
            ..TOLD => self.news.push(format!("warning: no connection to {host}: {why}")),
            TOLD => self
                .news
                .push("warning: further connections that could not be made are only counted".to_owned()),
            _ => {}
        }
    }

    /// Bytes went to this host.
    pub(super) fn sent(&mut self, host: &str, bytes: usize) {
        self.of(host).sent += bytes as u64;
    }

    /// Bytes came from this host.
    pub(super) fn received(&mut self, host: &str, bytes: usize) {
        self.of(host).received += bytes as u64;
    }

    /// What is to be told since the last time.
    pub(super) fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// All of it as attributes of a span.
    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        let mut hosts: Vec<_> = self.hosts.iter().map(|(host, &account)| (host, account)).collect();
        hosts.sort_by_key(|(_, account)| {
            std::cmp::Reverse((account.sent + account.received, account.connections))
        });
        let mut all = self.others;
        let mut rest = self.others;
        let mut out = BTreeMap::new();
        for (index, (host, account)) in hosts.iter().enumerate() {
            all.add(*account);
            if index < SHOWN {
                out.insert(format!("devenv_cloud.network.host.{host}"), in_words(*account));
            } else {
                rest.add(*account);
            }
        }
        if rest != Account::default() {
            out.insert("devenv_cloud.network.other_hosts".to_owned(), in_words(rest));
        }
        for (key, value) in [
            ("network.io.transmit", all.sent),
            ("network.io.receive", all.received),
            ("network.connection.count", all.connections),
            ("network.connection.refused", all.refused),
        ] {
            out.insert(format!("devenv_cloud.{key}"), value.to_string());
        }
        out
    }
}

fn in_words(account: Account) -> String {
    let Account { connections, refused, sent, received } = account;
    let plural = if connections == 1 { "" } else { "s" };
    let mut words = format!("{connections} connection{plural}, sent {sent} B, received {received} B");
    if refused > 0 {
        words.push_str(&format!(", {refused} not made"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_counted_and_few_hosts_are_shown() {
        let mut accounts = Accounts::default();
        for number in 0..2000_usize {
            let host = format!("host-{number}.example.org:443");
            accounts.connected(&host);
            accounts.sent(&host, 1);
            accounts.received(&host, number);
        }
        let attributes = accounts.attributes();
        assert!(attributes.len() < 60, "{}", attributes.len());
        assert_eq!(accounts.hosts.len(), HOSTS);
        let get = |key: &str| attributes.get(&format!("devenv_cloud.{key}")).map(String::as_str);
        assert_eq!(get("network.io.transmit"), Some("2000"));
        assert_eq!(get("network.io.receive"), Some("1999000"));
        assert_eq!(get("network.connection.count"), Some("2000"));
        assert_eq!(
            get("network.host.host-999.example.org:443"),
            Some("1 connection, sent 1 B, received 999 B")
        );
        assert_eq!(get("network.host.host-1.example.org:443"), None);
        assert!(get("network.other_hosts").unwrap().starts_with("1950 connections"));
    }

    #[test]
    fn a_refusal_is_told_once_for_each_host_and_not_for_ever() {
        let mut accounts = Accounts::default();
        accounts.refused("a:1", "no");
        accounts.refused("a:1", "no");
        assert_eq!(accounts.news(), ["warning: no connection to a:1: no"]);
        for number in 0..5000 {
            accounts.refused(&format!("b{number}:1"), "no");
        }
        let news = accounts.news();
        assert_eq!(news.len(), TOLD - 1);
        assert!(news.last().unwrap().contains("only counted"));
        assert_eq!(accounts.attributes()["devenv_cloud.network.connection.refused"], "5002");
    }
}
