//! Signing in: how many a second, by password and by passkey; what a storm of
//! passwords does to everybody else; how fast sessions are looked up, and what
//! ten thousand of them weigh.

use std::{
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use devenv_cloud_api::PREFIX;
use serde_json::{Value, json};
use ureq::Agent;

use super::{Which, authenticator::Authenticator, spread::Spread};
use crate::{
    instance::Instance,
    layout::Layout,
    shell::{say, step},
};

/// Sign-ins.
#[derive(Debug, clap::Args)]
pub(crate) struct SignIn {
    #[command(flatten)]
    which: Which,
    /// Seconds that each measurement takes.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many visitors sign in at the same time.
    #[arg(long, default_value_t = 8)]
    visitors: usize,
    /// How many sessions there are in the end.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// Print JSON in place of the table, as the last line.
    #[arg(long)]
    json: bool,
}

/// A browser, as far as it is needed here: one connection, and cookies.
struct Browser {
    agent: Agent,
    base_url: String,
    cookies: Vec<(String, String)>,
}

impl Browser {
    fn new(base_url: &str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build()
            .into();
        Self { agent, base_url: base_url.to_owned(), cookies: Vec::new() }
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    fn get(&self, path: &str) -> Result<()> {
        let mut answer = self
            .agent
            .get(format!("{}{PREFIX}{path}", self.base_url))
            .header("cookie", self.cookie())
            .call()?;
        let text = answer.body_mut().read_to_string()?;
        if answer.status().is_success() { Ok(()) } else { bail!("GET {path}: {text}") }
    }

    fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        let mut answer = self
            .agent
            .post(format!("{}{PREFIX}{path}", self.base_url))
            .header("cookie", self.cookie())
            .header("origin", &self.base_url)
            .send_json(body)?;
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.retain(|(known, _)| known != name);
                if !value.is_empty() {
                    self.cookies.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        let text = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            bail!("POST {path}: {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    fn by_passkey(&mut self, passkey: &Authenticator) -> Result<()> {
        let begun = self.post("/sign-in/passkey/begin", &json!({}))?;
        let credential = passkey.prove(&begun["options"])?;
        let answer = json!({ "ceremony": begun["ceremony"], "credential": credential });
        let state = self.post("/sign-in/passkey", &answer)?;
        if state["step"] == "done" { Ok(()) } else { bail!("the passkey signed nobody in: {state}") }
    }
}

/// So many did this over and over: how often in a second, all together, and the
/// microseconds that each took.
fn storm(visitors: usize, time: Duration, one: impl Fn() -> Result<()> + Sync) -> Result<(f64, Spread)> {
    let (times, start) = (Mutex::new(Vec::new()), Instant::now());
    thread::scope(|scope| {
        let all: Vec<_> = (0..visitors)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while start.elapsed() < time {
                        let begun = Instant::now();
                        one()?;
                        let took = i64::try_from(begun.elapsed().as_micros())?;
                        times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                    }
                    Ok(())
                })
            })
            .collect();
        for visitor in all {
            visitor.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))??;
        }
        anyhow::Ok(())
    })?;
    let took = start.elapsed();
    let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = times.len() as f64 / took.as_secs_f64();
    Ok((rate, Spread::of(times.into_iter())))
}

/// The dashboard of somebody who is signed in, asked for again and again until told to stop.
fn dashboard(browser: &Browser, stop: &AtomicBool) -> Result<Spread> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        browser.get("/orgs")?;
        times.push(i64::try_from(begun.elapsed().as_micros())?);
        thread::sleep(Duration::from_millis(5));
    }
    Ok(Spread::of(times.into_iter()))
}

fn resident_kib(process: u32) -> Result<i64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

/// Measures.
pub(crate) fn sign_in(layout: &Layout, what: &SignIn) -> Result<()> {
    let built = what.which.built(layout)?;
    let state = tempfile::tempdir()?;
    let settings =
        [("DEVENV_CLOUD_EXECUTOR_ENABLED", "false"), ("DEVENV_CLOUD_LIMITS_SIGN_INS_PER_MINUTE", "10000000")];
    let instance = Instance::start(layout, &built, state.path(), Instance::free_port()?, &settings)?;
    let credentials = instance.credentials()?;
    let base_url = instance.base_url.as_str();
    let (time, visitors) = (Duration::from_secs(what.seconds), what.visitors);
    let given = json!({ "email": credentials.email, "password": credentials.password });

    let mut owner = Browser::new(base_url);
    owner.post("/session", &given)?;
    let (_, alone) = step("the dashboard alone", || {
        let owner = &owner;
        storm(1, time, || {
            thread::sleep(Duration::from_millis(5));
            owner.get("/orgs")
        })
    })?;
    let ((passwords, password), meanwhile) = step("a storm of passwords", || {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let watcher = scope.spawn(|| dashboard(&owner, &stop));
            let storm = storm(visitors, time, || Browser::new(base_url).post("/session", &given).map(drop));
            stop.store(true, Ordering::Relaxed);
            let meanwhile = watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
            anyhow::Ok((storm?, meanwhile))
        })
    })?;
    let (lookups, lookup) = step("looking sessions up", || storm(visitors, time, || owner.get("/session")))?;

    let begun = owner.post("/account/passkeys/begin", &json!({}))?;
    let (passkey, credential) = Authenticator::register(base_url, &begun["options"])?;
    let added = json!({ "ceremony": begun["ceremony"], "name": "bench", "credential": credential });
    owner.post("/account/passkeys", &added)?;
    let (passkeys, by_passkey) =
        step("passkeys", || storm(visitors, time, || Browser::new(base_url).by_passkey(&passkey)))?;

    let before = resident_kib(instance.process())?;
    let left = Mutex::new(what.sessions);
    step(&format!("{} sessions", what.sessions), || {
        thread::scope(|scope| {
            let all: Vec<_> = (0..visitors)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        loop {
                            {
                                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                                if *left == 0 {
                                    return Ok(());
                                }
                                *left -= 1;
                            }
                            Browser::new(base_url).by_passkey(&passkey)?;
                        }
                    })
                })
                .collect();
            for visitor in all {
                visitor.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))??;
            }
            anyhow::Ok(())
        })
    })?;
    let after = resident_kib(instance.process())?;

    let per_second = |rate: f64| format!("{rate:.0}");
    let millis = |spread: &Spread, percent| format!("{:.1}", spread.percentile(percent) as f64 / 1000.0);
    let rows = [
        ("password", passwords, &password),
        ("passkey", passkeys, &by_passkey),
        ("session look-up", lookups, &lookup),
    ];
    say(&format!("{visitors} visitors at once, {} s each\n", what.seconds));
    println!("| | per second | p50, ms | p95, ms | p99, ms |\n|---|---:|---:|---:|---:|");
    for (name, rate, spread) in &rows {
        let [p50, p95, p99] = [50, 95, 99].map(|percent| millis(spread, percent));
        println!("| {name} | {} | {p50} | {p95} | {p99} |", per_second(*rate));
    }
    println!(
        "\nThe dashboard's list of organisations: p50 {} ms, p99 {} ms alone; p50 {} ms, p99 {} ms during the storm of \
         passwords.\nMemory: {} MiB, and {} MiB with {} sessions.",
        millis(&alone, 50),
        millis(&alone, 99),
        millis(&meanwhile, 50),
        millis(&meanwhile, 99),
        before / 1024,
        after / 1024,
        what.sessions
    );
    if what.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, rate, spread)| {
                json!({ "what": name, "per_second": rate, "p50_us": spread.percentile(50), "p99_us": spread.percentile(99) })
            })
            .collect();
        let dashboard =
            |spread: &Spread| json!({ "p50_us": spread.percentile(50), "p99_us": spread.percentile(99) });
        println!(
            "{}",
            json!({
                "rows": rows, "dashboard_alone": dashboard(&alone), "dashboard_meanwhile": dashboard(&meanwhile),
                "resident_kib": { "before": before, "after": after, "sessions": what.sessions },
            })
        );
    }
    Ok(())
}
