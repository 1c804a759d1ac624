//! The streams, buckets and consumers of an application: their names, and how they are made.

use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::object_store::{self, ObjectStore};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, kv};

use super::requests::Requests;
use crate::pool::Pause;
use crate::{Error, Settings};

pub(crate) fn tasks_stream(app: &str) -> String {
    format!("brigade-{app}-tasks")
}

/// Those of a build, or of all for `*`.
pub(crate) fn tasks_subject(app: &str, build: &str) -> String {
    format!("brigade.{app}.tasks.{build}")
}

pub(crate) fn dead_stream(app: &str) -> String {
    format!("brigade-{app}-dead")
}

/// The bucket of results, that of attempts, and that of workers.
pub(crate) fn bucket(app: &str, what: &str) -> String {
    format!("brigade-{app}-{what}")
}

/// The stream that keeps a bucket.
pub(crate) fn bucket_stream(app: &str, what: &str) -> String {
    format!("KV_brigade-{app}-{what}")
}

/// The stream that keeps large values.
pub(crate) fn objects_stream(app: &str) -> String {
    format!("OBJ_brigade-{app}-objects")
}

/// Before the keys of a bucket.
pub(crate) fn bucket_prefix(app: &str, what: &str) -> String {
    format!("$KV.brigade-{app}-{what}.")
}

pub(crate) fn dead_subject(app: &str) -> String {
    format!("brigade.{app}.dead")
}

/// Programs that start at the same time make the same things, and a server may refuse one of them
/// what it makes for another: it looks again.
pub(super) async fn again<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = Pause::new();
    for _ in 0..5 {
        match attempt().await {
            Err(Error::Request { .. }) => pause.wait().await,
            done => return done,
        }
    }
    attempt().await
}

/// What an application has beside its queue and its dead letters.
pub(super) struct Made {
    pub(super) results: kv::Store,
    pub(super) attempts: kv::Store,
    pub(super) workers: kv::Store,
    pub(super) objects: ObjectStore,
}

/// Makes all that an application has, where it is not there.
pub(super) async fn make(
    context: &jetstream::Context,
    app: &str,
    settings: &Settings,
) -> Result<Made, Error> {
    let requests = settings.requests();
    make_streams(context, app, settings, requests).await?;
    let open = async |what: &str, max_age| {
        let config = kv::Config {
            bucket: bucket(app, what),
            history: 1,
            max_age,
            num_replicas: settings.replicas,
            storage: StorageType::File,
            ..kv::Config::default()
        };
        open_bucket(context, config, requests).await
    };
    Ok(Made {
        // A worker says three times as often that it lives.
        workers: open("workers", settings.ack_wait).await?,
        results: open("results", settings.result_lifetime).await?,
        // As long as its task may wait, and it may run.
        attempts: open("attempts", settings.task_lifetime * 2).await?,
        objects: open_objects(context, app, settings, requests).await?,
    })
}

async fn make_streams(
    context: &jetstream::Context,
    app: &str,
    settings: &Settings,
    requests: Requests,
) -> Result<(), Error> {
    let tasks = stream::Config {
        name: tasks_stream(app),
        subjects: vec![tasks_subject(app, "*")],
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
        name: dead_stream(app),
        subjects: vec![dead_subject(app)],
        max_age: settings.task_lifetime,
        max_messages: 100_000,
        duplicate_window: Duration::from_secs(120).min(settings.task_lifetime),
        num_replicas: settings.replicas,
        storage: StorageType::File,
        ..stream::Config::default()
    };
    for config in [tasks, dead] {
        let make = || {
            let making = context.get_or_create_stream(config.clone());
            requests.run("make the streams", making)
        };
        again(make).await?;
    }
    Ok(())
}

async fn open_bucket(
    context: &jetstream::Context,
    config: kv::Config,
    requests: Requests,
) -> Result<kv::Store, Error> {
    let name = config.bucket.clone();
    let open = async || {
        if let Ok(store) = context.get_key_value(&name).await {
            return Ok(store);
        }
        match context.create_key_value(config.clone()).await {
            Ok(store) => Ok(store),
            // Another program has just made it, with other settings.
            Err(e) => context.get_key_value(&name).await.map_err(|_| e),
        }
    };
    again(|| requests.run("open a bucket", open())).await
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
    let open = async || {
        if let Ok(store) = context.get_object_store(&name).await {
            return Ok(store);
        }
        match context.create_object_store(config.clone()).await {
            Ok(store) => Ok(store),
            Err(e) => context.get_object_store(&name).await.map_err(|_| e),
        }
    };
    again(|| requests.run("open the store of large values", open())).await
}

/// The consumer that all workers of a build share.
pub(super) fn consumer(app: &str, build: &str, settings: &Settings) -> pull::Config {
    pull::Config {
        durable_name: Some(build.to_owned()),
        filter_subject: tasks_subject(app, build),
        ack_policy: AckPolicy::Explicit,
        ack_wait: settings.ack_wait,
        // Attempts are counted in a bucket.
        max_deliver: -1,
        max_ack_pending: -1,
        // One of a build of which no worker has been seen for so long. Its tasks stay.
        inactive_threshold: settings.task_lifetime,
        // On as many servers as its stream.
        num_replicas: 0,
        ..pull::Config::default()
    }
}
