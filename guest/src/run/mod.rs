//! Running what the built-in evaluator found: first what must be built, then all
//! tasks in the order that they ask for, `devenv:enterTest` last, then outputs.

pub mod graph;
mod hooks;
mod outputs;
mod schedule;
mod task;

use std::{
    collections::BTreeMap,
    fs, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;

use self::graph::Node;
use crate::{
    evaluate::{Configuration, Plan},
    job::{Context, End},
    protocol::Level,
};

pub(crate) const ENTER_SHELL: &str = "devenv:enterShell";
pub(crate) const ENTER_TEST: &str = "devenv:enterTest";
pub(crate) const GIT_HOOKS: &str = "devenv:git-hooks:run";
const PROCESSES: &str = "devenv:processes:";

/// What a node of the graph does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Nothing: it is there for others to wait for.
    Nothing,
    /// A task of the project.
    Task(Box<crate::evaluate::Task>),
    /// Bash that the environment of everything after it comes from.
    EnterShell(String),
    /// Bash.
    EnterTest(String),
    /// Bash, made of the project's hooks.
    Hooks(String),
    /// Runs until it is told to stop.
    Process(crate::evaluate::Process),
}

/// The tasks of a project, ready to run.
#[derive(Debug)]
pub struct Tasks {
    configuration: Configuration,
}

impl Tasks {
    /// All that a configuration asks for.
    #[must_use]
    pub fn new(configuration: Configuration) -> Self {
        Self { configuration }
    }

    /// The graph's nodes and what they do. In CI everything runs: all tasks come
    /// after `devenv:enterShell` but those that come before it, and
    /// `devenv:enterTest` comes after everything but what comes after it.
    fn nodes(&self) -> (Vec<Node>, Vec<Work>) {
        let configuration = &self.configuration;
        let mut nodes: BTreeMap<String, (Node, Work)> = BTreeMap::new();
        let mut add = |name: &str, after: &[String], before: &[String], work: Work| {
            let is_process = matches!(work, Work::Process(_));
            let node =
                Node { name: name.to_owned(), is_process, after: after.to_vec(), before: before.to_vec() };
            nodes.insert(name.to_owned(), (node, work));
        };
        let bash = |text: &str, work: fn(String) -> Work| {
            if text.trim().is_empty() { Work::Nothing } else { work(text.to_owned()) }
        };
        add(ENTER_SHELL, &[], &[], bash(&configuration.enter_shell, Work::EnterShell));
        add(ENTER_TEST, &[], &[], bash(&configuration.enter_test, Work::EnterTest));
        if let Some(script) = hooks::script(configuration) {
            add(GIT_HOOKS, &[], &[], Work::Hooks(script));
        }
        for (name, process) in &configuration.processes {
            let name = format!("{PROCESSES}{name}");
            add(&name, &process.after, &process.before, Work::Process(process.clone()));
        }
        for (name, task) in &configuration.tasks {
            let work = match (&task.exec, task.kind.as_str()) {
                (None, _) => Work::Nothing,
                (Some(exec), "process") => Work::Process(crate::evaluate::Process {
                    exec: exec.clone(),
                    cwd: task.cwd.clone(),
                    env: task.env.clone(),
                    ..Default::default()
                }),
                (Some(_), _) => Work::Task(Box::new(task.clone())),
            };
            add(name, &task.after, &task.before, work);
        }
        // A project may give the built-in tasks wishes, and commands, of its own.
        for (name, text, work) in [
            (ENTER_SHELL, &configuration.enter_shell, Work::EnterShell as fn(String) -> Work),
            (ENTER_TEST, &configuration.enter_test, Work::EnterTest),
        ] {
            if let Some((_, slot)) = nodes.get_mut(name) {
                let own =
                    configuration.tasks.get(name).and_then(|task| task.exec.as_deref()).unwrap_or_default();
                *slot = bash(&format!("{text}\n{own}"), work);
            }
        }
        // Names that every project of devenv knows, whether or not they do something.
        for name in [GIT_HOOKS, "devenv:git-hooks:install", "devenv:files"] {
            let nothing =
                Node { name: name.to_owned(), is_process: false, after: Vec::new(), before: Vec::new() };
            nodes.entry(name.to_owned()).or_insert((nothing, Work::Nothing));
        }
        nodes.into_values().unzip()
    }
}

/// What tasks hand on to each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// The environment, as `devenv:enterShell` and exports left it.
    pub(crate) env: BTreeMap<String, String>,
    /// Outputs by task.
    pub(crate) outputs: serde_json::Map<String, Value>,
}

/// What every task needs.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) context: Context,
    shared: Arc<Mutex<Shared>>,
}

impl Scene {
    pub(crate) fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan for Tasks {
    fn run(self: Box<Self>, context: &Context) -> Result<(), End> {
        let (mut nodes, mut work) = self.nodes();
        let edges = graph::resolve(&nodes).and_then(|edges| {
            add_usual_order(&mut nodes, &edges);
            graph::resolve(&nodes)
        });
        let refuse = |words: String, place| {
            context.recorder.message(None, Level::Error, &words, place);
            End::failure(words)
        };
        let mut edges =
            edges.map_err(|error| refuse(error.to_string(), Some(("devenv.nix".to_owned(), None))))?;
        let tasks = &context.job.tasks;
        if !tasks.is_empty() {
            let keep =
                graph::wanted(&nodes, &edges, tasks).map_err(|error| refuse(error.to_string(), None))?;
            for (at, _) in keep.iter().enumerate().filter(|(_, keep)| !**keep) {
                // Nothing that stays waits for it.
                work[at] = Work::Nothing;
                edges[at].clear();
            }
        }
        outputs::realise(context, &self.configuration.derivations)?;
        let env = self
            .surroundings(context)
            .map_err(|error| End::error(format!("cannot set up the job's folders: {error}")))?;
        let shared = Arc::new(Mutex::new(Shared { env, outputs: serde_json::Map::new() }));
        let scene = Scene { context: context.clone(), shared };
        schedule::run(&scene, &nodes, &work, &edges)?;
        if !tasks.is_empty() {
            return Ok(());
        }
        outputs::collect(context, &self.configuration.outputs)
    }
}

/// Adds what nobody writes down: everything after `devenv:enterShell`,
/// `devenv:enterTest` after everything.
fn add_usual_order(nodes: &mut [Node], edges: &[Vec<graph::Edge>]) {
    let find = |name: &str| nodes.iter().position(|node| node.name == name);
    let (Some(shell), Some(test)) = (find(ENTER_SHELL), find(ENTER_TEST)) else {
        return;
    };
    let before_shell = reachable(nodes.len(), shell, |at| edges[at].iter().map(|edge| edge.on).collect());
    let mut waiters = vec![Vec::new(); nodes.len()];
    for (at, list) in edges.iter().enumerate() {
        for edge in list {
            waiters[edge.on].push(at);
        }
    }
    let after_test = reachable(nodes.len(), test, |at| waiters[at].clone());
    let mut names = Vec::new();
    for (at, node) in nodes.iter_mut().enumerate() {
        if !before_shell[at] && at != shell {
            node.after.push(ENTER_SHELL.to_owned());
        }
        if !after_test[at] && at != test {
            names.push(node.name.clone());
        }
    }
    nodes[test].after.extend(names);
}

/// Which of `count` nodes can be reached, the start included.
fn reachable(count: usize, start: usize, next: impl Fn(usize) -> Vec<usize>) -> Vec<bool> {
    let mut seen = vec![false; count];
    seen[start] = true;
    let mut todo = vec![start];
    while let Some(at) = todo.pop() {
        for other in next(at) {
            if !std::mem::replace(&mut seen[other], true) {
                todo.push(other);
            }
        }
    }
    seen
}

impl Tasks {
    /// Folders, scripts and the environment that tasks start with.
    fn surroundings(&self, context: &Context) -> io::Result<BTreeMap<String, String>> {
        let world = &context.world;
        let configuration = &self.configuration;
        let dotfile = world.source.join(".devenv");
        let (state, profile) = (dotfile.join("state"), dotfile.join("profile"));
        let runtime = world.scratch.join("runtime");
        fs::create_dir_all(&world.run)?;
        for folder in [&dotfile, &state, &world.scratch, &runtime, &world.scratch.join("outputs")] {
            world.make_dir(folder)?;
        }
        let scripts = world.run.join("scripts");
        for (name, script) in &configuration.scripts {
            let interpreter = script.interpreter.as_deref().unwrap_or("/usr/bin/env bash");
            let mut text = format!("#!{interpreter}\n");
            // Only bash understands it, but another interpreter brings its own programs.
            if script.interpreter.is_none() && !script.packages.is_empty() {
                let path: Vec<String> =
                    script.packages.iter().map(|package| format!("{package}/bin")).collect();
                text.push_str(&format!("export PATH={}:\"$PATH\"\n", path.join(":")));
            }
            text.push_str(&script.exec);
            text.push('\n');
            // A name with a slash would leave the folder.
            if !name.contains('/') && name != ".." && name != "." {
                world.write_executable(&scripts.join(name), &text)?;
            }
        }
        fs::create_dir_all(&scripts)?;

        let mut env = world.env.clone();
        env.extend(configuration.env.clone());
        env.extend(context.job.env.clone());
        let path = |path: &std::path::Path| path.display().to_string();
        env.insert("CI".to_owned(), "1".to_owned());
        env.insert("DEVENV_ROOT".to_owned(), path(&world.source));
        env.insert("DEVENV_DOTFILE".to_owned(), path(&dotfile));
        env.insert("DEVENV_STATE".to_owned(), path(&state));
        env.insert("DEVENV_PROFILE".to_owned(), path(&profile));
        env.insert("DEVENV_RUNTIME".to_owned(), path(&runtime));
        let mut folders = vec![path(&scripts)];
        for package in configuration.packages.iter().filter(|package| package.as_str() != "/usr") {
            folders.push(format!("{package}/bin"));
        }
        folders.extend(env.get("PATH").cloned());
        env.insert("PATH".to_owned(), folders.join(":"));
        Ok(env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(json: Value) -> Configuration {
        serde_json::from_value(json).unwrap()
    }

    fn order(json: Value) -> Vec<(String, Vec<String>)> {
        let tasks = Tasks::new(configuration(json));
        let (mut nodes, _) = tasks.nodes();
        let edges = graph::resolve(&nodes).unwrap();
        add_usual_order(&mut nodes, &edges);
        let edges = graph::resolve(&nodes).unwrap();
        nodes
            .iter()
            .zip(edges)
            .map(|(node, edges)| {
                (node.name.clone(), edges.into_iter().map(|edge| nodes[edge.on].name.clone()).collect())
            })
            .collect()
    }

    #[test]
    fn everything_comes_between_enter_shell_and_enter_test() {
        let order = order(serde_json::json!({
            "enterTest": "true",
            "tasks": {
                "app:build": { "exec": "true", "type": "oneshot" },
                "app:setup": { "exec": "true", "type": "oneshot", "before": [ENTER_SHELL] },
                "app:report": { "exec": "true", "type": "oneshot", "after": ["devenv:enterTest@completed"] },
            },
        }));
        let of = |name: &str| &order.iter().find(|(other, _)| other == name).unwrap().1;
        assert_eq!(*of("app:build"), [ENTER_SHELL]);
        assert!(of("app:setup").is_empty());
        assert_eq!(*of(ENTER_SHELL), ["app:setup"]);
        for name in [ENTER_SHELL, "app:build", "app:setup"] {
            assert!(of(ENTER_TEST).iter().any(|other| other == name), "{name}");
        }
        assert!(of("app:report").contains(&ENTER_TEST.to_owned()));
    }
}
