//! The four states of what a page asked for: loading, empty, error, ready.
//! Every page shows them through this file, so that they look the same everywhere.

use leptos::{prelude::*, server::codee::string::FromToStringCodec};
use leptos_meta::Title;
use leptos_router::hooks::use_location;

use crate::{
    asked::{Asked, Content, Parcel, opened},
    browser,
    context::Outcome,
    failure::{Answer, Failure},
    format,
    pages::not_found::NotFound,
};

/// Shows what was asked for: a quiet line while it loads, the problem if there
/// is one, else `view` of the answer. While it is asked for again the old
/// answer stays.
#[component]
pub fn Load<T: Content>(
    asked: Asked<T>,
    /// What is loaded, for the loading line: "runs", "the job".
    what: &'static str,
    /// Shows the answer.
    view: impl Fn(T) -> AnyView + Send + Sync + 'static,
) -> impl IntoView {
    let parcel = asked.parcel;
    // From here on nothing knows the type, so that all pages share it.
    let show = StoredValue::new(opened(view));
    view! { <LoadAny parcel what show /> }
}

#[component]
fn LoadAny(
    parcel: Resource<Parcel, FromToStringCodec>,
    what: &'static str,
    show: StoredValue<Box<dyn Fn(Parcel) -> Answer<AnyView> + Send + Sync>>,
) -> impl IntoView {
    view! {
        <Transition fallback=move || view! { <Loading what /> }>
            // Not `Suspend`: while it awaits a second answer, the first one's
            // signals are gone and its view still listens.
            {move || {
                parcel
                    .get()
                    .map(|parcel| match show.with_value(|show| show(parcel)) {
                        Ok(view) => view,
                        Err(failure) => view! { <ProblemPage failure /> }.into_any(),
                    })
            }}
        </Transition>
    }
}

/// Loading: says what is on its way.
#[component]
pub fn Loading(what: &'static str) -> impl IntoView {
    view! {
        <p class="loading" role="status">
            "Loading "
            {what}
            "…"
        </p>
    }
}

/// Empty: says so, and what the first step is.
#[component]
pub fn Empty(
    /// What there is none of, in a sentence.
    title: &'static str,
    /// The first step.
    children: Children,
) -> impl IntoView {
    view! {
        <section class="empty">
            <h2>{title}</h2>
            {children()}
        </section>
    }
}

/// Error, in place of a page or a part of one.
#[component]
pub fn ProblemPage(failure: Failure) -> impl IntoView {
    if failure.is_signed_out() {
        return view! { <SignInFirst /> }.into_any();
    }
    if failure.must_enrol() {
        return view! { <EnrolFirst /> }.into_any();
    }
    if failure.is_not_found() {
        return view! { <NotFound /> }.into_any();
    }
    if let Some(outcome) = use_context::<Outcome>() {
        outcome.set_status(failure.status.filter(|s| *s >= 400).unwrap_or(503));
    }
    view! {
        <Title text=failure.title.clone() />
        <section class="problem-page">
            <h1>{format::capital(&failure.title)}</h1>
            {failure.detail.map(|detail| view! { <p>{detail}</p> })}
            <p>
                <a href="" rel="external" class="button">
                    "Try again"
                </a>
            </p>
        </section>
    }
    .into_any()
}

/// The visitor must sign in, and comes back here afterwards.
#[component]
fn SignInFirst() -> impl IntoView {
    let location = use_location();
    let here = location.pathname.get_untracked()
        + &{
            let search = location.search.get_untracked();
            if search.is_empty() || search.starts_with('?') { search } else { format!("?{search}") }
        };
    let address = format!("/sign-in?return_to={}", format::query_value(&here));
    if let Some(outcome) = use_context::<Outcome>() {
        outcome.set_redirect(address.clone());
    }
    let target = address.clone();
    Effect::new(move |_| browser::leave_for(&target));
    view! {
        <Title text="Please sign in" />
        <section class="problem-page">
            <h1>"Please sign in"</h1>
            <p>
                <a href=address rel="external">
                    "Sign in"
                </a>
                " to see this page."
            </p>
        </section>
    }
}

/// The visitor must set up a second factor before anything else.
#[component]
fn EnrolFirst() -> impl IntoView {
    const ADDRESS: &str = "/account/security";
    if let Some(outcome) = use_context::<Outcome>() {
        outcome.set_redirect(ADDRESS.to_owned());
    }
    Effect::new(move |_| browser::leave_for(ADDRESS));
    view! {
        <Title text="Set up a second factor" />
        <section class="problem-page">
            <h1>"Set up a second factor"</h1>
            <p>
                "It is required here before you go on. "
                <a href=ADDRESS rel="external">
                    "Set it up"
                </a>
                "."
            </p>
        </section>
    }
}
