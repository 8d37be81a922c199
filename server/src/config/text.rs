//! How values of the configuration are read from text and shown again.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;

use crate::executor::egress::Destination;

/// A type that a value of the configuration can have.
pub trait Text: Sized {
    /// Whether it must not be shown.
    const SECRET: bool = false;

    /// Reads it; the error says what it should be.
    ///
    /// # Errors
    /// When the text is no such value.
    fn parse(text: &str) -> Result<Self, String>;

    /// Shows it as a TOML value; secrets as a mask.
    fn show(&self) -> String;
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Text for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
    fn show(&self) -> String {
        quoted(self)
    }
}

impl Text for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
    fn show(&self) -> String {
        quoted(&self.display().to_string())
    }
}

impl Text for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it is true or false".to_owned())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Text for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it is a whole number".to_owned())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

/// A number that the server can choose by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It chooses.
    Auto,
    /// This many.
    Of(u32),
}

impl Text for Count {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Of).map_err(|_| "it is `auto` or a whole number".to_owned()),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::Auto => quoted("auto"),
            Self::Of(count) => count.to_string(),
        }
    }
}

/// Whether people stay signed in when they close the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All do.
    Always,
    /// Those who choose to.
    Choice,
    /// Nobody does.
    Never,
}

impl Keep {
    /// Whether somebody stays signed in who chose so, or did not.
    #[must_use]
    pub const fn kept(self, chosen: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Choice => chosen,
            Self::Never => false,
        }
    }
}

impl Text for Keep {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "choice" => Ok(Self::Choice),
            "never" => Ok(Self::Never),
            _ => Err("it is `always`, `choice` or `never`".to_owned()),
        }
    }
    fn show(&self) -> String {
        quoted(match self {
            Self::Always => "always",
            Self::Choice => "choice",
            Self::Never => "never",
        })
    }
}

/// Networks of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether the address is in one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Text for Networks {
    fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                let one = || entry.parse::<IpAddr>().map(IpNet::from);
                entry.parse().or_else(|_| one()).map_err(|_| {
                    format!("`{entry}` is no network; one looks like 10.0.0.0/8, 2001:db8::/32 or 10.1.2.3")
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
    fn show(&self) -> String {
        quoted(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }
}

/// Hosts with ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations(pub Vec<Destination>);

impl Text for Destinations {
    fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(Destination::parse).collect::<Result<_, _>>().map(Self)
    }
    fn show(&self) -> String {
        quoted(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }
}

impl Text for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it is an address and a port, like 127.0.0.1:8080 or [::]:8080".to_owned())
    }
    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl<T: Text> Text for Option<T> {
    const SECRET: bool = T::SECRET;
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "\"\"".to_owned(), Text::show)
    }
}

/// Text that is never shown, not even for debugging.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one who needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Text for Secret {
    const SECRET: bool = true;
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
    fn show(&self) -> String {
        quoted("…")
    }
}
