//! What only a browser has. On the server each of these does nothing, so that
//! components need not ask where they are.

use crate::context::Theme;

/// Calls `tick` once a second with the time in Unix milliseconds, counted on
/// from `start` (the server's clock), so that a wrong clock in the browser
/// shows nobody a negative duration.
pub fn on_tick(start: i64, tick: impl Fn(i64) + Clone + 'static) {
    #[cfg(feature = "hydrate")]
    {
        use leptos::prelude::*;
        let begun = js_sys::Date::now();
        Effect::new(move |_| {
            let tick = tick.clone();
            set_interval(
                move || {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "milliseconds since the page was opened"
                    )]
                    let passed = (js_sys::Date::now() - begun) as i64;
                    tick(start + passed);
                },
                std::time::Duration::from_secs(1),
            );
        });
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = (start, tick);
}

/// Calls `action` every so many seconds, as long as the page's part that asked for it is there.
pub fn every(seconds: u64, action: impl Fn() + Clone + 'static) {
    #[cfg(feature = "hydrate")]
    {
        use leptos::prelude::*;
        Effect::new(move |_| {
            let action = action.clone();
            let period = std::time::Duration::from_secs(seconds);
            if let Ok(handle) = set_interval_with_handle(action, period) {
                on_cleanup(move || handle.clear());
            }
        });
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = (seconds, action);
}

/// Marks the document as alive, for whoever looks from outside: style sheets, tests.
pub fn say_alive() {
    #[cfg(feature = "hydrate")]
    if let Some(root) = leptos::prelude::document().document_element() {
        let _ = root.set_attribute("data-hydrated", "");
    }
}

/// Shows and remembers the chosen colours.
pub fn set_theme(theme: Theme) {
    #[cfg(feature = "hydrate")]
    {
        use wasm_bindgen::JsCast;
        let document = leptos::prelude::document();
        if let Some(root) = document.document_element() {
            let _ = root.set_attribute("data-theme", theme.as_str());
        }
        let secure =
            if leptos::prelude::location().protocol().is_ok_and(|p| p == "https:") { "; Secure" } else { "" };
        let _ = document.unchecked_ref::<web_sys::HtmlDocument>().set_cookie(&format!(
            "{}={}; Path=/; Max-Age=31536000; SameSite=Lax{secure}",
            Theme::COOKIE,
            theme.as_str(),
        ));
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = theme;
}

/// The colours that the page was rendered with.
#[must_use]
pub fn current_theme() -> Theme {
    #[cfg(feature = "hydrate")]
    {
        let word = leptos::prelude::document()
            .document_element()
            .and_then(|root| root.get_attribute("data-theme"))
            .unwrap_or_default();
        Theme::ALL.into_iter().find(|t| t.as_str() == word).unwrap_or_default()
    }
    #[cfg(not(feature = "hydrate"))]
    leptos::prelude::use_context::<crate::context::Visitor>().map_or_else(Theme::default, |v| v.theme)
}

/// Puts text on the clipboard.
pub fn copy(text: &str) {
    #[cfg(feature = "hydrate")]
    {
        // A page without a secure context has no clipboard; the text can still be selected.
        let _ = leptos::prelude::window().navigator().clipboard().write_text(text);
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = text;
}

/// Leaves for another address, with a full load.
pub fn leave_for(address: &str) {
    #[cfg(feature = "hydrate")]
    {
        let _ = leptos::prelude::location().assign(address);
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = address;
}

/// Rewrites the address bar without a new entry in the history and without the router.
pub fn replace_address(address: &str) {
    #[cfg(feature = "hydrate")]
    {
        if let Ok(history) = leptos::prelude::window().history() {
            let state = history.state().unwrap_or_default();
            let _ = history.replace_state_with_url(&state, "", Some(address));
        }
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = address;
}

/// The fragment of the address, with its `#`.
#[must_use]
pub fn fragment() -> String {
    #[cfg(feature = "hydrate")]
    {
        leptos::prelude::location().hash().unwrap_or_default()
    }
    #[cfg(not(feature = "hydrate"))]
    String::new()
}

/// Sets one property of an element's style through the object model, which the
/// content security policy permits where it forbids `style` attributes.
pub fn set_style(element: &web_sys::HtmlElement, property: &str, value: &str) {
    let _ = element.style().set_property(property, value);
}

/// Brings the child at this place, counted from 0, into sight of what scrolls
/// around it.
pub fn show_child(parent: &web_sys::Element, place: usize, at: web_sys::ScrollLogicalPosition) {
    #[cfg(feature = "hydrate")]
    {
        if let Ok(Some(child)) = parent.query_selector(&format!(":scope > :nth-child({})", place + 1)) {
            let options = web_sys::ScrollIntoViewOptions::new();
            options.set_block(at);
            options.set_inline(web_sys::ScrollLogicalPosition::Nearest);
            child.scroll_into_view_with_scroll_into_view_options(&options);
        }
    }
    #[cfg(not(feature = "hydrate"))]
    let _ = (parent, place, at);
}
