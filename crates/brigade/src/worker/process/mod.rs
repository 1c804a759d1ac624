//! Workers that are processes.
//!
//! # What `ps` shows
//!
//! | name | what it is |
//! |---|---|
//! | `brigade-server` | the fork server: the program started once more, with one thread, which forks all workers and reaps them; not a child of the program |
//! | `brigade-worker`, or the [name](Builder::name) that was given | a worker with a task, or of a pool |
//! | `brigade-worker`, asleep | a spare: up to four are forked ahead, so that a task in a process costs a wake-up and not a fork |
//!
//! Workers in a [sandbox](crate::Sandbox) have a fork server of their own, and spares.
//!
//! So a pool of two processes shows six workers and the fork server. A spare has some 100 KiB of
//! memory of its own, and uses no processor. All of them end with the program, however it ends.
//!
//! # Tasks in shared libraries
//!
//! A task's function may lie in a shared library that the program has loaded: a plugin, or one that
//! it is linked to. Nothing is to be declared. A worker finds the library by its path and its build
//! id, and loads it, its constructors included, when it first has a task of it; one of another
//! build, or none, makes the task [`Undeliverable`](crate::JoinError::Undeliverable). A library
//! that has no build id is refused: [`spawn`] gives an error then. In a [sandbox](crate::Sandbox)
//! are those libraries that tasks lay in before the worker was made.
//!
//! A `cdylib` of Rust's has a standard library of its own, whose panics another cannot catch: such
//! a panic ends the worker, and is a [`Crash`](crate::Crash) by abort.

// `../README.md` tells the protocol. The folders say in which process code runs:
// - host: the program itself
// - fork_server: the process that makes the workers
// - child: a worker
// - ipc: what they share, and say to each other
// - inheritance: what workers have of the program's arguments and environment
// - streams, line: what workers read and write by their standard streams
// - program, lookup_error: another program, whose tasks are called by name
// - doubles: stand-ins for the fork server and its workers, in models and in `scripts/counts`, and
//   the choice between them and the real ones
// - unsupported: what stands in the place of all of it where there are no processes

#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod child;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod doubles;
mod enforcement;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod fork_server;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod host;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
#[path = "unsupported.rs"]
pub(crate) mod host;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) mod ipc;
mod limits;
mod line;
mod lookup_error;
mod program;
pub(crate) mod streams;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(all(
    test,
    not(any(loom, shuttle)),
    target_os = "linux",
    not(brigade_portable)
))]
pub(crate) use child::this_worker::{
    offered_ahead, pretend_to_have_taken, set_phase_of_this_worker, unsay_begun,
};
#[cfg(feature = "sandbox")]
pub(crate) use host::applied_in_this_worker;
pub(crate) use host::one_shot::ProcessTask;

pub use enforcement::{Enforcement, Limit};
pub use host::start_method::StartMethod;
pub use line::Line;
pub use streams::{Input, LineStream, Lines, Output};

pub use lookup_error::{LookupError, NoSuchTask, OtherTypes};
pub use program::{NamedTask, Program};

use self::host::client::{ForkServerClient, Origin};
use self::limits::AskedLimits;
use self::streams::AskedStreams;
use super::handle::{HandleInner, JoinHandle};
use crate::Message;
#[cfg(feature = "sandbox")]
use crate::Sandbox;
use crate::task::name::TaskName;
use crate::trace::Level;
#[cfg(feature = "tracing")]
use crate::trace::LevelFilter;

/// Starts `task` on `input` in a process of its own, which ends with the task.
///
/// The process begins with the environment, the directory and the limits that the program had when
/// it started its first process; its stdin is empty, and what it writes to stdout and stderr
/// appears in the program's. Its user, groups, capabilities, umask, root directory and namespaces
/// are those that this thread has now; PLATFORM.md tells how they are compared, and what is
/// refused.
///
/// # Errors
/// [`init`](crate::init) was not called; no process could be made, of which a
/// [`SystemError`](crate::SystemError) inside tells more. An input that cannot be encoded
/// is no error here: the handle tells it.
///
/// # Examples
/// ```
/// brigade::init();
/// let sum = brigade::process::spawn(|v: Vec<u64>| v.into_iter().sum::<u64>(), vec![1, 2, 3])?;
/// assert_eq!(sum.join()?, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "fork")]
#[doc(alias = "exec")]
#[doc(alias = "Command")]
#[doc(alias = "multiprocessing")]
#[track_caller]
pub fn spawn<A: Message, R: Message>(task: fn(A) -> R, input: A) -> io::Result<JoinHandle<R>> {
    Builder::new().spawn(task, input)
}

/// Configures a worker process. One builder starts any number of them.
#[derive(Clone, Debug, Default)]
#[must_use = "a builder starts nothing by itself"]
pub struct Builder {
    name: Option<Arc<str>>,
    env_clear: bool,
    env: Vec<(OsString, OsString)>,
    current_dir: Option<PathBuf>,
    oom_score_adj: Option<i16>,
    grace: Duration,
    /// Few have any, and all are copied.
    limits: Option<Box<AskedLimits>>,
    streams: Option<Box<AskedStreams>>,
    /// Up to which level they send their events, if they do.
    events: Option<Level>,
    /// The program whose workers they are; or why that is none.
    program: Option<Result<Program, Arc<io::Error>>>,
    #[cfg(feature = "sandbox")]
    sandbox: Option<Sandbox>,
}

impl Builder {
    /// The defaults: a process with the environment and the directory that the program had at its
    /// first process.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The process's name, as `ps`, `top` and errors show it. The kernel keeps the first 15 bytes.
    ///
    /// *Default: `brigade-worker`.*
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into().into());
        self
    }

    /// Sets a variable of its environment.
    ///
    /// *Default: the environment that the program had at its first process.*
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Builder {
        let key = key.as_ref().to_owned();
        self.env.retain(|(k, _)| *k != key);
        self.env.push((key, value.as_ref().to_owned()));
        self
    }

    /// Empties its environment, of what was set here before too.
    ///
    /// *Default: it is not emptied.*
    pub fn env_clear(mut self) -> Builder {
        self.env_clear = true;
        self.env.clear();
        self
    }

    /// The directory it works in.
    ///
    /// *Default: the directory that the program had at its first process.*
    pub fn current_dir(mut self, path: impl AsRef<Path>) -> Builder {
        self.current_dir = Some(path.as_ref().to_owned());
        self
    }

    /// How soon the kernel kills the process where memory has run out: `value` thousandths of the
    /// memory there is are added to what it has, from -1000 (never) to 1000 (before all others).
    /// proc(5), `oom_score_adj`.
    ///
    /// A value below the one that the program has takes CAP_SYS_RESOURCE; without it the task is
    /// not started.
    ///
    /// *Default: 1000*, so that a task that asks for too much is killed and not the program, unless
    /// that has 1000 as well (a container without requests of memory, in Kubernetes).
    pub fn oom_score_adj(mut self, value: i16) -> Builder {
        self.oom_score_adj = Some(value);
        self
    }

    /// When the task is cancelled or over its time: how long it has, after a SIGTERM, before it is
    /// killed.
    ///
    /// *Default: zero, which kills it at once.*
    pub fn grace(mut self, time: Duration) -> Builder {
        self.grace = time;
        self
    }

    /// Where it reads from by its stdin.
    ///
    /// *Default: [`Input::null`], nothing.*
    ///
    /// ```
    /// use brigade::process::{Builder, Input};
    ///
    /// brigade::init();
    /// let words = |()| std::io::stdin().lines().count();
    /// let lines = Builder::new().stdin(Input::file("Cargo.toml")?).spawn(words, ())?;
    /// assert!(lines.join()? > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdin(mut self, input: Input) -> Builder {
        self.streams.get_or_insert_default().stdin = input;
        self
    }

    /// Where goes what it, with its children, writes to its stdout: see [`Output`].
    ///
    /// *Default: [`Output::inherit`], the program's own; to that of a worker in a sandbox, by whole
    /// lines.*
    ///
    /// ```
    /// use brigade::process::{Builder, Output};
    ///
    /// brigade::init();
    /// let quiet = Builder::new().stdout(Output::null());
    /// quiet.spawn(|()| println!("nobody reads this"), ())?.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdout(mut self, output: Output) -> Builder {
        self.streams.get_or_insert_default().stdout = output;
        self
    }

    /// Where goes what it, with its children, writes to its stderr: see [`Output`]. The last lines
    /// are kept for [`Crash::stderr`](crate::Crash::stderr) all the same.
    ///
    /// *Default: [`Output::inherit`], the program's own, by whole lines.*
    ///
    /// ```
    /// use brigade::JoinError;
    /// use brigade::process::{Builder, Output};
    ///
    /// brigade::init();
    /// let quiet = Builder::new().stderr(Output::null());
    /// let worker = quiet.spawn(
    ///     |()| {
    ///         eprintln!("lost my way");
    ///         std::process::abort()
    ///     },
    ///     (),
    /// )?;
    /// let result: Result<(), JoinError> = worker.join();
    /// let Err(JoinError::Crashed(crash)) = result else { panic!("{result:?}") };
    /// assert_eq!(crash.stderr(), "lost my way\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stderr(mut self, output: Output) -> Builder {
        self.streams.get_or_insert_default().stderr = output;
        self
    }

    /// The process's events of [`tracing`](https://docs.rs/tracing), and its records of the crate
    /// `log`, up to this level, go to the program's subscriber, with the span of the task as their
    /// parent.
    ///
    /// **The span** is called `task` (target `brigade::task`, level `INFO`) and has the task's
    /// `name`, the `worker`'s process id, the `kind`, and in a pool the numbers of the `pool` and
    /// of the `task`, as its [events](crate::Pool#events) have them. It lies within the span in
    /// which the task was submitted, and is opened when the first event comes: a task that tells
    /// nothing has none. Where the subscriber does not want it, events lie in the span of the
    /// submission itself. The subscriber is the one that was the default where the task was
    /// submitted. What a worker tells outside of its tasks, in its initializer, lies in a span
    /// `worker`.
    ///
    /// **An event** arrives as it was, with its level, target, module, file, line and fields
    /// (numbers, truth values and texts; anything else as the text that it is displayed as). What
    /// is longer than 8 KiB in all is cut, and ends with `…`; a thirty-first field is left out. The
    /// spans that the *worker* has opened are no spans of the program's: their names and fields are
    /// a text in the field `worker.spans`, `outer{file="a.png"}:inner`. A record of `log` is an
    /// event with its target, level and message.
    ///
    /// **When.** A thread of the program's, `brigade-events`, tells them as they come, those of one
    /// worker in order; their time is that of the telling. What a task has sent before it crashed
    /// is told as well. A handle that is joined may return earlier; that of [`spawn`](Self::spawn),
    /// and the end of a pool, wait for it: for one second, and for five, if the subscriber is slow.
    ///
    /// **A task does not wait.** What is more than some hundreds of events ahead of the subscriber
    /// is dropped, and a `WARN` (target `brigade::process`) says how many were. Those above the
    /// level cost the worker what a disabled event costs anywhere: a comparison.
    ///
    /// **A worker that sets a subscriber, or a logger, of its own**, in
    /// [`init_with`](crate::init_with()) or its initializer, keeps that, and sends nothing it
    /// takes; a `DEBUG` event says so; [`forward_event`] is what such a subscriber can call.
    /// Sockets are one more descriptor in the program for each worker. A hostile worker can tell
    /// anything, in bounded memory, as events of its own tasks.
    ///
    /// *Default: [`LevelFilter::OFF`](tracing::level_filters::LevelFilter::OFF), none.*
    ///
    /// # Examples
    /// ```
    /// use brigade::process::Builder;
    /// use tracing::level_filters::LevelFilter;
    ///
    /// fn count(text: String) -> usize {
    ///     tracing::info!(bytes = text.len(), "counting");
    ///     text.split_whitespace().count()
    /// }
    ///
    /// brigade::init();
    /// // tracing_subscriber::fmt().init(); in the program
    /// let builder = Builder::new().forward_tracing(LevelFilter::INFO);
    /// let span = tracing::info_span!("request", id = 7);
    /// let words = span.in_scope(|| builder.spawn(count, "to be or not".to_owned()))?;
    /// assert_eq!(words.join()?, 4);
    /// // INFO request{id=7}:task{name="my_program::count" worker=4711 kind=process}: my_program: counting bytes=12
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tracing")]
    #[doc(alias = "log")]
    #[doc(alias = "subscriber")]
    pub fn forward_tracing(mut self, level: LevelFilter) -> Builder {
        self.events = level.into_level();
        self
    }

    /// What it may reach: see [`Sandbox`].
    ///
    /// *Default: everything that the program may.*
    #[cfg(feature = "sandbox")]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Builder {
        self.sandbox = Some(sandbox);
        self
    }

    /// Starts `task` on `input`.
    ///
    /// # Errors
    /// As [`spawn`]; and what was asked for cannot be: no such directory, a name or a variable that
    /// contains a zero byte.
    #[track_caller]
    pub fn spawn<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
    ) -> io::Result<JoinHandle<R>> {
        self.spawn_as(task, input, TaskName::new(task as usize, self.name.clone()))
    }

    /// As [`spawn`](Self::spawn), of a task that errors are to call by that name.
    pub(crate) fn spawn_as<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
        name: TaskName,
    ) -> io::Result<JoinHandle<R>> {
        let running = self.start(task, input, name)?;
        Ok(JoinHandle(HandleInner::Process(Box::new(running))))
    }
}

/// Sends an event to the program as [`Builder::forward_tracing`] does: for a subscriber of a
/// worker's own, which takes the place of the one that would. The spans that such a subscriber has
/// opened are not sent. In the program itself, and in a worker that is to send no events, it does
/// nothing: so one `init_with` serves all.
///
/// # Examples
/// ```
/// use tracing::{Event, Metadata, Subscriber, span};
///
/// /// Writes each event to a file of the worker's own, say, and sends it. With `tracing-subscriber`
/// /// it is a `Layer` whose `on_event` does that.
/// struct Both;
///
/// impl Subscriber for Both {
///     fn event(&self, event: &Event<'_>) {
///         brigade::process::forward_event(event);
///     }
/// #   fn enabled(&self, _: &Metadata<'_>) -> bool { true }
/// #   fn new_span(&self, _: &span::Attributes<'_>) -> span::Id { span::Id::from_u64(1) }
/// #   fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
/// #   fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
/// #   fn enter(&self, _: &span::Id) {}
/// #   fn exit(&self, _: &span::Id) {}
///     // …
/// }
///
/// brigade::init_with(|| tracing::subscriber::set_global_default(Both).expect("the first"));
/// tracing::info!("in the program"); // is not sent to itself
/// ```
#[cfg(feature = "tracing")]
pub fn forward_event(event: &tracing::Event<'_>) {
    #[cfg(all(target_os = "linux", not(brigade_portable)))]
    child::events::forward(event);
    #[cfg(any(not(target_os = "linux"), brigade_portable))]
    let _ = event;
}

/// How workers are limited on this machine, in this program. Control groups are looked for at the
/// first call, or when the first worker is limited by one.
///
/// # Examples
/// ```
/// use brigade::process::{Limit, limited_by};
///
/// for limit in Limit::ALL {
///     println!("{limit}: {}", limited_by(limit));
/// }
/// ```
pub fn limited_by(limit: Limit) -> Enforcement {
    host::limited_by(limit)
}

/// How worker processes are made in this program, on this machine. It is found out by the fork
/// server, which is started if there is none.
///
/// # Errors
/// As [`spawn`]: no process can be made.
///
/// # Examples
/// ```
/// use brigade::process::{StartMethod, start_method};
///
/// brigade::init();
/// assert_eq!(start_method()?, StartMethod::Fork);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn start_method() -> io::Result<StartMethod> {
    let own = Origin::own(Inheritance::Environment);
    Ok(ForkServerClient::get(own)?.start_method().clone())
}

/// What a fork server has of the program's arguments and environment, and so all its workers: they
/// lie in the memory of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Inheritance {
    /// All of them.
    Environment,
    /// The first argument, and what the loader needs; and not the program's stdout, but a pipe to
    /// the fork server. For workers in a sandbox.
    #[cfg_attr(
        any(not(target_os = "linux"), brigade_portable),
        allow(dead_code, reason = "there are no workers")
    )]
    Nothing,
}
