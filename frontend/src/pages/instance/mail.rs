//! `/instance/mail`: what became of the mails that the server sends. Where no
//! mail server is configured, one can read them here.

use devenv_cloud_api::{
    mail::{Mail, MailState, MailText},
    page::Page,
};
use leptos::prelude::*;

use super::Head;
use crate::{
    asked::ask,
    components::{
        load::{Empty, Load},
        time::Ago,
    },
    context::use_api,
    format,
    pages::query,
};

/// The page.
#[component]
pub fn InstanceMail() -> impl IntoView {
    let api = use_api();
    let (cursor, open) = (query("cursor"), query("mail"));
    let asked = ask(move || {
        let (api, cursor, open) = (api.clone(), cursor.get(), open.get());
        async move {
            let cursor = if cursor.is_empty() { cursor } else { format!("&cursor={cursor}") };
            let mails: Page<Mail> = api.get(&format!("/instance/mails?limit=50{cursor}")).await?;
            let text: Option<MailText> = if open.is_empty() {
                None
            } else {
                Some(api.get(&format!("/instance/mails/{}", format::query_value(&open))).await?)
            };
            Ok((mails, text))
        }
    });
    let show = |(mails, text): (Page<Mail>, Option<MailText>)| {
        let none = mails.items.is_empty();
        view! {
            {text
                .map(|mail| {
                    view! {
                        <section class="mail-text" aria-label="The mail">
                            <h2>{mail.subject}</h2>
                            <p class="muted">"to " {mail.recipient}</p>
                            <pre tabindex="0">{mail.text}</pre>
                        </section>
                    }
                })}
            {none
                .then(|| {
                    view! {
                        <Empty title="No mail yet">
                            <p>"Invitations, resets and notices appear here when they are sent."</p>
                        </Empty>
                    }
                })}
            <ul class="rows" aria-label="Mails" hidden=none>
                {mails.items.into_iter().map(|mail| view! { <Row mail /> }).collect_view()}
            </ul>
            {mails
                .next_cursor
                .map(|next| {
                    view! {
                        <p>
                            <a class="button" href=format!("?cursor={next}")>
                                "Older mails"
                            </a>
                        </p>
                    }
                })}
        }
        .into_any()
    };
    view! {
        <Head current="mail" window_title="Mail" />
        <Load asked what="the mails" view=show />
    }
}

#[component]
fn Row(mail: Mail) -> impl IntoView {
    let Mail { id, recipient, subject, state, created_at, problem, .. } = mail;
    let title = match state {
        MailState::Written => view! { <a href=format!("?mail={id}")>{subject}</a> }.into_any(),
        _ => subject.into_any(),
    };
    let said = problem.unwrap_or_default();
    view! {
        <li class="row audit-row">
            <span class="row-title">{title}</span>
            <span class="clip" title=recipient.clone()>
                {recipient.clone()}
            </span>
            <span class="muted clip" title=said.clone()>
                {said.clone()}
            </span>
            <span class="muted">{state.as_str()}</span>
            <span class="muted row-end">
                <Ago time=created_at />
            </span>
        </li>
    }
}
