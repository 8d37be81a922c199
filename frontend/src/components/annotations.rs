//! Errors with their places: the first thing that a job which failed shows.

use devenv_cloud_api::runs::Annotation;
use leptos::prelude::*;

/// A list of errors. Renders nothing if there is none.
#[component]
pub fn Annotations(
    #[prop(into)] annotations: Signal<Vec<Annotation>>,
    /// The job's address, to which an annotation with a span leads.
    #[prop(into)]
    job_href: String,
) -> impl IntoView {
    let job_href = StoredValue::new(job_href);
    view! {
        <Show when=move || annotations.with(|a| !a.is_empty())>
            <ul class="annotations" aria-label="Errors">
                {move || {
                    annotations
                        .get()
                        .into_iter()
                        .map(|annotation| {
                            let place = annotation
                                .file
                                .map(|file| match annotation.line {
                                    Some(line) => format!("{file}:{line}"),
                                    None => file,
                                });
                            let span = annotation
                                .span
                                .map(|span| job_href.with_value(|href| format!("{href}?span={span}")));
                            view! {
                                <li class="annotation">
                                    <div class="annotation-place">
                                        {place.map(|place| view! { <code>{place}</code> })}
                                        {span
                                            .map(|href| {
                                                view! {
                                                    <a href=href data-failure="" data-row="">
                                                        "show in the trace"
                                                    </a>
                                                }
                                            })}
                                    </div>
                                    <pre tabindex="0">{annotation.message}</pre>
                                </li>
                            }
                        })
                        .collect_view()
                }}
            </ul>
        </Show>
    }
}
