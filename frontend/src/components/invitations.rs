//! Invitations that can still be accepted, and inviting somebody.

use devenv_cloud_api::{
    page::Page,
    people::{Invitation, Invite, InviteMember},
    permissions::Role,
};
use leptos::prelude::*;

use super::{
    form::{ApiForm, Choice, Field, Outcome, Submit},
    time::Until,
};
use crate::{context::use_alive, context::use_api};

/// The invitations at `path` of the API. With `roles` they are to an organisation.
#[component]
pub fn Invitations(path: String, invitations: Page<Invitation>, roles: bool) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let listed = RwSignal::new(invitations.items);
    let email = RwSignal::new(String::new());
    let role = RwSignal::new("member".to_owned());
    let (submit, taking_back) = (Submit::new(), Submit::new());
    let reload = {
        let (api, path) = (api.clone(), path.clone());
        move || {
            let (api, path) = (api.clone(), path.clone());
            leptos::task::spawn_local(async move {
                if let Ok(page) = api.get::<Page<Invitation>>(&path).await {
                    let _ = listed.try_set(page.items);
                }
            });
        }
    };
    let send = {
        let (api, path, reload) = (api.clone(), path.clone(), reload.clone());
        move || {
            let (api, path, reload) = (api.clone(), path.clone(), reload.clone());
            let given = email.get_untracked();
            let role: Role = role.get_untracked().parse().unwrap_or(Role::Member);
            let call = async move {
                if roles {
                    api.post::<_, Invitation>(&path, &InviteMember { email: given, role }).await
                } else {
                    api.post::<_, Invitation>(&path, &Invite { email: given }).await
                }
            };
            submit.send(call, move |made| {
                email.set(String::new());
                submit.say(format!("An invitation is on its way to {}.", made.email));
                reload();
            });
        }
    };
    let row = move |invitation: Invitation| {
        let Invitation { id, email, role, inviter, expires_at, .. } = invitation;
        let (api, path, reload) = (api.clone(), format!("{path}/{id}"), reload.clone());
        let take_back = move |_| {
            let (api, path, reload) = (api.clone(), path.clone(), reload.clone());
            taking_back.send(async move { api.delete(&path).await }, move |()| reload());
        };
        view! {
            <li class="row invitation-row">
                <span class="row-title clip" title=email.clone()>
                    {email.clone()}
                </span>
                <span class="muted clip">"by " {inviter}</span>
                <span class="muted">{role.map(|role| format!("{role} · "))} <Until time=expires_at /></span>
                <button
                    type="button"
                    class="button small"
                    aria-label=format!("Take back the invitation of {email}")
                    disabled=move || !alive.get()
                    on:click=take_back
                >
                    "Take back"
                </button>
            </li>
        }
    };
    view! {
        <section class="invitations">
            <h2>"Invitations"</h2>
            <ul class="rows" aria-label="Invitations" hidden=move || listed.with(Vec::is_empty)>
                {move || listed.get().into_iter().map(&row).collect_view()}
            </ul>
            <Outcome of=taking_back />
            <ApiForm submit button="Invite" on_submit=send>
                <Field
                    label="E-mail address"
                    name="email"
                    id="invite-email"
                    kind="email"
                    value=email
                    error=submit.field("email")
                    hint="They get a link that works once, within seven days."
                />
                {roles
                    .then(|| {
                        view! {
                            <Choice
                                label="Role"
                                name="role"
                                value=role
                                options=vec![
                                    ("viewer", "viewer"),
                                    ("member", "member"),
                                    ("admin", "admin"),
                                    ("owner", "owner"),
                                ]
                            />
                        }
                    })}
            </ApiForm>
        </section>
    }
}
