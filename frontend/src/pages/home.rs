//! `/`: my organisations, and how to create one.

use devenv_cloud_api::{
    orgs::{CreateOrg, Org, Project},
    page::Page,
};
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

use crate::{
    asked::ask,
    components::{
        form::{ApiForm, Field, Submit},
        load::{Empty, Load},
        page_head::PageHead,
        project_rows::ProjectRows,
    },
    context::{Session, use_api},
    failure::Failure,
    format,
};

/// The home page.
#[component]
pub fn Home() -> impl IntoView {
    let api = use_api();
    let asked = ask(move || {
        let api = api.clone();
        async move {
            let orgs: Page<Org> = api.get("/orgs").await?;
            let projects: Page<Project> = api.get("/projects?limit=20").await?;
            Ok((orgs, projects))
        }
    });
    view! {
        <Load
            asked
            what="your organisations"
            view=|(page, projects): (Page<Org>, Page<Project>)| {
                let none = page.items.is_empty();
                view! {
                    <PageHead title="Home" />
                    {if none {
                        view! {
                            <Empty title="You are in no organisation yet">
                                <p>
                                    "An organisation holds projects and the people who work on them. "
                                    "Create the first one; you become its owner."
                                </p>
                                <CreateOrgForm />
                            </Empty>
                        }
                            .into_any()
                    } else {
                        view! {
                            {(!projects.items.is_empty())
                                .then(|| {
                                    view! {
                                        <h2>"Recently active"</h2>
                                        <ProjectRows projects=projects.items follow="/projects".to_owned() of_all=true />
                                    }
                                })}
                            <h2>"Organisations"</h2>
                            <ul class="rows" aria-label="Organisations">
                                {page.items.into_iter().map(|org| view! { <OrgRow org /> }).collect_view()}
                            </ul>
                            <details class="create">
                                <summary class="button">"New organisation"</summary>
                                <CreateOrgForm />
                            </details>
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
fn OrgRow(org: Org) -> impl IntoView {
    view! {
        <li class="row org-row">
            <a class="row-link" href=format!("/{}", org.slug) data-row="">
                <span class="row-title">{org.display_name}</span>
            </a>
            <code class="muted">{org.slug.to_string()}</code>
            <span class="muted row-end">{org.role.map_or("administrator", |role| role.as_str())}</span>
        </li>
    }
}

#[component]
fn CreateOrgForm() -> impl IntoView {
    let api = use_api();
    let session = use_context::<Session>();
    let navigate = use_navigate();
    let slug = RwSignal::new(String::new());
    let display_name = RwSignal::new(String::new());
    let submit = Submit::new();
    let send = move || {
        let slug = match slug.get_untracked().trim().parse() {
            Ok(slug) => slug,
            Err(error) => return submit.refuse(invalid("slug", &error)),
        };
        let display_name = Some(display_name.get_untracked().trim().to_owned()).filter(|n| !n.is_empty());
        let (api, navigate) = (api.clone(), navigate.clone());
        let body = CreateOrg { slug, display_name };
        submit.send(async move { api.post::<_, Org>("/orgs", &body).await }, move |org| {
            if let Some(session) = session {
                session.0.refetch();
            }
            navigate(&format!("/{}", org.slug), Default::default());
        });
    };
    view! {
        <ApiForm submit button="Create organisation" on_submit=send>
            <Field
                label="Name in addresses"
                name="slug"
                value=slug
                mono=true
                hint="Lower-case letters, digits and hyphens. It stands in every address and cannot be changed."
                error=submit.field("slug")
            />
            <Field
                label="Name for people"
                name="display_name"
                value=display_name
                required=false
                hint="As you write it, for example “Acme Ltd”. The same as above if empty."
                error=submit.field("display_name")
            />
        </ApiForm>
    }
}

/// A field that the page refuses before the server could.
pub(super) fn invalid(field: &str, error: &impl ToString) -> Failure {
    Failure {
        fields: vec![devenv_cloud_api::problem::FieldError {
            field: field.to_owned(),
            message: error.to_string(),
        }],
        ..Failure::local(format::capital(&error.to_string()))
    }
}
