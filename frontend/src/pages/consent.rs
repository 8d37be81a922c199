//! `/oauth/consent`: another application wants to sign somebody in. A plain
//! form that works without a script.

use devenv_cloud_api::{
    accounts::Viewer,
    issuer::{Authorization, Claim},
};
use leptos::prelude::*;
use leptos_meta::Title;

use super::{device::scope_words, query, sign_in::Brand};
use crate::{
    asked::ask,
    browser,
    components::load::Load,
    context::{Outcome, use_api},
    failure::Failure,
    format,
};

/// Shows the question, or why there is none.
#[component]
pub fn Consent() -> impl IntoView {
    let request = query("request");
    let kind = query("problem");
    view! {
        <Title text="Sign in to an application" />
        <main class="door">
            <Brand />
            {move || {
                let why = match kind.get().as_str() {
                    "" if !request.get().is_empty() => return view! { <Ask request=request.get() /> }.into_any(),
                    "client" => "The application that sent you here is not one that this server knows.",
                    "redirect" => "The application wants you back at an address that is not known to be its own.",
                    _ => "The application that sent you here asked in a way that could be understood in two ways.",
                };
                view! { <Broken why status=400 /> }.into_any()
            }}
        </main>
    }
}

#[component]
fn Broken(why: &'static str, status: u16) -> impl IntoView {
    if let Some(outcome) = use_context::<Outcome>() {
        outcome.set_status(status);
    }
    view! {
        <h1>"This cannot go on"</h1>
        <p>{why} " Nothing was told to it. Begin anew there, or ask its administrator."</p>
        <p><a class="button" href="/">"Home"</a></p>
    }
}

#[component]
fn Ask(request: String) -> impl IntoView {
    let api = use_api();
    let path = format!("/authorization?request={}", format::query_value(&request));
    let asked = ask(move || {
        let (api, path) = (api.clone(), path.clone());
        async move {
            let viewer: Viewer = api.get("/session").await?;
            match api.get::<Authorization>(&path).await.map_err(Failure::from) {
                Ok(authorization) => Ok((viewer, Some(authorization))),
                Err(failure) if failure.is_not_found() => Ok((viewer, None)),
                Err(failure) => Err(failure),
            }
        }
    });
    view! {
        <Load
            asked
            what="the application"
            view=move |(viewer, authorization): (Viewer, Option<Authorization>)| match authorization {
                Some(authorization) => view! { <Question viewer authorization request=request.clone() /> }.into_any(),
                None => view! { <Broken why="This request is over: it is good for one answer, within fifteen minutes." status=404 /> }.into_any(),
            }
        />
    }
}

#[component]
fn Question(viewer: Viewer, authorization: Authorization, request: String) -> impl IntoView {
    let Authorization { client, returns_to, claims, scopes, sign_in_again } = authorization;
    if sign_in_again {
        let here = format!("/oauth/consent?request={}", format::query_value(&request));
        let address = format!("/sign-in?return_to={}", format::query_value(&here));
        if let Some(outcome) = use_context::<Outcome>() {
            outcome.set_redirect(address.clone());
        }
        let target = address.clone();
        Effect::new(move |_| browser::leave_for(&target));
        return view! { <p><a href=address rel="external">"Sign in once more"</a></p> }.into_any();
    }
    let learns = claims
        .into_iter()
        .map(|claim| match claim {
            Claim::OpenId => "that it is you",
            Claim::Profile => "your name",
            Claim::Email => "your e-mail address",
        })
        .collect::<Vec<_>>()
        .join(", ");
    let may = scope_words(&scopes);
    view! {
        <h1>{format!("Sign in to {}?", client.id)}</h1>
        <p>
            "The application " <strong>{client.id.clone()}</strong> " wants to sign you in as "
            <strong>{viewer.user.email}</strong> "."
        </p>
        <dl class="asking">
            {(!learns.is_empty()).then(|| view! { <dt>"Learns"</dt><dd>{learns}</dd> })}
            {(!may.is_empty()).then(|| view! { <dt>"May"</dt><dd>{may}</dd> })}
            <dt>"Goes on at"</dt>
            <dd><code>{returns_to}</code></dd>
        </dl>
        {client.first_party.then(|| view! {
            <p class="notice is-timeout">"Allow it only if you started it yourself just now, on this computer."</p>
        })}
        <form class="form" method="post" action="/oauth/consent">
            <input type="hidden" name="request" value=request />
            <div class="form-actions">
                <button class="button primary" name="word" value="allow">"Allow"</button>
                <button class="button" name="word" value="deny">"Deny"</button>
            </div>
        </form>
    }
    .into_any()
}
