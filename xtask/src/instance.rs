//! A real server of our own, with a person, an organisation and a project to
//! push to: what the demo and the benchmark stand on.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use devenv_cloud_api::{
    accounts::{CreateToken, NewToken, Setup, SetupState, SignIn, Viewer},
    orgs::{CreateOrg, CreateProject, Org, Project, ProjectSettings},
    permissions::Scope,
    runs::{Run, RunSummary},
    trace::Trace,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    api::Client,
    build::Built,
    layout::Layout,
    postgres,
    shell::{self, seconds},
};

/// The organisation's name in addresses.
const ORG: &str = "demo";

/// A running `devenv-cloud serve`; told to stop when dropped.
pub(crate) struct Instance {
    child: Child,
    state: PathBuf,
    /// Where it answers.
    pub(crate) base_url: String,
    /// An anonymous visitor.
    pub(crate) client: Client,
}

/// How to sign in; kept in the state directory.
#[derive(Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// The e-mail address.
    pub(crate) email: String,
    /// The password.
    pub(crate) password: String,
    /// A token for the API and for git.
    pub(crate) token: String,
}

impl Instance {
    /// Starts the server, with settings on top of the usual, and waits until it is ready.
    pub(crate) fn start(
        layout: &Layout,
        built: &Built,
        state: &Path,
        port: u16,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        fs::create_dir_all(state).with_context(|| format!("cannot create {}", state.display()))?;
        let base_url = format!("http://localhost:{port}");
        let log = File::create(log_file(state))?;
        // It ends with us, however we end.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM"])
            .arg(&built.server)
            .arg("serve")
            .env_remove("DEVENV_CLOUD_WASM")
            .env("DEVENV_CLOUD_SERVER_LISTEN", format!("127.0.0.1:{port}"))
            .env("DEVENV_CLOUD_SERVER_BASE_URL", &base_url)
            .env("DEVENV_CLOUD_SERVER_STATE_DIR", state)
            .env("DEVENV_CLOUD_SERVER_METRICS_LISTEN", "")
            .env("DEVENV_CLOUD_EXECUTOR_IMAGE_DIR", layout.images())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().context("cannot start the server")?;
        let client = Client::new(&base_url);
        let mut instance = Self { child, state: state.to_path_buf(), base_url, client };
        instance.wait_until_ready()?;
        Ok(instance)
    }

    /// A free port, for servers that nobody needs to find by hand.
    pub(crate) fn free_port() -> Result<u16> {
        postgres::free_port()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.client.is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log_end());
            }
            if start.elapsed() > Duration::from_secs(60) {
                bail!("the server is not ready after {}:\n{}", seconds(start.elapsed()), self.log_end());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The last lines of the server's log.
    fn log_end(&self) -> String {
        let log = fs::read_to_string(log_file(&self.state)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Waits until the server ends by itself or is stopped by a signal.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.child.wait()?;
        Ok(())
    }

    /// A person who may do everything: created through the set-up link at the
    /// first start, remembered in the state directory afterwards.
    pub(crate) fn credentials(&self) -> Result<Credentials> {
        let file = self.state.join("demo.json");
        let known: Option<Credentials> =
            fs::read(&file).ok().and_then(|content| serde_json::from_slice(&content).ok());
        if self.client.get::<SetupState>("/setup")?.needed {
            let (email, password) = ("demo@example.org".to_owned(), random_password()?);
            // Kept before it is used: killed between the two, the next start just tries again.
            write_secret(
                &file,
                &Credentials { email: email.clone(), password: password.clone(), token: String::new() },
            )?;
            let _: Viewer = self.client.post(
                "/setup",
                &Setup {
                    token: self.setup_token()?,
                    email: email.clone(),
                    name: "Demo".to_owned(),
                    password: password.clone(),
                },
            )?;
            return self.with_token(&file, Credentials { email, password, token: String::new() });
        }
        let known = known.with_context(|| {
            format!(
                "{} belongs to a server that was set up by hand; move it away, then start again",
                self.state.display()
            )
        })?;
        if !known.token.is_empty() && self.client.with_token(&known.token).get::<Viewer>("/session").is_ok() {
            return Ok(known);
        }
        let _: Viewer = self
            .client
            .post("/session", &SignIn { email: known.email.clone(), password: known.password.clone() })?;
        self.with_token(&file, known)
    }

    fn with_token(&self, file: &Path, credentials: Credentials) -> Result<Credentials> {
        let new: NewToken = self.client.post(
            "/account/tokens",
            &CreateToken {
                name: "demo".to_owned(),
                scopes: vec![Scope::Read, Scope::Write, Scope::Admin],
                expires_in_days: 90,
            },
        )?;
        let credentials = Credentials { token: new.secret, ..credentials };
        write_secret(file, &credentials)?;
        Ok(credentials)
    }

    /// The one-time token, as the server printed it.
    fn setup_token(&self) -> Result<String> {
        const BEFORE: &str = "/setup?token=";
        let log = fs::read_to_string(log_file(&self.state))?;
        let (_, after) = log
            .rsplit_once(BEFORE)
            .with_context(|| format!("the server printed no set-up link:\n{}", self.log_end()))?;
        Ok(after.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect())
    }

    /// The project, created if it is not there.
    pub(crate) fn project(&self, credentials: &Credentials, slug: &str) -> Result<Project> {
        self.project_with(credentials, slug, ProjectSettings::default())
    }

    /// The project, created with these settings if it is not there.
    pub(crate) fn project_with(
        &self,
        credentials: &Credentials,
        slug: &str,
        settings: ProjectSettings,
    ) -> Result<Project> {
        let client = self.client.with_token(&credentials.token);
        if client.find::<Org>(&format!("/orgs/{ORG}"))?.is_none() {
            let name = Some("Demo".to_owned());
            let _: Org = client.post("/orgs", &CreateOrg { slug: read(ORG)?, display_name: name })?;
        }
        if let Some(project) = client.find(&format!("/orgs/{ORG}/projects/{slug}"))? {
            return Ok(project);
        }
        client.post(
            &format!("/orgs/{ORG}/projects"),
            &CreateProject {
                slug: read(slug)?,
                description: "The example that `cargo xtask demo` pushes".to_owned(),
                settings,
            },
        )
    }

    /// The run of a commit. It exists by the time that the push has returned.
    pub(crate) fn run_of(&self, credentials: &Credentials, project: &Project, commit: &str) -> Result<Run> {
        let client = self.client.with_token(&credentials.token);
        let path = format!("/orgs/{}/projects/{}/runs", project.org, project.slug);
        let runs: devenv_cloud_api::page::Page<RunSummary> = client.get(&path)?;
        let run = runs
            .items
            .iter()
            .find(|run| run.commit.sha == commit)
            .with_context(|| format!("the push of {commit} made no run"))?;
        client.get(&format!("{path}/{}", run.number))
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to stop, and waits until it is gone.
    pub(crate) fn stop(mut self) -> Result<()> {
        shell::quietly(Command::new("kill").arg(self.child.id().to_string()))?;
        self.child.wait()?;
        Ok(())
    }

    /// Where it keeps what it keeps.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// The trace of a run's only job.
    pub(crate) fn trace_of(&self, credentials: &Credentials, run: &Run) -> Result<Trace> {
        let job = run.jobs.first().context("the run has no job")?;
        let run = format!("/orgs/{}/projects/{}/runs/{}", run.org, run.project, run.summary.number);
        self.client.with_token(&credentials.token).get(&format!("{run}/jobs/{}/trace", job.name))
    }

    /// Waits until a run has ended.
    pub(crate) fn wait_for(&self, credentials: &Credentials, run: &Run) -> Result<Run> {
        let client = self.client.with_token(&credentials.token);
        let path = format!("/orgs/{}/projects/{}/runs/{}", run.org, run.project, run.summary.number);
        let start = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let run: Run = client.get(&path)?;
            if run.summary.state.is_final() {
                return Ok(run);
            }
            if start.elapsed() > Duration::from_secs(15 * 60) {
                bail!("run {} has not ended after {}", run.summary.number, seconds(start.elapsed()));
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_secs(1));
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// A work tree whose pushes are real ones, over HTTP.
pub(crate) struct WorkTree {
    directory: PathBuf,
    token: String,
}

impl WorkTree {
    /// A clone of the project's repository, which may be empty.
    pub(crate) fn clone(directory: PathBuf, project: &Project, credentials: &Credentials) -> Result<Self> {
        let tree = Self { directory, token: credentials.token.clone() };
        if !tree.directory.join(".git").exists() {
            fs::create_dir_all(&tree.directory)?;
            shell::quietly(tree.git(&["init", "--quiet", "--initial-branch", "main"]).stdin(Stdio::null()))?;
            shell::quietly(&mut tree.git(&["remote", "add", "origin", &project.clone_url]))?;
        }
        // The port may be another one than last time.
        shell::quietly(&mut tree.git(&["remote", "set-url", "origin", &project.clone_url]))?;
        shell::quietly(&mut tree.git(&["fetch", "--quiet", "origin"]))?;
        if shell::quietly(&mut tree.git(&["rev-parse", "--verify", "--quiet", "origin/main"])).is_ok() {
            shell::quietly(&mut tree.git(&["checkout", "--quiet", "--force", "-B", "main", "origin/main"]))?;
        }
        Ok(tree)
    }

    /// Commits the files of `example` as they are now; gives the commit.
    pub(crate) fn commit(&self, example: &Path, title: &str) -> Result<String> {
        shell::quietly(Command::new("cp").arg("-R").arg(example.join(".")).arg(&self.directory))?;
        shell::quietly(&mut self.git(&["add", "--all"]))?;
        shell::quietly(&mut self.git(&["commit", "--quiet", "--allow-empty", "--message", title]))?;
        Ok(shell::output(&mut self.git(&["rev-parse", "HEAD"]))?.trim().to_owned())
    }

    /// Pushes; shows what git prints if asked to, and gives it.
    pub(crate) fn push(&self, show: bool) -> Result<String> {
        let mut child = self
            .git(&["push", "origin", "main"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        if let Some(stderr) = child.stderr.take() {
            let mut stderr = BufReader::new(stderr);
            let mut line = String::new();
            while stderr.read_line(&mut line)? > 0 {
                if show {
                    eprint!("    {line}");
                }
                said.push_str(&line);
                line.clear();
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("git push ended with {status}:\n{said}");
        }
        Ok(said)
    }

    fn git(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        // The token goes through the environment: arguments can be seen by everybody.
        let helper = r#"credential.helper=!f() { echo username=demo; echo "password=$DEMO_TOKEN"; }; f"#;
        command
            .current_dir(&self.directory)
            .args(["-c", "credential.helper=", "-c", helper])
            .args(["-c", "user.name=Demo", "-c", "user.email=demo@example.org", "-c", "commit.gpgSign=false"])
            .args(arguments)
            .env("DEMO_TOKEN", &self.token)
            .env("GIT_TERMINAL_PROMPT", "0");
        command
    }
}

fn log_file(state: &Path) -> PathBuf {
    state.join("server.log")
}

fn random_password() -> Result<String> {
    let mut bytes = [0_u8; 12];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Readable by its owner only, and there whole or not at all.
fn write_secret(file: &Path, credentials: &Credentials) -> Result<()> {
    let fresh = file.with_extension("new");
    let mut writer = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    writer.write_all(&serde_json::to_vec_pretty(credentials)?)?;
    fs::rename(&fresh, file).with_context(|| format!("cannot write {}", file.display()))
}

/// Reads a checked text type of the contract.
fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    Ok(serde_json::from_value(serde_json::Value::from(text))?)
}

/// Stage or task → how long it took, in the order in which they started.
pub(crate) fn stages(run: &Run) -> Vec<(String, String, Option<Duration>)> {
    let mut rows = BTreeMap::new();
    for job in &run.jobs {
        for stage in job.attempts.last().into_iter().flat_map(|attempt| &attempt.stages) {
            let took = stage.finished_at.and_then(|end| (end - stage.started_at).to_std().ok());
            rows.insert(
                (job.name.clone(), stage.started_at, rows.len()),
                (stage.name.clone(), stage.state.as_str().to_owned(), took),
            );
        }
    }
    rows.into_values().collect()
}
