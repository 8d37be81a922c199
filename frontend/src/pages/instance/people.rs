//! `/instance/people`: who has an account; inviting, disabling, enabling.

use devenv_cloud_api::{
    page::Page,
    people::{Invitation, Person},
};
use leptos::prelude::*;

use super::Head;
use crate::{
    asked::ask,
    components::{
        form::{Outcome, Submit},
        invitations::Invitations,
        load::{Empty, Load},
        time::Ago,
    },
    context::{use_alive, use_api},
    format,
    pages::query,
};

/// The page.
#[component]
pub fn InstancePeople() -> impl IntoView {
    let api = use_api();
    let (text, cursor) = (query("text"), query("cursor"));
    let asked = ask(move || {
        let (api, text, cursor) = (api.clone(), text.get(), cursor.get());
        async move {
            let mut path = format!("/instance/users?limit=50&text={}", format::query_value(&text));
            if !cursor.is_empty() {
                path.push_str(&format!("&cursor={cursor}"));
            }
            let people: Page<Person> = api.get(&path).await?;
            let invitations: Page<Invitation> = api.get("/instance/invitations?limit=100").await?;
            Ok((people, invitations))
        }
    });
    let show = move |(people, invitations): (Page<Person>, Page<Invitation>)| {
        let none = people.items.is_empty();
        let next = people.next_cursor.map(|next| {
            let text = format::query_value(&text.get_untracked());
            view! {
                <p>
                    <a class="button" href=format!("?text={text}&cursor={next}")>
                        "More people"
                    </a>
                </p>
            }
        });
        let asked_again = Callback::new(move |()| asked.refetch());
        view! {
            {none
                .then(|| {
                    view! {
                        <Empty title="Nobody found">
                            <p>"Nobody's name or address has this in it."</p>
                        </Empty>
                    }
                })}
            <ul class="rows" aria-label="People" hidden=none>
                {people.items.into_iter().map(|person| view! { <Row person changed=asked_again /> }).collect_view()}
            </ul>
            {next}
            <Invitations path="/instance/invitations".to_owned() invitations roles=false />
        }
        .into_any()
    };
    view! {
        <Head current="people" window_title="People" />
        <form class="audit-filter" method="get">
            <div class="field">
                <label for="people-text">"Name or address"</label>
                <input id="people-text" type="search" name="text" value=move || text.get() autocomplete="off" />
            </div>
            <div class="form-actions">
                <button class="button">"Find"</button>
            </div>
        </form>
        <Load asked what="the people" view=show />
    }
}

#[component]
fn Row(person: Person, changed: Callback<()>) -> impl IntoView {
    let api = use_api();
    let alive = use_alive();
    let submit = Submit::new();
    let Person { id, name, email, verified_at, instance_admin, created_at, disabled_at } = person;
    let disabled = disabled_at.is_some();
    let (word, path) = if disabled { ("Enable", "enable") } else { ("Disable", "disable") };
    let path = format!("/instance/users/{id}/{path}");
    let act = move |_| {
        let (api, path) = (api.clone(), path.clone());
        submit.send(async move { api.post::<_, ()>(&path, &serde_json::json!({})).await }, move |()| {
            changed.run(())
        });
    };
    let mut marks = Vec::new();
    if instance_admin {
        marks.push("administrator");
    }
    if verified_at.is_none() {
        marks.push("address not confirmed");
    }
    if disabled {
        marks.push("disabled");
    }
    view! {
        <li class="row person-row">
            <span class="row-title clip" title=name.clone()>
                {name.clone()}
            </span>
            <span class="clip" title=email.clone()>
                {email.clone()}
            </span>
            <span class="muted">{marks.join(", ")}</span>
            <span class="muted">
                "since " <Ago time=created_at />
            </span>
            <button
                type="button"
                class="button small"
                aria-label=format!("{word} the account of {name}")
                disabled=move || !alive.get() || submit.pending().get()
                on:click=act
            >
                {word}
            </button>
            <Outcome of=submit />
        </li>
    }
}
