//! The streams, buckets and consumers of one application, and requests to them. Every request has a
//! deadline.

pub(crate) mod layout;
pub(crate) mod requests;

use std::ops::RangeInclusive;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::kv::{self, CreateErrorKind, UpdateErrorKind};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::{Client, HeaderMap, jetstream};
use brigade::exported;
use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;

use self::requests::{Requests, failed, is_full};
use crate::connect::connect;
use crate::wire::Attempts;
use crate::{Error, Settings};

pub(crate) struct Store {
    client: Client,
    context: jetstream::Context,
    pub(crate) settings: Settings,
    app: String,
    results: kv::Store,
    attempts: kv::Store,
    workers: kv::Store,
    objects: ObjectStore,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}

/// How a value was written that must not be there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Now,
    WasThere,
}

/// Why a task was not accepted.
#[derive(Debug)]
pub(crate) enum NotAccepted {
    /// The stream has as many as it may.
    Full,
    Failed(Error),
}

impl Store {
    pub(crate) async fn open(url: &str, app: &str, settings: Settings) -> Result<Store, Error> {
        let client = connect(url, app, &settings).await?;
        let timeout = settings.request_timeout;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(timeout);
        let made = layout::make(&context, app, &settings).await?;
        Ok(Store {
            workers: made.workers,
            results: made.results,
            attempts: made.attempts,
            objects: made.objects,
            client,
            context,
            settings,
            app: app.to_owned(),
        })
    }

    /// A request has failed. Perhaps what it was for is gone: an administrator has deleted it, or a
    /// server was started anew without its data. What is missing is made again, as at the start;
    /// what this opened is found by its names, and needs not be opened again.
    pub(crate) async fn make_what_is_gone(&self, failed: &Error) {
        // One that had no answer says nothing about that.
        if matches!(failed, Error::Request { .. }) {
            let making = layout::make(&self.context, &self.app, &self.settings);
            if let Err(e) = making.await {
                tracing::debug!("{e}");
            }
        }
    }

    fn requests(&self) -> Requests {
        self.settings.requests()
    }

    /// A name that nothing else has.
    pub(crate) fn unique(&self) -> String {
        self.client
            .new_inbox()
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .to_owned()
    }

    /// What the servers' clock says.
    pub(crate) async fn now(&self) -> Result<OffsetDateTime, Error> {
        const WHAT: &str = "ask for the servers' time";
        #[derive(Deserialize)]
        struct Info {
            #[serde(with = "time::serde::rfc3339")]
            ts: OffsetDateTime,
        }
        let subject = format!("STREAM.INFO.{}", layout::tasks_stream(&self.app));
        let asking = self.context.request(subject, &());
        match self.requests().run(WHAT, asking).await? {
            Response::Ok(Info { ts }) => Ok(ts),
            Response::Err { error } => Err(failed(WHAT, &error)),
        }
    }

    /// Between which numbers the messages are that the queue has: it is empty where it has none.
    pub(crate) async fn queue_range(&self) -> Result<RangeInclusive<u64>, Error> {
        let opening = self.context.get_stream(layout::tasks_stream(&self.app));
        let queue = self.requests().run("look at the queue", opening).await?;
        let state = &queue.cached_info().state;
        Ok(state.first_sequence..=state.last_sequence)
    }

    /// When the bucket of results was made: another one has other revisions.
    pub(crate) async fn results_made(&self) -> Result<OffsetDateTime, Error> {
        let asking = self.results.stream.get_info();
        let info = self.requests().run("look at the results", asking).await?;
        Ok(info.created)
    }

    /// Puts a task into the queue, and gives the number of its message.
    pub(crate) async fn publish_task(
        &self,
        build: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<u64, NotAccepted> {
        let subject = layout::tasks_subject(&self.app, build);
        let sending = async {
            let sent = self.context.publish_with_headers(subject, headers, body);
            sent.await?.await
        };
        let timeout = self.settings.request_timeout;
        match tokio::time::timeout(timeout, sending).await {
            Ok(Ok(taken)) => Ok(taken.sequence),
            Ok(Err(e)) if is_full(&e) => Err(NotAccepted::Full),
            Ok(Err(e)) => Err(NotAccepted::Failed(failed("queue a task", &e))),
            Err(_) => Err(NotAccepted::Failed(Error::TimedOut {
                what: "queue a task",
                after: timeout,
            })),
        }
    }

    /// Keeps a task that killed its workers, with what is told of it.
    pub(crate) async fn publish_dead(&self, id: &str, letter: Bytes) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let subject = layout::dead_subject(&self.app);
        let sending = async {
            let sent = self.context.publish_with_headers(subject, headers, letter);
            sent.await?.await
        };
        self.requests().run("keep a dead letter", sending).await?;
        Ok(())
    }

    /// The headers of a message of the queue; `None`: it is not there any more.
    pub(crate) async fn headers_of(
        &self,
        queue: &Stream,
        sequence: u64,
    ) -> Result<Option<HeaderMap>, Error> {
        let reading = async {
            match queue.get_raw_message(sequence).await {
                Ok(message) => Ok(Some(message.headers)),
                Err(e) if e.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(e) => Err(e),
            }
        };
        self.requests().run("read the queue", reading).await
    }

    /// The consumer that all workers of a build share.
    pub(crate) async fn consumer(&self, build: &str) -> Result<PullConsumer, Error> {
        let opening = self.context.get_stream(layout::tasks_stream(&self.app));
        let stream = self.requests().run("open the queue", opening).await?;
        let config = layout::consumer(&self.app, build, &self.settings);
        layout::again(|| {
            let opening = stream.get_or_create_consumer(build, config.clone());
            self.requests().run("open the queue's consumer", opening)
        })
        .await
    }

    /// For how long a worker is seen that has said that it lives.
    pub(crate) fn worker_lifetime(&self) -> Duration {
        // What the application has, whoever made it.
        match self.workers.stream.cached_info().config.max_age {
            Duration::ZERO => self.settings.ack_wait,
            lifetime => lifetime,
        }
    }

    /// Says that a worker lives.
    pub(crate) async fn say_alive(&self, worker: &str, told: Bytes) -> Result<(), Error> {
        let saying = self.workers.put(worker, told);
        self.requests().run("say that it lives", saying).await?;
        Ok(())
    }

    /// Says that a worker ends.
    pub(crate) async fn say_ended(&self, worker: &str) -> Result<(), Error> {
        let saying = self.workers.purge(worker);
        self.requests().run("say that it ends", saying).await
    }

    /// What the workers that live say of themselves.
    pub(crate) async fn workers(&self) -> Result<Vec<crate::status::Worker>, Error> {
        crate::status::workers(&self.context, &self.app, self.requests()).await
    }

    pub(crate) async fn create_result(&self, id: &str, value: Bytes) -> Result<Created, Error> {
        let writing = async {
            match self.results.create(id, value).await {
                Ok(_) => Ok(Created::Now),
                Err(e) if e.kind() == CreateErrorKind::AlreadyExists => Ok(Created::WasThere),
                Err(e) => Err(e),
            }
        };
        self.requests().run("write a result", writing).await
    }

    pub(crate) async fn result(&self, id: &str) -> Result<Option<Bytes>, Error> {
        let reading = self.results.get(id);
        self.requests().run("read a result", reading).await
    }

    /// The results of a job from this revision of the bucket on.
    pub(crate) async fn watch_results(&self, job: &str, from: u64) -> Result<kv::Watch, Error> {
        let keys = format!("{job}.*");
        let watching = self.results.watch_from_revision(keys, from.max(1));
        self.requests().run("watch results", watching).await
    }

    /// How often a task was begun.
    pub(crate) async fn begun(&self, key: &str) -> Result<u32, Error> {
        let reading = self.attempts.get(key);
        let value = self.requests().run("read attempts", reading).await?;
        let attempts = value.and_then(|value| exported::decode::<Attempts>(&value).ok());
        Ok(attempts.unwrap_or_default().begun)
    }

    /// Changes what is known of the attempts of a task, and gives it.
    pub(crate) async fn change_attempts(
        &self,
        key: &str,
        change: impl Fn(&mut Attempts),
    ) -> Result<Attempts, Error> {
        loop {
            let reading = self.attempts.entry(key);
            let entry = self.requests().run("read attempts", reading).await?;
            let (mut attempts, revision) = match &entry {
                Some(entry) => (
                    // Another program wrote a value that is not of this format: the count begins
                    // anew.
                    exported::decode(&entry.value).unwrap_or_default(),
                    entry.revision,
                ),
                None => (Attempts::default(), 0),
            };
            change(&mut attempts);
            let value = exported::encode(&attempts).unwrap_or_default();
            let writing = async {
                match self.attempts.update(key, value.into(), revision).await {
                    Ok(_) => Ok(true),
                    Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
                    Err(e) => Err(e),
                }
            };
            // `false`: another worker has the same message; it has written meanwhile.
            if self.requests().run("count attempts", writing).await? {
                return Ok(attempts);
            }
        }
    }

    /// Forgets the attempts of a task that has ended.
    pub(crate) async fn forget_attempts(&self, key: &str) -> Result<(), Error> {
        let forgetting = self.attempts.purge(key);
        self.requests().run("forget attempts", forgetting).await
    }

    pub(crate) async fn put_object(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let requests = self.requests().for_bytes(bytes.len());
        let mut bytes = bytes;
        let writing = self.objects.put(name, &mut bytes);
        requests.run("write a large value", writing).await?;
        Ok(())
    }

    /// `None`: there is none.
    pub(crate) async fn object(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let opening = async {
            match self.objects.get(name).await {
                Ok(object) => Ok(Some(object)),
                Err(e) if e.kind() == object_store::GetErrorKind::NotFound => Ok(None),
                Err(e) => Err(e),
            }
        };
        let what = "read a large value";
        let Some(mut object) = self.requests().run(what, opening).await? else {
            return Ok(None);
        };
        if object.info().deleted {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let requests = self.requests().for_bytes(object.info().size);
        // It compares the hash at the end.
        requests.run(what, object.read_to_end(&mut bytes)).await?;
        Ok(Some(bytes))
    }

    pub(crate) async fn delete_object(&self, name: &str) -> Result<(), Error> {
        let deleting = async {
            match self.objects.delete(name).await {
                Err(e) if e.kind() != object_store::DeleteErrorKind::NotFound => Err(e),
                _ => Ok(()),
            }
        };
        self.requests().run("delete a large value", deleting).await
    }
}
