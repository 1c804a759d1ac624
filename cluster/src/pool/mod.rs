//! [`Pool`]: where tasks are submitted.

mod builder;
mod handle;
mod job;
pub(crate) mod local;
mod lost;
mod task;

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use brigade::exported::{self, Exported};
use brigade::{JoinError, Message};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout_at};

pub use self::builder::PoolBuilder;
pub use self::handle::JoinHandle;
pub(crate) use self::job::Pause;
use self::job::{Encoded, Job, Watch, outcome};
pub use self::task::TaskBuilder;
use crate::Error;
use crate::wire::{self, Options};

/// A pool whose workers are on many machines; or on this one.
///
/// Only [exported](brigade::export!) functions can be submitted: a worker finds them by name. A
/// pool is a handle: clones are the same pool. Tasks that are queued or run when the last one is
/// dropped go on; their results can be had by [`reattach`](Self::reattach).
///
/// It is used inside of a tokio runtime.
///
/// # Examples
/// ```standalone_crate
/// use brigade_cluster::Pool;
/// use futures_util::StreamExt;
///
/// fn shout(text: String) -> String {
///     text.to_uppercase()
/// }
/// brigade::export!("shout", shout);
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// // Or "nats://…": the same program, with workers on other machines.
/// let pool = Pool::connect("local:", "example").await?;
/// assert_eq!(pool.submit(shout, "one".to_owned()).await.await?, "ONE");
///
/// let inputs = ["a", "b"].map(str::to_owned);
/// let results: Vec<_> = pool.map(shout, inputs).collect().await;
/// assert_eq!(results.into_iter().collect::<Result<Vec<_>, _>>()?, ["A", "B"]);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pool(Arc<Backend>);

#[derive(Debug)]
enum Backend {
    Local(brigade::Pool, usize),
    Remote(Remote),
}

#[derive(Debug)]
struct Remote {
    job: Arc<Job>,
    in_flight: usize,
    /// The hashes of the types of tasks: they take time.
    types: Mutex<HashMap<&'static str, String>>,
}

/// An exported function.
#[derive(Debug)]
struct Found<A, R> {
    exported: Exported,
    /// The hash of its types, for the servers.
    types: String,
    function: fn(A) -> R,
}

// Derived, it would ask this of the types as well.
impl<A, R> Clone for Found<A, R> {
    fn clone(&self) -> Self {
        Found {
            exported: self.exported,
            types: self.types.clone(),
            function: self.function,
        }
    }
}

/// What is asked of one task.
#[derive(Clone, Debug, Default)]
struct Asked {
    options: Options,
    has_to_be_offered: bool,
}

impl Asked {
    /// The task, if this can be asked of one; or why not.
    fn fit<A, R>(&self, task: Found<A, R>) -> Result<Found<A, R>, String> {
        let mut trace = self.options.trace.iter().flatten();
        if trace.all(|value| wire::is_trace(value)) {
            return Ok(task);
        }
        let why = "its trace context takes 1 to 512 printable characters of ASCII";
        Err(wire::of_task(task.exported.name(), why))
    }
}

impl Pool {
    /// A pool of this application, on these servers: `nats://host:port`, or several with commas;
    /// `local:` is a pool of this program.
    ///
    /// # Errors
    /// As [`PoolBuilder::connect`].
    pub async fn connect(url: &str, app: &str) -> Result<Pool, Error> {
        Pool::builder(url, app).connect().await
    }

    /// Configures a pool.
    pub fn builder(url: &str, app: &str) -> PoolBuilder {
        PoolBuilder::new(url, app)
    }

    /// The name under which this pool's tasks are kept, for [`reattach`](Self::reattach): put it
    /// where a restarted program finds it. `None`: the pool is local.
    pub fn job(&self) -> Option<&str> {
        match &*self.0 {
            Backend::Local(..) => None,
            Backend::Remote(remote) => Some(remote.job.name()),
        }
    }

    /// Gives the pool a task, and waits until the servers have it; for room in the queue, too.
    ///
    /// What cannot be submitted (a function that is not exported, an input that cannot be encoded)
    /// or handed over in [`patience`](crate::Settings::patience) ends with
    /// [`Undeliverable`](JoinError::Undeliverable). In the last case it may run nevertheless: the
    /// servers may have it, and not have been able to say so.
    #[track_caller]
    pub fn submit<F, A, R>(
        &self,
        task: F,
        input: A,
    ) -> impl Future<Output = JoinHandle<R>> + Send + use<F, A, R>
    where
        F: Fn(A) -> R + 'static,
        A: Message,
        R: Message,
    {
        self.task(task).submit(input)
    }

    /// A task that has something otherwise than its pool: a timeout, a deadline, a trace context.
    pub fn task<F, A, R>(&self, task: F) -> TaskBuilder<A, R>
    where
        F: Fn(A) -> R + 'static,
        A: Message,
        R: Message,
    {
        TaskBuilder::new(self.clone(), self.find(task))
    }

    /// The same, unless the queue is full.
    ///
    /// # Errors
    /// The input, which was not taken.
    #[track_caller]
    pub fn try_submit<F, A, R>(
        &self,
        task: F,
        input: A,
    ) -> impl Future<Output = Result<JoinHandle<R>, A>> + Send + use<F, A, R>
    where
        F: Fn(A) -> R + 'static,
        A: Message,
        R: Message,
    {
        self.task(task).try_submit(input)
    }

    /// Runs the task on each input, and gives the results in the order of the inputs, which are
    /// taken as it goes.
    #[track_caller]
    pub fn map<F, A, R, I>(&self, task: F, inputs: I) -> Results<Result<R, JoinError>>
    where
        F: Fn(A) -> R + 'static,
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
        I::IntoIter: Send + 'static,
    {
        let started = Location::caller();
        let pool = self.clone();
        let in_flight = self.in_flight();
        let task = self.find(task);
        let run = move |input| {
            let (pool, task) = (pool.clone(), task.clone());
            async move {
                pool.give(task, input, started, Asked::default())
                    .await
                    .await
            }
        };
        let results = stream::iter(inputs).map(run).buffered(in_flight);
        Results(Box::pin(results))
    }

    /// The same, as they come, each with the number of its input.
    #[track_caller]
    pub fn map_unordered<F, A, R, I>(
        &self,
        task: F,
        inputs: I,
    ) -> Results<(usize, Result<R, JoinError>)>
    where
        F: Fn(A) -> R + 'static,
        A: Message,
        R: Message,
        I: IntoIterator<Item = A>,
        I::IntoIter: Send + 'static,
    {
        let started = Location::caller();
        let pool = self.clone();
        let in_flight = self.in_flight();
        let task = self.find(task);
        let run = move |(number, input)| {
            let (pool, task) = (pool.clone(), task.clone());
            async move {
                (
                    number,
                    pool.give(task, input, started, Asked::default())
                        .await
                        .await,
                )
            }
        };
        let inputs = stream::iter(inputs).enumerate();
        Results(Box::pin(inputs.map(run).buffer_unordered(in_flight)))
    }

    /// The results of another pool's tasks, each with its [number](JoinHandle::number): those that
    /// are there, and those to come. The pool was one of the same application, and has
    /// [told its name](Self::job); its program may have ended. All its tasks are of this function;
    /// of a task of another one the number is told with an error.
    ///
    /// It has no end of its own: how many tasks there were is known to the one who submitted them.
    ///
    /// # Errors
    /// The function is not exported; that is no job's name; the pool is local.
    #[expect(
        clippy::type_complexity,
        reason = "it is that of `map_unordered`, and an error"
    )]
    #[track_caller]
    pub fn reattach<F, A, R>(
        &self,
        job: &str,
        task: F,
    ) -> Result<Results<(u64, Result<R, JoinError>)>, Error>
    where
        F: Fn(A) -> R + 'static,
        A: Message,
        R: Message,
    {
        let started = Location::caller();
        let refused = |why: String| Error::Request {
            what: "reattach",
            why,
        };
        let Found {
            exported, types, ..
        } = self.find(task).map_err(refused)?;
        let Backend::Remote(remote) = &*self.0 else {
            return Err(refused("a local pool keeps no results".to_owned()));
        };
        if !wire::is_job(job) {
            return Err(refused(format!("`{job}` is no job's name")));
        }
        let store = Arc::clone(remote.job.store());
        let watch = Watch::new(Arc::clone(&store), job.to_owned());
        let results = stream::unfold((watch, store, types), move |mut state| async move {
            let (number, record) = state.0.next().await;
            let expected = (exported.name(), state.2.as_str());
            let result = outcome(&state.1, record, expected, started).await;
            Some(((number, result), state))
        });
        Ok(Results(Box::pin(results)))
    }

    async fn give<A: Message, R: Message>(
        &self,
        task: Result<Found<A, R>, String>,
        input: A,
        started: &'static Location<'static>,
        asked: Asked,
    ) -> JoinHandle<R> {
        match &*self.0 {
            Backend::Local(local, _) => match task.and_then(|found| asked.fit(found)) {
                Ok(found) => {
                    let options = &asked.options;
                    let handle = local::submit(local, found.function, input, options).await;
                    JoinHandle::local(handle, found.exported.name())
                }
                Err(why) => JoinHandle::refused(why),
            },
            Backend::Remote(remote) => {
                let encoded = match encode(task, &input, asked) {
                    Ok(encoded) => encoded,
                    Err(why) => return JoinHandle::refused(why),
                };
                drop(input);
                let given = remote.give(encoded, true, started).await;
                given.unwrap_or_else(|| JoinHandle::refused("the queue is full".to_owned()))
            }
        }
    }

    async fn try_give<A: Message, R: Message>(
        &self,
        task: Result<Found<A, R>, String>,
        input: A,
        started: &'static Location<'static>,
        asked: Asked,
    ) -> Result<JoinHandle<R>, A> {
        match &*self.0 {
            Backend::Local(local, _) => match task.and_then(|found| asked.fit(found)) {
                Ok(found) => local::try_submit(local, found.function, input, &asked.options)
                    .map(|handle| JoinHandle::local(handle, found.exported.name())),
                Err(why) => Ok(JoinHandle::refused(why)),
            },
            Backend::Remote(remote) => match encode(task, &input, asked) {
                Ok(encoded) => remote.give(encoded, false, started).await.ok_or(input),
                Err(why) => Ok(JoinHandle::refused(why)),
            },
        }
    }

    /// What is known of an exported function, or why it cannot be submitted.
    fn find<F, A: Message, R: Message>(&self, task: F) -> Result<Found<A, R>, String>
    where
        F: Fn(A) -> R + 'static,
    {
        let is_pointer = TypeId::of::<F>() == TypeId::of::<fn(A) -> R>();
        let exported = Exported::find(task).ok_or(match is_pointer {
            true => "no exported function is at the pointer's address: pass the function itself, as it is named, and write `brigade::export!(\"name\", function)` beside it",
            false => "the function is not exported: write `brigade::export!(\"name\", function)` beside it",
        })?;
        let name = exported.name();
        if !wire::is_name(name) {
            return Err(format!(
                "`{}` cannot be sent as the name of a task: it takes 1 to 256 bytes without control characters",
                name.escape_debug()
            ));
        }
        let elsewhere = "the function is not code of the main program";
        let found = |types| {
            Ok(Found {
                exported,
                types,
                function: exported.function().ok_or(elsewhere)?,
            })
        };
        let Backend::Remote(remote) = &*self.0 else {
            return found(String::new());
        };
        let known = || remote.types.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(types) = known().get(name).cloned() {
            return found(types);
        }
        // Not under the lock: it runs the program's own code.
        let types = wire::types_of(exported).ok_or(elsewhere)?;
        known().insert(name, types.clone());
        found(types)
    }

    fn in_flight(&self) -> usize {
        match &*self.0 {
            Backend::Local(_, in_flight) => *in_flight,
            Backend::Remote(remote) => remote.in_flight,
        }
    }
}

/// What is sent of a task, or why it cannot be.
fn encode<A: Message, R>(
    task: Result<Found<A, R>, String>,
    input: &A,
    asked: Asked,
) -> Result<Encoded, String> {
    let Found {
        exported, types, ..
    } = asked.fit(task?)?;
    let options = asked.options;
    let why = |why| wire::of_task(exported.name(), &format!("its input {why}"));
    let input = exported::encode(input).map_err(why)?;
    Ok(Encoded {
        task: exported,
        types,
        input,
        options,
        has_to_be_offered: asked.has_to_be_offered,
    })
}

impl Remote {
    /// `None`: the queue is full.
    async fn give<R: Message>(
        &self,
        encoded: Encoded,
        waits: bool,
        started: &'static Location<'static>,
    ) -> Option<JoinHandle<R>> {
        let name = encoded.task.name();
        let (task, mut result) = match self.job.give(encoded, waits).await {
            Ok(given) => given?,
            Err(why) => {
                let why = match why {
                    Error::NotOffered(why) => why,
                    other => format!("it was not handed over: {other}"),
                };
                return Some(JoinHandle::refused(wire::of_task(name, &why)));
            }
        };
        let (job, expected) = (Arc::clone(&self.job), task.clone());
        let taken = Instant::now();
        let dropped_at = taken.checked_add(job.store().settings.task_lifetime);
        let deadline = task.deadline;
        let over_at = deadline.and_then(|time| taken.checked_add(time));
        let result = async move {
            // Which of the two is first, and then ended by whom.
            let (at, is_over) = match (over_at, dropped_at) {
                (Some(over), Some(dropped)) if over > dropped => (Some(dropped), None),
                (Some(over), _) => (Some(over), deadline),
                (None, dropped) => (dropped, None),
            };
            let record = match at {
                Some(at) => match timeout_at(at, &mut result).await {
                    Ok(record) => record,
                    Err(_) => match is_over {
                        Some(deadline) => job.overdue(&expected, deadline, result).await,
                        None => {
                            job.expire(&expected).await;
                            result.await
                        }
                    },
                },
                None => result.await,
            };
            match record {
                Ok(record) => {
                    let expected = (expected.name, expected.types.as_str());
                    outcome(job.store(), record, expected, started).await
                }
                // The runtime that watched has ended.
                Err(_) => Err(JoinError::Closed),
            }
        };
        Some(JoinHandle::remote(Arc::clone(&self.job), task, result))
    }
}

/// Results as they come: a [`Stream`]. Dropped, it submits nothing more.
#[must_use = "nothing is submitted until it is polled"]
pub struct Results<T>(Pin<Box<dyn Stream<Item = T> + Send>>);

impl<T> Stream for Results<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> fmt::Debug for Results<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}
