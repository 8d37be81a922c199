//! Starts each task as soon as what it waits for has come, as many at a time as
//! the machine can bear, until all have ended.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::{
    Scene, Work,
    graph::{Condition, Edge, Node},
    task::{self, Fate, ProcessControl, TaskEnd},
};
use crate::{
    job::End,
    protocol::{Outcome, SpanKind, Stage},
    recorder::NewSpan,
};

/// What a task's thread reports.
pub(crate) enum Event {
    /// A process runs.
    Started(usize),
    /// A task or process has ended.
    Ended(usize, TaskEnd),
}

#[derive(Clone, Debug)]
enum State {
    Waiting,
    Running,
    /// A process: it runs, and is taken to be ready.
    Ready,
    Ended(Fate),
}

struct Schedule<'a> {
    scene: &'a Scene,
    nodes: &'a [Node],
    work: &'a [Work],
    edges: &'a [Vec<Edge>],
    states: Vec<State>,
    processes: Vec<Option<Arc<ProcessControl>>>,
    failures: Vec<End>,
    event: mpsc::Sender<Event>,
}

/// Runs everything.
pub(crate) fn run(scene: &Scene, nodes: &[Node], work: &[Work], edges: &[Vec<Edge>]) -> Result<(), End> {
    let (event, events) = mpsc::channel();
    let mut schedule = Schedule {
        scene,
        nodes,
        work,
        edges,
        states: vec![State::Waiting; nodes.len()],
        processes: vec![None; nodes.len()],
        failures: Vec::new(),
        event,
    };
    loop {
        schedule.start_what_can();
        if !schedule.awaits_something() {
            break;
        }
        match events.recv() {
            Ok(event) => schedule.take(event),
            Err(_) => break,
        }
    }
    schedule.stop_processes(&events);
    schedule.conclude()
}

/// What a dependency means for who waits for it.
enum Verdict {
    Met,
    NotYet,
    /// It will never come, for this reason.
    Never(String),
}

impl Schedule<'_> {
    fn is_process(&self, at: usize) -> bool {
        matches!(self.work[at], Work::Process(_))
    }

    /// Whether a task runs, or a process has yet to come up.
    fn awaits_something(&self) -> bool {
        self.states.iter().any(|state| matches!(state, State::Running))
    }

    fn running(&self) -> usize {
        (0..self.nodes.len())
            .filter(|at| !self.is_process(*at) && matches!(self.states[*at], State::Running))
            .count()
    }

    /// Starts or skips whatever can be, until nothing more can.
    fn start_what_can(&mut self) {
        let most = 2 * thread::available_parallelism().map_or(1, usize::from);
        loop {
            let mut moved = false;
            for at in 0..self.nodes.len() {
                if !matches!(self.states[at], State::Waiting) || self.scene.context.canceller.is_cancelled() {
                    continue;
                }
                match self.verdict(at) {
                    Verdict::NotYet => {}
                    Verdict::Never(reason) => {
                        self.skip(at, reason);
                        moved = true;
                    }
                    Verdict::Met if matches!(self.work[at], Work::Nothing) => {
                        self.states[at] = State::Ended(Fate::Succeeded);
                        moved = true;
                    }
                    Verdict::Met if self.is_process(at) && !self.is_wanted(at) => {}
                    Verdict::Met if self.is_process(at) || self.running() < most => {
                        self.start(at);
                        moved = true;
                    }
                    Verdict::Met => {}
                }
            }
            if !moved {
                break;
            }
        }
    }

    /// Whether anything that does something waits for this process.
    fn is_wanted(&self, process: usize) -> bool {
        (0..self.nodes.len()).any(|at| {
            !matches!(self.work[at], Work::Nothing) && self.edges[at].iter().any(|edge| edge.on == process)
        })
    }

    fn verdict(&self, at: usize) -> Verdict {
        let mut verdict = Verdict::Met;
        for edge in &self.edges[at] {
            let name = &self.nodes[edge.on].name;
            match (&self.states[edge.on], edge.condition) {
                (State::Ended(Fate::Failed), Condition::Succeeded | Condition::Ready) => {
                    return Verdict::Never(format!("{name} failed"));
                }
                (
                    State::Ended(Fate::Skipped),
                    Condition::Succeeded | Condition::Ready | Condition::Started,
                ) => {
                    return Verdict::Never(format!("{name} was skipped"));
                }
                (State::Ended(_), _)
                | (State::Running | State::Ready, Condition::Started)
                | (State::Ready, Condition::Ready) => {}
                _ => verdict = Verdict::NotYet,
            }
        }
        verdict
    }

    fn skip(&mut self, at: usize, reason: String) {
        self.states[at] = State::Ended(Fate::Skipped);
        if matches!(self.work[at], Work::Nothing) {
            return;
        }
        let span = self.scene.context.recorder.open(None, task_span(&self.nodes[at].name));
        span.say(format!("Skipped: {reason}."));
        span.note("devenv.task.skip_reason", reason);
        span.close(Outcome::Skip);
    }

    fn start(&mut self, at: usize) {
        self.states[at] = State::Running;
        let (scene, event) = (self.scene.clone(), self.event.clone());
        let (name, work) = (self.nodes[at].name.clone(), self.work[at].clone());
        // The receiver lives as long as anything runs.
        if let Work::Process(process) = work {
            let control = Arc::new(ProcessControl::default());
            self.processes[at] = Some(control.clone());
            thread::spawn(move || {
                let started = || drop(event.send(Event::Started(at)));
                let end = task::run_process(&scene, &name, &process, &control, started);
                drop(event.send(Event::Ended(at, end)));
            });
        } else {
            thread::spawn(move || drop(event.send(Event::Ended(at, task::run(&scene, &name, &work)))));
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Started(at) => self.states[at] = State::Ready,
            Event::Ended(at, end) => {
                self.states[at] = State::Ended(end.fate);
                self.failures.extend(end.problem);
            }
        }
    }

    /// Asks all processes to end, and ends those that do not.
    fn stop_processes(&mut self, events: &mpsc::Receiver<Event>) {
        let grace = Duration::from_millis(self.scene.context.job.grace_ms.into());
        let runs = |schedule: &Self| {
            (0..schedule.nodes.len()).any(|at| {
                schedule.is_process(at) && matches!(schedule.states[at], State::Running | State::Ready)
            })
        };
        for control in self.processes.iter().flatten() {
            control.stop();
        }
        while runs(self) {
            match events.recv_timeout(grace) {
                Ok(event) => self.take(event),
                Err(_) => self.processes.iter().flatten().for_each(|control| control.kill()),
            }
        }
    }

    /// How it went.
    fn conclude(self) -> Result<(), End> {
        let context = &self.scene.context;
        if context.canceller.is_cancelled() {
            return Err(End::cancelled());
        }
        let mut failures = self.failures.into_iter();
        let Some(first) = failures.next() else {
            return Ok(());
        };
        // Each has been said already, where it happened.
        let more = failures.count();
        let reason =
            if more == 0 { first.reason } else { format!("{}, and {more} more failed", first.reason) };
        Err(End { reason, ..first })
    }
}

/// The span of a task.
pub(crate) fn task_span(name: &str) -> NewSpan {
    NewSpan::new(SpanKind::Task, name).stage(Stage::Task).with("cicd.pipeline.task.name", name)
}
