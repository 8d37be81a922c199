//! What every page finds in its context, on the server and in the browser.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::DateTime;
use devenv_cloud_api::{Timestamp, accounts::Viewer};
use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    asked::Asked,
    transport::{Api, Carrier},
};

/// Addresses of the files that a page loads. Known to the server alone: the
/// browser has loaded them when it comes alive.
#[derive(Clone, Debug, Default)]
pub struct Assets {
    /// The style sheet.
    pub style: String,
    /// The icon.
    pub icon: String,
    /// The script and the WebAssembly module, where this build has them. The
    /// pages can be read without.
    pub app: Option<(String, String)>,
}

/// The visitor, as the server's rendering knows them.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The server's clock.
    pub now: Timestamp,
    /// The chosen colours, from the cookie.
    pub theme: Theme,
}

/// Light, dark, or what the system says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// What the system says.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// Every value, in the order of the switch.
    pub const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];
    /// The cookie that holds the choice. No secret: the page's script writes it.
    pub const COOKIE: &'static str = "theme";

    /// The word in the cookie and in `data-theme`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Reads the choice out of a `Cookie` header.
    #[must_use]
    pub fn from_cookies(header: &str) -> Self {
        header
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, _)| *name == Self::COOKIE)
            .and_then(|(_, value)| Self::ALL.into_iter().find(|theme| theme.as_str() == value))
            .unwrap_or_default()
    }
}

/// What the server shall answer besides the page's HTML. A page says it while
/// it is rendered; the browser has none of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome(Arc<Mutex<Verdict>>);

/// The parts of an [`Outcome`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The status, if not 200.
    pub status: Option<u16>,
    /// Where to send the visitor instead.
    pub redirect: Option<String>,
}

impl Outcome {
    fn with(&self, change: impl FnOnce(&mut Verdict)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Answers with this status.
    pub fn set_status(&self, status: u16) {
        self.with(|v| v.status = Some(status));
    }

    /// Sends the visitor elsewhere.
    pub fn set_redirect(&self, to: String) {
        self.with(|v| v.redirect = Some(to));
    }

    /// What the page said.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The API client of this page view.
///
/// # Panics
/// Where no transport was provided, which is a mistake in the server's set-up.
#[must_use]
pub fn use_api() -> Api {
    Api::new(expect_context::<Carrier>())
}

/// The one who is signed in; asked once and kept by the frame around all pages.
#[derive(Clone, Copy)]
pub struct Session(pub Asked<Viewer>);

/// The time that a page believes it is: the server's when rendered, then
/// ticking. Relative times and running durations follow it.
#[derive(Clone, Copy)]
pub struct Now(RwSignal<Timestamp>);

impl Now {
    /// Starts from the server's clock, so that both sides render the same words.
    pub fn provide() {
        let start = SharedValue::new_str(|| use_context::<Visitor>().map_or(0, |v| v.now.timestamp_millis()))
            .into_inner();
        let now = Self(RwSignal::new(DateTime::from_timestamp_millis(start).unwrap_or_default()));
        crate::browser::on_tick(start, move |millis| {
            if let Some(time) = DateTime::from_timestamp_millis(millis) {
                now.0.set(time);
            }
        });
        provide_context(now);
    }

    /// The time now; whoever reads it is told when it changes.
    #[must_use]
    pub fn get(self) -> Timestamp {
        self.0.get()
    }
}

/// Reads the clock of the page.
#[must_use]
pub fn use_now() -> Now {
    use_context().unwrap_or_else(|| Now(RwSignal::new(Timestamp::default())))
}

/// Whether the page has come alive. What needs a script is disabled until then.
#[derive(Clone, Copy)]
pub struct Alive(RwSignal<bool>);

impl Alive {
    /// Starts as not alive, on both sides; an effect, which only a browser runs, sets it.
    pub fn provide() {
        let alive = Self(RwSignal::new(false));
        Effect::new(move |_| {
            alive.0.set(true);
            crate::browser::say_alive();
        });
        provide_context(alive);
    }
}

/// Whether the page has come alive.
#[must_use]
pub fn use_alive() -> Signal<bool> {
    use_context::<Alive>().map_or_else(|| Signal::stored(false), |alive| alive.0.into())
}

#[cfg(test)]
mod tests {
    use super::Theme;

    #[test]
    fn the_theme_is_read_from_the_cookie() {
        for (header, theme) in [
            ("", Theme::System),
            ("theme=dark", Theme::Dark),
            ("a=b; theme=light; c=d", Theme::Light),
            ("theme=\"><script>", Theme::System),
            ("xtheme=dark", Theme::System),
        ] {
            assert_eq!(Theme::from_cookies(header), theme, "{header}");
        }
    }
}
