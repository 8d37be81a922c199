//! `/{org}/-/members`: who is here, and what they may do. (`-` is no project's name.)

use devenv_cloud_api::{
    accounts::Viewer,
    ids::UserId,
    orgs::{Member, Org, UpdateMember},
    page::Page,
    people::Invitation,
    permissions::{Action, Role},
};
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use super::{org::tabs, param, query};
use crate::{
    asked::ask,
    components::{
        form::{Outcome, Submit},
        invitations::Invitations,
        load::Load,
        page_head::PageHead,
        tabs::Tabs,
        time::Ago,
    },
    context::{use_alive, use_api},
};

/// What the page shows.
type Shown = (Org, Viewer, Page<Member>, Option<Page<Invitation>>);

/// The members' page.
#[component]
pub fn Members() -> impl IntoView {
    let api = use_api();
    let (slug, cursor) = (param("org"), query("cursor"));
    let asked = ask(move || {
        let (api, slug, cursor) = (api.clone(), slug.get(), cursor.get());
        async move {
            let org: Org = api.get(&format!("/orgs/{slug}")).await?;
            let viewer: Viewer = api.get("/session").await?;
            let from = if cursor.is_empty() { String::new() } else { format!("?cursor={cursor}") };
            let members: Page<Member> = api.get(&format!("/orgs/{slug}/members{from}")).await?;
            let invitations: Option<Page<Invitation>> = if org.allowed.contains(&Action::ManageMembers) {
                Some(api.get(&format!("/orgs/{slug}/invitations")).await?)
            } else {
                None
            };
            Ok((org, viewer, members, invitations))
        }
    });
    let changed = Callback::new(move |()| asked.refetch());
    let show = move |(org, viewer, members, invitations): Shown| {
        let tabs = tabs(&org, "members");
        let path = format!("/orgs/{}", org.slug);
        let next = members.next_cursor.map(|next| {
            view! {
                <p class="paging">
                    <a class="button" href=format!("?cursor={next}")>
                        "More members"
                    </a>
                </p>
            }
        });
        let rows = members.items.into_iter().map(|member| {
            view! { <Row member me=viewer.user.id org=org.clone() changed /> }
        });
        view! {
            <PageHead title=org.display_name.clone() window_title=format!("Members of {}", org.display_name) />
            <Tabs label="Organisation" tabs />
            <ul class="rows" aria-label="Members">
                {rows.collect_view()}
            </ul>
            {next}
            {invitations
                .map(|invitations| {
                    view! { <Invitations path=format!("{path}/invitations") invitations roles=true /> }
                })}
        }
        .into_any()
    };
    view! { <Load asked what="the members" view=show /> }
}

/// One member, with what the reader may do about them.
#[component]
fn Row(member: Member, me: UserId, org: Org, changed: Callback<()>) -> impl IntoView {
    let Member { user_id, name, email, role, since } = member;
    let manages = org.allowed.contains(&Action::ManageMembers);
    let path = format!("/orgs/{}/members/{user_id}", org.slug);
    let submit = Submit::new();
    view! {
        <li class="row member-row">
            <span class="row-title clip" title=name.clone()>
                {name.clone()}
            </span>
            <span class="muted clip" title=email.clone()>
                {email.clone()}
            </span>
            {if manages {
                view! { <RoleChoice role name=name.clone() path=path.clone() submit changed /> }.into_any()
            } else {
                view! { <span>{role.as_str()}</span> }.into_any()
            }}
            <span class="muted">
                "since " <Ago time=since />
            </span>
            {(manages || user_id == me)
                .then(|| view! { <Farewell name leaves=user_id == me org path submit changed /> })}
            <Outcome of=submit />
        </li>
    }
}

/// Gives a member another role, at once.
#[component]
fn RoleChoice(
    role: Role,
    name: String,
    path: String,
    submit: Submit,
    changed: Callback<()>,
) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let chosen = RwSignal::new(role.as_str().to_owned());
    let change = move |event| {
        chosen.set(event_target_value(&event));
        let Ok(wanted) = chosen.get_untracked().parse::<Role>() else { return };
        let (api, path) = (api.clone(), path.clone());
        let call = async move {
            let answer = api.patch::<_, Member>(&path, &UpdateMember { role: wanted }).await;
            if answer.is_err() {
                let _ = chosen.try_set(role.as_str().to_owned());
            }
            answer
        };
        submit.send(call, move |_| changed.run(()));
    };
    view! {
        <select
            aria-label=format!("Role of {name}")
            disabled=move || !alive.get() || submit.pending().get()
            prop:value=move || chosen.get()
            on:change=change
        >
            {Role::ALL
                .iter()
                .map(|known| {
                    view! {
                        <option value=known.as_str() selected=*known == role>
                            {known.as_str()}
                        </option>
                    }
                })
                .collect_view()}
        </select>
    }
}

/// Removes a member, or leaves, after a question.
#[component]
fn Farewell(
    name: String,
    leaves: bool,
    org: Org,
    path: String,
    submit: Submit,
    changed: Callback<()>,
) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let navigate = use_navigate();
    let sure = RwSignal::new(false);
    let idle = move || !alive.get() || submit.pending().get();
    let question = format!("farewell-{}", path.rsplit('/').next().unwrap_or_default());
    let (word, label, words) = if leaves {
        let words = format!("Leave {}? You come back by an invitation only.", org.display_name);
        ("Leave", format!("Leave {}", org.display_name), words)
    } else {
        let words = format!("Remove {name}? They lose access to {} at once.", org.display_name);
        ("Remove", format!("Remove {name}"), words)
    };
    let act = move |_| {
        let (api, path, navigate) = (api.clone(), path.clone(), navigate.clone());
        submit.send(async move { api.delete(&path).await }, move |()| {
            if leaves {
                navigate("/", Default::default());
            } else {
                changed.run(());
            }
        });
    };
    view! {
        <button
            type="button"
            class="button small"
            aria-label=label
            aria-expanded=move || if sure.get() { "true" } else { "false" }
            aria-controls=question.clone()
            disabled=idle
            on:click=move |_| sure.update(|sure| *sure = !*sure)
        >
            {word}
        </button>
        <div class="row-question" id=question hidden=move || !sure.get()>
            <p>{words}</p>
            <span class="row-actions">
                <button type="button" class="button small danger" disabled=idle on:click=act>
                    {format!("{word} for good")}
                </button>
                <button type="button" class="button small" on:click=move |_| sure.set(false)>
                    "Cancel"
                </button>
            </span>
        </div>
    }
}
