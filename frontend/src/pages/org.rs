//! `/{org}`: the organisation's projects, each with its newest run.

use devenv_cloud_api::{
    orgs::{CreateProject, Org as Organisation, Project, ProjectSettings},
    page::Page,
    permissions::Action,
};
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use super::{home::invalid, param};
use crate::{
    asked::ask,
    components::{
        form::{ApiForm, Field, Submit},
        load::{Empty, Load},
        page_head::PageHead,
        project_rows::ProjectRows,
        tabs::{Tab, Tabs},
    },
    context::use_api,
};

/// The tabs of an organisation.
pub(super) fn tabs(org: &Organisation, current: &str) -> Vec<Tab> {
    let mut tabs =
        vec![Tab { label: "Projects", href: format!("/{}", org.slug), current: current == "projects" }];
    if org.allowed.contains(&Action::ReadMembers) {
        tabs.push(Tab {
            label: "Members",
            href: format!("/{}/-/members", org.slug),
            current: current == "members",
        });
    }
    if org.allowed.contains(&Action::ReadRunners) {
        tabs.push(Tab {
            label: "Runners",
            href: format!("/{}/-/runners", org.slug),
            current: current == "runners",
        });
    }
    if org.allowed.contains(&Action::UpdateOrg) {
        tabs.push(Tab {
            label: "Security",
            href: format!("/{}/-/security", org.slug),
            current: current == "security",
        });
    }
    if org.allowed.contains(&Action::ReadAudit) {
        tabs.push(Tab {
            label: "Audit log",
            href: format!("/{}/-/audit", org.slug),
            current: current == "audit",
        });
    }
    tabs
}

/// The organisation's page.
#[component]
pub fn Org() -> impl IntoView {
    let api = use_api();
    let slug = param("org");
    let asked = ask(move || {
        let (api, slug) = (api.clone(), slug.get());
        async move {
            let org: Organisation = api.get(&format!("/orgs/{slug}")).await?;
            let projects: Page<Project> = api.get(&format!("/orgs/{slug}/projects")).await?;
            Ok((org, projects))
        }
    });
    view! {
        <Load
            asked
            what="the projects"
            view=|(org, projects): (Organisation, Page<Project>)| {
                let may_create = org.allowed.contains(&Action::CreateProject);
                let slug = org.slug.to_string();
                let tabs = tabs(&org, "projects");
                view! {
                    <PageHead title=org.display_name.clone() />
                    <Tabs label="Organisation" tabs />
                    {if projects.items.is_empty() {
                        view! {
                            <Empty title="No projects yet">
                                {if may_create {
                                    view! {
                                        <p>"A project is a git repository whose pushes are built and tested. Create the first one, then push to it."</p>
                                        <CreateProjectForm org=slug.clone() />
                                    }
                                        .into_any()
                                } else {
                                    view! { <p>"An administrator of this organisation can create the first one."</p> }.into_any()
                                }}
                            </Empty>
                        }
                            .into_any()
                    } else {
                        view! {
                            <ProjectRows projects=projects.items follow=format!("/orgs/{slug}") />
                            {may_create
                                .then(|| {
                                    view! {
                                        <details class="create">
                                            <summary class="button">"New project"</summary>
                                            <CreateProjectForm org=slug.clone() />
                                        </details>
                                    }
                                })}
                        }
                            .into_any()
                    }}
                }
                    .into_any()
            }
        />
    }
}

#[component]
fn CreateProjectForm(org: String) -> impl IntoView {
    let api = use_api();
    let navigate = use_navigate();
    let slug = RwSignal::new(String::new());
    let description = RwSignal::new(String::new());
    let submit = Submit::new();
    let send = move || {
        let slug = match slug.get_untracked().trim().parse() {
            Ok(slug) => slug,
            Err(error) => return submit.refuse(invalid("slug", &error)),
        };
        let body = CreateProject {
            slug,
            description: description.get_untracked().trim().to_owned(),
            settings: ProjectSettings::default(),
        };
        let (api, navigate, path) = (api.clone(), navigate.clone(), format!("/orgs/{org}/projects"));
        submit.send(async move { api.post::<_, Project>(&path, &body).await }, move |project| {
            navigate(&format!("/{}/{}", project.org, project.slug), Default::default());
        });
    };
    view! {
        <ApiForm submit button="Create project" on_submit=send>
            <Field
                label="Name in addresses"
                name="slug"
                value=slug
                mono=true
                hint="Lower-case letters, digits and hyphens, for example the repository’s name."
                error=submit.field("slug")
            />
            <Field
                label="Description"
                name="description"
                value=description
                required=false
                hint="One line about it."
                error=submit.field("description")
            />
        </ApiForm>
    }
}
