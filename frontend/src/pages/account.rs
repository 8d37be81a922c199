//! `/account`: name, password, tokens, sessions.

use devenv_cloud_api::{
    accounts::{ChangePassword, Session as SignedIn, Token, UpdateAccount, User, Viewer},
    page::Page,
};
use leptos::prelude::*;

use crate::{
    asked::ask,
    components::{
        form::{ApiForm, Field, Outcome, Submit},
        load::Load,
        page_head::PageHead,
        time::Ago,
        tokens::{CreateTokenForm, TokenRows},
    },
    context::{Session, use_alive, use_api},
    format,
};

/// The account's page.
#[component]
pub fn Account() -> impl IntoView {
    let api = use_api();
    let asked = ask(move || {
        let api = api.clone();
        async move {
            let viewer: Viewer = api.get("/session").await?;
            let tokens: Page<Token> = api.get("/account/tokens").await?;
            let sessions: Page<SignedIn> = api.get("/account/sessions").await?;
            Ok((viewer, tokens, sessions))
        }
    });
    let reload = move || asked.refetch();
    view! {
        <Load
            asked
            what="your account"
            view=move |(viewer, tokens, sessions): (Viewer, Page<Token>, Page<SignedIn>)| {
                view! {
                    <PageHead title="Account" about=viewer.user.email.clone() />
                    <div class="sections">
                        <section aria-labelledby="name-title">
                            <h2 id="name-title">"Name"</h2>
                            <NameForm user=viewer.user.clone() />
                        </section>
                        <section aria-labelledby="password-title">
                            <h2 id="password-title">"Password"</h2>
                            <PasswordForm email=viewer.user.email.clone() />
                        </section>
                        <section aria-labelledby="tokens-title">
                            <h2 id="tokens-title">"Tokens"</h2>
                            <p class="muted">"A token is your password for git and the API. It can never do more than you."</p>
                            <CreateTokenForm path="/account/tokens".to_owned() />
                            <TokenRows tokens=tokens.items on_revoked=reload />
                        </section>
                        <section aria-labelledby="sessions-title">
                            <h2 id="sessions-title">"Where you are signed in"</h2>
                            <Sessions sessions=sessions.items reload />
                        </section>
                    </div>
                }
                    .into_any()
            }
        />
    }
}

#[component]
fn NameForm(user: User) -> impl IntoView {
    let api = use_api();
    let session = use_context::<Session>();
    let name = RwSignal::new(user.name);
    let submit = Submit::new();
    let send = move || {
        let body = UpdateAccount { name: Some(name.get_untracked().trim().to_owned()) };
        let api = api.clone();
        submit.send(async move { api.patch::<_, User>("/account", &body).await }, move |_| {
            submit.say("Saved.");
            if let Some(session) = session {
                session.0.refetch();
            }
        });
    };
    view! {
        <ApiForm submit button="Save" on_submit=send>
            <Field
                label="Your name"
                name="name"
                value=name
                autocomplete="name"
                hint="As others see it."
                error=submit.field("name")
            />
        </ApiForm>
    }
}

#[component]
fn PasswordForm(email: String) -> impl IntoView {
    let api = use_api();
    let (current, new) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let submit = Submit::new();
    let send = move || {
        let body = ChangePassword { current: current.get_untracked(), new: new.get_untracked() };
        let api = api.clone();
        submit.send(async move { api.post::<_, ()>("/account/password", &body).await }, move |()| {
            current.set(String::new());
            new.set(String::new());
            submit.say("Changed. All your other sessions have ended.");
        });
    };
    view! {
        <ApiForm submit button="Change password" on_submit=send>
            // Password managers want to know whose password it is.
            <input class="visually-hidden" type="text" name="username" autocomplete="username" value=email readonly tabindex="-1" aria-hidden="true" aria-label="E-mail address" />
            <Field
                label="Current password"
                name="current"
                kind="password"
                value=current
                autocomplete="current-password"
                error=submit.field("current")
            />
            <Field
                label="New password"
                name="new"
                kind="password"
                value=new
                autocomplete="new-password"
                hint="8 characters or more. Your other sessions end."
                error=submit.field("new")
            />
        </ApiForm>
    }
}

#[component]
fn Sessions(sessions: Vec<SignedIn>, reload: impl Fn() + Clone + Send + Sync + 'static) -> impl IntoView {
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
                                <span class="muted">
                                    <code>{session.ip}</code>
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
