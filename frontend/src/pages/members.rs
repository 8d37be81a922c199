//! `/{org}/-/members`: who is here. (`-` is no project's name.)

use devenv_cloud_api::{
    orgs::{Member, Org},
    page::Page,
    people::Invitation,
    permissions::Action,
};
use leptos::prelude::*;

use super::{org::tabs, param};
use crate::{
    asked::ask,
    components::{invitations::Invitations, load::Load, page_head::PageHead, tabs::Tabs, time::Ago},
    context::use_api,
};

/// The members' page.
#[component]
pub fn Members() -> impl IntoView {
    let api = use_api();
    let slug = param("org");
    let asked = ask(move || {
        let (api, slug) = (api.clone(), slug.get());
        async move {
            let org: Org = api.get(&format!("/orgs/{slug}")).await?;
            let members: Page<Member> = api.get(&format!("/orgs/{slug}/members")).await?;
            let invitations: Option<Page<Invitation>> = if org.allowed.contains(&Action::ManageMembers) {
                Some(api.get(&format!("/orgs/{slug}/invitations")).await?)
            } else {
                None
            };
            Ok((org, members, invitations))
        }
    });
    view! {
        <Load
            asked
            what="the members"
            view=|(org, members, invitations): (Org, Page<Member>, Option<Page<Invitation>>)| {
                let tabs = tabs(&org, "members");
                let path = format!("/orgs/{}/invitations", org.slug);
                view! {
                    <PageHead title=org.display_name.clone() window_title=format!("Members of {}", org.display_name) />
                    <Tabs label="Organisation" tabs />
                    <ul class="rows" aria-label="Members">
                        {members
                            .items
                            .into_iter()
                            .map(|member| {
                                view! {
                                    <li class="row member-row">
                                        <span class="row-title clip">{member.name}</span>
                                        <span class="muted clip">{member.email}</span>
                                        <span class="row-end">{member.role.as_str()}</span>
                                        <span class="muted">
                                            "since " <Ago time=member.since />
                                        </span>
                                    </li>
                                }
                            })
                            .collect_view()}
                    </ul>
                    {invitations.map(|invitations| view! { <Invitations path invitations roles=true /> })}
                }
                    .into_any()
            }
        />
    }
}
