//! The frequency of the processor's time-stamp counter.
//!
//! Under emulation a microvm has no timer against which its kernel could
//! measure the counter, and hangs; QEMU passes the host's counter through, so
//! the host measures it and the kernel is told (`tsc_early_khz=`).

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::MachineError;

/// The frequency in kHz, measured once per process. Blocks for 50 ms.
#[cfg(target_arch = "x86_64")]
pub(super) fn khz() -> Result<u64, MachineError> {
    static KHZ: OnceLock<u64> = OnceLock::new();
    Ok(*KHZ.get_or_init(|| {
        let (began, first) = now();
        std::thread::sleep(Duration::from_millis(50));
        let (ended, last) = now();
        let ticks = last.wrapping_sub(first);
        let nanos = ended.duration_since(began).as_nanos().max(1);
        u64::try_from(u128::from(ticks) * 1_000_000 / nanos).unwrap_or(u64::MAX)
    }))
}

/// A time and what the counter was at it: of a few tries the one that was interrupted
/// least. A busy host may stop us between two readings for longer than we measure.
#[cfg(target_arch = "x86_64")]
fn now() -> (Instant, u64) {
    #[expect(unsafe_code, reason = "reading the counter has no effect on anything")]
    let counter = || unsafe { std::arch::x86_64::_rdtsc() };
    let read = || {
        let before = counter();
        let time = Instant::now();
        let took = counter().wrapping_sub(before);
        (took, time, before.wrapping_add(took / 2))
    };
    let best = (1..8).fold(read(), |best, _| {
        let next = read();
        if next.0 < best.0 { next } else { best }
    });
    (best.1, best.2)
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn khz() -> Result<u64, MachineError> {
    Err(MachineError::Architecture)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn the_counter_runs_at_a_believable_frequency() {
        let khz = super::khz().unwrap();
        assert!((500_000..10_000_000).contains(&khz), "{khz} kHz");
        assert_eq!(khz, super::khz().unwrap(), "measured once");
    }
}
