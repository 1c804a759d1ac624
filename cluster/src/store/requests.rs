//! Requests to the servers: each has a deadline.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::{self, ErrorCode};

use crate::Error;

/// How long objects may take: what a request may, and a second for each MiB.
const PER_MEBIBYTE: Duration = Duration::from_secs(1);

/// Requests to the servers, which have this long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests(pub(crate) Duration);

impl Requests {
    pub(super) fn for_bytes(self, bytes: usize) -> Requests {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        Requests(
            self.0
                .saturating_add(PER_MEBIBYTE.saturating_mul(mebibytes)),
        )
    }

    pub(crate) async fn run<T, E: Display>(
        self,
        what: &'static str,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.0, request).await {
            Ok(answered) => answered.map_err(|e| failed(what, &e)),
            Err(_) => Err(Error::TimedOut {
                what,
                after: self.0,
            }),
        }
    }
}

pub(crate) fn failed(what: &'static str, why: &impl Display) -> Error {
    Error::Request {
        what,
        why: why.to_string(),
    }
}

/// Whether the stream has as many messages as it may have.
pub(super) fn is_full(error: &PublishError) -> bool {
    let source = std::error::Error::source(error);
    let told = source.and_then(|e| e.downcast_ref::<jetstream::Error>());
    told.is_some_and(|e| {
        // The code is that of any failure to store; the words tell.
        e.error_code() == ErrorCode::STREAM_STORE_FAILED && e.to_string().contains("maximum")
    })
}
