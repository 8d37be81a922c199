//! Server-sent events, with resume.
//!
//! The browser reconnects by itself after a broken connection and sends
//! `Last-Event-ID`. After an HTTP error it gives up for good; then we start
//! again from the last id we saw, waiting longer each time.

use devenv_cloud_api::trace::{PlacedRun, RunsEvent};
use leptos::prelude::*;
use serde::de::DeserializeOwned;

/// How a live stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing is followed: all is over, or nothing has begun.
    Off,
    /// Connected.
    Open,
    /// Broken; being connected again.
    Lost,
}

/// What to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Follow on.
    GoOn,
    /// It was the last one.
    Stop,
}

/// Follows a stream until it ends or the component goes away. `path` makes the
/// address from the last event's id, if there was one. For use in an effect:
/// does nothing on the server.
pub fn follow<E: DeserializeOwned + 'static>(
    state: RwSignal<Line>,
    path: impl Fn(Option<&str>) -> String + 'static,
    on_event: impl Fn(E) -> Then + 'static,
) {
    #[cfg(feature = "hydrate")]
    {
        let follower = browser::Follower::start(state, path, move |text| {
            match devenv_cloud_api::json::read::<E>(text) {
                Ok(event) => on_event(event),
                // An event of a newer server: nothing that this page could show.
                Err(_) => Then::GoOn,
            }
        });
        let follower = StoredValue::new_local(follower);
        on_cleanup(move || {
            let _ = follower.try_with_value(browser::Follower::stop);
        });
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = (state, path, on_event, std::marker::PhantomData::<E>);
}

/// Follows the runs of a list, below `path` of the API, until the component goes
/// away. A stream that ends is asked for again: its end is the server's way to
/// see whether the reader is still who they were.
///
/// A list may be open for days in many tabs, and a browser has few connections
/// to one server (six, over HTTP/1.1): a tab that nobody sees gives its own
/// back, and hears how things stand when it is seen again.
pub fn follow_runs(path: &str, on_runs: impl Fn(Vec<PlacedRun>) + 'static) {
    let address = format!("{}{path}/events", devenv_cloud_api::PREFIX);
    let on_runs = std::rc::Rc::new(on_runs);
    let seen = RwSignal::new(!document().hidden());
    let listener = window_event_listener_untyped("visibilitychange", move |_| {
        let now = !document().hidden();
        if seen.try_get_untracked() == Some(!now) {
            seen.set(now);
        }
    });
    on_cleanup(move || listener.remove());
    Effect::new(move |_| {
        if !seen.get() {
            return;
        }
        let (address, on_runs) = (address.clone(), std::rc::Rc::clone(&on_runs));
        follow(
            RwSignal::new(Line::Off),
            move |_| address.clone(),
            move |RunsEvent::Runs { runs }| {
                on_runs(runs);
                Then::GoOn
            },
        );
    });
}

#[cfg(feature = "hydrate")]
mod browser {
    use std::{
        cell::{Cell, RefCell},
        rc::Rc,
        time::Duration,
    };

    use leptos::prelude::*;
    use wasm_bindgen::{JsCast, closure::Closure};
    use web_sys::{EventSource, MessageEvent};

    use super::{Line, Then};

    /// The names that events may have; `message` is an event without a name.
    const NAMES: [&str; 7] = ["message", "run", "runs", "attempt", "spans", "lines", "end"];

    type PathFrom = Box<dyn Fn(Option<&str>) -> String>;
    type Callback = Closure<dyn FnMut(MessageEvent)>;

    pub(super) struct Follower(Rc<Inner>);

    struct Inner {
        state: RwSignal<Line>,
        path: PathFrom,
        on_data: Box<dyn Fn(&str) -> Then>,
        source: RefCell<Option<EventSource>>,
        closures: RefCell<Vec<Callback>>,
        last_id: RefCell<Option<String>>,
        failures: Cell<u32>,
        stopped: Cell<bool>,
    }

    impl Follower {
        pub(super) fn start(
            state: RwSignal<Line>,
            path: impl Fn(Option<&str>) -> String + 'static,
            on_data: impl Fn(&str) -> Then + 'static,
        ) -> Self {
            let inner = Rc::new(Inner {
                state,
                path: Box::new(path),
                on_data: Box::new(on_data),
                source: RefCell::default(),
                closures: RefCell::default(),
                last_id: RefCell::default(),
                failures: Cell::new(0),
                stopped: Cell::new(false),
            });
            connect(&inner);
            Self(inner)
        }

        pub(super) fn stop(&self) {
            close(&self.0);
        }
    }

    fn close(inner: &Inner) {
        inner.stopped.set(true);
        if let Some(source) = inner.source.borrow_mut().take() {
            source.close();
        }
        let _ = inner.state.try_set(Line::Off);
    }

    fn connect(inner: &Rc<Inner>) {
        let path = (inner.path)(inner.last_id.borrow().as_deref());
        let Ok(source) = EventSource::new(&path) else {
            return;
        };
        let mut closures = Vec::new();
        for name in NAMES {
            let weak = Rc::downgrade(inner);
            let closure = Callback::new(move |event: MessageEvent| {
                let (Some(inner), Some(text)) = (weak.upgrade(), event.data().as_string()) else {
                    return;
                };
                if inner.stopped.get() {
                    return;
                }
                let id = event.last_event_id();
                if !id.is_empty() {
                    *inner.last_id.borrow_mut() = Some(id);
                }
                inner.failures.set(0);
                if (inner.on_data)(&text) == Then::Stop {
                    close(&inner);
                }
            });
            let _ = source.add_event_listener_with_callback(name, closure.as_ref().unchecked_ref());
            closures.push(closure);
        }
        let weak = Rc::downgrade(inner);
        let opened = Callback::new(move |_| {
            if let Some(inner) = weak.upgrade() {
                let _ = inner.state.try_set(Line::Open);
            }
        });
        source.set_onopen(Some(opened.as_ref().unchecked_ref()));
        closures.push(opened);
        let weak = Rc::downgrade(inner);
        let failed = Callback::new(move |_| {
            let Some(inner) = weak.upgrade() else { return };
            if inner.stopped.get() {
                return;
            }
            let _ = inner.state.try_set(Line::Lost);
            let given_up =
                inner.source.borrow().as_ref().is_none_or(|s| s.ready_state() == EventSource::CLOSED);
            if given_up {
                let failures = inner.failures.get();
                inner.failures.set(failures + 1);
                let wait = Duration::from_secs(1 << failures.min(5));
                let weak = Rc::downgrade(&inner);
                set_timeout(
                    move || {
                        if let Some(inner) = weak.upgrade().filter(|i| !i.stopped.get()) {
                            connect(&inner);
                        }
                    },
                    wait,
                );
            }
        });
        source.set_onerror(Some(failed.as_ref().unchecked_ref()));
        closures.push(failed);
        *inner.source.borrow_mut() = Some(source);
        *inner.closures.borrow_mut() = closures;
    }
}
