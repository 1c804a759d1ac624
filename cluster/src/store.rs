//! The streams, buckets and the consumer of one application, and requests to them. Every request
//! has a deadline.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::kv::{self, CreateErrorKind, UpdateErrorKind};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectOptions, HeaderMap};
use brigade::exported;
use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::settings::check_name;
use crate::wire::Attempts;
use crate::{Error, OLDEST_SERVER, Settings};

/// How long objects may take: what a request may, and a second for each MiB.
const PER_MEBIBYTE: Duration = Duration::from_secs(1);

pub(crate) struct Store {
    client: Client,
    context: jetstream::Context,
    pub(crate) settings: Settings,
    app: String,
    results: kv::Store,
    attempts: kv::Store,
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
        check_name(app)?;
        let timeout = settings.request_timeout;
        let failed = |why: String| Error::Connect {
            url: without_password(url),
            why,
        };
        let connecting = ConnectOptions::new()
            .name(format!("brigade-cluster {app}"))
            .connection_timeout(timeout)
            .request_timeout(Some(timeout))
            .connect(url);
        let client = match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected.map_err(|e| failed(e.to_string()))?,
            Err(_) => return Err(failed(format!("no answer in {timeout:?}"))),
        };
        let version = client.server_info().version;
        if !is_new_enough(&version) {
            return Err(Error::OldServer { found: version });
        }
        let mut context = jetstream::new(client.clone());
        context.set_timeout(timeout);
        let requests = Requests(timeout);
        make_streams(&context, app, &settings, requests).await?;
        let bucket = |what: &str, history, max_age| kv::Config {
            bucket: format!("brigade-{app}-{what}"),
            history,
            max_age,
            num_replicas: settings.replicas,
            storage: StorageType::File,
            ..kv::Config::default()
        };
        let results = bucket("results", 1, settings.result_lifetime);
        // As long as its task may wait, and it may run.
        let attempts = bucket("attempts", 1, settings.task_lifetime * 2);
        Ok(Store {
            results: open_bucket(&context, results, requests).await?,
            attempts: open_bucket(&context, attempts, requests).await?,
            objects: open_objects(&context, app, &settings, requests).await?,
            client,
            context,
            settings,
            app: app.to_owned(),
        })
    }

    fn requests(&self) -> Requests {
        Requests(self.settings.request_timeout)
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

    /// Puts a task into the queue.
    pub(crate) async fn publish_task(
        &self,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), NotAccepted> {
        let subject = tasks_subject(&self.app);
        let sending = async {
            let sent = self.context.publish_with_headers(subject, headers, body);
            sent.await?.await
        };
        let timeout = self.settings.request_timeout;
        match tokio::time::timeout(timeout, sending).await {
            Ok(Ok(_)) => Ok(()),
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
        let subject = dead_subject(&self.app);
        let sending = async {
            let sent = self.context.publish_with_headers(subject, headers, letter);
            sent.await?.await
        };
        self.requests().run("keep a dead letter", sending).await?;
        Ok(())
    }

    /// The consumer that all workers share.
    pub(crate) async fn consumer(&self) -> Result<PullConsumer, Error> {
        let opening = self.context.get_stream(tasks_stream(&self.app));
        let stream = self.requests().run("open the queue", opening).await?;
        let config = pull::Config {
            durable_name: Some("workers".to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.settings.ack_wait,
            // Attempts are counted in a bucket.
            max_deliver: -1,
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let opening = stream.get_or_create_consumer("workers", config);
        self.requests()
            .run("open the queue's consumer", opening)
            .await
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

/// Requests that have this long.
#[derive(Clone, Copy, Debug)]
struct Requests(Duration);

impl Requests {
    fn for_bytes(self, bytes: usize) -> Requests {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        Requests(
            self.0
                .saturating_add(PER_MEBIBYTE.saturating_mul(mebibytes)),
        )
    }

    async fn run<T, E: Display>(
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

fn failed(what: &'static str, why: &impl Display) -> Error {
    Error::Request {
        what,
        why: why.to_string(),
    }
}

fn tasks_stream(app: &str) -> String {
    format!("brigade-{app}-tasks")
}

fn tasks_subject(app: &str) -> String {
    format!("brigade.{app}.tasks")
}

fn dead_subject(app: &str) -> String {
    format!("brigade.{app}.dead")
}

async fn make_streams(
    context: &jetstream::Context,
    app: &str,
    settings: &Settings,
    requests: Requests,
) -> Result<(), Error> {
    let tasks = stream::Config {
        name: tasks_stream(app),
        subjects: vec![tasks_subject(app)],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: settings.max_tasks,
        max_age: settings.task_lifetime,
        duplicate_window: Duration::from_secs(120).min(settings.task_lifetime),
        num_replicas: settings.replicas,
        storage: StorageType::File,
        ..stream::Config::default()
    };
    let dead = stream::Config {
        name: format!("brigade-{app}-dead"),
        subjects: vec![dead_subject(app)],
        max_age: settings.task_lifetime,
        max_messages: 100_000,
        duplicate_window: Duration::from_secs(120).min(settings.task_lifetime),
        num_replicas: settings.replicas,
        storage: StorageType::File,
        ..stream::Config::default()
    };
    for config in [tasks, dead] {
        let making = context.get_or_create_stream(config);
        requests.run("make the streams", making).await?;
    }
    Ok(())
}

async fn open_bucket(
    context: &jetstream::Context,
    config: kv::Config,
    requests: Requests,
) -> Result<kv::Store, Error> {
    let name = config.bucket.clone();
    let opening = async {
        if let Ok(store) = context.get_key_value(&name).await {
            return Ok(store);
        }
        match context.create_key_value(config).await {
            Ok(store) => Ok(store),
            // Another program has just made it, with other settings.
            Err(e) => context.get_key_value(&name).await.map_err(|_| e),
        }
    };
    requests.run("open a bucket", opening).await
}

async fn open_objects(
    context: &jetstream::Context,
    app: &str,
    settings: &Settings,
    requests: Requests,
) -> Result<ObjectStore, Error> {
    let name = format!("brigade-{app}-objects");
    let config = object_store::Config {
        bucket: name.clone(),
        max_age: settings.task_lifetime + settings.result_lifetime,
        num_replicas: settings.replicas,
        storage: StorageType::File,
        ..object_store::Config::default()
    };
    let opening = async {
        if let Ok(store) = context.get_object_store(&name).await {
            return Ok(store);
        }
        match context.create_object_store(config).await {
            Ok(store) => Ok(store),
            Err(e) => context.get_object_store(&name).await.map_err(|_| e),
        }
    };
    requests
        .run("open the store of large values", opening)
        .await
}

/// Whether the stream has as many messages as it may have.
fn is_full(error: &PublishError) -> bool {
    let source = std::error::Error::source(error);
    let told = source.and_then(|e| e.downcast_ref::<jetstream::Error>());
    told.is_some_and(|e| {
        // The code is that of any failure to store; the words tell.
        e.error_code() == ErrorCode::STREAM_STORE_FAILED && e.to_string().contains("maximum")
    })
}

fn is_new_enough(version: &str) -> bool {
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    // A server whose version is no number is one that its user has built: it is accepted.
    match (numbers(version), numbers(OLDEST_SERVER)) {
        (Some(found), Some(oldest)) => found >= oldest,
        _ => true,
    }
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for new in ["2.12.0", "2.15.1", "3.0.0", "2.12.1-RC.1", "dev"] {
            assert!(is_new_enough(new), "{new}");
        }
        for old in ["2.9.10", "2.11.99", "1.20.0"] {
            assert!(!is_new_enough(old), "{old}");
        }
    }

    #[test]
    fn no_password_is_told() {
        assert_eq!(without_password("nats://u:p@host:1"), "nats://…@host:1");
        assert_eq!(without_password("u:p@host"), "…@host");
        assert_eq!(without_password("nats://host:1"), "nats://host:1");
    }
}
