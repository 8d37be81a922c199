//! What a page asks the API for, and how it travels from the server's rendering
//! to the browser.
//!
//! A Leptos resource is a large piece of code, and a browser would download one
//! for each type of answer. So there is one resource for all: it holds a
//! [`Parcel`], which knows its type only when it is opened.

use std::{
    any::Any, convert::Infallible, fmt, future::Future, marker::PhantomData, pin::Pin, str::FromStr,
    sync::Arc,
};

use devenv_cloud_api::json;
use leptos::{prelude::*, server::codee::string::FromToStringCodec};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Answer, Failure};

/// What can be asked for.
pub trait Content: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Content for T {}

/// An answer on its way. As text: `+` and the content, or `-` and the failure, in JSON.
#[derive(Clone)]
pub struct Parcel(Answer<Packed>);

#[derive(Clone)]
enum Packed {
    /// Asked for here. The server needs it as text as well.
    Value {
        value: Arc<dyn Any + Send + Sync>,
        #[cfg(not(feature = "hydrate"))]
        text: Arc<str>,
    },
    /// Came with the page.
    Text(Arc<str>),
}

impl Parcel {
    fn pack<T: Content>(answer: Answer<T>) -> Self {
        Self(answer.map(|content| Packed::Value {
            // What cannot be written, cannot be read: the browser says so.
            #[cfg(not(feature = "hydrate"))]
            text: serde_json::to_string(&content).unwrap_or_default().into(),
            value: Arc::new(content),
        }))
    }

    /// The answer that was packed.
    ///
    /// # Errors
    /// The failure that was packed, or that this is not what was packed.
    fn open<T: Content>(self) -> Answer<T> {
        let content = match self.0? {
            Packed::Value { value, .. } => value.downcast_ref().cloned(),
            Packed::Text(text) => json::read(&text).ok(),
        };
        content.ok_or_else(unreadable)
    }
}

fn unreadable() -> Failure {
    Failure::local("The page does not fit its script")
}

#[cfg(not(feature = "hydrate"))]
impl fmt::Display for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(Packed::Value { text, .. } | Packed::Text(text)) => write!(f, "+{text}"),
            Err(failure) => write!(f, "-{}", serde_json::to_string(failure).map_err(|_| fmt::Error)?),
        }
    }
}

/// A browser hands nothing on.
#[cfg(feature = "hydrate")]
impl fmt::Display for Parcel {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl FromStr for Parcel {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(match text.strip_prefix('+') {
            Some(content) => Ok(Packed::Text(content.into())),
            None => Err(json::read(text.trim_start_matches('-')).unwrap_or_else(|_| unreadable())),
        }))
    }
}

type Packing = Pin<Box<dyn Future<Output = Parcel> + Send>>;

/// Something that was asked for, and is here or on its way.
pub struct Asked<T> {
    pub(crate) parcel: Resource<Parcel, FromToStringCodec>,
    content: PhantomData<fn() -> T>,
}

impl<T> Clone for Asked<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Asked<T> {}

impl<T: Content> Asked<T> {
    /// Asks again. Until the new answer is here, the old one stays.
    pub fn refetch(self) {
        self.parcel.refetch();
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As the question ended.
    pub async fn answer(self) -> Answer<T> {
        self.parcel.await.open()
    }
}

/// Asks for something, and again whenever a signal changes that `question` reads
/// before it gives its future. The server asks while it renders; the browser
/// takes its answer over.
pub fn ask<T, F>(question: impl Fn() -> F + Send + Sync + 'static) -> Asked<T>
where
    T: Content,
    F: Future<Output = Answer<T>> + Send + 'static,
{
    let packing = move || -> Packing {
        let answer = question();
        Box::pin(async move { Parcel::pack(answer.await) })
    };
    Asked { parcel: resource(Arc::new(packing)), content: PhantomData }
}

/// Differs from every other one: a question that is put anew is another question.
#[derive(Clone)]
struct Anew;

impl PartialEq for Anew {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

/// The part of [`ask`] that knows no type.
fn resource(packing: Arc<dyn Fn() -> Packing + Send + Sync>) -> Resource<Parcel, FromToStringCodec> {
    let watched = Arc::clone(&packing);
    Resource::new_str(
        move || {
            // For the signals that it reads: what is not awaited does nothing.
            drop(watched());
            Anew
        },
        move |Anew| untrack(|| packing()),
    )
}

/// What [`crate::components::load::Load`] shows, without its type.
pub(crate) fn opened<T: Content>(
    view: impl Fn(T) -> AnyView + Send + Sync + 'static,
) -> Box<dyn Fn(Parcel) -> Answer<AnyView> + Send + Sync> {
    Box::new(move |parcel| parcel.open().map(&view))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_arrives_as_it_was_sent() {
        let sent = Parcel::pack(Ok(vec!["a \"b\"".to_owned(), "+".to_owned()]));
        assert_eq!(sent.clone().open::<Vec<String>>(), Ok(vec!["a \"b\"".to_owned(), "+".to_owned()]));
        let Ok(arrived) = sent.to_string().parse::<Parcel>();
        assert_eq!(arrived.clone().open::<Vec<String>>(), sent.open::<Vec<String>>());
        assert_eq!(arrived.open::<u8>(), Err(unreadable()));

        let failure = Failure { detail: Some("-".to_owned()), ..Failure::not_found() };
        let sent = Parcel::pack::<u8>(Err(failure.clone()));
        let Ok(arrived) = sent.to_string().parse::<Parcel>();
        assert_eq!(arrived.open::<u8>(), Err(failure));
    }
}
