//! Search over everything (`Ctrl+K`): organisations and projects by name, runs
//! of the project that one is in, and the pages' own places. One field, one
//! list, and the arrow keys.

use std::time::Duration;

use devenv_cloud_api::search::SearchResults;
use leptos::{ev, html, leptos_dom::helpers::TimeoutHandle, prelude::*};
use leptos_router::hooks::{use_location, use_navigate};
use wasm_bindgen::JsCast;
use web_sys::ScrollLogicalPosition;

use super::{keys::use_key, run_rows::run_href, state::StateShape};
use crate::{
    browser,
    context::{use_alive, use_api},
    format,
};

/// How long somebody stops writing before it is searched for.
const PAUSE: Duration = Duration::from_millis(120);

/// Opens the search, from wherever.
#[derive(Clone, Copy)]
pub struct Palette(RwSignal<bool>);

impl Palette {
    /// Begins closed.
    pub fn provide() -> Self {
        let palette = Self(RwSignal::new(false));
        provide_context(palette);
        palette
    }

    /// Opens it.
    pub fn open(self) {
        self.0.set(true);
    }
}

/// Something to go to.
#[derive(Clone, Debug, PartialEq)]
struct Hit {
    kind: &'static str,
    title: String,
    about: String,
    href: String,
    state: Option<devenv_cloud_api::runs::State>,
}

impl Hit {
    fn place(title: &str, href: String) -> Self {
        Self { kind: "page", title: title.to_owned(), about: String::new(), href, state: None }
    }
}

/// The organisation and the project that an address is in.
fn here(path: &str) -> (Option<&str>, Option<&str>) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let org = parts.next().filter(|org| *org != "account");
    let project = parts.next().filter(|project| org.is_some() && *project != "-");
    (org, project)
}

/// The pages' own places that one can go to from here.
fn places(path: &str, text: &str) -> Vec<Hit> {
    let mut places = Vec::new();
    if let (Some(org), Some(project)) = here(path) {
        let base = format!("/{org}/{project}");
        places.push(Hit::place(&format!("Runs of {project}"), base.clone()));
        places.push(Hit::place(&format!("Settings of {project}"), format!("{base}/settings/general")));
    }
    if let (Some(org), _) = here(path) {
        places.push(Hit::place(&format!("Projects of {org}"), format!("/{org}")));
        places.push(Hit::place(&format!("Members of {org}"), format!("/{org}/-/members")));
    }
    places.push(Hit::place("Organisations", "/".to_owned()));
    places.push(Hit::place("Account", "/account".to_owned()));
    let text = text.to_lowercase();
    places.retain(|place| place.title.to_lowercase().contains(&text));
    places
}

fn hits(path: &str, text: &str, found: SearchResults) -> Vec<Hit> {
    let mut hits = Vec::new();
    if let (Some(org), Some(project)) = here(path) {
        for run in found.runs {
            hits.push(Hit {
                kind: "run",
                title: format!("#{} {}", run.number, run.commit.title),
                about: format!("{} {}", run.commit.short_ref(), run.commit.short_sha()),
                href: run_href(org, project, run.number),
                state: Some(run.state),
            });
        }
    }
    for project in found.projects {
        hits.push(Hit {
            kind: "project",
            title: format!("{}/{}", project.org, project.slug),
            about: project.description,
            href: format!("/{}/{}", project.org, project.slug),
            state: None,
        });
    }
    for org in found.orgs {
        hits.push(Hit {
            kind: "organisation",
            title: org.display_name,
            about: org.slug.to_string(),
            href: format!("/{}", org.slug),
            state: None,
        });
    }
    hits.extend(places(path, text));
    hits
}

/// The dialog.
#[component]
pub fn PaletteDialog(palette: Palette) -> impl IntoView {
    let api = use_api();
    let navigate = use_navigate();
    let path = use_location().pathname;
    let dialog = NodeRef::<html::Dialog>::new();
    let list = NodeRef::<html::Ul>::new();
    let field = NodeRef::<html::Input>::new();
    let text = RwSignal::new(String::new());
    let found = RwSignal::new(Vec::<Hit>::new());
    let failed = RwSignal::new(false);
    let at = RwSignal::new(0_usize);
    let timer = StoredValue::new(None::<TimeoutHandle>);

    let ask = move || {
        let (api, asked, path) = (api.clone(), text.get_untracked(), path.get_untracked());
        let project = match here(&path) {
            (Some(org), Some(project)) => {
                format!("&project={}", format::query_value(&format!("{org}/{project}")))
            }
            _ => String::new(),
        };
        leptos::task::spawn_local(async move {
            let query = format!("/search?q={}{project}", format::query_value(asked.trim()));
            let answer = api.get::<SearchResults>(&query).await;
            // The reader may have written on.
            if text.try_get_untracked().is_some_and(|now| now == asked) {
                failed.set(answer.is_err());
                at.set(0);
                found.set(hits(&path, asked.trim(), answer.unwrap_or_default()));
            }
        });
    };
    let ask = StoredValue::new(ask);
    let ask_soon = move || {
        if let Some(pending) = timer.try_update_value(Option::take).flatten() {
            pending.clear();
        }
        timer.set_value(set_timeout_with_handle(move || ask.with_value(|ask| ask()), PAUSE).ok());
    };
    on_cleanup(move || {
        if let Some(pending) = timer.try_update_value(Option::take).flatten() {
            pending.clear();
        }
    });
    use_key("Ctrl+K", "search everything", move || palette.0.update(|open| *open = !*open));
    Effect::new(move |_| {
        let Some(dialog) = dialog.get() else { return };
        if palette.0.get() && !dialog.open() {
            text.set(String::new());
            ask.with_value(|ask| ask());
            let _ = dialog.show_modal();
        } else if !palette.0.get() && dialog.open() {
            dialog.close();
        }
    });
    let go = move |hit: Option<Hit>| {
        if let Some(hit) = hit {
            palette.0.set(false);
            navigate(&hit.href, Default::default());
        }
    };
    let go = StoredValue::new(go);
    let step = move |by: isize| {
        let count = found.with_untracked(Vec::len);
        at.update(|at| *at = at.saturating_add_signed(by).min(count.saturating_sub(1)));
        if let Some(list) = list.get_untracked() {
            browser::show_child(&list, at.get_untracked(), ScrollLogicalPosition::Nearest);
        }
    };
    let on_key = move |event: ev::KeyboardEvent| {
        match event.key().as_str() {
            "ArrowDown" => step(1),
            "ArrowUp" => step(-1),
            // The field keeps the focus: what else can be reached is in the list.
            "Tab" => step(if event.shift_key() { -1 } else { 1 }),
            "Enter" => {
                let hit = found.with_untracked(|found| found.get(at.get_untracked()).cloned());
                go.with_value(|go| go(hit));
            }
            _ => return,
        }
        event.prevent_default();
    };
    view! {
        <dialog
            node_ref=dialog
            class="palette"
            aria-label="Search everything"
            on:close=move |_| palette.0.set(false)
            on:click=move |event| {
                // Beside the box there is only the dialog itself.
                let target = event.target().and_then(|t| t.dyn_into::<web_sys::Node>().ok());
                if dialog.get_untracked().is_some_and(|dialog| dialog.is_same_node(target.as_ref())) {
                    palette.0.set(false);
                }
            }
        >
            <div class="palette-box">
                <input
                    node_ref=field
                    type="text"
                    autofocus
                    role="combobox"
                    aria-label="Search organisations, projects, runs and pages"
                    aria-controls="palette-list"
                    aria-expanded="true"
                    aria-activedescendant=move || (!found.with(Vec::is_empty)).then(|| format!("palette-{}", at.get()))
                    autocomplete="off"
                    spellcheck="false"
                    maxlength="100"
                    placeholder="Organisation, project, run number, branch or commit"
                    prop:value=move || text.get()
                    on:input=move |event| {
                        text.set(event_target_value(&event));
                        ask_soon();
                    }
                    on:keydown=on_key
                />
                <p class="palette-note muted" role="status">
                    {move || {
                        if failed.get() {
                            "Only pages: the server did not answer.".to_owned()
                        } else if found.with(Vec::is_empty) {
                            "Nothing found. Runs are found by number, and by how their branch or commit begins.".to_owned()
                        } else {
                            String::new()
                        }
                    }}
                </p>
                <ul id="palette-list" role="listbox" aria-label="Found" node_ref=list>
                    {move || {
                        found
                            .get()
                            .into_iter()
                            .enumerate()
                            .map(|(n, hit)| {
                                let to = hit.clone();
                                view! {
                                    <li
                                        role="option"
                                        id=format!("palette-{n}")
                                        aria-selected=move || (at.get() == n).to_string()
                                        on:mousemove=move |_| {
                                            if at.get_untracked() != n {
                                                at.set(n);
                                            }
                                        }
                                        on:click=move |_| go.with_value(|go| go(Some(to.clone())))
                                    >
                                        <span class="palette-title clip">
                                            {hit.state.map(|state| view! { <StateShape state /> })}
                                            {hit.title}
                                        </span>
                                        <span class="muted clip palette-about">{hit.about}</span>
                                        <span class="muted palette-kind">{hit.kind}</span>
                                    </li>
                                }
                            })
                            .collect_view()
                    }}
                </ul>
            </div>
        </dialog>
    }
}

/// The button in the bar.
#[component]
pub fn PaletteButton() -> impl IntoView {
    let alive = use_alive();
    let palette = use_context::<Palette>();
    view! {
        <button
            type="button"
            class="bar-search"
            aria-keyshortcuts="Control+K"
            aria-haspopup="dialog"
            disabled=move || !alive.get()
            on:click=move |_| {
                if let Some(palette) = palette {
                    palette.open();
                }
            }
        >
            <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
                <path d="M7 2.2a4.8 4.8 0 1 1 0 9.6 4.8 4.8 0 0 1 0-9.6ZM10.6 10.6 14 14" />
            </svg>
            <span class="wide-only">"Search"</span>
            <span class="visually-hidden narrow-only">"Search"</span>
            <kbd class="wide-only" aria-hidden="true">
                "Ctrl K"
            </kbd>
        </button>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_from_the_address() {
        let titles = |path: &str, text: &str| {
            places(path, text).into_iter().map(|hit| (hit.title, hit.href)).collect::<Vec<_>>()
        };
        assert_eq!(titles("/", "").len(), 2);
        assert_eq!(titles("/account", "").len(), 2);
        assert_eq!(titles("/acme/-/members", "").len(), 4);
        assert_eq!(titles("/acme/web/runs/3", "").len(), 6);
        assert_eq!(
            titles("/acme/web", "sett"),
            [("Settings of web".to_owned(), "/acme/web/settings/general".to_owned())]
        );
    }

    #[test]
    fn runs_lead_to_the_project_that_one_is_in() {
        assert_eq!(here("/acme/web/runs/3"), (Some("acme"), Some("web")));
        assert_eq!(here("/acme/-/members"), (Some("acme"), None));
        assert_eq!(here("/account"), (None, None));
    }
}
