//! The bar at the top: where am I, which organisations are mine, who am I.
//! Its menus are `details`, so that they open without a script.

use devenv_cloud_api::accounts::Viewer;
use leptos::{ev, html, prelude::*};
use leptos_router::hooks::use_location;
use wasm_bindgen::JsCast;

use super::palette::PaletteButton;
use crate::{
    browser,
    context::{Session, Theme, use_alive},
};

/// One step of the way to this page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Crumb {
    text: String,
    href: String,
}

/// The way to a page follows from its address alone.
fn crumbs(path: &str) -> Vec<Crumb> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let mut crumbs = Vec::new();
    let mut add = |text: String, upto: usize| {
        if let Some(parts) = parts.get(..upto) {
            crumbs.push(Crumb { text, href: format!("/{}", parts.join("/")) });
        }
    };
    match parts.as_slice() {
        [own @ ("account" | "instance"), ..] => add((*own).to_owned(), 1),
        [org, rest @ ..] => {
            add((*org).to_owned(), 1);
            match rest {
                ["-", page] => add((*page).to_owned(), 3),
                [project, rest @ ..] => {
                    add((*project).to_owned(), 2);
                    match rest {
                        ["runs", number, rest @ ..] => {
                            add(format!("run {number}"), 4);
                            if let [job] = rest {
                                add((*job).to_owned(), 5);
                            }
                        }
                        ["settings", ..] => add("settings".to_owned(), 3),
                        _ => {}
                    }
                }
                [] => {}
            }
        }
        [] => {}
    }
    crumbs
}

/// The bar.
#[component]
pub fn Bar() -> impl IntoView {
    let session = expect_context::<Session>().0;
    let location = use_location();
    let path = location.pathname;
    let bar = NodeRef::<html::Header>::new();

    // A menu closes when the reader goes elsewhere, by mouse, by key or by address.
    let close = move |keep: Option<web_sys::Node>| {
        let Some(bar) = bar.get_untracked() else { return };
        let Ok(open) = bar.query_selector_all("details[open]") else { return };
        for i in 0..open.length() {
            let Some(menu) = open.item(i) else { continue };
            if keep.as_ref().is_some_and(|keep| menu.contains(Some(keep))) {
                continue;
            }
            if let Ok(menu) = menu.dyn_into::<web_sys::Element>() {
                let _ = menu.remove_attribute("open");
            }
        }
    };
    Effect::new(move |_| {
        let click = window_event_listener(ev::click, move |event| {
            close(event.target().and_then(|t| t.dyn_into::<web_sys::Node>().ok()));
        });
        let key = window_event_listener(ev::keydown, move |event| {
            if event.key() == "Escape" {
                close(None);
            }
        });
        on_cleanup(move || {
            click.remove();
            key.remove();
        });
    });
    Effect::new(move |_| {
        path.track();
        close(None);
    });

    view! {
        <header class="bar" node_ref=bar>
            <a class="bar-home" href="/" aria-label="devenv cloud: home">
                <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
                    <path
                        class="logo"
                        d="M7.2 18.5a4.7 4.7 0 0 1-.6-9.4 6.2 6.2 0 0 1 11.9 1.3 4.1 4.1 0 0 1-.6 8.1M9.4 12l2.9 3-2.9 3M13.6 18.3h3.6"
                    />
                </svg>
            </a>
            <nav class="crumbs" aria-label="Where you are">
                <ol>
                    {move || {
                        let crumbs = crumbs(&path.get());
                        let last = crumbs.len().saturating_sub(1);
                        crumbs
                            .into_iter()
                            .enumerate()
                            .map(|(i, crumb)| {
                                view! {
                                    <li>
                                        <a href=crumb.href title=crumb.text.clone() aria-current=(i == last).then_some("page")>
                                            {crumb.text.clone()}
                                        </a>
                                    </li>
                                }
                            })
                            .collect_view()
                    }}
                </ol>
            </nav>
            <div class="bar-right">
                <PaletteButton />
                <Transition>
                    {move || Suspend::new(async move {
                        session.answer().await.ok().map(|viewer| view! { <Menus viewer /> })
                    })}
                </Transition>
            </div>
        </header>
    }
}

/// The two menus of somebody who is signed in.
#[component]
fn Menus(viewer: Viewer) -> impl IntoView {
    let initial = viewer.user.name.chars().next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let orgs = viewer.orgs;
    view! {
        <details class="menu">
            <summary>
                <span class="wide-only">"Organisations"</span>
                <span class="narrow-only" aria-hidden="true">"☰"</span>
                <span class="visually-hidden narrow-only">"Organisations"</span>
            </summary>
            <div class="menu-panel">
                <ul>
                    {orgs
                        .into_iter()
                        .map(|membership| {
                            view! {
                                <li>
                                    <a href=format!("/{}", membership.org)>
                                        <span class="clip">{membership.display_name}</span>
                                        <span class="muted">{membership.role.as_str()}</span>
                                    </a>
                                </li>
                            }
                        })
                        .collect_view()}
                    <li>
                        <a href="/">"All organisations"</a>
                    </li>
                </ul>
            </div>
        </details>
        <details class="menu">
            <summary aria-label=format!("Account of {}", viewer.user.name)>
                <span class="avatar" aria-hidden="true">
                    {initial}
                </span>
            </summary>
            <div class="menu-panel">
                <p class="menu-who">
                    <strong class="clip">{viewer.user.name}</strong>
                    <span class="muted clip">{viewer.user.email}</span>
                </p>
                <ThemeSwitch />
                <ul>
                    <li>
                        <a href="/account">"Account"</a>
                    </li>
                    {viewer
                        .user
                        .instance_admin
                        .then(|| {
                            view! {
                                <li>
                                    <a href="/instance/people">"Instance"</a>
                                </li>
                            }
                        })}
                </ul>
                <form method="post" action="/sign-out">
                    <button class="menu-button">"Sign out"</button>
                </form>
            </div>
        </details>
    }
}

/// System, light or dark.
#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let alive = use_alive();
    let theme = RwSignal::new(browser::current_theme());
    view! {
        <fieldset class="theme-switch" disabled=move || !alive.get()>
            <legend class="visually-hidden">"Colours"</legend>
            {Theme::ALL
                .into_iter()
                .map(|choice| {
                    let label = match choice {
                        Theme::System => "System",
                        Theme::Light => "Light",
                        Theme::Dark => "Dark",
                    };
                    view! {
                        <label>
                            <input
                                type="radio"
                                name="theme"
                                value=choice.as_str()
                                checked=theme.get_untracked() == choice
                                on:change=move |_| {
                                    theme.set(choice);
                                    browser::set_theme(choice);
                                }
                            />
                            <span>{label}</span>
                        </label>
                    }
                })
                .collect_view()}
        </fieldset>
    }
}

#[cfg(test)]
mod tests {
    use super::crumbs;

    #[test]
    fn the_way_follows_from_the_address() {
        for (path, words) in [
            ("/", &[][..]),
            ("/account", &["account"]),
            ("/account/security", &["account"]),
            ("/acme", &["acme"]),
            ("/acme/-/members", &["acme", "members"]),
            ("/acme/-/runners", &["acme", "runners"]),
            ("/acme/web/runs/42/x86_64-linux", &["acme", "web", "run 42", "x86_64-linux"]),
            ("/acme/web/settings/triggers", &["acme", "web", "settings"]),
        ] {
            let crumbs = crumbs(path);
            assert_eq!(crumbs.iter().map(|c| c.text.as_str()).collect::<Vec<_>>(), words, "{path}");
        }
        assert_eq!(crumbs("/a/b/runs/4/j").get(2).map(|c| c.href.clone()), Some("/a/b/runs/4".to_owned()));
    }
}
