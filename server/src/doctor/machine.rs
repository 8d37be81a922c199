//! QEMU, KVM, the image, and whether a machine really starts.

use std::{fs::File, io, os::unix::fs::MetadataExt as _, time::Instant};

use devenv_cloud_api::orgs::ProjectSettings;

use super::{Finding, Host, days};
use crate::{
    clock::{Clock, Random},
    config,
    executor::{
        Room,
        image::{self, ImageError},
        machine::{
            Exit, Kept, MachineError, MachineSettings, MachineSpec, Machines as _, Measure, Missing,
            QemuMachines, costs, examine, kept,
        },
        wait_until_ready,
    },
};

/// What KVM is reached through.
const KVM: &str = "/dev/kvm";

/// Days after which an image lacks too many security updates.
const OLD: i64 = 45;

pub(super) async fn qemu(host: &Host) -> Vec<Finding> {
    if !cfg!(target_arch = "x86_64") {
        return vec![Finding::problem(
            "processor",
            "this is no x86_64 host",
            "use one: machines have the host's architecture",
        )];
    }
    let settings = &host.config.executor;
    let found = match examine(&settings.qemu, &settings.accelerator).await {
        Ok(found) => found,
        Err(MachineError::NoQemu { program }) => {
            return vec![Finding::problem(
                "qemu",
                format!("there is no {program}"),
                "run `apt-get install qemu-system-x86`, or set executor.qemu",
            )];
        }
        Err(error @ MachineError::NotIsolated(_)) => {
            let todo =
                "run as an ordinary user, or as a root who may give up its rights and become user 65534";
            return vec![Finding::problem("namespaces", one_line(&error.to_string()), todo)];
        }
        Err(error) => {
            return vec![Finding::problem(
                "qemu",
                error.to_string(),
                "install QEMU 7.2 or newer, or set executor.qemu to one",
            )];
        }
    };
    let mut findings =
        vec![Finding::fine("qemu", format!("{} ({})", found.version, found.program.display()))];
    findings.push(match &found.kvm {
        Ok(()) => Finding::fine("kvm", "works: a machine was made with it"),
        Err(why) => {
            let (says, todo) = without_kvm(why);
            Finding::notice("kvm", says, todo)
        }
    });
    findings.push(match found.accelerator {
        Ok("kvm") => Finding::fine("accelerator", "kvm"),
        Ok(name) if settings.accelerator == name && found.kvm.is_ok() => Finding::notice(
            "accelerator",
            format!("{name}, as executor.accelerator says: machines are emulated, and slow"),
            "set executor.accelerator to auto, since KVM works here",
        ),
        Ok(name) => Finding::notice(
            "accelerator",
            format!("{name}, because KVM cannot be used: machines are emulated, and slow"),
            "mend kvm (above), or live with it: everything works, some things take ten times as long",
        ),
        Err(error) => Finding::problem("accelerator", error.to_string(), "set executor.accelerator to auto"),
    });
    findings.extend(isolation("namespaces", &found.not_isolated, settings, |measure| !measure.is_limit()));
    findings.extend(isolation("cgroups", &found.not_isolated, settings, Measure::is_limit));
    findings
}

/// What of one kind keeps machines away from the host, and what does not.
fn isolation(
    check: &'static str,
    missing: &[Missing],
    settings: &config::Executor,
    is_it: impl Fn(Measure) -> bool,
) -> Vec<Finding> {
    let missing: Vec<_> = missing.iter().filter(|missing| is_it(missing.measure)).collect();
    if missing.is_empty() {
        let all = Measure::ALL.into_iter().filter(|&measure| is_it(measure));
        let all = all.map(|measure| measure.to_string()).collect::<Vec<_>>().join(", ");
        return vec![Finding::fine(check, format!("QEMU was started with {all}"))];
    }
    let todo = missing.first().map_or("", |missing| missing.measure.todo());
    let list = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let says = one_line(&format!("this host does not allow: {list}"));
    vec![if settings.isolation == "strict" {
        let todo = format!("set executor.isolation to auto instead of strict, or {todo}");
        Finding::problem(check, says, todo)
    } else {
        Finding::notice(check, says, todo)
    }]
}

/// Why there is no KVM, and what helps.
fn without_kvm(why: &str) -> (String, String) {
    let opened = File::options().read(true).write(true).open(KVM);
    match opened.map_err(|error| error.kind()) {
        Err(io::ErrorKind::NotFound) => (
            "there is no /dev/kvm".to_owned(),
            "switch virtualisation on in the firmware (on a virtual machine: nested virtualisation, in its \
             hypervisor), then `modprobe kvm_intel` or `modprobe kvm_amd`"
                .to_owned(),
        ),
        Err(io::ErrorKind::PermissionDenied) if !is_for_root_alone() => (
            "this user may not open /dev/kvm".to_owned(),
            "run `usermod --append --groups kvm` with the user's name as root, and sign in again".to_owned(),
        ),
        // Root opens everything, and gives up its rights before it starts a machine.
        Ok(_) | Err(io::ErrorKind::PermissionDenied) if is_for_root_alone() => (
            "/dev/kvm is for root alone, and machines run without root's rights".to_owned(),
            "as root, give it to a group: `groupadd --force --system kvm && chgrp kvm /dev/kvm && chmod g+rw /dev/kvm` \
             (udev does so by itself where it runs), and add users that are not root to that group"
                .to_owned(),
        ),
        _ => (
            format!("/dev/kvm is there, but no machine can be made with it: {}", one_line(why)),
            "look into `dmesg | grep -i kvm`; on a virtual machine, its hypervisor must allow nested virtualisation"
                .to_owned(),
        ),
    }
}

/// A machine keeps the group of the device, if that is not root's.
fn is_for_root_alone() -> bool {
    let Ok(device) = std::fs::metadata(KVM) else { return false };
    let group = device.gid() != 0 && device.mode() & 0o060 == 0o060;
    !group && device.mode() & 0o006 != 0o006
}

/// What makes an image, and a template of it.
const BUILD: &str = "run `devenv-cloud image build`";

pub(super) async fn image(host: &Host) -> Vec<Finding> {
    let directory = host.images.clone();
    // Every byte is read again: that is what a doctor is for.
    let found = tokio::task::spawn_blocking(move || {
        let image = image::newest(&directory)?;
        image.verify(true).map(|()| image)
    });
    let finding = match found.await {
        Ok(Ok(image)) => {
            let age = host.now.signed_duration_since(image.manifest.built_at).num_days();
            let says = format!(
                "{}, whole, built {}, kernel {} ({})",
                image.id,
                days(age),
                image.manifest.kernel,
                host.images.display()
            );
            if age > OLD {
                let todo = "run `devenv-cloud image build --force` for the updates since";
                Finding::notice("image", says, todo)
            } else {
                Finding::fine("image", says)
            }
        }
        Ok(Err(ImageError::None(says))) => Finding::problem("image", says, BUILD),
        Ok(Err(ImageError::Damaged { id, file, how, dir })) => Finding::problem(
            "image",
            format!("{id} is damaged: {file} {how}"),
            format!("remove {} and {BUILD}", dir.display()),
        ),
        Ok(Err(error)) => Finding::problem("image", one_line(&error.to_string()), BUILD),
        Err(error) => Finding::problem("image", error.to_string(), BUILD),
    };
    vec![finding]
}

/// What is given out, and what of it templates would take.
pub(super) async fn room(host: &Host) -> Vec<Finding> {
    let config = &host.config.executor;
    let Room { memory_mib, cpus } = config.room();
    let usual = ProjectSettings::default();
    let slots = config.slots;
    let says = format!(
        "machines may have {memory_mib} MiB of memory and {cpus} processors together, in {slots} slots"
    );
    let mut findings = vec![if memory_mib < usual.memory_mib || cpus < usual.cpus {
        Finding::problem(
            "room",
            format!(
                "{says}; a job of the usual size needs {} MiB and {} processors, and would wait for ever",
                usual.memory_mib, usual.cpus
            ),
            "give this host more memory, raise executor.memory_mib and executor.cpus, or ask for less in every project",
        )
    } else {
        Finding::fine("room", says)
    }];
    let (template, waiting) = costs();
    let pool = u64::from(config.pool_of(slots));
    let needs = template + pool * waiting;
    findings.push(if !config.templates {
        Finding::notice(
            "templates",
            "executor.templates is off: every machine is booted, which takes seconds",
            "set executor.templates to true",
        )
    } else if u64::from(memory_mib) < needs {
        Finding::notice(
            "templates",
            format!("one of the usual size and {pool} machines that wait need {needs} MiB, which is more than there is"),
            "raise executor.memory_mib, or lower executor.pool",
        )
    } else {
        Finding::fine(
            "templates",
            format!(
                "one of the usual size ({} cpus, {} MiB) takes about {template} MiB and each of {pool} machines that wait \
                 about {waiting}, as long as jobs leave that free; what a server has, and since when, is on its page Runners",
                usual.cpus, usual.memory_mib
            ),
        )
    });
    if let Ok(image) = image::newest(&host.images) {
        findings.push(shelf(&kept(&image)));
    }
    findings
}

/// What is kept beside the image, so that the next start need not make it.
fn shelf(kept: &[Kept]) -> Finding {
    let age = |kept: &Kept| match kept.age.as_secs() / 60 {
        minutes if minutes < 120 => format!("{minutes} min"),
        minutes if minutes < 48 * 60 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / (24 * 60)),
    };
    let each: Vec<_> = kept.iter().map(|kept| format!("{} ({} old)", kept.spec, age(kept))).collect();
    if each.is_empty() {
        Finding::notice("templates kept", "none: `devenv-cloud run` boots its machine", BUILD)
    } else {
        Finding::fine("templates kept", each.join("; "))
    }
}

pub(super) async fn starts(host: &Host) -> Vec<Finding> {
    // Without an image there is nothing to start, and that was said.
    if !host.machine || image::newest(&host.images).is_err() {
        return Vec::new();
    }
    let settings = MachineSettings {
        images: host.images.clone(),
        ..MachineSettings::of(&host.config.executor, host.cache.clone())
    }
    .for_one();
    let began = Instant::now();
    let finding = match Box::pin(start(settings)).await {
        Ok(()) => {
            let millis = began.elapsed().as_millis();
            Finding::fine("machine", format!("starts, and is ready after {millis} ms (cold)"))
        }
        Err(why) => Finding::problem(
            "machine",
            one_line(&why),
            "run `devenv-cloud run --console` in a project to see what its kernel says",
        ),
    };
    vec![finding]
}

async fn start(settings: MachineSettings) -> Result<(), String> {
    std::fs::create_dir_all(&settings.state)
        .map_err(|error| format!("cannot create {}: {error}", settings.state.display()))?;
    let machines = QemuMachines::start(settings).await;
    let spec = MachineSpec { cpus: 1, memory_mib: 512, disk_mib: 256, console: false };
    let mut machine = machines.machine(&spec).await.map_err(|error| error.to_string())?;
    let ready = wait_until_ready(&mut machine, &Clock::system(), &Random::system()).await;
    machine.life.kill();
    match (ready, machine.life.ended().await) {
        (Err(why), Exit::Killed) => Err(why),
        (Err(why), exit) => Err(format!("{why} ({exit})")),
        (Ok(()), _) => Ok(()),
    }
}

fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
