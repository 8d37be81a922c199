//! `/account/sessions`: the browsers in which I am signed in.

use devenv_cloud_api::{
    accounts::{Assurance, AuthMethod, Session as SignedIn},
    page::Page,
};
use leptos::prelude::*;

use super::AccountHead;
use crate::{
    asked::ask,
    components::{
        form::{Outcome, Submit},
        load::Load,
        time::Ago,
    },
    context::{use_alive, use_api},
    format,
};

/// The page of one's sessions.
#[component]
pub fn Sessions() -> impl IntoView {
    let api = use_api();
    let asked = ask::<Page<SignedIn>, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/account/sessions").await?) }
    });
    let reload = move || asked.refetch();
    view! {
        <AccountHead at="/sessions" />
        <Load
            asked
            what="your sessions"
            view={move |sessions: Page<SignedIn>| {
                view! {
                    <section aria-labelledby="sessions-title">
                        <h2 id="sessions-title">"Where you are signed in"</h2>
                        <p class="muted">"End what you do not know, and then change your password."</p>
                        <Rows sessions=sessions.items reload />
                    </section>
                }
                    .into_any()
            }}
        />
    }
}

/// How somebody proved who they are, in words.
#[must_use]
pub fn methods_in_words(methods: &[AuthMethod]) -> String {
    let words: Vec<&str> = methods.iter().copied().map(method_in_words).collect();
    words.join(" and ")
}

/// A proof, in words.
#[must_use]
pub const fn method_in_words(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::Password => "password",
        AuthMethod::OneTimeCode => "one-time code",
        AuthMethod::Passkey => "passkey",
        AuthMethod::RecoveryCode => "recovery code",
        AuthMethod::Federated => "provider",
        AuthMethod::Token => "token",
    }
}

#[component]
fn Rows(sessions: Vec<SignedIn>, reload: impl Fn() + Clone + Send + Sync + 'static) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let others = sessions.iter().filter(|s| !s.current).count();
    let end = {
        let reload = reload.clone();
        move |path: String| {
            let (api, reload) = (api.clone(), reload.clone());
            submit.send(async move { api.delete(&path).await }, move |()| reload());
        }
    };
    let end_all = end.clone();
    view! {
        <ul class="rows" aria-label="Sessions">
            {sessions
                .into_iter()
                .map(|session| {
                    let end = end.clone();
                    let path = format!("/account/sessions/{}", session.id);
                    let browser = browser_name(&session.user_agent);
                    view! {
                        <li class="row session-row">
                            <span class="session-row-words">
                                <span class="row-title clip" title=session.user_agent.clone()>
                                    {browser.clone()}
                                </span>
                                <span class="muted session-row-about">
                                    <code>{session.ip}</code>
                                    <span>
                                        {methods_in_words(&session.methods)}
                                        {session.provider.map(|provider| format!(" ({provider})"))}
                                    </span>
                                    {(session.assurance == Assurance::Multi).then(|| view! { <span class="badge">"two factors"</span> })}
                                    <span title=format::exact(session.authenticated_at)>
                                        "confirmed " <Ago time=session.authenticated_at />
                                    </span>
                                </span>
                            </span>
                            <span class="muted row-end" title=format!("until {}", format::exact(session.expires_at))>
                                "seen " <Ago time=session.last_seen_at />
                            </span>
                            {if session.current {
                                view! { <span class="badge">"this browser"</span> }.into_any()
                            } else {
                                view! {
                                    <button
                                        type="button"
                                        class="button small"
                                        aria-label=format!("End the session of {browser}")
                                        disabled=move || !alive.get() || submit.pending().get()
                                        on:click=move |_| end(path.clone())
                                    >
                                        "End"
                                    </button>
                                }
                                    .into_any()
                            }}
                        </li>
                    }
                })
                .collect_view()}
        </ul>
        <Outcome of=submit />
        {(others > 0)
            .then(|| {
                view! {
                    <p>
                        <button
                            type="button"
                            class="button"
                            disabled=move || !alive.get() || submit.pending().get()
                            on:click=move |_| end_all("/account/sessions".to_owned())
                        >
                            "End all other sessions"
                        </button>
                    </p>
                }
            })}
    }
}

/// A browser's own words are long; this is what people call it.
fn browser_name(user_agent: &str) -> String {
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(key, _)| user_agent.contains(key)).map(|(_, n)| *n)
    };
    let browser = find(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ if user_agent.is_empty() => "unknown browser".to_owned(),
        _ => user_agent.chars().take(60).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::browser_name;

    #[test]
    fn browsers_have_short_names() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
        assert_eq!(browser_name(chrome), "Chrome on Linux");
        assert_eq!(browser_name(""), "unknown browser");
        assert_eq!(browser_name("robot"), "robot");
    }
}
