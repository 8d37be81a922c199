//! One line, and the last lines of something that failed.

use devenv_cloud_api::trace::{LogLine, LogWindow, Stream};
use leptos::{ev, prelude::*};

use super::ansi;
use crate::{components::state::StateMark, format};

/// What stands in a row.
#[component]
pub fn Row(
    line: LogLine,
    /// What to mark in its text, in lower case; nothing if empty.
    needle: RwSignal<String>,
    on_mark: impl Fn(u64, bool) + 'static,
) -> impl IntoView {
    let number = line.number;
    let class = match line.stream {
        Stream::Stdout => "log-text",
        Stream::Stderr => "log-text is-stderr",
        Stream::System => "log-text is-system",
    };
    view! {
        <a
            class="log-number"
            id=format!("L{number}")
            href=format!("#L{number}")
            tabindex="-1"
            rel="external"
            on:click=move |event: ev::MouseEvent| {
                event.prevent_default();
                on_mark(number, event.shift_key());
            }
        >
            {number}
        </a>
        <span class="log-time">{format::time_of_day(line.time)}</span>
        <span class=class>{move || needle.with(|needle| text(&line.text, needle))}</span>
    }
}

/// A line's text with its colours, and marks where `needle` stands in it.
fn text(line: &str, needle: &str) -> AnyView {
    ansi::mark(ansi::pieces(line), needle)
        .into_iter()
        .map(|(piece, marked)| {
            if marked {
                view! { <mark>{piece.text}</mark> }.into_any()
            } else if piece.class.is_empty() {
                piece.text.into_any()
            } else {
                view! { <span class=piece.class>{piece.text}</span> }.into_any()
            }
        })
        .collect_view()
        .into_any()
}

/// The last lines of something that failed, without tools.
#[component]
pub fn Excerpt(
    /// What it is the end of.
    #[prop(into)]
    title: String,
    state: devenv_cloud_api::runs::State,
    /// Where the whole is.
    #[prop(into)]
    href: String,
    window: LogWindow,
) -> impl IntoView {
    let title: String = title;
    let label = format!("Last lines of {title}");
    let more = usize::try_from(window.total).unwrap_or(usize::MAX).saturating_sub(window.lines.len());
    view! {
        <section class="excerpt">
            <header>
                <StateMark state />
                <a href=href.clone() data-row="" data-failure="">
                    <code>{title}</code>
                </a>
                {(more > 0)
                    .then(|| {
                        view! {
                            <span class="muted">
                                {format::plural(more, "earlier line", "earlier lines")}
                            </span>
                        }
                    })}
            </header>
            <div class="log-rows excerpt-rows" tabindex="0" role="region" aria-label=label>
                {window
                    .lines
                    .into_iter()
                    .map(|line| {
                        view! {
                            <div class="log-row">
                                <a class="log-number" tabindex="-1" href=format!("{href}#L{}", line.number)>
                                    {line.number}
                                </a>
                                <span class="log-text">{text(&line.text, "")}</span>
                            </div>
                        }
                    })
                    .collect_view()}
            </div>
        </section>
    }
}
