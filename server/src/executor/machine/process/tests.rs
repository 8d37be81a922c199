use std::{path::Path, sync::OnceLock};

use super::{
    super::{
        Measure,
        sweep::{self, Mark},
    },
    *,
};

fn shell(script: &str) -> Launch {
    Launch {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        descriptors: Vec::new(),
        address_space: 1 << 30,
        file_size: 1 << 20,
        patient: false,
        kvm: false,
        group: None,
        share: (Share { memory_mib: 64, cpus: 1 }, sweep::numbered(&sweep::probe())),
        isolation: isolation(),
    }
}

/// What this host allows, found once.
fn isolation() -> Arc<Isolation> {
    static FOUND: OnceLock<Arc<Isolation>> = OnceLock::new();
    FOUND.get_or_init(|| Arc::new(Isolation::find(Path::new("/bin/bash")).unwrap())).clone()
}

/// A shell that answers on a descriptor: what it says.
async fn answer(script: &str) -> String {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let script = format!("exec >&{}; {script}", theirs.as_raw_fd());
    // Debian's `sh` knows descriptors below ten only.
    let mut launch = Launch { program: "/bin/bash".into(), ..shell(&script) };
    launch.descriptors.push(theirs);
    let mut process = launch.start(&Census::default()).await.unwrap();
    let ended = process.ended().await.unwrap();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let mut said = String::new();
    io::Read::read_to_string(&mut &ours, &mut said).unwrap();
    said
}

fn has(measure: Measure) -> bool {
    let missing = isolation().missing().iter().any(|missing| missing.measure == measure);
    if missing {
        eprintln!("not tested, because this host does not allow it: {measure}");
    }
    !missing
}

#[tokio::test]
async fn an_end_is_told_with_its_last_words() {
    let mut process =
        shell("echo first; echo last words >&2; exit 7").start(&Census::default()).await.unwrap();
    let ended = process.ended().await.unwrap();
    assert_eq!((ended.status, ended.signal, ended.killed), (Some(7), None, false));
    assert_eq!(ended.words, "last words");
}

#[tokio::test]
async fn a_kill_is_told_from_a_death() {
    let mut ours = shell("exec sleep 1000").start(&Census::default()).await.unwrap();
    ours.kill();
    let ended = ours.ended().await.unwrap();
    assert_eq!((ended.signal, ended.killed), (Some(9), true));

    let mut theirs = shell("exec sleep 1000").start(&Census::default()).await.unwrap();
    rustix::process::kill_process(theirs.id, Signal::KILL).unwrap();
    let ended = theirs.ended().await.unwrap();
    assert_eq!((ended.signal, ended.killed), (Some(9), false));
    assert!(!theirs.is_alive());
}

#[tokio::test]
async fn a_stop_can_wait_for_all_to_be_gone() {
    let census = Census::default();
    let mut process = shell("exec sleep 1000").start(&census).await.unwrap();
    assert!(process.is_alive());
    let mut nobody = Box::pin(census.nobody());
    assert!(futures::poll!(nobody.as_mut()).is_pending());
    drop(process);
    nobody.await;
}

#[tokio::test]
async fn a_descriptor_arrives_under_its_number_and_rights_do_not() {
    let said = answer("id -u; ulimit -c; grep -E '^(Cap|NoNewPrivs)' /proc/self/status").await;
    let user = rustix::process::geteuid();
    let expected = if user.is_root() { 65534 } else { user.as_raw() };
    assert!(said.starts_with(&format!("{expected}\n0\n")), "{said}");
    let mut rights = said.lines().skip(2).map(|line| line.split_once(":\t").unwrap());
    assert!(
        rights.all(|(name, value)| value == if name == "NoNewPrivs" { "1" } else { "0000000000000000" }),
        "{said}"
    );
}

#[tokio::test]
async fn nothing_of_the_host_is_seen() {
    if has(Measure::Files) {
        let said = answer("cd /; for f in * dev/* etc/* proc/*; do echo $f; done").await;
        let seen: Vec<_> = said.lines().collect();
        for hidden in
            ["root", "home", "var", "sys", "tmp", "old", "etc/passwd", "dev/kvm", "proc/1", "proc/cpuinfo"]
        {
            assert!(!seen.contains(&hidden), "{hidden}: {seen:?}");
        }
        for there in ["usr", "dev/null", "proc/self"] {
            assert!(seen.contains(&there), "{there}: {seen:?}");
        }
        // Bash tells the error on its standard error, and goes on.
        let said =
            answer("for f in /x /usr/x /dev/x /proc/self/comm; do (echo x > $f) || echo no $f; done").await;
        assert_eq!(said, "no /x\nno /usr/x\nno /dev/x\nno /proc/self/comm\n");
        assert_eq!(answer("echo x > /dev/null && echo fine").await, "fine\n", "a device is no file");
    }
    if has(Measure::Processes) {
        assert_eq!(answer("echo $$; kill -0 2 || echo alone").await, "1\nalone\n");
    }
    if has(Measure::HostName) {
        assert_eq!(answer("echo $HOSTNAME").await, "machine\n");
    }
    if has(Measure::Network) && has(Measure::Files) {
        let said = answer("while read -r line; do echo \"$line\"; done < /proc/self/net/dev").await;
        let interfaces: Vec<_> = said.lines().filter(|line| line.contains(':')).collect();
        assert!(matches!(interfaces[..], [only] if only.starts_with("lo:")), "{said}");
    }
    if has(Measure::Users) {
        let said = answer("cat /proc/self/uid_map /proc/self/setgroups").await;
        assert_eq!(said.lines().count(), 2, "one user: {said}");
    }
    for (measure, name) in [
        (Measure::Users, "user"),
        (Measure::Files, "mnt"),
        (Measure::Processes, "pid"),
        (Measure::Network, "net"),
        (Measure::Ipc, "ipc"),
        (Measure::HostName, "uts"),
        (Measure::ControlGroups, "cgroup"),
    ] {
        if has(measure) {
            let ours = std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            let said = answer(&format!("readlink /proc/self/ns/{name}")).await;
            assert_ne!(said.trim(), ours.to_str().unwrap());
        }
    }
}

#[tokio::test]
async fn only_descriptors_of_its_own_are_inherited() {
    // One that somebody forgot to close on exec.
    let leaked = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let number = leaked.as_raw_fd();
    let said = answer(&format!("[ -e /proc/self/fd/{number} ] && echo leaked; true")).await;
    assert_eq!(said, "");
}

#[tokio::test]
async fn who_takes_too_much_memory_is_ended_and_it_is_said_so() {
    if !has(Measure::MemoryLimit) {
        return;
    }
    // Has no end of a line, so that it is kept.
    let mut launch = shell("exec tail /dev/zero");
    launch.address_space = 8 << 30;
    let mut process = launch.start(&Census::default()).await.unwrap();
    let ended = process.ended().await.unwrap();
    assert_eq!((ended.signal, ended.out_of_memory, ended.killed), (Some(9), Some(64), false));
    let mut killed = shell("exec sleep 1000").start(&Census::default()).await.unwrap();
    killed.kill();
    assert_eq!(killed.ended().await.unwrap().out_of_memory, None);
}

#[tokio::test]
async fn threads_are_limited() {
    if has(Measure::ThreadLimit) {
        let bomb = "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i + 1)); done; exit 7";
        let mut process = shell(bomb).start(&Census::default()).await.unwrap();
        let ended = process.ended().await.unwrap();
        assert_ne!(ended.status, Some(7), "{ended:?}");
        assert!(ended.words.to_lowercase().contains("fork"), "{ended:?}");
    }
}

/// What a process has by name: its group, wherever it is.
fn groups_named(name: &str) -> usize {
    isolation()
        .group_directories()
        .iter()
        .filter(|directory| directory.join(sweep::machines()).join(name).exists())
        .count()
}

#[tokio::test]
async fn nothing_is_left() {
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let launch = shell("sleep 1000 & exec sleep 1000");
    let name = launch.share.1.clone();
    let mut process = launch.start(&Census::default()).await.unwrap();
    assert_eq!(groups_named(&name), isolation().group_directories().len());
    let id = process.id;
    process.kill();
    process.ended().await.unwrap();
    assert_eq!(groups_named(&name), 0);
    assert_eq!(rustix::process::test_kill_process(id), Err(rustix::io::Errno::SRCH));
    assert_eq!(mounts(), before);
    // Not even if it did not start at all.
    let launch = Launch { program: "/usr/bin/no-such-program".into(), ..shell("") };
    let name = launch.share.1.clone();
    let error = launch.start(&Census::default()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    assert!(error.to_string().starts_with("cannot execute it"), "{error}");
    assert_eq!(groups_named(&name), 0);
}

#[tokio::test]
async fn a_group_that_was_left_behind_is_removed_with_what_is_in_it() {
    let state = tempfile::tempdir().unwrap();
    let mark = Mark::new(state.path());
    let directories = isolation().group_directories();
    sweep::remember_groups(state.path(), &directories);
    assert_eq!(sweep::remembered_groups(state.path()), directories);
    if directories.is_empty() {
        return;
    }
    let ours = shell("exec sleep 1000");
    let (name, mut ours) = (ours.share.1.clone(), ours.start(&Census::default()).await.unwrap());
    // Of a process that had our id at another time.
    let orphans = format!("devenv-cloud-machines-{}-1", std::process::id());
    let isolation = Arc::new(isolation().with_groups_in(&orphans));
    let lost = Launch { isolation, ..shell("exec sleep 1000") };
    let mut lost = lost.start(&Census::default()).await.unwrap();

    // Who started it is alive here, and removes what is left of it as well.
    assert!(mark.sweep_groups(&directories) > 0);
    assert_eq!(lost.ended().await.unwrap().signal, Some(9));
    assert_eq!(groups_named(&name), directories.len());
    assert!(!directories.iter().any(|directory| directory.join(&orphans).exists()));
    assert!(ours.is_alive());
}

#[tokio::test]
async fn who_waits_for_nobody_gets_little_of_the_processors_until_somebody_does() {
    if !has(Measure::ProcessorLimit) {
        return;
    }
    let launch = Launch { patient: true, ..shell("exec sleep 1000") };
    let name = launch.share.1.clone();
    let weight = || {
        let directories = isolation().group_directories();
        let files = directories.iter().flat_map(|directory| {
            ["cpu.shares", "cpu.weight"].map(|file| directory.join(sweep::machines()).join(&name).join(file))
        });
        files.filter_map(|file| std::fs::read_to_string(file).ok()).collect::<String>()
    };
    let process = launch.start(&Census::default()).await.unwrap();
    let patient: u32 = weight().trim().parse().unwrap();
    process.hurry();
    let usual: u32 = weight().trim().parse().unwrap();
    assert!(patient * 10 < usual, "{patient} {usual}");
    if rustix::process::geteuid().is_root() {
        assert_eq!(rustix::process::getpriority_process(Some(process.id)), Ok(0));
    }
}
