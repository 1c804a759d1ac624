//! What an application has on the servers: queues, builds, workers, dead letters.

mod text;

use std::collections::BTreeMap;

use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::{InfoWithSubjects, Stream};
use async_nats::jetstream::{self};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::connect::connect;
use crate::store::layout;
use crate::store::requests::Requests;
use crate::{Error, Settings};

/// How many dead letters are read, at most: the newest.
const LETTERS: u64 = 20;

/// How many requests are under way at a time.
const AT_A_TIME: usize = 32;

/// What an application has on the servers, at one moment; `brigade-cluster status` prints it.
///
/// It is read only: to look makes and changes nothing. [`Display`](std::fmt::Display) is text for a
/// terminal, in which names are made harmless: any program that may write to the application's
/// streams chooses them.
///
/// # Examples
/// ```no_run
/// # async fn looks() -> Result<(), brigade_cluster::Error> {
/// use brigade_cluster::{Settings, Status};
///
/// let status = Status::of("nats://localhost", "thumbs", &Settings::default()).await?;
/// for build in status.builds {
///     println!("{}: {} wait, {} run", build.name, build.pending, build.running);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The application.
    pub app: String,
    /// The version of the server that answered.
    pub server: String,
    /// How many tasks have not ended: those that wait, and those that run.
    pub queued: u64,
    /// How many there may be: [`Settings::max_tasks`].
    pub max_tasks: u64,
    /// How many of them wait for a worker.
    pub pending: u64,
    /// How many of them were given to a worker and have not ended.
    pub running: u64,
    /// How many results are kept, and ends of other kinds.
    pub results: u64,
    /// Builds that have tasks or workers, by name.
    pub builds: Vec<Build>,
    /// Worker programs that live, by name.
    pub workers: Vec<Worker>,
    /// How many dead letters are kept.
    pub dead: u64,
    /// The newest of them, the newest one first; 20 at most.
    pub dead_letters: Vec<DeadLetter>,
}

/// Programs of an application that share a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Build {
    /// Its name: that which its user gave it, or a hash of its tasks.
    pub name: String,
    /// How many tasks wait for a worker: `num_pending` of the build's consumer.
    pub pending: u64,
    /// How many tasks were given to a worker and have not ended, or have to be given to another.
    pub running: u64,
    /// How many worker programs it has. Where there is none, its tasks wait.
    pub workers: u64,
    /// How many tasks these can run at a time.
    pub slots: u64,
}

/// A worker program that lives: it has said so in [`Settings::ack_wait`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Worker {
    /// Differs from that of any other worker.
    pub name: String,
    /// The name of its machine.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Of which build it is.
    pub build: String,
    /// The version of this crate that it was built with.
    pub version: String,
    /// The version of the encoding that it reads and writes.
    pub codec: u32,
    /// How many tasks it can run at a time.
    pub slots: u64,
    /// How many it was running when it said so.
    pub running: u64,
    /// How many tasks ended there.
    pub ended: u64,
    /// How many runs were given back to the queue.
    pub given_back: u64,
    /// How many runs were for nothing.
    pub lost: u64,
    /// How many tasks were refused.
    pub refused: u64,
    /// How many of those that ended were begun too often.
    pub dead: u64,
    /// The tasks that it has: their names, and hashes of their types.
    pub tasks: BTreeMap<String, String>,
}

/// A task that was begun too often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The task's id.
    pub task: String,
    /// The name of its function.
    pub name: String,
    /// How often it was begun.
    pub attempts: u32,
    /// How it ended.
    pub error: String,
}

impl Status {
    /// Looks at an application.
    ///
    /// # Errors
    /// No server answers, or an old one; there is no such application there; it may not be looked
    /// at.
    pub async fn of(url: &str, app: &str, settings: &Settings) -> Result<Status, Error> {
        let client = connect(url, app, settings).await?;
        let server = client.server_info().version;
        let mut context = jetstream::new(client);
        context.set_timeout(settings.request_timeout);
        let requests = settings.requests();

        let opening = context.get_stream(layout::tasks_stream(app));
        let queue = requests.run("look at the queue", opening).await?;
        let state = &queue.cached_info().state;
        let (queued, max_tasks) = (state.messages, queue.cached_info().config.max_messages);
        let workers = workers(&context, app, requests).await?;
        let builds = builds(&queue, app, &workers, requests).await?;
        let results = context.get_stream(layout::bucket_stream(app, "results"));
        let results = requests.run("look at the results", results).await?;
        let opening = context.get_stream(layout::dead_stream(app));
        let dead = requests.run("look at the dead letters", opening).await?;
        Ok(Status {
            app: app.to_owned(),
            server,
            queued,
            max_tasks: u64::try_from(max_tasks).unwrap_or(u64::MAX),
            pending: builds.iter().map(|build| build.pending).sum(),
            running: builds.iter().map(|build| build.running).sum(),
            results: results.cached_info().state.messages,
            builds,
            workers,
            dead: dead.cached_info().state.messages,
            dead_letters: letters(&dead, requests).await?,
        })
    }
}

/// How many messages there are of each subject.
async fn subjects(
    stream: &Stream,
    filter: &str,
    requests: Requests,
) -> Result<Vec<(String, usize)>, Error> {
    let reading = async {
        let listed: InfoWithSubjects = stream.info_with_subjects(filter).await?;
        listed.try_collect().await
    };
    requests.run("list subjects", reading).await
}

async fn builds(
    queue: &Stream,
    app: &str,
    workers: &[Worker],
    requests: Requests,
) -> Result<Vec<Build>, Error> {
    let mut builds: BTreeMap<String, Build> = BTreeMap::new();
    let all = layout::tasks_subject(app, "*");
    for (subject, count) in subjects(queue, &all, requests).await? {
        if let Some((_, build)) = subject.rsplit_once('.') {
            // Of a build that has no consumer yet, all wait.
            builds.entry(build.to_owned()).or_default().pending = count as u64;
        }
    }
    let listing = async {
        let mut listed = queue.consumers();
        let mut all: Vec<consumer::Info> = Vec::new();
        while let Some(info) = listed.try_next().await? {
            all.push(info);
        }
        Ok::<_, jetstream::stream::ConsumersError>(all)
    };
    for info in requests.run("list the builds", listing).await? {
        let build = builds.entry(info.name).or_default();
        build.pending = info.num_pending;
        build.running = info.num_ack_pending as u64;
    }
    for worker in workers {
        let build = builds.entry(worker.build.clone()).or_default();
        build.workers += 1;
        build.slots = build.slots.saturating_add(worker.slots);
    }
    let is_there = |build: &Build| build.pending + build.running + build.workers > 0;
    let named = |(name, build)| Build { name, ..build };
    Ok(builds.into_iter().map(named).filter(is_there).collect())
}

/// The workers that live, by name. What is no worker's value is passed over.
///
/// It needs no consumer, which who only looks may not make.
pub(crate) async fn workers(
    context: &jetstream::Context,
    app: &str,
    requests: Requests,
) -> Result<Vec<Worker>, Error> {
    const WHAT: &str = "look at the workers";
    let opening = context.get_key_value(layout::bucket(app, "workers"));
    let bucket = requests.run(WHAT, opening).await?;
    let prefix = layout::bucket_prefix(app, "workers");
    let keys = subjects(&bucket.stream, &format!("{prefix}>"), requests).await?;
    let bucket = &bucket;
    let values = futures_util::stream::iter(keys).map(|(subject, _)| {
        let key = subject.strip_prefix(&prefix).unwrap_or_default().to_owned();
        async move {
            let reading = async {
                match bucket.get(&key).await {
                    Err(e) if e.kind() == jetstream::kv::EntryErrorKind::InvalidKey => Ok(None),
                    read => read,
                }
            };
            requests.run(WHAT, reading).await
        }
    });
    let values = values.buffer_unordered(AT_A_TIME);
    let mut workers: Vec<Worker> = values
        .try_filter_map(async |value| {
            Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
        })
        .try_collect()
        .await?;
    workers.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(workers)
}

async fn letters(dead: &Stream, requests: Requests) -> Result<Vec<DeadLetter>, Error> {
    let state = &dead.cached_info().state;
    let mut letters = Vec::new();
    let newest = (state.first_sequence.max(1)..=state.last_sequence).rev();
    for sequence in newest.take(LETTERS as usize) {
        let reading = async {
            match dead.get_raw_message(sequence).await {
                Err(e) if e.kind() == jetstream::stream::RawMessageErrorKind::NoMessageFound => {
                    Ok(None)
                }
                read => read.map(Some),
            }
        };
        let read = requests.run("read dead letters", reading).await?;
        // What is no letter is passed over: another program wrote it.
        letters.extend(read.and_then(|read| serde_json::from_slice(&read.payload).ok()));
    }
    Ok(letters)
}
