//! `/sign-in`: say who you are, then prove it. Plain forms that work without a
//! script; the server answers a wrong guess by sending the visitor back here
//! with the kind of the problem. With a script, passkeys offer themselves.

use devenv_cloud_api::{
    accounts::{AuthMethod, SetupState},
    json,
    sign_in::{Provider, SignInState, SignInStep},
};
use leptos::prelude::*;
use leptos_meta::Title;

use super::{confirm::own, query};
use crate::{
    asked::ask,
    browser,
    components::{
        form::{Field, Outcome as Said, Submit},
        load::Load,
    },
    context::{Outcome, use_alive, use_api},
    passkeys::{self, Ask},
};

/// The sentence for a kind of problem. Unknown kinds say the least.
fn problem(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "" => return None,
        "wrong-credentials" => "The e-mail address or the password is wrong. Check both and try again.",
        "rate-limited" => "There were too many attempts. Wait a minute, then try again, or use another way.",
        "invalid" => "This is no e-mail address. It looks like name@example.com.",
        "unauthenticated" => "You were signed out meanwhile. Sign in, and then repeat what you were doing.",
        "over" => "This sign-in took too long. Begin anew.",
        "unproven" => {
            "This was not accepted. A code counts once and only for half a minute: wait for the next one, and check \
             your device’s clock."
        }
        "provider" => "Signing in by way of this provider did not work. Try again, or use another way.",
        _ => "Signing in did not work. Try again.",
    })
}

/// The sign-in page.
#[component]
pub fn SignIn() -> impl IntoView {
    let api = use_api();
    let return_to = query("return_to");
    let kind = query("problem");
    // Where nobody has an account yet, the way leads to the first one.
    let asking = api.clone();
    let setup = ask::<SetupState, _>(move || {
        let api = asking.clone();
        async move { Ok(api.get("/setup").await?) }
    });
    let asked = ask::<SignInState, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/sign-in").await?) }
    });
    let outcome = use_context::<Outcome>();
    view! {
        <Title text="Sign in" />
        <Suspense>
            {move || {
                let outcome = outcome.clone();
                Suspend::new(async move {
                    let needed = setup.answer().await.is_ok_and(|s| s.needed);
                    if let Some(outcome) = outcome.filter(|_| needed) {
                        outcome.set_redirect("/setup".to_owned());
                    }
                })
            }}
        </Suspense>
        <main class="door">
            <Brand />
            <h1>"Sign in"</h1>
            {move || problem(&kind.get()).map(|text| view! { <p class="notice is-failure" role="alert">{text}</p> })}
            <Load
                asked
                what="the sign-in"
                view=move |state: SignInState| {
                    let links = state.links.clone();
                    view! {
                        {links.map(|account| view! {
                            <p class="notice">
                                "Somebody here has the address of your account at " {account}
                                ". Sign in with what you have here; then the two are linked."
                            </p>
                        })}
                        {match state.step {
                            SignInStep::Identify | SignInStep::Done => view! { <Identify state return_to /> }.into_any(),
                            SignInStep::Prove => view! { <Prove state /> }.into_any(),
                            SignInStep::SecondFactor => view! { <SecondFactor state /> }.into_any(),
                        }}
                    }
                        .into_any()
                }
            />
        </main>
    }
}

/// Where to go when it is done, read out of the answer.
fn leave(answer: &str) {
    let state = json::read::<SignInState>(answer).ok();
    let done = state.as_ref().is_some_and(|state| state.step == SignInStep::Done);
    let path = state.and_then(|state| state.return_to).filter(|_| done);
    browser::leave_for(path.as_deref().unwrap_or(if done { "/" } else { "/sign-in" }));
}

/// First: who.
#[component]
fn Identify(state: SignInState, return_to: Memo<String>) -> impl IntoView {
    let offers_passkeys = state.methods.contains(&AuthMethod::Passkey);
    if offers_passkeys {
        offer_by_autofill(return_to);
    }
    let providers = state.providers;
    view! {
        <form class="form" method="post" action="/sign-in">
            <input type="hidden" name="return_to" value=move || return_to.get() />
            <Field label="E-mail address" name="email" kind="email" autocomplete="username webauthn" />
            {state
                .may_keep
                .then(|| {
                    view! {
                        <div class="field check">
                            <input id="field-keep" type="checkbox" name="keep" value="yes" />
                            <label for="field-keep">"Keep me signed in on this computer"</label>
                        </div>
                    }
                })}
            <div class="form-actions">
                <button class="button primary wide">"Continue"</button>
            </div>
        </form>
        {offers_passkeys.then(|| view! { <PasskeyButton return_to primary=false /> })}
        <Providers providers return_to />
    }
}

/// Passkeys offer themselves where the address is asked for, before anything is typed.
fn offer_by_autofill(return_to: Memo<String>) {
    let api = use_api();
    Effect::new(move |_| {
        let api = api.clone();
        let return_to = return_to.get_untracked();
        leptos::task::spawn_local(async move {
            if !passkeys::can_autofill().await {
                return;
            }
            // Nobody asked for it: what goes wrong here is nobody's problem.
            if let Ok(answer) = passkeys::ceremony(&api, "/sign-in/passkey", Ask::Autofill, None).await {
                arrive(&answer, &return_to);
            }
        });
    });
}

/// Before anything was said, only the page's address knows where to go.
fn arrive(answer: &str, return_to: &str) {
    let done = json::read::<SignInState>(answer);
    if done.is_ok_and(|state| state.step == SignInStep::Done && state.return_to.is_none()) {
        browser::leave_for(own(return_to));
    } else {
        leave(answer);
    }
}

/// Asks for a passkey in the browser's own dialogue.
#[component]
fn PasskeyButton(return_to: Memo<String>, primary: bool) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let send = move |_| {
        let api = api.clone();
        let return_to = return_to.get_untracked();
        submit.send(
            async move { passkeys::ceremony(&api, "/sign-in/passkey", Ask::Get, None).await },
            move |answer| arrive(&answer, &return_to),
        );
    };
    view! {
        <div class="passkey-way">
            <button
                type="button"
                class=if primary { "button primary wide" } else { "button wide" }
                disabled=move || !alive.get() || submit.pending().get()
                on:click=send
            >
                "Use a passkey"
            </button>
            <Said of=submit />
        </div>
    }
}

#[component]
fn Providers(providers: Vec<Provider>, return_to: Memo<String>) -> impl IntoView {
    providers
        .into_iter()
        .map(|provider| {
            view! {
                <form class="provider-way" method="post" action=format!("/sign-in/provider/{}", provider.name)>
                    <input type="hidden" name="return_to" value=move || return_to.get() />
                    <button class="button wide">"Continue with " {provider.label}</button>
                </form>
            }
        })
        .collect_view()
}

/// Who it is said to be, and the way back.
#[component]
fn Who(email: Option<String>) -> impl IntoView {
    view! {
        <form class="door-who" method="post" action="/sign-in/start-over">
            <span class="clip">{email}</span>
            <button class="link">"Not you?"</button>
        </form>
    }
}

/// Then: prove it, with the strongest first.
#[component]
fn Prove(state: SignInState) -> impl IntoView {
    let SignInState { email, methods, providers, return_to, .. } = state;
    let passkey = methods.contains(&AuthMethod::Passkey);
    let username = email.clone();
    let return_to = Memo::new(move |_| return_to.clone().unwrap_or_default());
    view! {
        <Who email />
        {passkey
            .then(|| {
                view! {
                    <PasskeyButton return_to primary=true />
                    <p class="door-or muted">"or"</p>
                }
            })}
        <form class="form" method="post" action="/sign-in/password">
            <input class="visually-hidden" type="text" name="username" autocomplete="username" value=username readonly tabindex="-1" aria-hidden="true" aria-label="E-mail address" />
            <Field label="Password" name="password" kind="password" autocomplete="current-password" />
            <div class="form-actions">
                // The strongest way is the one that stands out.
                <button class=if passkey { "button wide" } else { "button primary wide" }>"Sign in"</button>
            </div>
        </form>
        <p class="door-more">
            <a href="/reset" rel="external">
                "I forgot my password"
            </a>
        </p>
        <Providers providers return_to />
    }
}

/// Last: something else, too.
#[component]
fn SecondFactor(state: SignInState) -> impl IntoView {
    let SignInState { email, methods, return_to, .. } = state;
    let return_to = Memo::new(move |_| return_to.clone().unwrap_or_default());
    let [passkey, code, recovery] = [AuthMethod::Passkey, AuthMethod::OneTimeCode, AuthMethod::RecoveryCode]
        .map(|m| methods.contains(&m));
    view! {
        <Who email />
        <p>"One more step: prove it with something that only you have."</p>
        {passkey.then(|| view! { <PasskeyButton return_to primary=true /> })}
        {code
            .then(|| {
                view! {
                    <form class="form" method="post" action="/sign-in/code">
                        <Field
                            label="Code of your app"
                            name="code"
                            autocomplete="one-time-code"
                            hint="Six digits, new every half minute."
                        />
                        <div class="form-actions">
                            <button class="button primary wide">"Sign in"</button>
                        </div>
                    </form>
                }
            })}
        {recovery
            .then(|| {
                view! {
                    <details class="door-more">
                        <summary>"I have lost it"</summary>
                        <form class="form" method="post" action="/sign-in/recovery-code">
                            <Field
                                label="Recovery code"
                                name="code"
                                id="recovery-code"
                                hint="One of the ten that you kept. It works once."
                            />
                            <div class="form-actions">
                                <button class="button">"Sign in with it"</button>
                            </div>
                        </form>
                    </details>
                }
            })}
        {(!recovery && !code && !passkey)
            .then(|| view! { <p>"What you set up cannot be used at this address. Ask an administrator."</p> })}
    }
}

/// The name, large, where there is no bar.
#[component]
pub(super) fn Brand() -> impl IntoView {
    view! {
        <p class="brand">
            <svg viewBox="0 0 24 24" width="28" height="28" aria-hidden="true">
                <path
                    class="logo"
                    d="M7.2 18.5a4.7 4.7 0 0 1-.6-9.4 6.2 6.2 0 0 1 11.9 1.3 4.1 4.1 0 0 1-.6 8.1M9.4 12l2.9 3-2.9 3M13.6 18.3h3.6"
                />
            </svg>
            "devenv cloud"
        </p>
    }
}
