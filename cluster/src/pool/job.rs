//! The tasks of one pool, and the watch over their results.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brigade::exported::{self, CODEC, Exported, Failure};
use brigade::{JoinError, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::lost::end_what_is_lost;
use crate::Error;
use crate::status::Worker;
use crate::store::{NotAccepted, Store};
use crate::wire::{self, End, Head, INLINE, Options, Record};

/// A watch that is silent for so long is begun again: one that is dead says nothing either.
const QUIET: Duration = Duration::from_secs(10);

/// A worker that has begun a task says itself that its deadline has passed, and where the task was
/// then: so long it is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Between two tries of what failed: doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// Pauses between tries, each twice as long as the one before.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Pause {
        Pause(PAUSES.0)
    }

    pub(crate) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
    }
}

/// What a handle knows of its task.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) number: u64,
    pub(super) name: &'static str,
    pub(super) types: String,
    /// The number of its message.
    pub(super) sequence: u64,
    pub(super) deadline: Option<Duration>,
}

/// A task as it is sent.
pub(super) struct Encoded {
    pub(super) task: Exported,
    pub(super) types: String,
    pub(super) input: Vec<u8>,
    pub(super) options: Options,
    /// Only if a worker that lives has it.
    pub(super) has_to_be_offered: bool,
}

/// The tasks of one pool. The watch over their results ends with it.
#[derive(Debug)]
pub(super) struct Job {
    shared: Arc<Shared>,
    next: AtomicU64,
    watch: tokio::task::JoinHandle<()>,
    lost: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<Store>,
    build: String,
    name: String,
    waiting: Mutex<HashMap<u64, Waiting>>,
    /// A handle was added to `waiting`: the watch, which rests while there are none, goes on.
    begun: Notify,
}

/// Who waits for the end of a task.
#[derive(Debug)]
struct Waiting {
    sender: oneshot::Sender<Record>,
    /// `None`: the servers do not have it yet.
    task: Option<Task>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.watch.abort();
        self.lost.abort();
    }
}

impl Job {
    pub(super) fn start(store: Arc<Store>, build: String) -> Job {
        let shared = Arc::new(Shared {
            name: store.unique(),
            store,
            build,
            waiting: Mutex::default(),
            begun: Notify::new(),
        });
        Job {
            watch: tokio::spawn(watch(Arc::clone(&shared))),
            lost: tokio::spawn(end_what_is_lost(Arc::clone(&shared))),
            shared,
            next: AtomicU64::new(0),
        }
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(super) fn id(&self, number: u64) -> String {
        self.shared.id(number)
    }

    /// Hands a task over. `waits`: for room in the queue. `None`: there is none.
    pub(super) async fn give(
        &self,
        encoded: Encoded,
        waits: bool,
    ) -> Result<Option<(Task, oneshot::Receiver<Record>)>, Error> {
        let Encoded {
            task,
            types,
            input,
            options,
            has_to_be_offered,
        } = encoded;
        if has_to_be_offered {
            let missing = self.who_is_missing(task.name(), &types).await?;
            if let Some(why) = missing {
                return Err(Error::NotOffered(why));
            }
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = self.id(number);
        let name = task.name();
        let is_large = input.len() > INLINE;
        let head = Head {
            name: name.to_owned(),
            types: types.clone(),
            codec: CODEC,
            object: is_large.then(|| format!("input.{id}")),
            options,
            id,
        };
        let result = self.shared.expect(number);
        let given = self.send(&head, input, waits).await;
        if !matches!(given, Ok(Some(_))) {
            self.shared.take(number);
            if let (Some(object), Ok(None)) = (&head.object, &given) {
                // What cannot be deleted now is deleted when its time is over.
                let _ = self.store().delete_object(object).await;
            }
        }
        let Some(sequence) = given? else {
            return Ok(None);
        };
        let task = Task {
            number,
            name,
            types,
            sequence,
            deadline: head.options.deadline,
        };
        self.shared.sent(&task);
        Ok(Some((task, result)))
    }

    /// Writes how a task ended, unless it has an end: as a worker does, without having run it.
    pub(super) async fn end(&self, task: &Task, how: Failure) -> Result<(), Error> {
        self.shared.end(task, how).await
    }

    /// The servers have dropped this task, if it does not run: without an end of its own its handle
    /// would wait for ever. A run that is still at work ends as if it was cancelled.
    pub(super) async fn expire(&self, task: &Task) {
        let lifetime = self.store().settings.task_lifetime;
        let mut why = format!("no worker has ended it in {lifetime:?}, for which tasks are kept");
        if let Ok(Some(missing)) = self.who_is_missing(task.name, &task.types).await {
            why = format!("{why}: {missing}");
        }
        let how = Failure::of(&JoinError::Undeliverable(why));
        self.insist(task, how).await;
    }

    /// The record of a task whose deadline has passed. If no worker has begun it, none will: then
    /// it is written here; and also where one has, and does not say how it ended.
    pub(super) async fn overdue(
        &self,
        task: &Task,
        deadline: Duration,
        mut result: oneshot::Receiver<Record>,
    ) -> Result<Record, oneshot::error::RecvError> {
        let attempts = format!("{}.{}", self.id(task.number), task.sequence);
        let mut pause = Pause::new();
        let had_begun = loop {
            match self.store().begun(&attempts).await {
                Ok(0) => break false,
                Ok(_) => match timeout(GRACE, &mut result).await {
                    Ok(record) => return record,
                    Err(_) => break true,
                },
                Err(e) => tracing::debug!(task = task.number, "{e}"),
            }
            pause.wait().await;
        };
        self.insist(task, Failure::deadline(deadline, had_begun))
            .await;
        result.await
    }

    /// Writes how a task ended, and tries until the servers answer.
    async fn insist(&self, task: &Task, how: Failure) {
        let mut pause = Pause::new();
        while let Err(e) = self.end(task, how.clone()).await {
            tracing::debug!(task = task.number, "{e}");
            pause.wait().await;
        }
    }

    /// Why no worker that lives runs this task. `None`: one does.
    async fn who_is_missing(&self, name: &str, types: &str) -> Result<Option<String>, Error> {
        let build = &self.shared.build;
        let workers = self.store().workers().await?;
        let (ours, others): (Vec<_>, Vec<_>) =
            workers.iter().partition(|worker| worker.build == *build);
        if ours.is_empty() {
            let mut builds: Vec<_> = others.iter().map(|worker| worker.build.as_str()).collect();
            builds.sort_unstable();
            builds.dedup();
            let there = match *builds {
                [] => "there is none of any build".to_owned(),
                _ => format!("there are workers of `{}`", builds.join("`, `")),
            };
            return Ok(Some(format!(
                "no worker of build `{build}` is running; {there}"
            )));
        }
        let has_it = |worker: &&Worker| worker.tasks.get(name).map(String::as_str) == Some(types);
        if ours.iter().any(has_it) {
            return Ok(None);
        }
        Ok(Some(format!(
            "no worker of build `{build}` has a task `{name}` of its types"
        )))
    }

    /// The number of its message; `None`: the queue is full.
    async fn send(&self, head: &Head, input: Vec<u8>, waits: bool) -> Result<Option<u64>, Error> {
        let store = self.store();
        let until = Instant::now() + store.settings.patience;
        let mut pause = Pause::new();
        let mut body = Bytes::from(input);
        if let Some(object) = &head.object {
            while let Err(e) = store.put_object(object, &body).await {
                if Instant::now() >= until {
                    return Err(e);
                }
                store.make_what_is_gone(&e).await;
                pause.wait().await;
            }
            body = Bytes::new();
        }
        // Each try has the same id, so that the servers keep one.
        let mut until = Instant::now() + store.settings.patience;
        loop {
            let sending = store.publish_task(&self.shared.build, head.to_headers(), body.clone());
            match sending.await {
                Ok(sequence) => return Ok(Some(sequence)),
                Err(NotAccepted::Full) if !waits => return Ok(None),
                Err(NotAccepted::Full) => until = Instant::now() + store.settings.patience,
                Err(NotAccepted::Failed(e)) if Instant::now() >= until => return Err(e),
                Err(NotAccepted::Failed(e)) => store.make_what_is_gone(&e).await,
            }
            pause.wait().await;
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect(&self, number: u64) -> oneshot::Receiver<Record> {
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting { sender, task: None };
        self.waiting().insert(number, waiting);
        self.begun.notify_one();
        receiver
    }

    /// The servers have it. Its end may be there already.
    fn sent(&self, task: &Task) {
        if let Some(waiting) = self.waiting().get_mut(&task.number) {
            waiting.task = Some(task.clone());
        }
    }

    fn take(&self, number: u64) -> Option<oneshot::Sender<Record>> {
        let taken = self.waiting().remove(&number);
        taken.map(|waiting| waiting.sender)
    }

    /// Forgets handles that were dropped. Whether any is left.
    fn is_awaited(&self) -> bool {
        let mut waiting = self.waiting();
        waiting.retain(|_, waiting| !waiting.sender.is_closed());
        !waiting.is_empty()
    }

    /// Tasks that the servers have taken, and whose end is awaited.
    pub(super) fn awaited(&self) -> Vec<Task> {
        let waiting = self.waiting();
        let awaited = waiting.values().filter(|one| !one.sender.is_closed());
        awaited.filter_map(|one| one.task.clone()).collect()
    }

    pub(super) fn id(&self, number: u64) -> String {
        format!("{}.{number}", self.name)
    }

    pub(super) async fn end(&self, task: &Task, how: Failure) -> Result<(), Error> {
        let record = Record {
            name: task.name.to_owned(),
            types: task.types.clone(),
            run: self.store.unique(),
            attempts: 0,
            end: End::Failed(how),
            is_dead: false,
        };
        let id = self.id(task.number);
        let created = self.store.create_result(&id, record.to_bytes());
        created.await.map(|_| ())
    }
}

/// Gives each result to the handle that waits for it.
async fn watch(shared: Arc<Shared>) {
    let mut results = Watch::new(Arc::clone(&shared.store), shared.name.clone());
    loop {
        while !shared.is_awaited() {
            shared.begun.notified().await;
        }
        // With a limit: those who wait may have gone. It is longer than that within, which has to
        // pass first: a watch that is dropped before it has noticed its silence would never do so.
        let Ok((number, record)) = timeout(3 * QUIET, results.next()).await else {
            continue;
        };
        if let Some(sender) = shared.take(number) {
            // Whose handle was dropped is not told.
            let _ = sender.send(record);
        }
    }
}

/// The results of a job, those that are there and those to come, each once.
pub(super) struct Watch {
    store: Arc<Store>,
    job: String,
    /// The revision of the bucket from which on nothing has been seen.
    next: u64,
    /// When that bucket was made.
    made: Option<OffsetDateTime>,
    open: Option<async_nats::jetstream::kv::Watch>,
    pause: Pause,
}

impl Watch {
    pub(super) fn new(store: Arc<Store>, job: String) -> Watch {
        Watch {
            store,
            job,
            next: 1,
            made: None,
            open: None,
            pause: Pause::new(),
        }
    }

    /// The next one. It never ends, and may be dropped at any time.
    pub(super) async fn next(&mut self) -> (u64, Record) {
        loop {
            let Some(open) = &mut self.open else {
                match self.begin().await {
                    Ok(open) => self.open = Some(open),
                    Err(e) => {
                        tracing::debug!(job = self.job, "{e}");
                        self.store.make_what_is_gone(&e).await;
                        self.pause.wait().await;
                    }
                }
                continue;
            };
            match timeout(QUIET, open.next()).await {
                Ok(Some(Ok(entry))) => {
                    self.pause = Pause::new();
                    if entry.revision < self.next {
                        continue;
                    }
                    self.next = entry.revision + 1;
                    let number = wire::number_of(&entry.key);
                    // A value that is no record is passed over: the key was deleted, or another
                    // program wrote it.
                    let record = Record::from_bytes(&entry.value);
                    if let (Some(number), Ok(record)) = (number, record) {
                        return (number, record);
                    }
                }
                Ok(Some(Err(_)) | None) => {
                    self.open = None;
                    self.pause.wait().await;
                }
                Err(_) => self.open = None,
            }
        }
    }
}

impl Watch {
    /// Begins where it was, unless the bucket is another one, whose revisions begin anew.
    async fn begin(&mut self) -> Result<async_nats::jetstream::kv::Watch, Error> {
        let made = self.store.results_made().await?;
        if self.made.replace(made).is_some_and(|before| before != made) {
            self.next = 1;
        }
        self.store.watch_results(&self.job, self.next).await
    }
}

/// The end of a task, from its record.
pub(super) async fn outcome<R: Message>(
    store: &Store,
    record: Record,
    (name, types): (&str, &str),
    started: &'static Location<'static>,
) -> Result<R, JoinError> {
    let undeliverable = |why: String| Err(JoinError::Undeliverable(wire::of_task(name, &why)));
    let bytes = match record.end {
        End::Failed(failure) => {
            return match failure.into_error(name, started) {
                // In the worker's words, for a name that is known there only.
                JoinError::Undeliverable(why) if !why.starts_with("task `") => undeliverable(why),
                error => Err(exported::with_name(error, name)),
            };
        }
        _ if record.name != name || record.types != types => {
            return undeliverable(format!(
                "the result is one of task `{}`, not of `{name}`, or of other types",
                record.name
            ));
        }
        End::Returned(bytes) => bytes,
        End::Object(object) => {
            let until = Instant::now() + store.settings.patience;
            let mut pause = Pause::new();
            loop {
                match store.object(&object).await {
                    Ok(Some(bytes)) => break bytes,
                    Ok(None) => {
                        return undeliverable("its result is no longer kept".to_owned());
                    }
                    Err(e) if Instant::now() >= until => {
                        return undeliverable(format!("its result could not be had: {e}"));
                    }
                    Err(_) => pause.wait().await,
                }
            }
        }
    };
    match exported::decode(&bytes) {
        Ok(value) => Ok(value),
        Err(e) => undeliverable(format!("its result {e}")),
    }
}
