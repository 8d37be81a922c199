//! What `/proc` says of a server and its machines.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

/// The programs of machines.
const MACHINE: &str = "qemu-system";
/// How long machines may take to become ready, and to come to rest.
const REST: Duration = Duration::from_secs(180);

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) id: u32,
    parent: u32,
    /// The program, as the kernel has it: fifteen bytes.
    name: String,
    /// What it has used of the processors, in clock ticks.
    ticks: u64,
}

impl Process {
    /// Whether it is a machine.
    pub(crate) fn is_machine(&self) -> bool {
        self.name.starts_with(MACHINE)
    }

    /// Reads a line of `/proc/<id>/stat`.
    fn parse(stat: &str) -> Option<Self> {
        // The name stands in parentheses and may hold anything.
        let (before, rest) = stat.rsplit_once(')')?;
        let (id, name) = before.split_once(" (")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            id: id.parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            name: name.to_owned(),
            ticks: number(11)? + number(12)?,
        })
    }
}

/// All processes that descend from one.
pub(crate) fn below(id: u32) -> Vec<Process> {
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(stat) = fs::read_to_string(entry.path().join("stat"))
            && let Some(process) = Process::parse(&stat)
        {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut pile = vec![id];
    while let Some(parent) = pile.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            pile.push(process.id);
            found.push(process);
        }
    }
    found
}

/// Waits until a server has at least so many machines, and none of them does
/// anything: its pool is full, and no job runs. Gives up silently after a while;
/// what is measured then shows it.
pub(crate) fn wait_for_rest(server: u32, machines: usize) {
    let began = Instant::now();
    let mut quiet = 0;
    let mut before = None;
    while began.elapsed() < REST && quiet < 3 {
        let now: Vec<_> = below(server).into_iter().filter(Process::is_machine).collect();
        // A machine that is stopped uses nothing at all.
        quiet = if now.len() >= machines && before.as_ref() == Some(&now) { quiet + 1 } else { 0 };
        before = Some(now);
        thread::sleep(Duration::from_millis(250));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read() {
        let stat = "42 (a ) b) S 7 42 42 0 -1 4194304 1 0 0 0 30 12 0 0 20 0 1 0 100 0 0";
        let expected = Process { id: 42, parent: 7, name: "a ) b".into(), ticks: 42 };
        assert_eq!(Process::parse(stat), Some(expected));
    }
}
