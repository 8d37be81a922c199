//! How requests travel: one type for the server and the browser.
//!
//! A Leptos resource must be `Send` on the server, and everything in a browser
//! is not. So the transport is erased behind [`Carry`], whose futures are
//! `Send`; the browser's implementation wraps its own (it has one thread, so
//! the promise is kept).

use std::{future::Future, pin::Pin, sync::Arc};

use devenv_cloud_api::client::{Client, Error, Request, Response, Transport};

/// A future of an answer.
pub type Carried = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// Brings a request to the API and its answer back.
pub trait Carry: Send + Sync {
    /// Sends one request.
    fn carry(&self, request: Request) -> Carried;
}

/// Any [`Carry`], as the client's transport.
#[derive(Clone)]
pub struct Carrier(Arc<dyn Carry>);

impl Carrier {
    /// Wraps a transport.
    pub fn new(carry: impl Carry + 'static) -> Self {
        Self(Arc::new(carry))
    }
}

impl Transport for Carrier {
    async fn send(&self, request: Request) -> Result<Response, Error> {
        self.0.carry(request).await
    }
}

/// The API as pages see it.
pub type Api = Client<Carrier>;

/// The browser's own `fetch`, with the session cookie.
#[cfg(feature = "hydrate")]
pub struct Fetch;

#[cfg(feature = "hydrate")]
impl Carry for Fetch {
    fn carry(&self, request: Request) -> Carried {
        Box::pin(send_wrapper::SendWrapper::new(fetch_confirmed(request)))
    }
}

/// What takes a recent proof of who one is, is sent again once the reader gave it.
#[cfg(feature = "hydrate")]
async fn fetch_confirmed(request: Request) -> Result<Response, Error> {
    let response = fetch(request.clone()).await?;
    let step_up = response.status == 403
        && std::str::from_utf8(&response.body).is_ok_and(|body| body.contains(r#""type":"step-up""#));
    if step_up && crate::components::confirm::confirmed().await { fetch(request).await } else { Ok(response) }
}

#[cfg(feature = "hydrate")]
async fn fetch(request: Request) -> Result<Response, Error> {
    use wasm_bindgen::{JsCast, JsValue};
    use wasm_bindgen_futures::JsFuture;

    let broken = |value: JsValue| {
        let text = value
            .dyn_ref::<js_sys::Error>()
            .map_or_else(|| "the request was not answered".to_owned(), |e| String::from(e.message()));
        Error::Transport(text)
    };
    let init = web_sys::RequestInit::new();
    init.set_method(request.method.as_str());
    init.set_credentials(web_sys::RequestCredentials::SameOrigin);
    let headers = web_sys::Headers::new().map_err(broken)?;
    headers.set("accept", "application/json").map_err(broken)?;
    if let Some(body) = &request.body {
        headers.set("content-type", "application/json").map_err(broken)?;
        init.set_body(&js_sys::Uint8Array::from(body.as_slice()));
    }
    if let Some(key) = &request.idempotency_key {
        headers.set("idempotency-key", key).map_err(broken)?;
    }
    init.set_headers(&headers);
    let window = web_sys::window().ok_or_else(|| Error::Transport("there is no window".to_owned()))?;
    let answer =
        JsFuture::from(window.fetch_with_str_and_init(&request.path, &init)).await.map_err(broken)?;
    let answer: web_sys::Response = answer.unchecked_into();
    let bytes = JsFuture::from(answer.array_buffer().map_err(broken)?).await.map_err(broken)?;
    Ok(Response { status: answer.status(), body: js_sys::Uint8Array::new(&bytes).to_vec() })
}
