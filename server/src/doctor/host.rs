//! What the kernel lets this user do: memory, namespaces, control groups.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::thread::UnshareFlags;

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

/// The namespaces that isolate a machine's process.
const NAMESPACES: [(&str, UnshareFlags); 7] = [
    ("user", UnshareFlags::NEWUSER),
    ("pid", UnshareFlags::NEWPID),
    ("net", UnshareFlags::NEWNET),
    ("mount", UnshareFlags::NEWNS),
    ("ipc", UnshareFlags::NEWIPC),
    ("uts", UnshareFlags::NEWUTS),
    ("cgroup", UnshareFlags::NEWCGROUP),
];

pub(super) async fn namespaces() -> Vec<Finding> {
    let is_root = rustix::process::geteuid().is_root();
    let mut missing = Vec::new();
    for (name, flag) in NAMESPACES {
        // Who is not root becomes root of a namespace of users first. That alone
        // proves little: some hosts allow it and then nothing inside.
        let first = (!is_root && flag != UnshareFlags::NEWUSER).then_some(UnshareFlags::NEWUSER);
        if let Err(error) = enter(first, flag) {
            missing.push(format!("{name} ({error})"));
        }
    }
    let all = NAMESPACES.map(|(name, _)| name).join(", ");
    let who = if is_root { "root" } else { "an ordinary user" };
    vec![if missing.is_empty() {
        Finding::fine("namespaces", format!("{all}: each was entered, as {who}"))
    } else {
        Finding::notice(
            "namespaces",
            format!("cannot be entered as {who}: {}", missing.join(", ")),
            "set the sysctls kernel.unprivileged_userns_clone and user.max_user_namespaces (and on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0), or run as root outside of a container",
        )
    }]
}

/// Enters a namespace in a child that does nothing else.
fn enter(first: Option<UnshareFlags>, then: UnshareFlags) -> io::Result<()> {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[expect(
        unsafe_code,
        reason = "between fork and exec: system calls only, and nothing is shared any more"
    )]
    unsafe {
        command.pre_exec(move || {
            if let Some(first) = first {
                rustix::thread::unshare_unsafe(first)?;
            }
            rustix::thread::unshare_unsafe(then)?;
            Ok(())
        });
    }
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

/// The controllers that limit a machine's process.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

pub(super) async fn cgroups() -> Vec<Finding> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    vec![cgroups_below(Path::new("/sys/fs/cgroup"), &own)]
}

fn cgroups_below(root: &Path, own: &str) -> Finding {
    const ADVICE: &str =
        "run as root, or under systemd with `Delegate=yes` (`systemd-run --user --scope -p Delegate=yes …`)";
    let line = |controller: &str| {
        own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers
                .split(',')
                .any(|name| name == controller)
                .then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let version = if root.join("cgroup.controllers").exists() { 2 } else { 1 };
    let directories: Vec<(&str, PathBuf)> = if version == 2 {
        let own = root.join(line("").unwrap_or_default());
        let there = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
        let missing: Vec<_> = CONTROLLERS
            .into_iter()
            .filter(|name| !there.split_whitespace().any(|other| other == *name))
            .collect();
        if !missing.is_empty() {
            return Finding::notice("cgroups", format!("v2, without {}", missing.join(", ")), ADVICE);
        }
        vec![("all", own)]
    } else {
        // A container sees its own group as the root of what is mounted.
        let directory = |name: &str| {
            let nested = root.join(name).join(line(name).unwrap_or_default());
            if nested.exists() { nested } else { root.join(name) }
        };
        CONTROLLERS.into_iter().map(|name| (name, directory(name))).collect()
    };
    let mut refused = Vec::new();
    for (name, directory) in directories {
        let group = directory.join(format!("devenv-cloud-doctor-{}", std::process::id()));
        let made = fs::create_dir(&group).and_then(|()| fs::remove_dir(&group));
        if let Err(error) = made {
            refused.push(format!("{name} ({})", error.kind()));
        }
    }
    if refused.is_empty() {
        Finding::fine("cgroups", format!("v{version}, with {}; groups can be made", CONTROLLERS.join(", ")))
    } else {
        Finding::notice(
            "cgroups",
            format!("v{version}, but no group can be made: {}", refused.join(", ")),
            ADVICE,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn control_groups_of_both_versions_are_understood() {
        let second =
            tree(&[("cgroup.controllers", "cpu"), ("user/cgroup.controllers", "cpu memory pids io\n")]);
        let finding = cgroups_below(second.path(), "0::/user\n");
        assert_eq!(finding.verdict, Verdict::Fine, "{finding:?}");
        let finding = cgroups_below(second.path(), "0::/\n");
        assert!(finding.says.contains("without memory, pids"), "{finding:?}");

        let first = tree(&[("memory/a/tasks", ""), ("cpu/tasks", ""), ("pids/tasks", "")]);
        let own = "5:memory:/a\n4:cpu,cpuacct:/elsewhere\n1:pids:/\n";
        assert_eq!(cgroups_below(first.path(), own).verdict, Verdict::Fine);
        fs::remove_dir_all(first.path().join("pids")).unwrap();
        let finding = cgroups_below(first.path(), own);
        assert!(finding.verdict == Verdict::Notice && finding.says.contains("pids ("), "{finding:?}");
    }

    #[test]
    fn a_namespace_that_does_not_exist_cannot_be_entered() {
        assert!(enter(None, UnshareFlags::from_bits_retain(1)).is_err());
    }
}
