//! `/verify-email?token=…`: confirms that an e-mail address is one's own. It
//! takes a press of a button, because programs that look into mails follow links.

use leptos::prelude::*;
use leptos_meta::Title;

use super::{
    query,
    reset::{ToSignIn, Trouble},
    sign_in::Brand,
};

/// The page.
#[component]
pub fn VerifyEmail() -> impl IntoView {
    let token = query("token");
    let done = query("done");
    view! {
        <Title text="Confirm your e-mail address" />
        <main class="door">
            <Brand />
            {move || {
                if !done.get().is_empty() {
                    return view! {
                        <h1>"The address is confirmed"</h1>
                        <p>"From now on it is the address of your account."</p>
                        <p>
                            <a class="button primary" href="/" rel="external">
                                "Go on"
                            </a>
                        </p>
                    }
                        .into_any();
                }
                if token.get().is_empty() {
                    return view! {
                        <h1>"Confirm your e-mail address"</h1>
                        <Trouble />
                        <p>"Open the link in the newest mail. You get another one on the page of your account."</p>
                        <ToSignIn />
                    }
                        .into_any();
                }
                view! {
                    <h1>"Confirm your e-mail address"</h1>
                    <p>"If you asked for it, confirm that this address is yours."</p>
                    <form class="form" method="post" action="/verify-email">
                        <input type="hidden" name="token" value=token.get() />
                        <div class="form-actions">
                            <button class="button primary">"Confirm the address"</button>
                        </div>
                    </form>
                }
                    .into_any()
            }}
        </main>
    }
}
