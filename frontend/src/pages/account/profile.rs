//! `/account`: name and password.

use devenv_cloud_api::accounts::{ChangePassword, UpdateAccount, User, Viewer};
use leptos::prelude::*;

use super::{AccountHead, email::Email};
use crate::{
    asked::ask,
    components::{
        form::{ApiForm, Field, Submit},
        load::Load,
    },
    context::{Session, use_api},
};

/// The profile's page.
#[component]
pub fn Profile() -> impl IntoView {
    let api = use_api();
    let asked = ask::<Viewer, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/session").await?) }
    });
    view! {
        <AccountHead at="" />
        <Load
            asked
            what="your account"
            view=|viewer: Viewer| {
                view! {
                    <div class="sections">
                        <section aria-labelledby="name-title">
                            <h2 id="name-title">"Name"</h2>
                            <NameForm user=viewer.user.clone() />
                        </section>
                        <section aria-labelledby="email-title">
                            <h2 id="email-title">"E-mail address"</h2>
                            <Email />
                        </section>
                        <section aria-labelledby="password-title">
                            <h2 id="password-title">"Password"</h2>
                            <PasswordForm email=viewer.user.email.clone() />
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
