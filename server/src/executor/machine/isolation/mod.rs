//! What stands between QEMU and the host, should a job ever get out of its
//! machine: namespaces, a view of a few files, no rights, and limits.
//!
//! Deny by default: everything that this host allows is used, for every QEMU,
//! and there is no switch that turns it off. What the host allows is found by
//! starting QEMU with all of it; what fails is left out and tried again, so that
//! in the end either a QEMU really ran so, or it is known what was missing.

mod groups;
mod launch;
mod view;

use std::{
    ffi::CString,
    fmt, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{process::Resource, thread::UnshareFlags};

use self::{
    groups::Groups,
    launch::{Plan, Step, can_enter},
    view::View,
};
pub(super) use self::{
    groups::{Group, Share, remove},
    launch::{Child, NotStarted, wait},
};
use super::sweep;

/// Something that isolates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Users of its own: no right on anything of the host's.
    Users,
    /// A view of nothing but QEMU's own files, read-only.
    Files,
    /// Sees and signals no other process.
    Processes,
    /// Has no network at all.
    Network,
    /// No shared memory and no queues of other processes.
    Ipc,
    /// Does not learn the host's name.
    HostName,
    /// Does not see where in the host's control groups it is.
    ControlGroups,
    /// Takes no more memory than its machine needs.
    MemoryLimit,
    /// Takes no more time than its machine's processors have.
    ProcessorLimit,
    /// Makes no more threads than it needs.
    ThreadLimit,
}

/// Namespaces and what they are good for.
const NAMESPACES: [(UnshareFlags, Measure); 7] = [
    (UnshareFlags::NEWUSER, Measure::Users),
    (UnshareFlags::NEWNS, Measure::Files),
    (UnshareFlags::NEWPID, Measure::Processes),
    (UnshareFlags::NEWNET, Measure::Network),
    (UnshareFlags::NEWIPC, Measure::Ipc),
    (UnshareFlags::NEWUTS, Measure::HostName),
    (UnshareFlags::NEWCGROUP, Measure::ControlGroups),
];

impl Measure {
    /// All that there are.
    pub const ALL: [Self; 10] = [
        Self::Users,
        Self::Files,
        Self::Processes,
        Self::Network,
        Self::Ipc,
        Self::HostName,
        Self::ControlGroups,
        Self::MemoryLimit,
        Self::ProcessorLimit,
        Self::ThreadLimit,
    ];

    /// Whether it is a control group's, and not a namespace's.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        matches!(self, Self::MemoryLimit | Self::ProcessorLimit | Self::ThreadLimit)
    }

    /// What to do where it is missing.
    #[must_use]
    pub const fn todo(self) -> &'static str {
        if self.is_limit() {
            "run as root, or under systemd with `Delegate=yes` (by hand: `systemd-run --user --scope -p \
             Delegate=yes …`)"
        } else {
            "let this user make namespaces: sysctl user.max_user_namespaces above 0, \
             kernel.unprivileged_userns_clone=1 on Debian, kernel.apparmor_restrict_unprivileged_userns=0 on \
             Ubuntu; in a container, allow clone, unshare, mount and pivot_root; Linux 5.12 or newer"
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Users => "users of its own",
            Self::Files => "hidden files",
            Self::Processes => "hidden processes",
            Self::Network => "no network",
            Self::Ipc => "IPC of its own",
            Self::HostName => "a hidden host name",
            Self::ControlGroups => "hidden control groups",
            Self::MemoryLimit => "a limit of memory",
            Self::ProcessorLimit => "a limit of processor time",
            Self::ThreadLimit => "a limit of threads",
        })
    }
}

/// What this host does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What.
    pub measure: Measure,
    /// Why, in the kernel's words.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.measure, self.why)
    }
}

/// How a program is isolated on this host.
#[derive(Clone, Debug)]
pub(super) struct Isolation {
    namespaces: UnshareFlags,
    view: Option<View>,
    groups: Groups,
    missing: Vec<Missing>,
}

/// What is to be started, as far as isolation goes.
pub(super) struct Wish<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: Vec<CString>,
    pub(super) descriptors: Vec<std::os::fd::RawFd>,
    pub(super) limits: [(Resource, u64); 5],
    pub(super) patient: bool,
    pub(super) group: Option<u32>,
    pub(super) kvm: bool,
    /// What it may take, and the name of its control group.
    pub(super) share: Option<(Share, String)>,
}

impl Isolation {
    /// Finds out what this host allows. Blocks, for some ten milliseconds if it
    /// allows everything.
    pub(super) fn find(program: &Path) -> io::Result<Self> {
        let (groups, missing) = Groups::find(&sweep::numbered(&sweep::probe()));
        let mut found = Self {
            namespaces: NAMESPACES.iter().fold(UnshareFlags::empty(), |all, (flag, _)| all | *flag),
            view: Some(View::of(program)),
            groups,
            missing: missing.into_iter().map(|(measure, why)| Missing { measure, why }).collect(),
        };
        loop {
            let error = match found.trial(program) {
                Ok(()) => return Ok(found),
                Err(Trial::NotStarted(error)) => error,
                Err(Trial::Failed(why)) => {
                    if found.view.is_none() {
                        return Err(io::Error::other(why));
                    }
                    found.leave_out(Measure::Files, why);
                    continue;
                }
            };
            let words = error.error.to_string();
            match error.step {
                Step::Clone => {
                    if !found.leave_out_what_fails() {
                        return Err(error.into());
                    }
                }
                Step::Users => found.leave_out(Measure::Users, words),
                Step::View if found.view.is_some() => found.leave_out(Measure::Files, words),
                Step::HostName => found.leave_out(Measure::HostName, words),
                Step::ControlGroupNamespace => found.leave_out(Measure::ControlGroups, words),
                Step::ControlGroup if found.groups.directories().next().is_some() => {
                    for measure in [Measure::MemoryLimit, Measure::ProcessorLimit, Measure::ThreadLimit] {
                        found.leave_out(measure, words.clone());
                    }
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// What this host does not allow.
    pub(super) fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Where control groups are made.
    pub(super) fn group_directories(&self) -> Vec<PathBuf> {
        self.groups.directories().map(Path::to_owned).collect()
    }

    /// The same, as another process would have it.
    #[cfg(test)]
    pub(super) fn with_groups_in(&self, parent: &str) -> Self {
        let mut other = self.clone();
        other.groups.set_parent(parent);
        other
    }

    fn leave_out(&mut self, measure: Measure, why: String) {
        for (flag, of) in NAMESPACES {
            if of == measure {
                self.namespaces.remove(flag);
            }
        }
        if measure == Measure::Files {
            self.view = None;
        }
        self.groups.without(measure);
        if !self.missing.iter().any(|missing| missing.measure == measure) {
            self.missing.push(Missing { measure, why });
        }
    }

    /// Tries the namespaces one by one. Gives whether one was left out.
    fn leave_out_what_fails(&mut self) -> bool {
        let before = self.namespaces;
        for (flag, measure) in NAMESPACES {
            // Who is not root may enter others only as root of users of its own.
            let users = self.namespaces & UnshareFlags::NEWUSER;
            if self.namespaces.contains(flag)
                && let Err(error) = can_enter(flag | users)
            {
                self.leave_out(measure, error.to_string());
            }
        }
        self.namespaces != before
    }

    /// Has the program say its version.
    fn trial(&self, program: &Path) -> Result<(), Trial> {
        let share = Share { memory_mib: 1024, cpus: 1 };
        let wish = Wish {
            program,
            arguments: vec![c"--version".to_owned()],
            descriptors: Vec::new(),
            limits: SMALL,
            patient: false,
            group: None,
            kvm: false,
            share: Some((share, sweep::numbered(&sweep::probe()))),
        };
        let (child, _group) = self.start(&wish).map_err(Trial::NotStarted)?;
        let mut words = Vec::new();
        drop(io::Read::read_to_end(&mut std::fs::File::from(child.stderr), &mut words));
        match wait(&child.handle) {
            Ok(status) if status.exit_status() == Some(0) => Ok(()),
            Ok(_) => Err(Trial::Failed(String::from_utf8_lossy(&words).trim().to_owned())),
            Err(error) => Err(Trial::Failed(error.to_string())),
        }
    }

    /// Starts a program as [`Plan::start`] does, isolated.
    pub(super) fn start(&self, wish: &Wish<'_>) -> Result<(Child, Option<Arc<Group>>), NotStarted> {
        let invalid = |_| NotStarted { step: Step::Prepare, error: rustix::io::Errno::INVAL };
        let program = CString::new(wish.program.as_os_str().as_bytes()).map_err(invalid)?;
        let mut arguments = vec![program.clone()];
        arguments.extend(wish.arguments.iter().cloned());
        let mut group = match &wish.share {
            Some((share, name)) if self.groups.directories().next().is_some() => {
                let made = self.groups.make(name, share, wish.patient);
                Some(made.map_err(|error| {
                    tracing::error!("cannot make a control group: {error}");
                    let error = rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
                    NotStarted { step: Step::ControlGroup, error }
                })?)
            }
            _ => None,
        };
        let plan = Plan {
            program,
            arguments,
            descriptors: wish.descriptors.clone(),
            limits: wish.limits,
            patient: wish.patient,
            group: wish.group,
            kvm: wish.kvm,
            namespaces: self.namespaces,
            view: self.view.as_ref(),
            control_group: group.as_ref(),
        };
        let child = plan.start()?;
        if let Some(group) = &mut group {
            group.close();
        }
        Ok((child, group.map(Arc::new)))
    }
}

/// The limits of a program that only has to show that it can be started.
const SMALL: [(Resource, u64); 5] = [
    (Resource::Core, 0),
    (Resource::Memlock, 0),
    (Resource::Nofile, 128),
    (Resource::Fsize, 0),
    (Resource::As, 4 << 30),
];

enum Trial {
    NotStarted(NotStarted),
    Failed(String),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sleeper(name: &str) -> Wish<'static> {
        Wish {
            program: Path::new("/bin/sleep"),
            arguments: vec![c"1000".to_owned()],
            descriptors: Vec::new(),
            limits: SMALL,
            patient: false,
            group: None,
            kvm: false,
            share: Some((Share { memory_mib: 64, cpus: 1 }, name.to_owned())),
        }
    }

    #[test]
    fn a_process_is_born_in_its_group_of_the_second_version() {
        let mut isolation = Isolation::find(Path::new("/bin/bash")).unwrap();
        let Some(groups) = Groups::of_second_version() else {
            eprintln!("not tested: there are no control groups of the second version here");
            return;
        };
        let name = sweep::numbered(&sweep::probe());
        if let Err(error) = groups.make(&name, &Share { memory_mib: 64, cpus: 1 }, false) {
            eprintln!("not tested: {error}");
            return;
        }
        isolation.groups = groups;
        let (child, group) = isolation.start(&sleeper(&name)).unwrap();
        let seen = fs::read_to_string(format!("/proc/{}/cgroup", child.id.as_raw_nonzero())).unwrap();
        assert!(seen.lines().any(|line| line.starts_with("0::") && line.ends_with(&name)), "{seen}");
        rustix::process::pidfd_send_signal(&child.handle, rustix::process::Signal::KILL).unwrap();
        wait(&child.handle).unwrap();
        drop(group);
        let left = isolation
            .group_directories()
            .iter()
            .any(|directory| directory.join(sweep::machines()).join(&name).exists());
        assert!(!left);
    }

    /// On a host that allows nothing, QEMU still runs, without rights.
    #[test]
    fn without_namespaces_a_process_has_no_rights_either() {
        let mut isolation = Isolation::find(Path::new("/bin/bash")).unwrap();
        for measure in Measure::ALL {
            isolation.leave_out(measure, "for a test".into());
        }
        assert_eq!(isolation.namespaces, UnshareFlags::empty());
        assert!(isolation.group_directories().is_empty());
        let (child, group) = isolation.start(&sleeper("none")).unwrap();
        assert!(group.is_none());
        let status = fs::read_to_string(format!("/proc/{}/status", child.id.as_raw_nonzero())).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        assert_eq!((value("CapPrm:").as_str(), value("NoNewPrivs:").as_str()), ("0000000000000000", "1"));
        if rustix::process::geteuid().is_root() {
            assert_eq!(value("Uid:"), "65534\t65534\t65534\t65534");
            assert_eq!(value("CapBnd:"), "0000000000000000");
        }
        rustix::process::pidfd_send_signal(&child.handle, rustix::process::Signal::KILL).unwrap();
        assert_eq!(wait(&child.handle).unwrap().terminating_signal(), Some(9));
    }

    #[test]
    fn what_fails_is_left_out_and_told() {
        let mut isolation = Isolation::find(Path::new("/bin/bash")).unwrap();
        isolation.leave_out(Measure::Users, "it is not allowed".into());
        isolation.leave_out(Measure::Users, "told twice".into());
        let told = isolation.missing().iter().filter(|missing| missing.measure == Measure::Users);
        assert_eq!(told.count(), 1);
        assert!(!isolation.namespaces.contains(UnshareFlags::NEWUSER));
        assert!(can_enter(UnshareFlags::from_bits_retain(1)).is_err(), "this would be no namespace");
    }
}
