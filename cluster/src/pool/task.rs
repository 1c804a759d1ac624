//! One task, with something otherwise than its pool.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use brigade::Message;

use super::{Asked, Found, JoinHandle, Pool};

/// One task that has something otherwise than its pool. Made by [`Pool::task`].
///
/// # Examples
/// ```standalone_crate
/// use std::time::Duration;
/// use brigade::JoinError;
/// use brigade_cluster::Pool;
///
/// fn render(page: u32) -> String {
///     format!("page {page}")
/// }
/// brigade::export!("render", render);
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let url = "local:";
/// let pool = Pool::connect(url, "pages").await?;
/// let page = pool
///     .task(render)
///     .deadline(Duration::from_secs(5)) // in the queue, too
///     .timeout(Duration::from_secs(2)) // once it runs
///     .submit(7)
///     .await;
/// match page.await {
///     Ok(text) => assert_eq!(text, "page 7"),
///     Err(JoinError::TimedOut(over)) if !over.had_begun() => eprintln!("no worker was free"),
///     Err(other) => return Err(other.into()),
/// }
/// # Ok(())
/// # })
/// # }
/// ```
#[must_use = "it is a task only when it is submitted"]
pub struct TaskBuilder<A, R> {
    pool: Pool,
    task: Result<Found<A, R>, String>,
    asked: Asked,
}

impl<A: Message, R: Message> TaskBuilder<A, R> {
    pub(super) fn new(pool: Pool, task: Result<Found<A, R>, String>) -> TaskBuilder<A, R> {
        TaskBuilder {
            pool,
            task,
            asked: Asked::default(),
        }
    }

    /// How long each run of the task may take, in whole milliseconds, instead of the
    /// [timeout](brigade::PoolBuilder::timeout) of the pool on the worker's machine: then it ends
    /// with [`TimedOut`](brigade::JoinError::TimedOut), and is not run again.
    ///
    /// *Default: that of the worker's pool.*
    pub fn timeout(mut self, time: Duration) -> Self {
        self.asked.options.timeout = Some(time);
        self
    }

    /// When the task ends at the latest, whether it runs or waits, from when the servers have it,
    /// in whole milliseconds: with [`TimedOut`](brigade::JoinError::TimedOut), whose
    /// [`had_begun`](brigade::Timeout::had_begun) says which. One whose deadline passes while it
    /// waits never runs.
    ///
    /// The time in the queue is counted by the servers' clock, and that on the worker's machine by
    /// its monotonic one: no machine's time of day matters, but that of the servers among
    /// themselves. Where no worker has begun the task the handle says so at once; where one has,
    /// and says nothing, 5 s later.
    ///
    /// *Default: none.*
    pub fn deadline(mut self, time: Duration) -> Self {
        self.asked.options.deadline = Some(time);
        self
    }

    /// To which trace the task belongs: the values of the headers `traceparent` and, if there is
    /// one, `tracestate`, as [W3C's Trace Context](https://www.w3.org/TR/trace-context/) has them;
    /// 1 to 512 printable characters of ASCII.
    ///
    /// They travel as headers of these names. On the worker's machine the program that
    /// [serves](crate::serve) has them as fields of the span `task` of `tracing`, in which the task
    /// is run; the process that runs it does not have them.
    ///
    /// *Default: none.*
    pub fn trace_context(mut self, traceparent: &str, tracestate: Option<&str>) -> Self {
        let parts = [Some(traceparent), tracestate];
        self.asked.options.trace = parts.map(|part| part.map(str::to_owned));
        self
    }

    /// The task is refused, with [`Undeliverable`](brigade::JoinError::Undeliverable), if no worker
    /// of this build that lives has it: the error says which builds there are. For this the servers
    /// are asked, which takes some requests.
    ///
    /// *Default: the task waits until there is one.*
    pub fn only_if_offered(mut self) -> Self {
        self.asked.has_to_be_offered = true;
        self
    }

    /// Gives the pool the task, as [`Pool::submit`] does.
    #[expect(
        clippy::async_yields_async,
        reason = "two waits: until the servers have it, and until it has ended"
    )]
    #[track_caller]
    pub fn submit(self, input: A) -> impl Future<Output = JoinHandle<R>> + Send + use<A, R> {
        let started = Location::caller();
        async move {
            let give = self.pool.give(self.task, input, started, self.asked);
            give.await
        }
    }

    /// The same, unless the queue is full, as [`Pool::try_submit`] does.
    ///
    /// # Errors
    /// The input, which was not taken.
    #[track_caller]
    pub fn try_submit(
        self,
        input: A,
    ) -> impl Future<Output = Result<JoinHandle<R>, A>> + Send + use<A, R> {
        let started = Location::caller();
        async move {
            let give = self.pool.try_give(self.task, input, started, self.asked);
            give.await
        }
    }
}

impl<A, R> fmt::Debug for TaskBuilder<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskBuilder")
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}
