//! Starting a program in namespaces of its own.
//!
//! One `clone3` makes the process with all of its namespaces, so that it is our
//! own child and the first process of its namespace at the same time: its end is
//! known from its descriptor, and nothing stands between it and us that could
//! die in its place. `unshare` could not do that: a namespace of processes is
//! for children only, and one of users for programs with a single thread.
//!
//! The child is a copy of one thread of a program that has many. Until it
//! becomes QEMU it may only make system calls: whoever held a lock when it was
//! made, holds it for ever. So everything that it needs is made before.

use std::{
    convert::Infallible,
    ffi::{CStr, CString},
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
    sync::LazyLock,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::{Errno, FdFlags},
    process::{Gid, Pid, PidfdFlags, Resource, Rlimit, Signal, Uid},
    thread::{CapabilitySet, CapabilitySets, UnshareFlags},
};

use super::{groups::Group, view::View};

/// A user without rights, who is `nobody` on every Linux.
const NOBODY: u32 = 65534;

/// The least of all priorities.
const PATIENT: i32 = 19;

/// `CLONE_CLEAR_SIGHAND` and `CLONE_INTO_CGROUP`, for which libc's type is too small.
const CLEAR_SIGNAL_HANDLERS: u64 = 1 << 32;
const INTO_CGROUP: u64 = 1 << 33;

/// All that a child needs to know.
pub(in super::super) struct Plan<'a> {
    pub(in super::super) program: CString,
    /// With the name of the program in front.
    pub(in super::super) arguments: Vec<CString>,
    /// Descriptors that it keeps under the numbers that they have.
    pub(in super::super) descriptors: Vec<RawFd>,
    pub(in super::super) limits: [(Resource, u64); 5],
    pub(in super::super) patient: bool,
    /// A group beside `nobody`'s, if we are root.
    pub(in super::super) group: Option<u32>,
    pub(in super::super) kvm: bool,
    pub(in super::super) namespaces: UnshareFlags,
    pub(in super::super) view: Option<&'a View>,
    pub(in super::super) control_group: Option<&'a Group>,
}

/// A process that runs the program.
#[derive(Debug)]
pub(in super::super) struct Child {
    pub(in super::super) handle: OwnedFd,
    pub(in super::super) id: Pid,
    pub(in super::super) stderr: OwnedFd,
}

/// What could not be done, of all that comes before the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in super::super) enum Step {
    /// Not one of ours: pipes, memory.
    Prepare,
    Clone,
    Users,
    ControlGroup,
    Streams,
    Identity,
    View,
    ControlGroupNamespace,
    HostName,
    Capabilities,
    Limits,
    Descriptors,
    Parent,
    Execute,
}

impl Step {
    const ALL: [Self; 14] = [
        Self::Prepare,
        Self::Clone,
        Self::Users,
        Self::ControlGroup,
        Self::Streams,
        Self::Identity,
        Self::View,
        Self::ControlGroupNamespace,
        Self::HostName,
        Self::Capabilities,
        Self::Limits,
        Self::Descriptors,
        Self::Parent,
        Self::Execute,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Prepare => "prepare it",
            Self::Clone => "make a process in namespaces of its own",
            Self::Users => "give it users of its own",
            Self::ControlGroup => "put it into its control group",
            Self::Streams => "set up its standard streams",
            Self::Identity => "give up rights",
            Self::View => "hide the host's files",
            Self::ControlGroupNamespace => "enter a namespace of control groups",
            Self::HostName => "name its host",
            Self::Capabilities => "give up capabilities",
            Self::Limits => "set its limits",
            Self::Descriptors => "hand over its descriptors",
            Self::Parent => "bind it to our life",
            Self::Execute => "execute it",
        }
    }
}

/// Why nothing was started.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("cannot {}: {error}", step.words())]
pub(in super::super) struct NotStarted {
    pub(in super::super) step: Step,
    pub(in super::super) error: Errno,
}

impl From<NotStarted> for io::Error {
    fn from(error: NotStarted) -> Self {
        Self::new(io::Error::from(error.error).kind(), error.to_string())
    }
}

fn at(step: Step) -> impl Fn(Errno) -> NotStarted {
    move |error| NotStarted { step, error }
}

fn at_io(step: Step) -> impl Fn(io::Error) -> NotStarted {
    move |error| NotStarted { step, error: Errno::from_io_error(&error).unwrap_or(Errno::IO) }
}

/// What a system call says that rustix does not have.
pub(super) fn outcome(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result == -1 {
        Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
    } else {
        Ok(result)
    }
}

/// `fork`, with namespaces. In the child it gives nothing.
///
/// # Safety
/// The child must do nothing but system calls, and never return.
#[expect(unsafe_code, reason = "there is no other way to make a process in new namespaces")]
unsafe fn fork(namespaces: UnshareFlags, into: Option<RawFd>) -> Result<Option<(Pid, OwnedFd)>, Errno> {
    let mut handle: RawFd = -1;
    let namespaces = namespaces.difference(UnshareFlags::NEWCGROUP);
    let mut flags = u64::from(namespaces.bits())
        | u64::from(libc::CLONE_PIDFD.cast_unsigned())
        // The runtime's signal handlers would write into pipes that we share.
        | CLEAR_SIGNAL_HANDLERS;
    let mut cgroup = 0;
    if let Some(into) = into {
        flags |= INTO_CGROUP;
        cgroup = u64::from(into.cast_unsigned());
    }
    let arguments = libc::clone_args {
        flags,
        pidfd: (&raw mut handle).expose_provenance() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup,
    };
    // SAFETY: without a stack of its own and without shared memory it is `fork`.
    let id = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of_val(&arguments)) };
    let id = outcome(id)?;
    if id == 0 {
        return Ok(None);
    }
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    // SAFETY: the kernel has just made it for us.
    Ok(Some((id, unsafe { OwnedFd::from_raw_fd(handle) })))
}

/// Whether namespaces can be entered at all: makes a process that ends at once.
pub(super) fn can_enter(namespaces: UnshareFlags) -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "the child does nothing but end")]
    match unsafe { fork(namespaces, None) }? {
        None => unsafe { libc::_exit(0) },
        Some((_, handle)) => {
            wait(&handle)?;
            Ok(())
        }
    }
}

/// Whether we are a root who can become `nobody`: in a container with a single user
/// there is none, and its root is no more than whoever started it.
fn can_be_nobody() -> bool {
    static MAPPED: LazyLock<bool> = LazyLock::new(|| {
        let maps = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        maps.lines().any(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u64>);
            let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
                (numbers.next(), numbers.next(), numbers.next())
            else {
                return false;
            };
            (first..first + count).contains(&NOBODY.into())
        })
    });
    rustix::process::geteuid().is_root() && *MAPPED
}

/// Waits for the end of a child.
pub(in super::super) fn wait(handle: &OwnedFd) -> Result<rustix::process::WaitIdStatus, Errno> {
    use std::os::fd::AsFd as _;
    loop {
        let id = rustix::process::WaitId::PidFd(handle.as_fd());
        match rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

impl Plan<'_> {
    /// Starts the program. Blocks until it runs, and has to be called from a
    /// thread that lives longer than the program: the kernel ends both together.
    pub(in super::super) fn start(&self) -> Result<Child, NotStarted> {
        let prepare = at_io(Step::Prepare);
        let (stderr, stderr_end) = io::pipe().map_err(&prepare)?;
        let (go, mut go_end) = io::pipe().map_err(&prepare)?;
        let (mut problem, problem_end) = io::pipe().map_err(&prepare)?;
        let null = File::options().read(true).write(true).open("/dev/null").map_err(&prepare)?;
        let us = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
        let us = us.map_err(at(Step::Prepare))?;
        let mut arguments: Vec<_> = self.arguments.iter().map(|argument| argument.as_ptr()).collect();
        arguments.push(ptr::null());
        let inside = Inside {
            plan: self,
            arguments,
            null: null.into(),
            stderr: stderr_end.into(),
            go: go.into(),
            us,
            is_root: can_be_nobody(),
        };
        let into = self.control_group.and_then(Group::directory).map(|directory| directory.as_raw_fd());
        // SAFETY: `become_program` makes system calls only, and the child ends after it.
        #[expect(unsafe_code, reason = "see the beginning of this file")]
        let forked = unsafe { fork(self.namespaces, into) }.map_err(at(Step::Clone))?;
        let Some((id, handle)) = forked else {
            let Err(NotStarted { step, error }) = inside.become_program();
            let words = [step as u8, 0, 0, 0];
            let mut told = [0; 8];
            told[..4].copy_from_slice(&words);
            told[4..].copy_from_slice(&error.raw_os_error().to_ne_bytes());
            let _ = rustix::io::write(&problem_end, &told);
            // SAFETY: ends the process, and runs nothing of ours.
            #[expect(unsafe_code, reason = "`exit` would run what others registered")]
            unsafe {
                libc::_exit(127)
            }
        };
        drop((problem_end, inside));
        let started = (|| {
            if self.namespaces.contains(UnshareFlags::NEWUSER) {
                self.map_users(id).map_err(at_io(Step::Users))?;
            }
            go_end.write_all(&[1]).map_err(at_io(Step::Users))?;
            let mut told = Vec::new();
            problem.read_to_end(&mut told).map_err(&prepare)?;
            match told.as_slice() {
                [] => Ok(()),
                [step, _, _, _, error @ ..] => {
                    let error = <[u8; 4]>::try_from(error).map_or(0, i32::from_ne_bytes);
                    let step = Step::ALL.into_iter().find(|known| *known as u8 == *step);
                    Err(NotStarted {
                        step: step.unwrap_or(Step::Prepare),
                        error: Errno::from_raw_os_error(error),
                    })
                }
                _ => Err(NotStarted { step: Step::Prepare, error: Errno::IO }),
            }
        })();
        if let Err(error) = started {
            let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
            let _ = wait(&handle);
            return Err(error);
        }
        Ok(Child { handle, id, stderr: stderr.into() })
    }

    /// Who is who in the child's namespace: one user, the same inside and outside.
    fn map_users(&self, id: Pid) -> io::Result<()> {
        let file = |name: &str, text: String| {
            let path = format!("/proc/{}/{name}", id.as_raw_nonzero());
            File::options().write(true).open(path)?.write_all(text.as_bytes())
        };
        if can_be_nobody() {
            file("uid_map", format!("{NOBODY} {NOBODY} 1\n"))?;
            let group = self.group.filter(|&group| group != NOBODY);
            let group = group.map(|group| format!("{group} {group} 1\n")).unwrap_or_default();
            file("gid_map", format!("{NOBODY} {NOBODY} 1\n{group}"))
        } else {
            let user = rustix::process::geteuid().as_raw();
            let group = rustix::process::getegid().as_raw();
            file("setgroups", "deny".to_owned())?;
            file("uid_map", format!("{user} {user} 1\n"))?;
            file("gid_map", format!("{group} {group} 1\n"))
        }
    }
}

/// What the child has, beside its plan.
struct Inside<'a> {
    plan: &'a Plan<'a>,
    /// Pointers into the plan, and a null at their end.
    arguments: Vec<*const libc::c_char>,
    null: OwnedFd,
    stderr: OwnedFd,
    go: OwnedFd,
    us: OwnedFd,
    is_root: bool,
}

impl Inside<'_> {
    /// Everything between the fork and the program. Allocates nothing.
    fn become_program(&self) -> Result<Infallible, NotStarted> {
        let plan = self.plan;
        let owns_users = plan.namespaces.contains(UnshareFlags::NEWUSER);
        self.bind_to_parent().map_err(at(Step::Parent))?;
        if let Some(group) = plan.control_group {
            group.join().map_err(at(Step::ControlGroup))?;
        }
        // Until somebody has said who is who, we are nobody in particular.
        let mut go = [0];
        if rustix::io::read(&self.go, &mut go).map_err(at(Step::Parent))? == 0 {
            return Err(NotStarted { step: Step::Parent, error: Errno::PIPE });
        }
        self.streams().map_err(at(Step::Streams))?;
        // Who is not root could not take it back.
        if plan.patient && self.is_root {
            rustix::process::setpriority_process(None, PATIENT).map_err(at(Step::Limits))?;
        }
        // In a namespace of users, rights over its other namespaces stay; without
        // one they go with the user.
        if self.is_root && owns_users {
            self.drop_root().map_err(at(Step::Identity))?;
        }
        match plan.view {
            Some(view) => view.enter(plan.kvm).map_err(at(Step::View))?,
            None => rustix::process::chdir(c"/").map_err(at(Step::View))?,
        }
        if plan.namespaces.contains(UnshareFlags::NEWUTS) {
            rustix::system::sethostname(b"machine").map_err(at(Step::HostName))?;
        }
        if plan.namespaces.contains(UnshareFlags::NEWCGROUP) {
            // Now that it is in its group: that is what it will see as the root.
            #[expect(unsafe_code, reason = "no other thread shares anything with us any more")]
            let entered = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) };
            entered.map_err(at(Step::ControlGroupNamespace))?;
        }
        self.drop_rights(owns_users).map_err(at(Step::Capabilities))?;
        // Again: a change of user has undone it.
        self.bind_to_parent().map_err(at(Step::Parent))?;
        for (resource, limit) in plan.limits {
            let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
            rustix::process::setrlimit(resource, limit).map_err(at(Step::Limits))?;
        }
        self.descriptors().map_err(at(Step::Descriptors))?;
        Err(NotStarted { step: Step::Execute, error: self.execute() })
    }

    /// The kernel ends us with the thread that made us. Unless that has happened.
    fn bind_to_parent(&self) -> Result<(), Errno> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let mut ended = [PollFd::new(&self.us, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut ended, Some(&now))? {
            0 => Ok(()),
            _ => Err(Errno::CHILD),
        }
    }

    fn streams(&self) -> Result<(), Errno> {
        rustix::stdio::dup2_stdin(&self.null)?;
        rustix::stdio::dup2_stdout(&self.null)?;
        rustix::stdio::dup2_stderr(&self.stderr)?;
        // A Ctrl-C at our terminal is for us alone, and so is the terminal.
        rustix::process::setsid()?;
        // SAFETY: system calls, of which libc has wrappers that allocate nothing.
        #[expect(unsafe_code, reason = "rustix has no signals")]
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        }
        Ok(())
    }

    fn drop_root(&self) -> Result<(), Errno> {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        match self.plan.group {
            Some(group) => rustix::thread::set_thread_groups(&[Gid::from_raw(group)])?,
            None => rustix::thread::set_thread_groups(&[])?,
        }
        rustix::thread::set_thread_res_gid(group, group, group)?;
        rustix::thread::set_thread_res_uid(user, user, user)
    }

    /// Gives up all capabilities, for good.
    fn drop_rights(&self, owns_users: bool) -> Result<(), Errno> {
        if self.is_root || owns_users {
            for capability in CapabilitySet::all() {
                match rustix::thread::remove_capability_from_bounding_set(capability) {
                    // One that this kernel does not have, or a root who may not even
                    // do that. The others are gone below, and no program gives any.
                    Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if self.is_root && !owns_users {
            self.drop_root()?;
        }
        let none = CapabilitySet::empty();
        let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, none)?;
        rustix::thread::set_no_new_privs(true)
    }

    /// All others stay with us, whoever opened them.
    fn descriptors(&self) -> Result<(), Errno> {
        #[expect(unsafe_code, reason = "a system call that rustix does not have; nothing is closed yet")]
        let result =
            unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        // Older kernels have no such call; ours are closed by the exec anyway.
        let _ = outcome(result);
        for &descriptor in &self.plan.descriptors {
            #[expect(unsafe_code, reason = "who has the plan owns the descriptors until the start is over")]
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        Ok(())
    }

    fn execute(&self) -> Errno {
        const PATH: &CStr = c"PATH=/usr/bin:/bin";
        let environment = [PATH.as_ptr(), ptr::null()];
        // SAFETY: both lists end with a null, and the plan outlives them.
        #[expect(unsafe_code, reason = "replaces this process; all pointers are into the plan")]
        unsafe {
            libc::execve(self.plan.program.as_ptr(), self.arguments.as_ptr(), environment.as_ptr());
        }
        Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
    }
}
