//! `cargo xtask demo`: from this checkout to a run in the browser.

use std::net::TcpListener;

use anyhow::{Context, Result, bail};
use devenv_cloud_api::runs::{Run, State};

use crate::{
    build,
    instance::{Instance, WorkTree, stages},
    layout::Layout,
    setup,
    shell::{say, seconds, step},
};

pub(crate) fn run(layout: &Layout, once: bool, port: u16) -> Result<()> {
    TcpListener::bind(("127.0.0.1", port)).with_context(|| {
        format!("port {port} is in use; choose another: cargo xtask demo --port {}", port.saturating_add(1))
    })?;
    setup::run(layout)?;
    let built = build::all(layout, build::Profile::Dev)?;
    build::image(layout, &built)?;

    let state = layout.root.join(".devenv-cloud");
    let mut instance =
        step("start devenv-cloud serve", || Instance::start(layout, &built, &state, port, &[]))?;
    let credentials = instance.credentials()?;
    let project = instance.project(&credentials, "hello")?;

    let tree = WorkTree::clone(state.join("demo/hello"), &project, &credentials)?;
    let commit = tree.commit(&layout.root.join("examples/hello"), "Say hello")?;
    step(&format!("git push {}", project.clone_url), || tree.push(true))?;
    let run = instance.run_of(&credentials, &project, &commit)?;
    let run = step(&format!("run {}", run.summary.number), || instance.wait_for(&credentials, &run))?;
    show(&run);

    let url = format!("{}/{}/{}/runs/{}", instance.base_url, run.org, run.project, run.summary.number);
    let succeeded = run.summary.state == State::Success;
    if once {
        if !succeeded {
            bail!("run {} ended with {}: {url}", run.summary.number, run.summary.state);
        }
        return Ok(());
    }
    println!("\nOpen       {url}");
    println!("Sign in    {} with the password {}", credentials.email, credentials.password);
    println!(
        "Push       {} (any user name, and as password the token in .devenv-cloud/demo.json)",
        project.clone_url
    );
    println!("Stop       Ctrl+C; everything is kept in .devenv-cloud\n");
    if !succeeded {
        say(&format!("the run ended with {}: its page says why", run.summary.state));
    }
    instance.wait()?;
    Ok(())
}

/// A table of the stages and tasks with their durations.
fn show(run: &Run) {
    let rows = stages(run);
    let width = rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0).max(5);
    println!();
    for (name, state, took) in rows {
        println!("  {name:width$}  {state:12}  {:>8}", took.map(seconds).unwrap_or_default());
    }
    let took = run
        .summary
        .finished_at
        .and_then(|end| (end - run.summary.created_at).to_std().ok())
        .map(seconds)
        .unwrap_or_default();
    let reason = run.summary.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    println!("\n  run {}: {}{reason}, {took} after the push\n", run.summary.number, run.summary.state);
}
