//! What the host itself has.

use std::fs;

use super::Finding;

/// MiB that a machine of the usual size needs, with QEMU itself.
const MACHINE_MIB: u64 = 2048 + 300;

pub(super) async fn memory() -> Vec<Finding> {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim_start_matches(':').split_whitespace().next()?.parse().ok()?;
        Some(kib >> 10)
    };
    let (Some(total), Some(available)) = (mib("MemTotal"), mib("MemAvailable")) else { return Vec::new() };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let says = format!("{available} MiB of {total} MiB available, {cores} processors");
    vec![if available < MACHINE_MIB {
        Finding::notice(
            "memory",
            format!("{says}: a machine of the usual 2048 MiB may not fit"),
            "free some memory, or give jobs less (`--memory`, a project's settings)",
        )
    } else {
        Finding::fine("memory", says)
    }]
}
