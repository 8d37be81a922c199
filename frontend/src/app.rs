//! The document, the routes, and the frame around all pages.

use devenv_cloud_api::{accounts::Viewer, factors::Standing};
use leptos::prelude::*;
use leptos_meta::{MetaTags, provide_meta_context};
use leptos_router::{
    components::{Outlet, ParentRoute, Route, Router, Routes},
    path,
};

use crate::{
    asked::ask,
    components::{
        bar::Bar,
        confirm::{Confirm, ConfirmDialog},
        keys::{KeyHelp, Keys, use_key},
        palette::{Palette, PaletteDialog},
        time::Until,
    },
    context::{Alive, Assets, Now, Session, Theme, Visitor, use_api},
    pages::{self, not_found::NotFound},
};

/// The whole HTML document, for the server. The colours are in it, so that
/// nothing flashes; the script is in it if this build has one.
#[must_use]
pub fn document(assets: Assets) -> impl IntoView {
    let theme = use_context::<Visitor>().map_or_else(Theme::default, |v| v.theme);
    let nonce = use_nonce();
    view! {
        <!DOCTYPE html>
        <html lang="en" data-theme=theme.as_str()>
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <meta name="description" content="CI that is local-first and built with Nix" />
                <link rel="stylesheet" href=assets.style />
                <link rel="icon" type="image/svg+xml" href=assets.icon />
                {assets
                    .app
                    .map(|(script, module)| {
                        let start = format!(
                            "import start,{{hydrate}} from '{script}';start({{module_or_path:'{module}'}}).then(()=>hydrate());",
                        );
                        view! {
                            <link rel="modulepreload" href=script />
                            <link rel="preload" href=module r#as="fetch" r#type="application/wasm" crossorigin="anonymous" />
                            <script type="module" nonce=nonce inner_html=start></script>
                        }
                    })}
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}

/// The application: what the server puts into the body and the browser brings to life.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    #[cfg(feature = "hydrate")]
    provide_context(crate::transport::Carrier::new(crate::transport::Fetch));
    Now::provide();
    Alive::provide();
    Keys::provide();
    view! {
        <Router>
            <Routes fallback=|| view! { <NotFound /> }>
                <Route path=path!("/sign-in") view=pages::sign_in::SignIn />
                <Route path=path!("/confirm") view=pages::confirm::Confirm />
                <Route path=path!("/setup") view=pages::setup::Setup />
                <Route path=path!("/device") view=pages::device::Device />
                <Route path=path!("/oauth/consent") view=pages::consent::Consent />
                <Route path=path!("/reset") view=pages::reset::Reset />
                <Route path=path!("/verify-email") view=pages::verify_email::VerifyEmail />
                <Route path=path!("/invitation") view=pages::invitation::Invitation />
                <ParentRoute path=path!("") view=Frame>
                    <Route path=path!("") view=pages::home::Home />
                    <Route path=path!("/account") view=pages::account::profile::Profile />
                    <Route path=path!("/account/security") view=pages::account::security::Security />
                    <Route path=path!("/account/sessions") view=pages::account::sessions::Sessions />
                    <Route path=path!("/account/tokens") view=pages::account::tokens::Tokens />
                    <Route path=path!("/:org") view=pages::org::Org />
                    <Route path=path!("/account/activity") view=pages::account::activity::Activity />
                    <Route path=path!("/instance") view=pages::instance::people::InstancePeople />
                    <Route path=path!("/instance/people") view=pages::instance::people::InstancePeople />
                    <Route path=path!("/instance/audit") view=pages::instance::audit::InstanceAudit />
                    <Route path=path!("/instance/mail") view=pages::instance::mail::InstanceMail />
                    <Route path=path!("/:org/-/audit") view=pages::org_audit::OrgAudit />
                    <Route path=path!("/instance/security") view=pages::instance::security::InstanceSecurity />
                    <Route path=path!("/:org/-/security") view=pages::org_security::OrgSecurity />
                    <Route path=path!("/:org/-/members") view=pages::members::Members />
                    <Route path=path!("/:org/-/runners") view=pages::runners::Runners />
                    <Route path=path!("/:org/:project") view=pages::project::Project />
                    <Route path=path!("/:org/:project/settings") view=pages::project_settings::Settings />
                    <Route path=path!("/:org/:project/settings/:section") view=pages::project_settings::Settings />
                    <Route path=path!("/:org/:project/runs/:number") view=pages::run::RunPage />
                    <Route path=path!("/:org/:project/runs/:number/:job") view=pages::job::JobPage />
                    <Route path=path!("/*any") view=NotFound />
                </ParentRoute>
            </Routes>
        </Router>
    }
}

/// What stands around every page of somebody who is signed in.
#[component]
fn Frame() -> impl IntoView {
    let api = use_api();
    let session = ask::<Viewer, _>(move || {
        let api = api.clone();
        async move { Ok(api.get("/session").await?) }
    });
    provide_context(Session(session));
    let navigate = leptos_router::hooks::use_navigate();
    let path = leptos_router::hooks::use_location().pathname;
    let home = navigate.clone();
    use_key("g o", "to the organisation", move || {
        let path = path.get_untracked();
        let org = path.split('/').nth(1).unwrap_or_default();
        navigate(&format!("/{org}"), Default::default());
    });
    let confirm = Confirm::provide();
    let palette = Palette::provide();
    use_key("g h", "home", move || home("/", Default::default()));
    view! {
        <a class="skip" href="#main" rel="external">
            "Skip to content"
        </a>
        <Bar />
        <main id="main" tabindex="-1">
            <Grace />
            <Outlet />
        </main>
        <KeyHelp />
        <PaletteDialog palette />
        <ConfirmDialog confirm />
    }
}

/// Says to those who still have time that something is asked of them.
#[component]
fn Grace() -> impl IntoView {
    let session = expect_context::<Session>().0;
    view! {
        <Transition>
            {move || Suspend::new(async move {
                let viewer = session.answer().await.ok().filter(|viewer| viewer.standing == Standing::Grace);
                viewer
                    .map(|viewer| {
                        view! {
                            <p class="notice">
                                "This instance asks for a second factor. "
                                <a href="/account/security">"Set it up"</a>
                                {viewer.due_at.map(|time| view! { ": you have time " <Until time /> })} "."
                            </p>
                        }
                    })
            })}
        </Transition>
    }
}
