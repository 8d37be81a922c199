//! How often who may try to sign in.
//!
//! Two buckets must both have a drop left: one for the address, against
//! somebody who tries many accounts, and one for the account *as seen from this
//! neighbourhood of addresses*, against somebody who tries many passwords. The
//! second is not for the account alone, because then anybody could lock anybody
//! out by trying wrong passwords. A sign-in that succeeds gives its drops back.
//!
//! The limits live in this process' memory. With several servers each counts
//! for itself, which weakens them by that factor and no more.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
};

use chrono::TimeDelta;
use devenv_cloud_api::Timestamp;

use crate::{clock::Clock, refusal::Refusal};

/// Wrong passwords for one account from one neighbourhood, before it takes waiting.
const PER_ACCOUNT: u32 = 10;
/// In how many seconds one more is allowed.
const PER_ACCOUNT_REFILL: i64 = 60;
/// How many keys are remembered at most.
const REMEMBERED: usize = 20_000;

/// So many at once for each key, and one more every so often. For what is not
/// a sign-in with a password: codes, links in mails.
#[derive(Debug)]
pub struct Limit<K> {
    clock: Clock,
    buckets: Mutex<Buckets<K>>,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    /// `size` at once, and one more every `refill`.
    #[must_use]
    pub fn new(clock: Clock, size: u32, refill: TimeDelta) -> Self {
        Self { clock, buckets: Mutex::new(Buckets::new(size.max(1), refill)) }
    }

    /// Counts an attempt, before it is looked at.
    ///
    /// # Errors
    /// When there were too many.
    pub fn take(&self, key: &K) -> Result<(), Refusal> {
        lock(&self.buckets).take(key, self.clock.now()).map_err(limited)
    }

    /// The last attempt was a success, and does not count.
    pub fn give_back(&self, key: &K) {
        lock(&self.buckets).give_back(key);
    }
}

fn limited(wait: TimeDelta) -> Refusal {
    Refusal::RateLimited { retry_after: wait.num_milliseconds().max(1).unsigned_abs().div_ceil(1000) }
}

/// The network that an address is limited by: an IPv6 customer has 2⁶⁴ of them.
#[must_use]
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    network(address, 32, 64)
}

/// The limits of signing in with a password.
#[derive(Debug)]
pub struct SignInLimits {
    clock: Clock,
    addresses: Mutex<Buckets<IpAddr>>,
    accounts: Mutex<Buckets<(String, IpAddr)>>,
}

/// A drop that was taken; see [`SignInLimits::give_back`].
#[derive(Debug)]
pub struct Taken {
    address: IpAddr,
    account: (String, IpAddr),
}

impl SignInLimits {
    /// `per_minute` attempts from one address.
    #[must_use]
    pub fn new(clock: Clock, per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        let refill = TimeDelta::milliseconds(60_000 / i64::from(per_minute));
        Self {
            clock,
            addresses: Mutex::new(Buckets::new(per_minute, refill)),
            accounts: Mutex::new(Buckets::new(PER_ACCOUNT, TimeDelta::seconds(PER_ACCOUNT_REFILL))),
        }
    }

    /// Counts an attempt, before it is looked at: many at once must not all
    /// slip through while the first is still being checked.
    ///
    /// # Errors
    /// When there were too many.
    pub fn take(&self, account: &str, address: IpAddr) -> Result<Taken, Refusal> {
        let now = self.clock.now();
        let address_key = neighbourhood(address);
        let account_key = (account.to_owned(), network(address, 24, 48));
        let wait = lock(&self.addresses).take(&address_key, now).err();
        let wait = wait.or_else(|| {
            let wait = lock(&self.accounts).take(&account_key, now).err()?;
            lock(&self.addresses).give_back(&address_key);
            Some(wait)
        });
        match wait {
            None => Ok(Taken { address: address_key, account: account_key }),
            Some(wait) => Err(limited(wait)),
        }
    }

    /// The attempt was a success, and does not count.
    pub fn give_back(&self, taken: &Taken) {
        lock(&self.addresses).give_back(&taken.address);
        lock(&self.accounts).give_back(&taken.account);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address with all but the first bits zero.
fn network(address: IpAddr, v4: u32, v6: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits() & u32::MAX.unbounded_shl(32 - v4)).into(),
        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() & u128::MAX.unbounded_shl(128 - v6)).into(),
    }
}

/// Buckets that fill by themselves, drop by drop. Stored is only when a bucket
/// will be full again; one that is full need not be remembered.
#[derive(Debug)]
struct Buckets<K> {
    size: u32,
    refill: TimeDelta,
    full_at: HashMap<K, Timestamp>,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    fn new(size: u32, refill: TimeDelta) -> Self {
        Self { size, refill, full_at: HashMap::new() }
    }

    /// Takes a drop, or says how long to wait for one.
    fn take(&mut self, key: &K, now: Timestamp) -> Result<(), TimeDelta> {
        let capacity = self.refill * i32::try_from(self.size).unwrap_or(i32::MAX);
        let full_at = self.full_at.get(key).copied().unwrap_or(now).max(now) + self.refill;
        let over = (full_at - now) - capacity;
        if over > TimeDelta::zero() {
            return Err(over);
        }
        if self.full_at.len() >= REMEMBERED && !self.full_at.contains_key(key) {
            self.forget(now);
        }
        self.full_at.insert(key.clone(), full_at);
        Ok(())
    }

    fn give_back(&mut self, key: &K) {
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at -= self.refill;
        }
    }

    /// Makes room: first what is full anyway, then, if an attacker has many
    /// addresses, the half that has been tried least.
    fn forget(&mut self, now: Timestamp) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= REMEMBERED {
            let mut times: Vec<_> = self.full_at.values().copied().collect();
            let (_, median, _) = times.select_nth_unstable(REMEMBERED / 2);
            let median = *median;
            self.full_at.retain(|_, full_at| *full_at > median);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_minute: u32) -> (SignInLimits, Clock) {
        let clock = Clock::fake("2026-01-01T00:00:00Z".parse().unwrap());
        (SignInLimits::new(clock.clone(), per_minute), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn wait(limits: &SignInLimits, account: &str, address: &str) -> u64 {
        match limits.take(account, ip(address)) {
            Ok(_) => 0,
            Err(Refusal::RateLimited { retry_after }) => retry_after,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn an_address_that_tries_many_accounts_must_wait_and_then_may_again() {
        let (limits, clock) = limits(30);
        for n in 0..30 {
            assert_eq!(wait(&limits, &format!("user{n}"), "192.0.2.1"), 0, "{n}");
        }
        assert_eq!(wait(&limits, "another", "192.0.2.1"), 2);
        assert_eq!(wait(&limits, "another", "192.0.2.2"), 0);
        clock.advance(TimeDelta::seconds(2));
        assert_eq!(wait(&limits, "another", "192.0.2.1"), 0);
        assert_eq!(wait(&limits, "another", "192.0.2.1"), 2);
    }

    #[test]
    fn an_account_is_protected_without_locking_its_owner_out() {
        let (limits, clock) = limits(1000);
        for n in 0..10 {
            assert_eq!(wait(&limits, "ada", &format!("192.0.2.{n}")), 0);
        }
        assert_eq!(wait(&limits, "ada", "192.0.2.77"), 60, "the whole neighbourhood must wait");
        assert_eq!(wait(&limits, "ada", "198.51.100.1"), 0, "others need not");
        assert_eq!(wait(&limits, "bob", "192.0.2.77"), 0, "nor do others' accounts");
        clock.advance(TimeDelta::seconds(60));
        assert_eq!(wait(&limits, "ada", "192.0.2.77"), 0);
    }

    #[test]
    fn an_attempt_that_the_account_refuses_costs_the_address_nothing() {
        let (limits, _) = limits(20);
        for _ in 0..10 {
            assert_eq!(wait(&limits, "ada", "192.0.2.1"), 0);
        }
        for _ in 0..50 {
            assert_eq!(wait(&limits, "ada", "192.0.2.1"), 60);
        }
        for n in 0..10 {
            assert_eq!(wait(&limits, &format!("user{n}"), "192.0.2.1"), 0);
        }
    }

    #[test]
    fn a_success_does_not_count() {
        let (limits, _) = limits(5);
        for _ in 0..100 {
            let taken = limits.take("ada", ip("192.0.2.1")).unwrap();
            limits.give_back(&taken);
        }
    }

    #[test]
    fn an_ipv6_customer_is_one_address() {
        let (limits, _) = limits(1);
        assert_eq!(wait(&limits, "a", "2001:db8:1:2::1"), 0);
        assert_ne!(wait(&limits, "b", "2001:db8:1:2:ffff::9"), 0);
        assert_eq!(wait(&limits, "b", "2001:db8:1:3::1"), 0);
        assert_eq!(wait(&limits, "c", "::ffff:192.0.2.1"), 0);
        assert_ne!(wait(&limits, "d", "192.0.2.1"), 0, "mapped addresses are the same address");
    }

    #[test]
    fn memory_is_bounded_and_the_worst_offenders_stay() {
        let (limits, _) = limits(30);
        for n in 0..30 {
            assert_eq!(wait(&limits, &format!("x{n}"), "198.51.100.9"), 0);
        }
        for n in 0..(REMEMBERED as u32 + 5) {
            let address = Ipv4Addr::from_bits(0x0a00_0000 + n);
            let _ = limits.take("y", address.into());
        }
        assert!(lock(&limits.addresses).full_at.len() <= REMEMBERED);
        assert!(lock(&limits.accounts).full_at.len() <= REMEMBERED);
        assert_ne!(wait(&limits, "x", "198.51.100.9"), 0);
    }
}
