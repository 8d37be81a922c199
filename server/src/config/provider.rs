//! What is said about a provider in the configuration, and what cannot be meant.

use std::fmt;

use openidconnect::core::CoreJwsSigningAlgorithm as Algorithm;

use super::{Provider, Text};

/// Kinds with their word, for [`Text`].
macro_rules! kinds {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $vdoc])* $variant,)* }

        impl Text for $name {
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("it is one of {}", [$($word),*].join(", "))),
                }
            }
            fn show(&self) -> String {
                match self { $(Self::$variant => String::from($word).show(),)* }
            }
        }
    };
}

kinds! {
    /// What a provider speaks.
    ProviderKind {
        /// OpenID Connect, found by its issuer's address.
        Oidc = "oidc",
        /// GitHub: OAuth 2 and its own API.
        GitHub = "github",
        /// GitLab: OpenID Connect.
        GitLab = "gitlab",
        /// Google: OpenID Connect.
        Google = "google",
    }
}

kinds! {
    /// How a provider's answer comes back through the browser.
    ResponseMode {
        /// In the address.
        Query = "query",
        /// In a form that the browser posts.
        FormPost = "form_post",
    }
}

/// Words with spaces or commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl Text for Words {
    fn parse(text: &str) -> Result<Self, String> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        Ok(Self(words.map(str::to_owned).collect()))
    }
    fn show(&self) -> String {
        self.0.join(" ").show()
    }
}

/// Algorithms of signatures that can be checked with a public key. There is no
/// way to allow another one: who can check a MAC can also make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(pub Vec<Algorithm>);

const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RsaSsaPkcs1V15Sha256),
    ("RS384", Algorithm::RsaSsaPkcs1V15Sha384),
    ("RS512", Algorithm::RsaSsaPkcs1V15Sha512),
    ("PS256", Algorithm::RsaSsaPssSha256),
    ("PS384", Algorithm::RsaSsaPssSha384),
    ("PS512", Algorithm::RsaSsaPssSha512),
    ("ES256", Algorithm::EcdsaP256Sha256),
    ("ES384", Algorithm::EcdsaP384Sha384),
    ("EdDSA", Algorithm::EdDsa),
];

impl Algorithms {
    /// The algorithm of this name, if it may be used.
    #[must_use]
    pub fn allowed(&self, name: &str) -> Option<&Algorithm> {
        let (_, algorithm) = ALGORITHMS.iter().find(|(known, _)| *known == name)?;
        self.0.iter().find(|allowed| *allowed == algorithm)
    }
}

impl fmt::Display for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ALGORITHMS.iter().filter(|(_, algorithm)| self.0.contains(algorithm));
        f.write_str(&names.map(|(name, _)| *name).collect::<Vec<_>>().join(" "))
    }
}

impl Text for Algorithms {
    fn parse(text: &str) -> Result<Self, String> {
        let one = |word: &String| {
            let known = ALGORITHMS.iter().find(|(name, _)| name == word);
            known.map(|(_, algorithm)| algorithm.clone()).ok_or_else(|| {
                let names: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                format!("`{word}` is none of {}", names.join(", "))
            })
        };
        let algorithms: Vec<_> = Words::parse(text)?.0.iter().map(one).collect::<Result<_, _>>()?;
        if algorithms.is_empty() { Err("at least one is needed".to_owned()) } else { Ok(Self(algorithms)) }
    }
    fn show(&self) -> String {
        self.to_string().show()
    }
}

/// Whether providers can be called so: the name is part of addresses and of
/// variables of the environment.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=32).contains(&name.len()) && name.bytes().all(good) {
        Ok(())
    } else {
        Err("the name of a provider has 1 to 32 small letters, digits and hyphens")
    }
}

impl Provider {
    /// Fills in what follows from the kind and the name.
    pub(super) fn derive(&mut self, name: &str) {
        let (label, issuer, scopes) = match self.kind {
            ProviderKind::Oidc => (name, "", "openid profile email"),
            ProviderKind::GitHub => ("GitHub", "https://github.com", "read:user user:email"),
            ProviderKind::GitLab => ("GitLab", "https://gitlab.com", "openid profile email"),
            ProviderKind::Google => ("Google", "https://accounts.google.com", "openid profile email"),
        };
        let fill = |text: &mut String, usual: &str| {
            if text.is_empty() {
                usual.clone_into(text);
            }
        };
        fill(&mut self.label, label);
        fill(&mut self.issuer, issuer);
        if self.scopes.0.is_empty() {
            self.scopes.0 = scopes.split(' ').map(str::to_owned).collect();
        }
    }

    /// # Errors
    /// The key that cannot be what it is, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let is_github = self.kind == ProviderKind::GitHub;
        if self.client_id.is_empty() {
            return Err((
                "client_id",
                "it is what the provider calls this server when it is registered there; \
                                      sign-in cannot work without"
                    .to_owned(),
            ));
        }
        check_issuer(&self.issuer).map_err(|why| ("issuer", why))?;
        if !is_github && !self.scopes.0.iter().any(|scope| scope == "openid") {
            return Err(("scopes", "without `openid` among them this is no OpenID Connect".to_owned()));
        }
        if is_github && self.client_secret.reveal().is_empty() {
            return Err(("client_secret", "GitHub gives no token without it".to_owned()));
        }
        if is_github && self.response_mode == ResponseMode::FormPost {
            return Err(("response_mode", "GitHub knows `query` only".to_owned()));
        }
        match self.allowed_domains.0.iter().find(|domain| !domain.contains('.') || domain.contains('@')) {
            Some(domain) => {
                Err(("allowed_domains", format!("`{domain}` is no domain; write for example example.com")))
            }
            None => Ok(()),
        }
    }
}

fn check_issuer(issuer: &str) -> Result<(), String> {
    if issuer.is_empty() {
        return Err(
            "it is the address at which the provider is found; an OpenID Connect provider says it in its \
                    documentation, and below it at /.well-known/openid-configuration"
                .to_owned(),
        );
    }
    let uri: http::Uri =
        issuer.parse().map_err(|_| "it is an address like https://id.example.com".to_owned())?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.query().is_some() || issuer.contains('#') {
        return Err(
            "it is an address like https://id.example.com, without anything after a ? or #".to_owned()
        );
    }
    // Microsoft's addresses for whichever tenant: their tokens are those of any
    // organisation in the world, each of which decides what its people's addresses are.
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let tenant = uri.path().split('/').find(|part| !part.is_empty()).unwrap_or_default().to_ascii_lowercase();
    let is_entra = host.starts_with("login.microsoftonline.") || host == "sts.windows.net";
    if is_entra && matches!(tenant.as_str(), "common" | "organizations" | "consumers" | "") {
        return Err("this is the address for whichever tenant, where every organisation in the world could say who \
                    somebody is; name the one that you trust: https://login.microsoftonline.com/TENANT-ID/v2.0, with \
                    the directory (tenant) id from the overview page of the app registration"
            .to_owned());
    }
    Ok(())
}
