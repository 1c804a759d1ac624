//! [`Worker`]: takes tasks from the queue, and runs them in the pool of this machine.

mod alive;
mod run;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use brigade::exported::{EncodedRun, Exported};
use futures_util::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::pool::Pause;
use crate::store::Store;
use crate::{Error, Settings, build, wire};

/// How long a fetch waits for tasks: for so long a stop may go unheard.
const FETCH: Duration = Duration::from_secs(1);

/// Runs tasks of this application in `pool` until the program is told to end by SIGINT or SIGTERM,
/// for which it has handlers from then on; then it fetches no more, and returns when the tasks that
/// run have ended.
///
/// It is called inside of a tokio runtime. [`Worker`] has settings, and another way to stop.
///
/// # Errors
/// As [`Worker::run_until`]; the signals' handlers could not be set.
///
/// # Examples
/// ```no_run,standalone_crate
/// fn shout(text: String) -> String {
///     text.to_uppercase()
/// }
/// brigade::export!("shout", shout);
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let pool = brigade::Pool::processes(8)?;
/// # let url = "nats://localhost";
/// tokio::runtime::Runtime::new()?.block_on(brigade_cluster::serve(url, "example", pool))?;
/// # Ok(())
/// # }
/// ```
pub async fn serve(url: &str, app: &str, pool: brigade::Pool) -> Result<Served, Error> {
    let handler = |kind| signal(kind).map_err(Error::Local);
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    Worker::new(url, app, pool).run_until(stop).await
}

/// A program that runs tasks of an application: [`serve`], with settings.
#[derive(Debug)]
#[must_use = "it works only while it is run"]
pub struct Worker {
    url: String,
    app: String,
    pool: brigade::Pool,
    settings: Settings,
    build: Option<String>,
}

impl Worker {
    /// A worker of this application, on these servers, that runs tasks in this pool.
    pub fn new(url: &str, app: &str, pool: brigade::Pool) -> Worker {
        Worker {
            url: url.to_owned(),
            app: app.to_owned(),
            pool,
            settings: Settings::default(),
            build: None,
        }
    }

    /// Names the build of this program: it runs only tasks that a [pool of a build of this
    /// name](crate::PoolBuilder::build) has submitted. 1 to 64 letters, digits, `-` and `_`.
    ///
    /// *Default: a hash of the names and types of the tasks that it exports.*
    pub fn build(mut self, name: &str) -> Worker {
        self.build = Some(name.to_owned());
        self
    }

    /// What all programs of the application agree on.
    ///
    /// *Default: [`Settings::default`].*
    pub fn settings(mut self, settings: Settings) -> Worker {
        self.settings = settings;
        self
    }

    /// Runs tasks until `stop` is ready, or the pool is closed; then it fetches no more, and
    /// returns when the tasks that run have ended. While the servers are away it waits for them.
    ///
    /// It fetches as many tasks as the pool has free workers, and never more.
    ///
    /// # Errors
    /// No server answered at the start, or an old one; the streams could not be made; the name of
    /// the application or the build is none.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send) -> Result<Served, Error> {
        let build = build::named(self.build)?;
        let store = Store::open(&self.url, &self.app, self.settings).await?;
        let consumer = store.consumer(&build).await?;
        let shared = Arc::new(Shared {
            // What the application has, whoever made it.
            ack_wait: consumer.cached_info().config.ack_wait,
            name: store.unique(),
            store,
            build,
            pool: self.pool,
            tasks: tasks(),
            counts: Counts::default(),
        });
        // It ends with this, also where this is dropped.
        let mut alive = JoinSet::new();
        alive.spawn(alive::say(Arc::clone(&shared)));
        fetch(&shared, consumer, Box::pin(stop)).await;
        alive.shutdown().await;
        if let Err(e) = shared.store.say_ended(&shared.name).await {
            tracing::debug!("{e}");
        }
        Ok(shared.counts.told())
    }
}

/// What all runs of tasks share.
struct Shared {
    store: Store,
    pool: brigade::Pool,
    /// Differs from that of any other worker.
    name: String,
    build: String,
    ack_wait: Duration,
    tasks: HashMap<&'static str, Known>,
    counts: Counts,
}

/// A task that this program has.
struct Known {
    encoded: EncodedRun,
    types: String,
}

fn tasks() -> HashMap<&'static str, Known> {
    let known = |task: Exported| {
        // A name that two tasks have is none.
        let task = Exported::named(task.name()).ok()?;
        let known = Known {
            encoded: task.encoded_run(),
            types: wire::types_of(task)?,
        };
        Some((task.name(), known))
    };
    Exported::all().into_iter().filter_map(known).collect()
}

/// Fetches tasks as workers are free, until `stop`; then waits for those that run.
async fn fetch(
    shared: &Arc<Shared>,
    mut consumer: PullConsumer,
    mut stop: Pin<Box<impl Future<Output = ()> + Send>>,
) {
    let free = Arc::new(Semaphore::new(shared.pool.workers()));
    let mut runs = JoinSet::new();
    let mut pause = Pause::new();
    loop {
        while runs.try_join_next().is_some() {}
        let first = tokio::select! {
            biased;
            () = &mut stop => break,
            first = Arc::clone(&free).acquire_owned() => first,
        };
        let Ok(first) = first else { break };
        if shared.pool.is_closed() {
            break;
        }
        let mut permits = vec![first];
        while let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            permits.push(permit);
        }
        let fetching = fetch_some(shared, &consumer, permits, &mut runs, &mut stop);
        match fetching.await {
            Ok(is_stopped) if is_stopped => break,
            Ok(_) => pause = Pause::new(),
            Err(e) => {
                tracing::warn!("{e}");
                tokio::select! {
                    () = &mut stop => break,
                    () = pause.wait() => {}
                }
                // The consumer may be deleted, or its stream.
                match shared.store.consumer(&shared.build).await {
                    Ok(opened) => consumer = opened,
                    Err(e) => shared.store.make_what_is_gone(&e).await,
                }
            }
        }
    }
    while runs.join_next().await.is_some() {}
}

/// Fetches one task for each permit, at most, and starts them. Whether it was stopped.
async fn fetch_some(
    shared: &Arc<Shared>,
    consumer: &PullConsumer,
    mut permits: Vec<OwnedSemaphorePermit>,
    runs: &mut JoinSet<()>,
    stop: &mut Pin<Box<impl Future<Output = ()> + Send>>,
) -> Result<bool, Error> {
    let failed = |why: String| Error::Request {
        what: "fetch tasks",
        why,
    };
    let limit = FETCH + shared.store.settings.request_timeout;
    let asking = consumer.batch().max_messages(permits.len()).expires(FETCH);
    let mut batch = match timeout(limit, asking.messages()).await {
        Ok(asked) => asked.map_err(|e| failed(e.to_string()))?,
        Err(_) => return Err(failed(format!("no answer in {limit:?}"))),
    };
    let mut is_stopped = false;
    loop {
        let message = tokio::select! {
            biased;
            () = &mut *stop, if !is_stopped => {
                is_stopped = true;
                continue;
            }
            message = timeout(limit, batch.next()) => message,
        };
        let message = match message {
            Ok(Some(message)) => message.map_err(|e| failed(e.to_string()))?,
            Ok(None) => return Ok(is_stopped),
            Err(_) => return Err(failed(format!("no answer in {limit:?}"))),
        };
        match permits.pop() {
            Some(permit) if !is_stopped => {
                let shared = Arc::clone(shared);
                runs.spawn(async move {
                    shared.counts.running.fetch_add(1, Ordering::Relaxed);
                    run::run(&shared, message).await;
                    shared.counts.running.fetch_sub(1, Ordering::Relaxed);
                    drop(permit);
                });
            }
            // Another worker takes it at once.
            _ => give_back(shared, &message, None).await,
        }
    }
}

/// Gives a task back to the queue: after that time.
async fn give_back(shared: &Shared, message: &Message, after: Option<Duration>) {
    let giving = message.ack_with(AckKind::Nak(after));
    // Where it cannot be said, the time to acknowledge runs out.
    let _ = timeout(shared.store.settings.request_timeout, giving).await;
}

/// What was done so far.
#[derive(Debug, Default)]
struct Counts {
    running: AtomicU64,
    ended: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    given_back: AtomicU64,
    dead: AtomicU64,
}

impl Counts {
    fn told(&self) -> Served {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Served {
            ended: read(&self.ended),
            lost: read(&self.lost),
            refused: read(&self.refused),
            given_back: read(&self.given_back),
            dead: read(&self.dead),
        }
    }
}

/// What a [`Worker`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    ended: u64,
    lost: u64,
    refused: u64,
    given_back: u64,
    dead: u64,
}

impl Served {
    /// How many tasks ended here: their results, or errors, are those that are told.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// How many runs of tasks were for nothing: the task had been cancelled, or had ended elsewhere
    /// while it ran here.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How many of those that ended were refused unrun: this program has no such task.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many runs ended with the task given back to the queue: its process died, or the servers
    /// did not answer.
    pub fn given_back(&self) -> u64 {
        self.given_back
    }

    /// How many of those that ended were begun too often, and are dead letters.
    pub fn dead(&self) -> u64 {
        self.dead
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ended {}, lost {}, refused {}, given back {}, dead {}",
            self.ended, self.lost, self.refused, self.given_back, self.dead
        )
    }
}
