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
        #[expect(unsafe_code, reason = "reading the counter has no effect on anything")]
        let counter = || unsafe { std::arch::x86_64::_rdtsc() };
        let (time, ticks) = (Instant::now(), counter());
        std::thread::sleep(Duration::from_millis(50));
        let (elapsed, ticks) = (time.elapsed(), counter().wrapping_sub(ticks));
        u64::try_from(u128::from(ticks) * 1_000_000 / elapsed.as_nanos().max(1)).unwrap_or(u64::MAX)
    }))
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
