//! QEMU's command line.
//!
//! A microvm: no BIOS, no PCI, no network, no display; a read-only root disk
//! that all share, a scratch disk of its own, and one serial port. What the
//! flags are good for was measured; `docs/executor.md` says where.

use std::{
    ffi::OsString,
    fs::File,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::Path,
};

use devenv_cloud_guest::protocol;

use super::{
    MachineError, MachineSpec, accelerator::Accelerator, host::Host, isolation::Share, process::Launch, sweep,
};
use crate::executor::image::Image;

/// MiB of translated code that QEMU keeps under emulation.
const TRANSLATION_MIB: u32 = 256;

/// MiB that QEMU may take beside its machine's memory.
const OVERHEAD_MIB: u32 = 300;

/// What QEMU's sandbox forbids it: it needs no new processes and no rights.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// What every kernel is told. The second line saves a quarter of the start.
const KERNEL_COMMAND_LINE: &str = "panic=-1 reboot=t random.trust_cpu=on mitigations=off audit=0 selinux=0 \
     apparmor=0 no_timer_check cryptomgr.notests nokaslr i8042.noaux i8042.nokbd rcupdate.rcu_expedited=1 \
     dvc.root=/dev/vda dvc.scratch=/dev/vdb";

/// What a machine's memory is made of.
pub(super) enum Memory {
    /// Pages of its own.
    Own,
    /// A file.
    File {
        /// The file.
        file: OwnedFd,
        /// Whether what the machine writes goes into the file.
        shared: bool,
    },
}

/// QEMU's command line, and the descriptors that it refers to.
pub(super) struct CommandLine {
    name: String,
    arguments: Vec<OsString>,
    descriptors: Vec<OwnedFd>,
    disk_bytes: u64,
    patient: bool,
}

impl CommandLine {
    pub(super) fn new(name: &str) -> Self {
        let mut arguments = Self {
            name: name.to_owned(),
            arguments: Vec::new(),
            descriptors: Vec::new(),
            disk_bytes: 0,
            patient: false,
        };
        arguments.add(&[
            "-name",
            name,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-monitor",
            "none",
        ]);
        arguments.add(&["-sandbox", SANDBOX, "-no-reboot"]);
        arguments
    }

    pub(super) fn add(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(OsString::from));
    }

    /// Hands a descriptor over; its number is the same on both sides.
    pub(super) fn hand_over(&mut self, descriptor: impl Into<OwnedFd>) -> i32 {
        let descriptor = descriptor.into();
        let number = descriptor.as_raw_fd();
        self.descriptors.push(descriptor);
        number
    }

    pub(super) fn control(&mut self, end: StdUnixStream) {
        let fd = self.hand_over(end);
        self.add(&[
            "-chardev",
            &format!("socket,id=control,fd={fd}"),
            "-mon",
            "chardev=control,mode=control",
        ]);
    }

    pub(super) fn processor(
        &mut self,
        accelerator: &Accelerator,
        spec: &MachineSpec,
        host: &Host,
        memory: Memory,
    ) {
        let (accelerator, processor) = match accelerator {
            Accelerator::Kvm { .. } => ("kvm".to_owned(), "host"),
            // `arat`: without it no timer that can sleep, and a tick for ever.
            // `rdrand`: without it the first program waits a second for entropy.
            Accelerator::Tcg => {
                (format!("tcg,thread=multi,tb-size={TRANSLATION_MIB}"), "Nehalem,+rdrand,+arat,-spec-ctrl")
            }
        };
        // ACPI, because Debian's kernels find a microvm's devices only there.
        let serial = if spec.console { "on" } else { "off" };
        let mut machine = format!("microvm,acpi=on,rtc=on,isa-serial={serial}");
        // Saves a little on 7; on 10 the machine would hang before its kernel.
        if host.major_version < 8 {
            machine.push_str(",x-option-roms=off");
        }
        match memory {
            Memory::Own => {}
            Memory::File { file, shared } => {
                machine.push_str(",memory-backend=memory");
                let fd = self.hand_over(file);
                let (size, share) = (spec.memory_mib, if shared { "on" } else { "off" });
                // By way of `/proc`, so that QEMU need not be able to reach a name.
                let object = format!(
                    "memory-backend-file,id=memory,size={size}M,mem-path=/proc/self/fd/{fd},share={share}"
                );
                self.add(&["-object", &object]);
            }
        }
        self.add(&["-accel", &accelerator, "-M", &machine, "-cpu", processor]);
        self.add(&["-m", &format!("{}M", spec.memory_mib), "-smp", &spec.cpus.to_string()]);
    }

    /// The root first, the scratch disk second: `/dev/vda` and `/dev/vdb`.
    pub(super) fn disks(&mut self, image: &Image, scratch: File) -> Result<(), MachineError> {
        self.disk_bytes =
            scratch.metadata().map_err(|e| MachineError::io("cannot read", "scratch disk", e))?.len();
        let root = self.hand_over(open(&image.root())?);
        let scratch = self.hand_over(scratch);
        self.add(&["-add-fd", &format!("set=1,fd={root}"), "-add-fd", &format!("set=2,fd={scratch}")]);
        self.add(&[
            "-blockdev",
            "driver=file,node-name=root-file,filename=/dev/fdset/1,read-only=on,auto-read-only=off,locking=off",
            "-blockdev",
            "driver=raw,node-name=root,file=root-file,read-only=on",
            "-device",
            "virtio-blk-device,drive=root",
            "-blockdev",
            // Nothing has to survive: what a job wants to be safe need not be.
            "driver=file,node-name=scratch-file,filename=/dev/fdset/2,locking=off,discard=unmap,cache.no-flush=on",
            "-blockdev",
            "driver=raw,node-name=scratch,file=scratch-file,discard=unmap",
            "-device",
            "virtio-blk-device,drive=scratch",
        ]);
        Ok(())
    }

    pub(super) fn channel(&mut self, end: StdUnixStream) {
        let fd = self.hand_over(end);
        let name = protocol::PORT_NAME;
        self.add(&[
            "-chardev",
            &format!("socket,id=channel,fd={fd}"),
            "-device",
            "virtio-serial-device,id=serial",
        ]);
        self.add(&["-device", &format!("virtserialport,bus=serial.0,chardev=channel,name={name}")]);
    }

    pub(super) fn console(&mut self, end: StdUnixStream) {
        let fd = self.hand_over(end);
        self.add(&["-chardev", &format!("socket,id=console,fd={fd}"), "-serial", "chardev:console"]);
    }

    pub(super) fn boot(
        &mut self,
        image: &Image,
        khz: Option<u64>,
        console: bool,
    ) -> Result<(), MachineError> {
        // The user that QEMU runs as cannot reach the image's directory; what
        // is open already needs no way to it.
        let kernel = self.hand_over(open(&image.kernel())?);
        let initrd = self.hand_over(open(&image.initrd())?);
        self.add(&[
            "-kernel",
            &format!("/proc/self/fd/{kernel}"),
            "-initrd",
            &format!("/proc/self/fd/{initrd}"),
        ]);
        let mut line = if console {
            format!("console=ttyS0 {KERNEL_COMMAND_LINE}")
        } else {
            format!("console=none quiet loglevel=0 8250.nr_uarts=0 {KERNEL_COMMAND_LINE}")
        };
        if let Some(khz) = khz {
            // `norandmaps`: QEMU 7 translates a program anew for every address
            // at which it finds it. Programs start twice as fast without.
            line.push_str(&format!(" tsc=reliable tsc_early_khz={khz} norandmaps"));
        }
        self.add(&["-append", &line]);
        Ok(())
    }

    /// Leaves the processors to others, as long as they want them.
    pub(super) fn patient(&mut self) {
        self.patient = true;
    }

    /// Waits to be told what to go on with, instead of booting.
    pub(super) fn incoming(&mut self) {
        self.add(&["-incoming", "defer"]);
    }

    pub(super) fn launch(self, host: &Host, accelerator: &Accelerator, spec: &MachineSpec) -> Launch {
        let (group, translation) = match accelerator {
            Accelerator::Kvm { group } => (*group, 0),
            Accelerator::Tcg => (None, TRANSLATION_MIB),
        };
        let share = Share {
            // A restored machine's memory can be there twice: a page that is a hole in
            // its template's file is filled there as well, on its account.
            memory_mib: u64::from(spec.memory_mib) * 2 + u64::from(OVERHEAD_MIB + translation),
            cpus: spec.cpus,
        };
        Launch {
            program: host.program.clone(),
            arguments: self.arguments,
            descriptors: self.descriptors,
            // QEMU's own libraries, threads and heaps beside the guest's memory.
            address_space: (u64::from(spec.memory_mib + TRANSLATION_MIB) + (4 << 10)) << 20,
            file_size: self.disk_bytes,
            patient: self.patient,
            kvm: matches!(accelerator, Accelerator::Kvm { .. }),
            group,
            share: (share, sweep::numbered(&self.name)),
            isolation: host.isolation.clone(),
        }
    }
}

pub(super) fn open(path: &Path) -> Result<File, MachineError> {
    File::open(path).map_err(|e| MachineError::io("cannot open", path, e))
}
