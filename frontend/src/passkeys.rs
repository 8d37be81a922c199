//! `navigator.credentials`: passkeys, as the browser knows them. Ceremonies and
//! answers travel as JSON that the browser itself reads and writes: here it is
//! text.

use devenv_cloud_api::{client::Error, problem::Problem};

use crate::transport::Api;

/// Why there is no answer, in words for the reader.
pub type Refused = &'static str;

/// The reader was asked and did not want to, or has no such passkey.
pub const CANCELLED: Refused = "Nothing was chosen. Try again, or use another way.";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A new passkey.
    Create,
    /// A proof with one, in a dialogue of the browser's.
    Get,
    /// A proof with one that offers itself in a field, as passwords do.
    Autofill,
}

/// Whether passkeys can offer themselves in fields.
pub async fn can_autofill() -> bool {
    #[cfg(feature = "hydrate")]
    {
        real::can_autofill().await.unwrap_or(false)
    }
    #[cfg(not(feature = "hydrate"))]
    false
}

/// Has a ceremony with the browser: begins it at `path` + `/begin`, asks, and
/// sends the answer to `path`. What was asked for before and is still open
/// ends. Gives the answer's text.
///
/// # Errors
/// When nothing was chosen, this browser has no passkeys, or the server says no.
pub async fn ceremony(api: &Api, path: &str, what: Ask, name: Option<String>) -> Result<String, Error> {
    let begun = api.post_text(&format!("{path}/begin"), None).await?;
    let answer = ask(what, &begun, name.as_deref()).await.map_err(refused)?;
    api.post_text(path, Some(answer)).await
}

/// As if the server had said it.
fn refused(why: Refused) -> Error {
    Error::Problem(Box::new(Problem {
        kind: "passkey".to_owned(),
        title: why.to_owned(),
        status: 0,
        detail: None,
        errors: Vec::new(),
    }))
}

async fn ask(what: Ask, ceremony: &str, name: Option<&str>) -> Result<String, Refused> {
    #[cfg(feature = "hydrate")]
    {
        real::ask(what, ceremony, name).await
    }
    #[cfg(not(feature = "hydrate"))]
    {
        let _ = (what, ceremony, name);
        Err(CANCELLED)
    }
}

#[cfg(feature = "hydrate")]
mod real {
    use std::cell::RefCell;

    use js_sys::{Function, JSON, Object, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;

    use super::{Ask, CANCELLED, Refused};

    thread_local! {
        /// Ends what the browser was asked for last: it answers one at a time.
        static OPEN: RefCell<Option<web_sys::AbortController>> = const { RefCell::new(None) };
    }

    const NONE: Refused = "This browser knows no passkeys, or only a newer version of it does.";

    fn api() -> Result<JsValue, JsValue> {
        Reflect::get(&leptos::prelude::window(), &"PublicKeyCredential".into())
    }

    fn call(of: &JsValue, name: &str, argument: &JsValue) -> Result<JsValue, JsValue> {
        let function: Function = Reflect::get(of, &name.into())?.dyn_into()?;
        function.call1(of, argument)
    }

    pub(super) async fn can_autofill() -> Result<bool, JsValue> {
        let answer = call(&api()?, "isConditionalMediationAvailable", &JsValue::UNDEFINED)?;
        Ok(JsFuture::from(answer.dyn_into::<Promise>()?).await?.is_truthy())
    }

    pub(super) async fn ask(what: Ask, ceremony: &str, name: Option<&str>) -> Result<String, Refused> {
        let (parse, method) = match what {
            Ask::Create => ("parseCreationOptionsFromJSON", "create"),
            Ask::Get | Ask::Autofill => ("parseRequestOptionsFromJSON", "get"),
        };
        let begun = || -> Result<(JsValue, Promise), JsValue> {
            let ceremony = JSON::parse(ceremony)?;
            let options = Reflect::get(&Reflect::get(&ceremony, &"options".into())?, &"publicKey".into())?;
            let options = call(&api()?, parse, &options)?;
            let wish = Object::new();
            Reflect::set(&wish, &"publicKey".into(), &options)?;
            if what == Ask::Autofill {
                Reflect::set(&wish, &"mediation".into(), &"conditional".into())?;
            }
            let controller = web_sys::AbortController::new()?;
            Reflect::set(&wish, &"signal".into(), &controller.signal())?;
            if let Some(before) = OPEN.with_borrow_mut(|open| open.replace(controller)) {
                before.abort();
            }
            let credentials = Reflect::get(&leptos::prelude::window().navigator(), &"credentials".into())?;
            let key = Reflect::get(&ceremony, &"ceremony".into())?;
            Ok((key, call(&credentials, method, &wish)?.dyn_into()?))
        };
        let (key, promise) = begun().map_err(|_| NONE)?;
        let credential = JsFuture::from(promise).await.map_err(|error| {
            let name = Reflect::get(&error, &"name".into()).ok().and_then(|name| name.as_string());
            match name.as_deref() {
                Some("InvalidStateError") => "This passkey is in use for your account already.",
                _ => CANCELLED,
            }
        })?;
        let answered = || -> Result<String, JsValue> {
            let answer = Object::new();
            Reflect::set(&answer, &"ceremony".into(), &key)?;
            Reflect::set(&answer, &"credential".into(), &call(&credential, "toJSON", &JsValue::UNDEFINED)?)?;
            if let Some(name) = name {
                Reflect::set(&answer, &"name".into(), &name.into())?;
            }
            Ok(JSON::stringify(&answer)?.into())
        };
        answered().map_err(|_| NONE)
    }
}
