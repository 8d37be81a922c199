//! A packfile on its way from the server. It is never in memory as a whole, and
//! when the connection breaks it is asked for again: what has been passed on
//! already is passed over then, and compared by its hash. (The server packs
//! with one thread, so that the same commit makes the same bytes.)

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    control_error,
    link::{Backoff, Call, Link},
    path,
};
use crate::{
    clock::Random,
    executor::{ControlError, Lease, PackStream},
};

/// How long nothing may come before the job is given up.
const PATIENCE: Duration = Duration::from_secs(60);

type Body = BoxStream<'static, Result<Bytes, reqwest::Error>>;

struct Pack {
    link: Arc<Link>,
    lease: Lease,
    random: Random,
    /// None while the connection is broken.
    body: Option<Body>,
    /// How much has been passed on, and its hash.
    passed: u64,
    hash: Sha256,
    /// When something last came.
    heard: Instant,
}

pub(super) async fn open(link: Arc<Link>, lease: Lease, random: Random) -> Result<PackStream, ControlError> {
    let body = Some(request(&link, &lease).await?);
    let heard = Instant::now();
    let pack = Pack { link, lease, random, body, passed: 0, hash: Sha256::new(), heard };
    Ok(Box::pin(futures::stream::try_unfold(pack, |mut pack| async move {
        Ok(pack.next().await?.map(|bytes| (bytes, pack)))
    })))
}

async fn request(link: &Link, lease: &Lease) -> Result<Body, ControlError> {
    let call = Call::get(path(lease, "source")).lease(lease);
    let response = link.open(call).await.map_err(|error| control_error(lease, error))?;
    Ok(response.bytes_stream().boxed())
}

impl Pack {
    async fn next(&mut self) -> Result<Option<Bytes>, ControlError> {
        let mut backoff = Backoff::new(self.random.clone());
        loop {
            let why = match self.read().await {
                Ok(Some(bytes)) => {
                    self.heard = Instant::now();
                    self.passed += bytes.len() as u64;
                    self.hash.update(&bytes);
                    return Ok(Some(bytes));
                }
                Ok(None) => return Ok(None),
                Err(ControlError::Unavailable(why)) => why,
                Err(error) => return Err(error),
            };
            self.body = None;
            if self.heard.elapsed() >= PATIENCE {
                return Err(ControlError::Unavailable(why));
            }
            tracing::warn!(attempt = %self.lease.attempt, passed = self.passed, "the source broke off; reading on: {why:#}");
            backoff.pause().await;
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, ControlError> {
        let broken = |error: reqwest::Error| ControlError::Unavailable(error.into());
        if self.body.is_none() {
            let mut body = request(&self.link, &self.lease).await?;
            let rest = pass_over(&mut body, self.passed, self.hash.clone()).await?;
            self.body = Some(body);
            if !rest.is_empty() {
                return Ok(Some(rest));
            }
        }
        match &mut self.body {
            Some(body) => body.next().await.transpose().map_err(broken),
            None => Ok(None),
        }
    }
}

/// Passes over what has been passed on already. What came beyond it is returned.
async fn pass_over(body: &mut Body, passed: u64, expected: Sha256) -> Result<Bytes, ControlError> {
    let mut left = passed;
    let mut hash = Sha256::new();
    let mut rest = Bytes::new();
    while left > 0 {
        let bytes = body.next().await.transpose();
        let bytes = bytes.map_err(|error| ControlError::Unavailable(error.into()))?;
        let Some(mut bytes) = bytes else {
            return Err(ControlError::Unavailable(anyhow!("the source became shorter")));
        };
        let known = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        hash.update(bytes.split_to(known));
        left -= known as u64;
        rest = bytes;
    }
    if hash.finalize() == expected.finalize() {
        Ok(rest)
    } else {
        Err(ControlError::Source(
            "the connection broke while the source was fetched, and the server packed it differently the second time; \
             try again"
                .to_owned(),
        ))
    }
}
