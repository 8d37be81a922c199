//! Templates and machines that wait for jobs.
//!
//! One loop brings what there is nearer to what there should be, one step at a
//! time: a template for the size that was asked for last, then machines that are
//! restored from it, warmed up and stopped. Whoever needs a machine never waits
//! for this loop; what it has not made yet is restored or booted on the spot.
//!
//! All this lives in the memory that jobs leave free. A machine of a job counts
//! with its whole size, which it may come to use; a template with what it takes,
//! and a machine that waits with what such machines use. When a job needs the
//! memory, machines that wait for other jobs are given up first, then templates
//! of other sizes; they come back when there is room again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    MachineError,
    parts::{Key, Parts, Running},
    shelf,
    template::{Template, warm},
};
use crate::executor::{Status, TemplateStatus, image::Image};

/// Sizes that have a template at the same time.
const TEMPLATES: usize = 4;
/// How often a template is tried before its machines are booted for good.
const TRIES: u32 = 3;
/// The pause after a failure, times the number of failures.
const PAUSE: Duration = Duration::from_secs(5);
/// How often a machine that waits for its job warms up: emulated programs are
/// translated on the first round and quick on the second.
const ROUNDS: u8 = 2;
/// MiB that a machine that waits uses beside its template's.
pub(super) const WAITING: u64 = 130;
/// MiB that there must be room for before a template is made.
pub(super) const TEMPLATE: u64 = 200;

/// What is ready.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Machines that should wait for jobs.
    size: usize,
    /// MiB that all machines and templates may have together.
    memory_mib: u64,
    state: Mutex<State>,
    changed: Notify,
    /// One looks for a template on disk at a time: what it finds is everybody's.
    finding: tokio::sync::Mutex<()>,
}

/// The memory of a job's machine, taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pool: Arc<Pool>,
    memory_mib: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.state().occupied -= self.memory_mib;
        self.pool.changed.notify_one();
    }
}

#[derive(Debug, Default)]
struct State {
    /// The one that was asked for last comes first.
    sizes: VecDeque<Size>,
    waiting: Vec<(Key, Running)>,
    /// MiB that the machines of jobs have.
    occupied: u64,
    /// What last went wrong, until something goes right.
    problem: Option<String>,
    filling: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Size {
    key: Key,
    image: Image,
    template: Option<Arc<Template>>,
    failures: u32,
}

/// What there is for a job.
pub(super) enum Found {
    /// A machine that waits. It must be told to go on.
    Waiting(Running),
    /// A template.
    Template(Arc<Template>),
    /// Nothing yet.
    Nothing,
}

impl Pool {
    pub(super) fn new(size: usize, memory_mib: u32) -> Arc<Self> {
        Arc::new(Self { size, memory_mib: memory_mib.into(), ..Self::default() })
    }

    /// Takes memory for a job's machine, and gives up what is ready for others
    /// where it stands in the way.
    pub(super) fn occupy(self: &Arc<Self>, memory_mib: u32) -> Place {
        let memory_mib = u64::from(memory_mib);
        let mut state = self.state();
        state.occupied += memory_mib;
        state.give_way(self.memory_mib);
        Place { pool: Arc::clone(self), memory_mib }
    }

    /// Fills it until it is emptied, or nobody is left who could ask.
    pub(super) fn fill(self: &Arc<Self>, parts: Weak<Parts>) {
        let filling = tokio::spawn(fill(Arc::downgrade(self), parts));
        self.state().filling = Some(AbortOnDropHandle::new(filling));
    }

    /// Ends what waits and what is being made, and makes nothing any more.
    pub(super) async fn empty(&self) {
        let filling = self.state().filling.take();
        if let Some(filling) = filling {
            filling.abort();
            drop(filling.await);
        }
        let mut state = self.state();
        state.waiting.clear();
        state.sizes.clear();
    }

    /// Notes what went wrong with a machine; nothing: it went right.
    pub(super) fn note(&self, error: Option<&MachineError>) {
        self.state().problem = error.map(ToString::to_string);
    }

    /// What stands ready.
    pub(super) fn status(&self) -> Status {
        let mut state = self.state();
        state.bury();
        let State { sizes, waiting, problem, .. } = &*state;
        let count = |key: &Key| waiting.iter().filter(|(waiting, _)| waiting == key).count();
        let size = |size: &Size| TemplateStatus {
            cpus: size.key.spec.cpus,
            memory_mib: size.key.spec.memory_mib,
            disk_mib: size.key.spec.disk_mib,
            holds_mib: size.template.as_ref().map(|template| template.memory_mib()),
            age_seconds: size
                .template
                .as_ref()
                .map(|template| u32::try_from(template.made.elapsed().as_secs()).unwrap_or(u32::MAX)),
            waiting: u32::try_from(count(&size.key)).unwrap_or(u32::MAX),
        };
        Status { templates: sizes.iter().map(size).collect(), problem: problem.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that machines of this kind are wanted.
    pub(super) fn want(&self, key: &Key, image: &Image) {
        self.state().want(key, image);
        self.changed.notify_one();
    }

    /// The best that there is for a job.
    pub(super) fn take(&self, key: &Key, image: &Image) -> Found {
        let mut state = self.state();
        state.want(key, image);
        state.bury();
        let found = match state.waiting.iter().position(|(waiting, _)| waiting == key) {
            Some(index) => Found::Waiting(state.waiting.swap_remove(index).1),
            None => match state.sizes.front().and_then(|size| size.template.clone()) {
                Some(template) => Found::Template(template),
                None => Found::Nothing,
            },
        };
        self.changed.notify_one();
        found
    }

    /// The template of this kind that was kept by somebody before us, if there is
    /// one: at hand sooner than a machine boots.
    pub(super) async fn kept(&self, parts: &Parts, image: &Image, key: &Key) -> Option<Arc<Template>> {
        let _alone = self.finding.lock().await;
        if let Some(template) = self.template(key).filter(|template| !template.has_grown()) {
            return Some(template);
        }
        let template = Arc::new(shelf::find(parts, image, key).await.ok().flatten()?);
        tracing::info!(spec = %key.spec, "machine template is at hand");
        self.adopt(&template);
        Some(template)
    }

    fn template(&self, key: &Key) -> Option<Arc<Template>> {
        self.state().sizes.iter().find(|size| size.key == *key)?.template.clone()
    }

    /// Machines of this kind are made of this template from now on, if there is room.
    fn adopt(&self, template: &Arc<Template>) {
        let mut state = self.state();
        if let Some(size) = state.sizes.iter_mut().find(|size| size.key == template.key) {
            size.template = Some(Arc::clone(template));
            state.problem = None;
            // A job may have come meanwhile.
            state.give_way(self.memory_mib);
        }
    }

    /// Machines restored from this did not work: nobody shall get another.
    fn discard(&self, key: &Key) {
        let mut state = self.state();
        state.waiting.retain(|(waiting, _)| waiting != key);
        if let Some(size) = state.sizes.iter_mut().find(|size| size.key == *key) {
            size.template = None;
            size.failures += 1;
        }
    }

    /// What to do next, if there is anything to do.
    fn next(&self) -> Option<Step> {
        let mut state = self.state();
        state.bury();
        let (key, image, template, failures) = match state.sizes.front() {
            Some(size) => (size.key.clone(), size.image.clone(), size.template.clone(), size.failures),
            None => return None,
        };
        match template {
            _ if failures >= TRIES => None,
            None if state.held() + TEMPLATE > self.memory_mib => None,
            None => Some(Step::Template(Box::new((key, image)))),
            // It serves until there is another.
            Some(template) if template.has_grown() => Some(Step::Template(Box::new((key, image)))),
            Some(template) => {
                // Of sizes that nobody asks for any more none has to wait.
                let others = state.waiting.iter().position(|(waiting, _)| *waiting != key);
                if state.waiting.len() < self.size {
                    (state.held() + WAITING <= self.memory_mib).then_some(Step::Machine(template))
                } else if let Some(index) = others {
                    drop(state.waiting.swap_remove(index));
                    Some(Step::Machine(template))
                } else {
                    None
                }
            }
        }
    }
}

impl State {
    /// MiB that everything has.
    fn held(&self) -> u64 {
        let templates = self.sizes.iter().filter_map(|size| size.template.as_ref());
        let templates = templates.map(|template| u64::from(template.memory_mib())).sum::<u64>();
        self.occupied + templates + WAITING * self.waiting.len() as u64
    }

    /// Gives up what is ready for jobs that may come, until there is room for
    /// those that have. The template of the size that was asked for last stays:
    /// the machine that is made of it shares its memory.
    fn give_way(&mut self, memory_mib: u64) {
        while self.held() > memory_mib {
            let other = |(key, _): &(Key, Running)| self.sizes.front().is_none_or(|size| size.key != *key);
            if let Some(index) = self.waiting.iter().position(other) {
                drop(self.waiting.swap_remove(index));
            } else if self.waiting.pop().is_some() {
            } else if let Some(size) = self.sizes.iter_mut().skip(1).rev().find(|s| s.template.is_some()) {
                size.template = None;
            } else {
                return;
            }
        }
    }

    /// A machine may die while it waits; no job shall find that out.
    fn bury(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain_mut(|(_, running)| running.process.is_alive());
        let dead = before - self.waiting.len();
        if dead > 0 {
            tracing::warn!(dead, "machines that waited for jobs were gone; others take their place");
        }
    }

    fn want(&mut self, key: &Key, image: &Image) {
        let known = self.sizes.iter().position(|size| size.key == *key);
        let size = known.and_then(|index| self.sizes.remove(index)).unwrap_or_else(|| Size {
            key: key.clone(),
            image: image.clone(),
            template: None,
            failures: 0,
        });
        // Of an image or a QEMU that is no more in use nothing is of any use.
        self.sizes.retain(|other| other.key.is_beside(key));
        self.waiting.retain(|(other, _)| other == key || other.is_beside(key));
        self.sizes.push_front(size);
        self.sizes.truncate(TEMPLATES);
    }
}

/// One step towards what should be.
enum Step {
    Template(Box<(Key, Image)>),
    Machine(Arc<Template>),
}

async fn fill(pool: Weak<Pool>, parts: Weak<Parts>) {
    loop {
        let (Some(pool), Some(parts)) = (pool.upgrade(), parts.upgrade()) else { return };
        let Some(step) = pool.next() else {
            drop(parts);
            // Looks now and then whether anybody is left who could ask.
            drop(timeout(Duration::from_secs(60), pool.changed.notified()).await);
            continue;
        };
        let key = match &step {
            Step::Template(wanted) => wanted.0.clone(),
            Step::Machine(template) => template.key.clone(),
        };
        if let Err(error) = take_step(&pool, &parts, step).await {
            pool.discard(&key);
            pool.note(Some(&error));
            let failures = pool.state().sizes.iter().find(|size| size.key == key).map_or(1, |s| s.failures);
            tracing::warn!(spec = %key.spec, failures, "machines are booted, which is slower: {error}");
            tokio::time::sleep(PAUSE * failures).await;
        }
    }
}

async fn take_step(pool: &Pool, parts: &Parts, step: Step) -> Result<(), MachineError> {
    match step {
        Step::Template(wanted) => {
            let (key, image) = *wanted;
            if pool.kept(parts, &image, &key).await.is_none() {
                let (template, running) = make(parts, &image, &key).await?;
                pool.adopt(&Arc::new(template));
                let mut state = pool.state();
                let wanted = state.sizes.iter().any(|size| size.key == key && size.template.is_some());
                if wanted && state.waiting.len() < pool.size {
                    state.waiting.push((key, running));
                    state.give_way(pool.memory_mib);
                }
            }
        }
        Step::Machine(template) => {
            let running = match prepare(parts, &template).await {
                Ok(running) => running,
                Err(error) => {
                    // The next one is made, not found.
                    shelf::remove(parts, &template.image, &template.key).await;
                    return Err(error);
                }
            };
            let mut state = pool.state();
            // Unless it has been discarded meanwhile.
            if state.sizes.iter().any(|size| size.key == template.key && size.template.is_some()) {
                state.waiting.push((template.key.clone(), running));
                state.give_way(pool.memory_mib);
            }
        }
    }
    Ok(())
}

/// Makes a template, finds out whether it is good for anything, which no job is to
/// find out first, and keeps it. Gives a machine that was restored from it, too.
pub(super) async fn make(
    parts: &Parts,
    image: &Image,
    key: &Key,
) -> Result<(Template, Running), MachineError> {
    let template = Template::make(parts, image.clone(), key.clone()).await?;
    let running = prepare(parts, &template).await?;
    // It serves all the same.
    if let Err(error) = shelf::keep(parts, &template).await {
        tracing::info!("{error}: the next start makes it again");
    }
    Ok((template, running))
}

/// Restores a machine, warms it up, and stops it.
async fn prepare(parts: &Parts, template: &Template) -> Result<Running, MachineError> {
    let mut running = parts.restore(template, true).await?;
    warm(&mut running.channel, ROUNDS).await?;
    running.control.ask("stop", serde_json::json!({})).await.map_err(MachineError::Template)?;
    Ok(running)
}
