//! `/invitation?token=…`: who invites, to what, and what it takes to accept. A
//! plain form, as sign-in is.

use devenv_cloud_api::people::{InvitationStep, OpenInvitation};
use leptos::prelude::*;
use leptos_meta::Title;

use super::{
    query,
    reset::{ToSignIn, Trouble},
    sign_in::Brand,
};
use crate::{
    asked::ask,
    components::{form::Field, load::Load},
    context::use_api,
    failure::Failure,
    format,
};

/// The page.
#[component]
pub fn Invitation() -> impl IntoView {
    let api = use_api();
    let token = query("token");
    let done = query("done");
    let asked = ask::<Option<OpenInvitation>, _>(move || {
        let (api, token) = (api.clone(), token.get());
        async move {
            if token.is_empty() {
                return Ok(None);
            }
            let path = format!("/invitation?token={}", format::query_value(&token));
            match api.get(&path).await {
                Ok(invitation) => Ok(Some(invitation)),
                // A link that does not work is something to explain, and no broken page.
                Err(error) if error.status() == Some(403) => Ok(None),
                Err(error) => Err(Failure::from(error)),
            }
        }
    });
    view! {
        <Title text="Invitation" />
        <main class="door">
            <Brand />
            {move || {
                if !done.get().is_empty() {
                    return view! {
                        <h1>"Your account is ready"</h1>
                        <p>"Sign in with your e-mail address and the password that you chose."</p>
                        <ToSignIn />
                    }
                        .into_any();
                }
                let show = move |invitation: Option<OpenInvitation>| {
                    match invitation {
                        Some(invitation) => view! { <Open invitation token=token.get() /> }.into_any(),
                        None => view! { <Dead /> }.into_any(),
                    }
                };
                view! { <Load asked what="the invitation" view=show /> }
                    .into_any()
            }}
        </main>
    }
}

/// What there is to say of a link that does not work.
#[component]
fn Dead() -> impl IntoView {
    view! {
        <h1>"This invitation does not work"</h1>
        <p>"It was used or taken back, is too old, or a newer one was sent."</p>
        <p>"The one who invited you can send another one."</p>
    }
}

/// An invitation that can be accepted.
#[component]
fn Open(invitation: OpenInvitation, token: String) -> impl IntoView {
    let OpenInvitation { email, inviter, org, org_name, role, step, .. } = invitation;
    let back = format!("/invitation?token={token}");
    let sign_in = format!("/sign-in?return_to={}", format::query_value(&back));
    let place = match (org_name, org, role) {
        (Some(name), Some(slug), Some(role)) => format!("the organisation {name} ({slug}), as {role}"),
        _ => "this server".to_owned(),
    };
    let form = |token: String, account: bool| {
        view! {
            <form class="form" method="post" action="/invitation">
                <input type="hidden" name="token" value=token />
                {account
                    .then(|| {
                        view! {
                            <Field label="Name" name="name" autocomplete="name" />
                            <Field
                                label="Password"
                                name="password"
                                kind="password"
                                autocomplete="new-password"
                                hint="8 characters or more. Common passwords are refused."
                            />
                        }
                    })}
                <div class="form-actions">
                    <button class="button primary">{if account { "Create the account" } else { "Accept" }}</button>
                </div>
            </form>
        }
    };
    view! {
        <h1>"You are invited"</h1>
        <p>{inviter} " invites " <strong>{email}</strong> " to " {place} "."</p>
        <Trouble />
        {match step {
            InvitationStep::CreateAccount => form(token, true).into_any(),
            InvitationStep::Accept => form(token, false).into_any(),
            InvitationStep::SignIn => {
                view! {
                    <p>"There is an account with this address. Sign in, and accept the invitation then."</p>
                    <p>
                        <a class="button primary" href=sign_in rel="external">
                            "Sign in"
                        </a>
                    </p>
                }
                    .into_any()
            }
            InvitationStep::SignOut => {
                view! {
                    <p>"You are signed in as somebody else. Sign out, then open the link again."</p>
                    <form class="form" method="post" action="/sign-out">
                        <div class="form-actions">
                            <button class="button primary">"Sign out"</button>
                        </div>
                    </form>
                }
                    .into_any()
            }
        }}
    }
}
