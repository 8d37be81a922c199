//! Keys. A page says which keys it knows while it is shown; one listener
//! dispatches, and `?` lists them.

use std::sync::Arc;

use leptos::{ev, html, prelude::*};
use wasm_bindgen::JsCast;

use super::palette::Palette;

/// A key, or two keys one after the other (`g o`).
#[derive(Clone)]
struct Binding {
    id: u64,
    keys: &'static str,
    label: &'static str,
    act: Arc<dyn Fn() + Send + Sync>,
}

/// The keys that are known now, the newest last; the newest wins.
#[derive(Clone, Copy)]
pub struct Keys {
    known: RwSignal<Vec<Binding>>,
    next_id: StoredValue<u64>,
}

impl Keys {
    /// Begins with none.
    pub fn provide() {
        provide_context(Self { known: RwSignal::new(Vec::new()), next_id: StoredValue::new(0) });
    }
}

/// Knows a key for as long as the component that says so is shown.
pub fn use_key(keys: &'static str, label: &'static str, act: impl Fn() + Send + Sync + 'static) {
    know(keys, label, Arc::new(act));
}

fn know(keys: &'static str, label: &'static str, act: Arc<dyn Fn() + Send + Sync>) {
    let Some(context) = use_context::<Keys>() else { return };
    // Only a browser has keys; and what an effect registers cannot differ between the two sides.
    let id = context.next_id.with_value(|id| *id);
    context.next_id.set_value(id + 1);
    Effect::new(move |_| {
        let act = Arc::clone(&act);
        context.known.update(|known| {
            known.retain(|b| b.id != id);
            known.push(Binding { id, keys, label, act });
        });
    });
    on_cleanup(move || {
        let _ = context.known.try_update(|known| known.retain(|b| b.id != id));
    });
}

/// Whether the reader is writing somewhere.
fn is_writing(event: &ev::KeyboardEvent) -> bool {
    event.target().and_then(|t| t.dyn_into::<web_sys::Element>().ok()).is_some_and(|e| {
        matches!(e.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT") || e.has_attribute("contenteditable")
    })
}

/// Moves the focus to the next (or previous) element that matches.
pub fn step_focus(selector: &str, forward: bool) {
    let document = document();
    let Ok(found) = document.query_selector_all(selector) else { return };
    let elements: Vec<web_sys::HtmlElement> =
        (0..found.length()).filter_map(|i| found.item(i)).filter_map(|n| n.dyn_into().ok()).collect();
    let active = document.active_element();
    let at = elements.iter().position(|e| active.as_ref().is_some_and(|a| a.is_same_node(Some(e))));
    let next = match (at, forward) {
        (Some(at), true) => at + 1,
        (Some(at), false) => at.wrapping_sub(1),
        (None, true) => 0,
        (None, false) => elements.len().wrapping_sub(1),
    };
    if let Some(element) = elements.get(next) {
        let _ = element.focus();
    }
}

/// Goes to the search field of the part of the page that has the focus, if it
/// has one: a log, a trace.
fn focus_search() -> bool {
    let near = document().active_element().and_then(|active| active.closest("section").ok().flatten());
    let field = near.and_then(|section| section.query_selector("input[type=search]").ok().flatten());
    let Some(field) = field.and_then(|field| field.dyn_into::<web_sys::HtmlElement>().ok()) else {
        return false;
    };
    field.focus().is_ok()
}

/// The listener and the list that `?` shows.
#[component]
pub fn KeyHelp() -> impl IntoView {
    let keys = expect_context::<Keys>();
    let dialog = NodeRef::<html::Dialog>::new();
    use_key("j", "next row", || step_focus("[data-row]", true));
    use_key("k", "previous row", || step_focus("[data-row]", false));
    use_key("f", "next failure", || step_focus("[data-failure]", true));
    let palette = use_context::<Palette>();
    use_key("/", "search here, or everything", move || {
        if !focus_search()
            && let Some(palette) = palette
        {
            palette.open();
        }
    });
    use_key("?", "this list", move || {
        if let Some(dialog) = dialog.get_untracked() {
            let _ = if dialog.open() {
                dialog.close();
                Ok(())
            } else {
                dialog.show_modal()
            };
        }
    });
    let pending = StoredValue::new(None::<String>);
    Effect::new(move |_| {
        let handle = window_event_listener(ev::keydown, move |event| {
            let chord = event.ctrl_key() || event.meta_key();
            if event.alt_key() || is_writing(&event) && !chord {
                return;
            }
            let key = if chord { format!("Ctrl+{}", event.key().to_uppercase()) } else { event.key() };
            let whole = pending.with_value(|first| match first {
                Some(first) => format!("{first} {key}"),
                None => key.clone(),
            });
            pending.set_value(None);
            let (found, begins) = keys.known.with_untracked(|known| {
                let found =
                    known.iter().rev().find(|b| b.keys == whole || b.keys == key).map(|b| Arc::clone(&b.act));
                let begins =
                    known.iter().any(|b| b.keys.strip_prefix(&key).is_some_and(|rest| rest.starts_with(' ')));
                (found, begins)
            });
            if let Some(act) = found {
                event.prevent_default();
                act();
            } else if begins {
                pending.set_value(Some(key));
            }
        });
        on_cleanup(move || handle.remove());
    });
    view! {
        <dialog node_ref=dialog class="keys" aria-labelledby="keys-title">
            <h2 id="keys-title">"Keys"</h2>
            <dl>
                {move || {
                    let mut known = keys.known.get();
                    // The newest meaning of a key is the one that counts.
                    let mut seen = Vec::new();
                    known.reverse();
                    known.retain(|b| !seen.contains(&b.keys) && { seen.push(b.keys); true });
                    known.sort_by_key(|b| b.keys);
                    known
                        .into_iter()
                        .map(|binding| {
                            view! {
                                <div>
                                    <dt>
                                        {binding.keys.split(' ').map(|key| view! { <kbd>{key}</kbd> }).collect_view()}
                                    </dt>
                                    <dd>{binding.label}</dd>
                                </div>
                            }
                        })
                        .collect_view()
                }}
            </dl>
            <form method="dialog">
                <button class="button">"Close"</button>
            </form>
        </dialog>
    }
}
