//! Time and randomness come in from outside, so that expiry, leases and tokens
//! are tested without sleeping and with the same result every time.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use devenv_cloud_api::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

/// Tells the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Fake(Arc<Mutex<Timestamp>>),
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Fake(_) => "Clock(fake)",
        })
    }
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock for tests that stands still until it is [advanced](Self::advance).
    #[must_use]
    pub fn fake(start: Timestamp) -> Self {
        Self(Source::Fake(Arc::new(Mutex::new(start))))
    }

    /// The time, to the microsecond, which is what both engines store.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the clock")]
            Source::System => Utc::now().trunc_subsecs(6),
            Source::Fake(time) => *time.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Advances a fake clock. The system's clock does not move.
    pub fn advance(&self, by: TimeDelta) {
        if let Source::Fake(time) = &self.0 {
            let mut time = time.lock().unwrap_or_else(PoisonError::into_inner);
            *time = time.checked_add_signed(by).unwrap_or(DateTime::<Utc>::MAX_UTC);
        }
    }
}

/// Makes random bytes and ids. Cheap to clone.
#[derive(Clone)]
pub struct Random(Arc<Mutex<StdRng>>);

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

impl Random {
    /// A cryptographically secure generator, seeded by the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(rand::make_rng())))
    }

    /// A generator for tests that gives the same every time.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }

    /// A new UUIDv7 for something created at `now`. After the milliseconds come
    /// twelve bits of their fraction (RFC 9562, section 6.2, method 3), so that what
    /// happens later by a quarter of a microsecond has a greater one.
    #[must_use]
    pub fn id(&self, now: Timestamp) -> Uuid {
        const MILLISECOND: u32 = 1_000_000;
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        let fraction = u64::from(now.timestamp_subsec_nanos() % MILLISECOND) * 4096 / u64::from(MILLISECOND);
        let [.., high, low] = fraction.to_be_bytes();
        let mut rest = self.bytes::<10>();
        (rest[0], rest[1]) = (high, low);
        uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_later_by_a_microsecond_has_a_greater_id() {
        let random = Random::seeded(1);
        let began: Timestamp = "2026-01-01T00:00:00.998Z".parse().unwrap();
        let ids: Vec<_> = (0..4000).map(|n| random.id(began + TimeDelta::microseconds(n))).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        let millis = |id: &Uuid| id.as_u128() >> 80;
        assert_eq!(millis(&ids[3999]) - millis(&ids[0]), 3);
    }
}
