//! The host's side: makes a commit, hands it to a guest, and collects what it
//! reports.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use devenv_cloud_guest::{
    protocol::{
        Finished, GuestMessage, HostMessage, Job, Level, Network, Outcome, Prepare, Record, SpanKind, Stream,
        read_hello, read_message, write_hello, write_message,
    },
    session,
    world::World,
};

/// A commit, as the host has it.
pub(crate) struct Commit {
    pub(crate) name: String,
    pub(crate) pack: Vec<u8>,
}

/// A commit with these files, and a parent that is not sent.
pub(crate) fn commit(files: &[(&str, &str)]) -> Commit {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| git(folder.path(), arguments, b"");
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["commit", "--quiet", "--allow-empty", "--message=earlier"]);
    for (name, content) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "--allow-empty", "--message=now"]);
    let name = String::from_utf8(git(&["rev-parse", "HEAD"])).unwrap().trim().to_owned();
    let objects = git(&["rev-list", "--objects", "--no-walk", "HEAD"]);
    let names: Vec<u8> = String::from_utf8(objects)
        .unwrap()
        .lines()
        .flat_map(|line| format!("{}\n", line.split(' ').next().unwrap()).into_bytes())
        .collect();
    let pack = self::git(folder.path(), &["pack-objects", "--stdout", "--quiet"], &names);
    Commit { name, pack }
}

/// Runs `git` with a constant person and without this host's settings.
pub(crate) fn git(folder: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_AUTHOR_EMAIL", "a@example.org")])
        .envs([("GIT_COMMITTER_NAME", "A"), ("GIT_COMMITTER_EMAIL", "a@example.org")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    output.stdout
}

/// A guest's surroundings in a folder that goes away.
pub(crate) struct Ground {
    folder: Arc<tempfile::TempDir>,
    pub(crate) world: World,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let path = |name: &str| folder.path().join(name);
        for name in ["home", "nix/etc", "tmp"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let env = BTreeMap::from([
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
            ("HOME".to_owned(), text(path("home"))),
            ("TMPDIR".to_owned(), text(path("tmp"))),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("NIX_REMOTE".to_owned(), String::new()),
            ("NIX_STORE_DIR".to_owned(), text(path("nix/store"))),
            ("NIX_STATE_DIR".to_owned(), text(path("nix/var"))),
            ("NIX_LOG_DIR".to_owned(), text(path("nix/log"))),
            ("NIX_CONF_DIR".to_owned(), text(path("nix/etc"))),
            (
                "NIX_CONFIG".to_owned(),
                "build-users-group =\nsandbox = false\nsubstitute = false\nsubstituters =\n".to_owned(),
            ),
        ]);
        let world = World {
            ahead: None,
            source: path("repo"),
            evaluator: Path::new(env!("CARGO_MANIFEST_DIR")).join("nix"),
            run: path("run"),
            scratch: path("scratch"),
            user: None,
            cgroups: None,
            env,
            proxy: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
        };
        Self { folder, world }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Hands the commit to a guest that speaks at the other end.
    pub(crate) fn begin(&self, commit: &Commit, change: impl FnOnce(&mut Job)) -> Host {
        let mut job = Job {
            commit: commit.name.clone(),
            git_ref: "refs/heads/main".to_owned(),
            origin: "https://ci.example.org/acme/shop.git".to_owned(),
            platform: "x86_64-linux".to_owned(),
            profiles: Vec::new(),
            tasks: Vec::new(),
            cloud: "{}".to_owned(),
            env: BTreeMap::new(),
            max_log_bytes: u64::MAX,
            grace_ms: 5_000,
            network: false,
        };
        change(&mut job);
        let (host, guest) = UnixStream::pair().unwrap();
        let world = self.world.clone();
        let reader = guest.try_clone().unwrap();
        let session = thread::spawn(move || session::run(reader, guest, Given(world)));
        write_hello(&host).unwrap();
        read_hello(&host).unwrap();
        write_message(&host, &prepare()).unwrap();
        assert_eq!(read_message::<GuestMessage>(&host).unwrap(), GuestMessage::Ready);
        write_message(&host, &HostMessage::Job(Box::new(job))).unwrap();
        for chunk in commit.pack.chunks(1000) {
            write_message(&host, &HostMessage::Source(chunk.to_vec())).unwrap();
        }
        write_message(&host, &HostMessage::SourceEnd).unwrap();
        Host {
            channel: host,
            session,
            records: Vec::new(),
            network: Vec::new(),
            _folder: self.folder.clone(),
        }
    }
}

pub(crate) fn prepare() -> HostMessage {
    HostMessage::Prepare(Prepare { time_ns: 1, entropy: [7; 32], machine_id: "0".repeat(32) })
}

/// A world that is there already.
pub(crate) struct Given(pub(crate) World);

impl session::Surroundings for Given {
    fn warm(&mut self, rounds: u8) -> Result<(), String> {
        if rounds == 0 { Err("nothing to do".to_owned()) } else { Ok(()) }
    }

    fn prepare(self, _: &Prepare) -> io::Result<World> {
        Ok(self.0)
    }
}

/// A guest at work.
pub(crate) struct Host {
    pub(crate) channel: UnixStream,
    session: thread::JoinHandle<Result<(), session::SessionError>>,
    pub(crate) records: Vec<Record>,
    /// What it said about streams.
    pub(crate) network: Vec<Network>,
    /// Stays as long as the guest works in it.
    _folder: Arc<tempfile::TempDir>,
}

impl Host {
    /// Acknowledges everything until the record comes.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&Record) -> bool) {
        let mut seen = 0;
        while !self.records[seen..].iter().any(&wanted) {
            seen = self.records.len();
            let end = self.next();
            assert!(end.is_none(), "it never came: {end:?}\n{:#?}", self.records);
        }
    }

    /// Takes the next message, and acknowledges what is in it.
    pub(crate) fn next(&mut self) -> Option<Finished> {
        match read_message(&self.channel).unwrap() {
            GuestMessage::Records { first, records } => {
                assert_eq!(first, self.records.len() as u64 + 1, "sequence numbers have no gaps");
                self.records.extend(records);
                let acknowledge = HostMessage::Acknowledge(self.records.len() as u64);
                write_message(&self.channel, &acknowledge).unwrap();
                None
            }
            GuestMessage::Finished(finished) => Some(finished),
            GuestMessage::Alive => None,
            GuestMessage::Network(message) => {
                self.network.push(message);
                None
            }
            other @ (GuestMessage::Ready | GuestMessage::Warmed { .. }) => {
                panic!("{other:?} comes before the job")
            }
        }
    }

    pub(crate) fn send(&self, message: &HostMessage) {
        write_message(&self.channel, message).unwrap();
    }

    /// Goes away, and says how the guest took it.
    pub(crate) fn hang_up(self) -> session::SessionError {
        drop(self.channel);
        self.session.join().unwrap().unwrap_err()
    }

    /// Until the end, with the channel kept open.
    pub(crate) fn finish_but_keep(self) -> UnixStream {
        let channel = self.channel.try_clone().unwrap();
        self.finish();
        channel
    }

    /// Until the end.
    pub(crate) fn finish(mut self) -> Trace {
        let finished = loop {
            if let Some(finished) = self.next() {
                break finished;
            }
        };
        self.session.join().unwrap().expect("the session ends well");
        let trace = Trace { records: self.records, finished };
        trace.check();
        trace
    }
}

/// Does a whole job with these files.
pub(crate) fn run(files: &[(&str, &str)]) -> Trace {
    Ground::new().begin(&commit(files), |_| {}).finish()
}

/// Does a whole job with this `devenv.nix`.
pub(crate) fn run_nix(devenv_nix: &str) -> Trace {
    run(&[("devenv.nix", devenv_nix)])
}

/// Does a whole job with this `devenv.nix`, but only these tasks.
pub(crate) fn run_nix_tasks(devenv_nix: &str, tasks: &[&str]) -> Trace {
    let tasks = tasks.iter().map(|task| (*task).to_owned()).collect();
    Ground::new().begin(&commit(&[("devenv.nix", devenv_nix)]), |job| job.tasks = tasks).finish()
}

/// All that a guest reported.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) records: Vec<Record>,
    pub(crate) finished: Finished,
}

impl Trace {
    /// What the host would refuse.
    fn check(&self) {
        let mut open = Vec::new();
        let mut known = Vec::new();
        for record in &self.records {
            match record {
                Record::SpanOpened { id, parent, .. } => {
                    assert!(!known.contains(id), "span {id} is opened twice");
                    assert!(parent.is_none_or(|parent| open.contains(&parent)), "the parent of {id} is open");
                    known.push(*id);
                    open.push(*id);
                }
                Record::SpanClosed { id, .. } => {
                    let at = open.iter().position(|other| other == id).expect("a closed span was open");
                    open.remove(at);
                }
                Record::Line { span, text, .. } => {
                    assert!(known.contains(span), "a line of an unknown span: {text}");
                    assert!(!text.contains('\n'));
                }
                Record::Message { .. } => {}
            }
        }
        assert!(open.is_empty(), "spans are open at the end: {open:?}");
    }

    pub(crate) fn expect(self, outcome: Outcome, reason: &str) -> Self {
        assert_eq!((self.finished.outcome, self.finished.reason.as_str()), (outcome, reason), "{self:#?}");
        self
    }

    pub(crate) fn succeeded(self) -> Self {
        self.expect(Outcome::Success, "")
    }

    pub(crate) fn find(&self, span: &str) -> Option<u64> {
        self.records.iter().find_map(|record| match record {
            Record::SpanOpened { id, name, .. } if name == span => Some(*id),
            _ => None,
        })
    }

    fn id(&self, span: &str) -> u64 {
        self.find(span).unwrap_or_else(|| panic!("there is no span {span}: {self:#?}"))
    }

    /// When a span was opened and closed, as places in the stream.
    pub(crate) fn when(&self, span: &str) -> (usize, usize) {
        let id = self.id(span);
        let place = |wanted: &dyn Fn(&Record) -> bool| self.records.iter().position(wanted).unwrap();
        (
            place(&|record| matches!(record, Record::SpanOpened { id: other, .. } if *other == id)),
            place(&|record| matches!(record, Record::SpanClosed { id: other, .. } if *other == id)),
        )
    }

    pub(crate) fn outcome(&self, span: &str) -> Outcome {
        let Record::SpanClosed { outcome, .. } = &self.records[self.when(span).1] else { unreachable!() };
        *outcome
    }

    pub(crate) fn attribute(&self, span: &str, key: &str) -> Option<String> {
        let (opened, closed) = self.when(span);
        [opened, closed].iter().find_map(|at| {
            let (Record::SpanOpened { attributes, .. } | Record::SpanClosed { attributes, .. }) =
                &self.records[*at]
            else {
                unreachable!()
            };
            attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
        })
    }

    /// What a span wrote, without the guest's own words.
    pub(crate) fn lines(&self, span: &str) -> Vec<&str> {
        self.lines_of(span, &|stream| stream != Stream::System)
    }

    /// The guest's own words.
    pub(crate) fn said(&self, span: &str) -> Vec<&str> {
        self.lines_of(span, &|stream| stream == Stream::System)
    }

    fn lines_of(&self, span: &str, wanted: &dyn Fn(Stream) -> bool) -> Vec<&str> {
        let id = self.id(span);
        let lines = self.records.iter().filter_map(|record| match record {
            Record::Line { span, stream, text, .. } if *span == id && wanted(*stream) => Some(text.as_str()),
            _ => None,
        });
        lines.collect()
    }

    /// What is said in front of everything: level, text, place.
    pub(crate) fn messages(&self) -> Vec<(Level, &str, Option<&str>, Option<u32>)> {
        let messages = self.records.iter().filter_map(|record| match record {
            Record::Message { level, text, file, line, .. } => {
                Some((*level, text.as_str(), file.as_deref(), *line))
            }
            _ => None,
        });
        messages.collect()
    }
}

/// What a span is about.
pub(crate) fn kind(trace: &Trace, span: &str) -> SpanKind {
    let Record::SpanOpened { kind, .. } = &trace.records[trace.when(span).0] else { unreachable!() };
    *kind
}
