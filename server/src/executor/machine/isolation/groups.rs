//! Control groups: how much of the host a machine may take.
//!
//! Both versions of the kernel's interface, even mixed: each controller is where
//! it is mounted. Groups are made below our own, so that what limits us limits
//! our machines as well, and all of them in one that is named by us: whoever waits
//! for nobody stands back behind our other machines, and not behind all the host.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::io::Errno;

use super::{super::sweep, Measure};

/// Shares of the processors that a machine has while others want them too, where
/// a thread of the server has 1024: it comes first.
const SHARES: u32 = 512;
/// The same for one that nobody waits for.
const PATIENT_SHARES: u32 = 10;
/// Microseconds in which a machine's time is counted.
const PERIOD: u64 = 100_000;
/// Threads of QEMU's own: its pool for files has up to 64.
const THREADS: u32 = 80;
/// Of the second version: the group that we move into ourselves, since a group
/// that has groups may have no processes.
const OURSELVES: &str = "devenv-cloud-itself";

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    pub(super) const fn measure(self) -> Measure {
        match self {
            Self::Memory => Measure::MemoryLimit,
            Self::Cpu => Measure::ProcessorLimit,
            Self::Pids => Measure::ThreadLimit,
        }
    }
}

/// How much a machine may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Share {
    pub(in super::super) memory_mib: u64,
    pub(in super::super) cpus: u32,
}

/// A directory in which groups are made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Base {
    directory: PathBuf,
    second_version: bool,
    controllers: Vec<Controller>,
}

/// Where groups are made.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    bases: Vec<Base>,
    /// The name of the group that all others are in.
    parent: String,
}

impl Groups {
    /// Finds out by making one. Says what cannot be limited, and why.
    pub(super) fn find(trial: &str) -> (Self, Vec<(Measure, String)>) {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (found, mut missing) = locate(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let mut groups = Self { bases: Vec::new(), parent: sweep::machines() };
        for mut base in found {
            let tried = base.prepare().and_then(|()| {
                let share = Share { memory_mib: 1024, cpus: 1 };
                Self { bases: vec![base.clone()], parent: sweep::machines() }
                    .make(trial, &share, false)
                    .map(drop)
            });
            match tried {
                Ok(()) => groups.bases.push(base),
                Err(error) => {
                    let why = format!("{}: {error}", base.directory.display());
                    missing.extend(base.controllers.drain(..).map(|c| (c.measure(), why.clone())));
                }
            }
        }
        (groups, missing)
    }

    /// All but one.
    pub(super) fn without(&mut self, measure: Measure) {
        for base in &mut self.bases {
            base.controllers.retain(|controller| controller.measure() != measure);
        }
        self.bases.retain(|base| !base.controllers.is_empty());
    }

    /// The hierarchy of the second version, whatever it limits.
    #[cfg(test)]
    pub(super) fn of_second_version() -> Option<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let own = read("/proc/self/cgroup");
        let directory =
            directory(&read("/proc/self/mountinfo"), "cgroup2", None, own_path(&own, str::is_empty)?)?;
        let bases = vec![Base { directory, second_version: true, controllers: Vec::new() }];
        Some(Self { bases, parent: sweep::machines() })
    }

    #[cfg(test)]
    pub(super) fn set_parent(&mut self, name: &str) {
        name.clone_into(&mut self.parent);
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.bases.iter().map(|base| base.directory.as_path())
    }

    /// Makes a group. Dropping it removes it.
    pub(super) fn make(&self, name: &str, share: &Share, patient: bool) -> io::Result<Group> {
        let mut group = Group { parts: Vec::new(), memory_mib: share.memory_mib };
        for base in &self.bases {
            let directory = base.make(&self.parent, name)?;
            group.parts.push(GroupPart { base: base.clone(), directory, entry: None });
        }
        for part in &mut group.parts {
            part.limit(share)?;
            part.weigh(patient)?;
            part.entry = Some(if part.base.second_version {
                File::open(&part.directory)?
            } else {
                // Not `cgroup.procs`: to move ourselves alone locks nobody out.
                File::options().write(true).open(part.directory.join("tasks"))?
            });
        }
        Ok(group)
    }
}

impl Base {
    /// Makes a directory, and the one that all are in.
    fn make(&self, parent: &str, name: &str) -> io::Result<PathBuf> {
        let parent = self.directory.join(parent);
        let directory = parent.join(name);
        loop {
            match fs::create_dir(&parent) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let made = match self.second_version {
                true => fs::write(parent.join("cgroup.subtree_control"), self.all()),
                false => Ok(()),
            };
            match made.and_then(|()| fs::create_dir(&directory)) {
                // Who removed the last one meanwhile removed this as well.
                Err(_) if !parent.exists() => {}
                made => return made.map(|()| directory),
            }
        }
    }

    /// All controllers, to be switched on for groups below.
    fn all(&self) -> String {
        self.controllers.iter().map(|c| format!("+{}", c.name())).collect::<Vec<_>>().join(" ")
    }

    /// Lets groups below have what this one has.
    fn prepare(&self) -> io::Result<()> {
        if !self.second_version {
            return Ok(());
        }
        let control = self.directory.join("cgroup.subtree_control");
        let enable = || fs::write(&control, self.all());
        if enable().is_ok() {
            return Ok(());
        }
        // A group with processes has no groups: we have to move down ourselves. Not
        // if we share it; then it was not made for us.
        let us = std::process::id().to_string();
        let members = fs::read_to_string(self.directory.join("cgroup.procs"))?;
        if members.split_whitespace().any(|member| member != us) {
            return Err(io::Error::other("other processes are in our group"));
        }
        let below = self.directory.join(OURSELVES);
        match fs::create_dir(&below) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(below.join("cgroup.procs"), &us)?;
        enable().inspect_err(|_| {
            drop(fs::write(self.directory.join("cgroup.procs"), &us));
            drop(fs::remove_dir(&below));
        })
    }
}

/// Where our own group is, in each hierarchy.
fn locate(mounts: &str, own: &str) -> (Vec<Base>, Vec<(Measure, String)>) {
    let mut bases: Vec<Base> = Vec::new();
    let mut missing = Vec::new();
    for controller in Controller::ALL {
        let first = own_path(own, |controllers| controllers.split(',').any(|name| name == controller.name()))
            .and_then(|path| directory(mounts, "cgroup", Some(controller.name()), path));
        let second = || {
            own_path(own, str::is_empty).and_then(|path| directory(mounts, "cgroup2", None, path)).filter(
                |directory| {
                    let there = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
                    there.split_whitespace().any(|name| name == controller.name())
                },
            )
        };
        let found = match first {
            Some(directory) => Some((directory, false)),
            None => second().map(|directory| (directory, true)),
        };
        match found {
            None => missing.push((
                controller.measure(),
                format!("our control group has no controller `{}`", controller.name()),
            )),
            Some((directory, second_version)) => {
                match bases.iter_mut().find(|base| base.directory == directory) {
                    Some(base) => base.controllers.push(controller),
                    None => bases.push(Base { directory, second_version, controllers: vec![controller] }),
                }
            }
        }
    }
    (bases, missing)
}

/// Our path in the hierarchy with these controllers.
fn own_path(own: &str, is_it: impl Fn(&str) -> bool) -> Option<&str> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        is_it(controllers).then_some(path)
    })
}

/// The directory of a path in a hierarchy. What is mounted may be a part of it.
fn directory(mounts: &str, kind: &str, option: Option<&str>, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        if file_system.next()? != kind {
            return None;
        }
        let options = file_system.nth(1)?;
        if option.is_some_and(|option| !options.split(',').any(|other| other == option)) {
            return None;
        }
        let below = Path::new(path).strip_prefix(root).ok()?;
        let directory = Path::new(point).join(below);
        // We have moved down ourselves before.
        Some(match directory.file_name() {
            Some(name) if name == OURSELVES => directory.parent()?.to_owned(),
            _ => directory,
        })
    })
}

/// A group of one machine. Dropping it removes it.
#[derive(Debug)]
pub(in super::super) struct Group {
    parts: Vec<GroupPart>,
    memory_mib: u64,
}

#[derive(Debug)]
struct GroupPart {
    base: Base,
    directory: PathBuf,
    /// How a process gets in.
    entry: Option<File>,
}

impl Group {
    /// Of the second version: what a process is made in.
    pub(super) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.parts
            .iter()
            .filter(|part| part.base.second_version)
            .find_map(|part| Some(part.entry.as_ref()?.as_fd()))
    }

    /// Of the first version: has the calling process join. Allocates nothing.
    pub(super) fn join(&self) -> Result<(), Errno> {
        for part in self.parts.iter().filter(|part| !part.base.second_version) {
            if let Some(entry) = &part.entry {
                rustix::io::write(entry, b"0")?;
            }
        }
        Ok(())
    }

    /// Nobody else will join.
    pub(super) fn close(&mut self) {
        for part in &mut self.parts {
            part.entry = None;
        }
    }

    /// Removes it, when all in it have ended.
    pub(in super::super) fn remove(&self) {
        for part in &self.parts {
            if let Err(error) = remove(&part.directory) {
                tracing::warn!(group = %part.directory.display(), "cannot remove a control group: {error}");
            }
            // If it was the last.
            drop(part.directory.parent().map(fs::remove_dir));
        }
    }

    /// MiB that it may have.
    pub(in super::super) fn memory_mib(&self) -> u64 {
        self.memory_mib
    }

    /// Lets it have its share of the processors.
    pub(in super::super) fn hurry(&self) {
        for part in &self.parts {
            // It may have ended meanwhile.
            drop(part.weigh(false));
        }
    }

    /// Whether the kernel killed something in it for lack of memory.
    pub(in super::super) fn was_out_of_memory(&self) -> bool {
        self.parts.iter().any(|part| {
            let name = if part.base.second_version { "memory.events" } else { "memory.oom_control" };
            let text = fs::read_to_string(part.directory.join(name)).unwrap_or_default();
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes a group whose processes have been killed: the kernel may need a moment.
pub(in super::super) fn remove(directory: &Path) -> io::Result<()> {
    for _ in 0..200 {
        match fs::remove_dir(directory) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                thread::sleep(Duration::from_millis(5))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
    fs::remove_dir(directory)
}

impl GroupPart {
    fn has(&self, controller: Controller) -> bool {
        self.base.controllers.contains(&controller)
    }

    fn write(&self, file: &str, value: impl ToString) -> io::Result<()> {
        let path = self.directory.join(file);
        let written = File::options().write(true).open(&path);
        let written = written.and_then(|mut file| file.write_all(value.to_string().as_bytes()));
        written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn limit(&self, share: &Share) -> io::Result<()> {
        let second = self.base.second_version;
        if self.has(Controller::Memory) {
            let bytes = share.memory_mib << 20;
            self.write(if second { "memory.max" } else { "memory.limit_in_bytes" }, bytes)?;
            // A machine that is swapped out is no machine. Not every kernel counts swap.
            drop(if second {
                self.write("memory.swap.max", 0)
            } else {
                self.write("memory.memsw.limit_in_bytes", bytes)
            });
        }
        if self.has(Controller::Cpu) {
            // Half a processor for QEMU's own threads.
            let quota = PERIOD * u64::from(share.cpus) + PERIOD / 2;
            if second {
                self.write("cpu.max", format!("{quota} {PERIOD}"))?;
            } else {
                self.write("cpu.cfs_period_us", PERIOD)?;
                self.write("cpu.cfs_quota_us", quota)?;
            }
        }
        if self.has(Controller::Pids) {
            self.write("pids.max", share.cpus + THREADS)?;
        }
        Ok(())
    }

    fn weigh(&self, patient: bool) -> io::Result<()> {
        if !self.has(Controller::Cpu) {
            return Ok(());
        }
        let shares = if patient { PATIENT_SHARES } else { SHARES };
        if self.base.second_version {
            // Where 100 is what 1024 was.
            self.write("cpu.weight", (shares * 100 / 1024).max(1))
        } else {
            self.write("cpu.shares", shares)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "\
        35 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        36 31 0:32 /docker/1 /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:3 - cgroup cgroup rw,pids\n";

    #[test]
    fn our_own_group_is_found_in_hierarchies_of_the_first_version() {
        let own = "5:memory:/a/b\n4:cpu,cpuacct:/docker/1/x\n1:name=systemd:/\n0::/\n";
        let (bases, missing) = locate(FIRST, own);
        let directories: Vec<_> = bases.iter().map(|base| base.directory.to_str().unwrap()).collect();
        assert_eq!(directories, ["/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/cpu,cpuacct/x"]);
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert_eq!(missing[0].0, Measure::ThreadLimit);
    }

    #[test]
    fn our_own_group_is_found_in_the_hierarchy_of_the_second_version() {
        let root = tempfile::tempdir().unwrap();
        let ours = root.path().join("a.service");
        fs::create_dir_all(ours.join(OURSELVES)).unwrap();
        fs::write(ours.join("cgroup.controllers"), "cpu memory io pids\n").unwrap();
        let mounts = format!("30 1 0:26 / {} rw shared:4 - cgroup2 cgroup2 rw\n", root.path().display());
        for own in ["0::/a.service\n", "0::/a.service/devenv-cloud-itself\n"] {
            let (bases, missing) = locate(&mounts, own);
            assert_eq!(missing, []);
            assert_eq!(bases.len(), 1);
            assert_eq!((bases[0].directory.as_path(), bases[0].controllers.len()), (ours.as_path(), 3));
        }
        let (bases, missing) = locate(&mounts, "0::/elsewhere\n");
        assert_eq!((bases.len(), missing.len()), (0, 3));
    }

    /// Stands in for a kernel of the second version, as far as files go.
    #[test]
    fn limits_of_the_second_version_are_written_in_its_words() {
        let root = tempfile::tempdir().unwrap();
        let base = Base {
            directory: root.path().to_owned(),
            second_version: true,
            controllers: Controller::ALL.to_vec(),
        };
        let directory = root.path().join("m");
        fs::create_dir(&directory).unwrap();
        let files = ["memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max"];
        for file in files {
            fs::write(directory.join(file), "").unwrap();
        }
        let part = GroupPart { base, directory: directory.clone(), entry: None };
        part.limit(&Share { memory_mib: 2, cpus: 3 }).unwrap();
        part.weigh(true).unwrap();
        let written = files.map(|file| fs::read_to_string(directory.join(file)).unwrap());
        assert_eq!(written, ["2097152", "0", "350000 100000", "1", "83"]);
        fs::write(directory.join("memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
        let group = Group { parts: vec![part], memory_mib: 2 };
        assert!(group.was_out_of_memory());
        fs::write(directory.join("memory.events"), "oom 1\noom_kill 0\n").unwrap();
        assert!(!group.was_out_of_memory());
        fs::remove_dir_all(&directory).unwrap();
    }
}
