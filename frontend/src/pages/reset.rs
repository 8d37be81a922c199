//! `/reset`: asks for a link to set a new password; with the link's token, sets
//! it. Plain forms: a mail is read on any device.

use leptos::prelude::*;
use leptos_meta::Title;

use super::{query, sign_in::Brand};
use crate::components::form::Field;

/// The sentence for a kind of problem with a link in a mail.
fn problem(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "" => return None,
        "weak-password" => {
            "This password is too short or too common. Choose 8 characters or more that nobody would guess; a few \
             unrelated words do well."
        }
        "invalid-token" => {
            "This link is not valid (any more): it was used, is too old, or a newer one was sent. Ask for a new one."
        }
        "invalid" => "Something is missing or not understood. Check what you filled in.",
        "rate-limited" => "There were too many attempts. Wait a few minutes, then try again.",
        "conflict" => "Somebody else has this by now, or you are signed in as somebody else.",
        "unauthenticated" => {
            "There is an account with this address. Sign in first, then open the link again."
        }
        _ => "This did not work. Try again.",
    })
}

/// The problem of the address, if there is one.
#[component]
pub(super) fn Trouble() -> impl IntoView {
    let kind = query("problem");
    move || problem(&kind.get()).map(|text| view! { <p class="notice is-failure" role="alert">{text}</p> })
}

/// A button that leads to the sign-in.
#[component]
pub(super) fn ToSignIn() -> impl IntoView {
    view! {
        <p>
            <a class="button primary" href="/sign-in" rel="external">
                "Sign in"
            </a>
        </p>
    }
}

/// The page.
#[component]
pub fn Reset() -> impl IntoView {
    let token = query("token");
    let sent = query("sent");
    let done = query("done");
    view! {
        <Title text="Set a new password" />
        <main class="door">
            <Brand />
            {move || {
                if !done.get().is_empty() {
                    return view! {
                        <h1>"The new password is set"</h1>
                        <p>"All browsers were signed out. Sign in with the new password."</p>
                        <ToSignIn />
                    }
                        .into_any();
                }
                if !sent.get().is_empty() {
                    return view! {
                        <h1>"Look into your mail"</h1>
                        <p>
                            "If there is an account with this address, a link is on its way to it. It works once, within an hour."
                        </p>
                        <p class="muted">"Nothing there after some minutes? Look among the junk mail, then try again."</p>
                    }
                        .into_any();
                }
                if token.get().is_empty() {
                    return view! {
                        <h1>"Forgot your password?"</h1>
                        <p>"We send a link to your e-mail address, to set a new one."</p>
                        <Trouble />
                        <form class="form" method="post" action="/reset">
                            <Field label="E-mail address" name="email" kind="email" autocomplete="username" />
                            <div class="form-actions">
                                <button class="button primary">"Send the link"</button>
                            </div>
                        </form>
                    }
                        .into_any();
                }
                view! {
                    <h1>"Set a new password"</h1>
                    <Trouble />
                    <form class="form" method="post" action="/reset">
                        <input type="hidden" name="token" value=token.get() />
                        <Field
                            label="New password"
                            name="password"
                            kind="password"
                            autocomplete="new-password"
                            hint="8 characters or more. Common passwords are refused."
                        />
                        <div class="form-actions">
                            <button class="button primary">"Set the password"</button>
                            <a href="/reset" rel="external">
                                "Ask for a new link"
                            </a>
                        </div>
                    </form>
                }
                    .into_any()
            }}
        </main>
    }
}
