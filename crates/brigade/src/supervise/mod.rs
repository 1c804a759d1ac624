//! Supervision: children that are kept running, threads, processes and supervisors of others.
//!
//! A [`Supervisor`] starts its children in order, starts again what ends, as each child's
//! [`Restart`] and its own [`Strategy`] say, gives up when that happens too often, and stops its
//! children in reverse order. The rules are those of [OTP's supervisor]; where a child runs is one
//! word.
//!
//! ```
//! use std::time::Duration;
//!
//! use brigade::Kind;
//! use brigade::supervise::{self, Child, Strategy, Supervisor};
//!
//! fn serve(port: u16) -> Result<(), String> {
//!     if port == 0 {
//!         return Err("there is no such port".to_owned()); // abnormal, as a panic or a crash
//!     }
//!     supervise::ready(); // those after it may start
//!     while !supervise::should_stop() {
//!         supervise::alive();
//!         // … one request …
//! #       supervise::Context::current().wait_for_stop_timeout(Duration::from_millis(1));
//!     }
//!     Ok(()) // normal
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     brigade::init();
//!     let second = Duration::from_secs(1);
//!     let running = Supervisor::new(Strategy::RestForOne)
//!         .intensity(3, 60 * second)
//!         .child(Child::new(Kind::Process, "store", serve, 4000).ready_within(5 * second))
//!         .child(Child::new(Kind::Thread, "web", serve, 8080).watchdog(10 * second))
//!         .start()?; // both are up
//!     assert_eq!(running.counts().running, 2);
//!     let report = running.shutdown(); // first `web`, then `store`
//!     assert_eq!(report.children()[0].name(), "web");
//!     assert!(report.left_running().is_empty());
//!     Ok(())
//! }
//! ```
//!
//! # Ends
//!
//! **Normal**: the task returns, `()` or `Ok`. **Abnormal** is everything else: it returns `Err`,
//! it panics, its process crashes or is killed, its watchdog ends it, it is a supervisor that gave
//! up. A permanent child is restarted after either, a transient one after an abnormal end, a
//! temporary one never.
//!
//! # How a child stops
//!
//! | | a thread | a process |
//! |---|---|---|
//! | it asks [`should_stop`], or waits for it | it gets the answer, and has its grace time | the same |
//! | it has never asked | | it is sent SIGTERM, and has its grace time |
//! | its grace time is over | it is let go, and the [report](Report) names it | it is killed |
//! | [`Shutdown::Kill`] | it is let go at once | it is killed at once |
//!
//! What a process has started is ended with it.
//!
//! # What differs from OTP
//!
//! - A supervisor never waits inside the start of a child: a start that hangs holds up those that
//!   come after it in order, and no request, no shutdown, and no other child of a
//!   [one-for-one](Strategy::OneForOne) supervisor.
//! - One that gives up has failed, so that a transient supervisor is restarted; OTP's ends with
//!   `shutdown`, and is not.
//! - Readiness, the watchdog and back-off are in the child's and the supervisor's own options.
//! - There is no `simple_one_for_one`: [`start_child`](Handle::start_child) with a name for each,
//!   and [`stop_together`](Supervisor::stop_together).
//! - A thread cannot be killed.
//!
//! [OTP's supervisor]: https://www.erlang.org/doc/apps/stdlib/supervisor.html

mod backoff;
mod child;
mod context;
mod countdown;
mod events;
mod exit;
mod handle;
mod inbox;
mod launch;
mod line;
mod machine;
mod request;
mod runner;
mod supervisor;

use std::time::Duration;

pub use child::Child;
pub use context::Context;
pub use events::{Event, Events, What};
pub use exit::{ChildEnd, ChildError, Exit, Reason, Report, StartError};
pub use handle::{Handle, Running};
pub use launch::Outcome;
pub use request::{ChildInfo, ChildState, Counts};
pub use supervisor::Supervisor;

/// Which other children are restarted with a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// No other child.
    OneForOne,
    /// All other children: they are stopped, and then all are started.
    OneForAll,
    /// Those that are started after it: they are stopped, and then it and they are started.
    RestForOne,
}

/// When a child is started again that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    Permanent,
    /// When it has ended [abnormally](self#ends).
    Transient,
    /// Never, also when others of its group are; its supervisor forgets it.
    Temporary,
}

/// How a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Shutdown {
    /// The child is killed, or let go, at once.
    #[doc(alias = "brutal_kill")]
    Kill,
    /// The child is asked to stop, and killed, or let go, if it has not within this time.
    Grace(Duration),
    /// The child is asked to stop, and waited for without a limit.
    Infinity,
}

/// Whether a supervisor shuts itself down when [significant](Child::significant) children end by
/// themselves and are not restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AutoShutdown {
    /// No; a child cannot be significant.
    Never,
    /// When the first of them does.
    AnySignificant,
    /// When the last of them does.
    AllSignificant,
}

/// Says that this child is ready: [`Context::ready`].
pub fn ready() {
    Context::current().ready();
}

/// Says that this child is not needed: [`Context::ignore`].
pub fn ignore() {
    Context::current().ignore();
}

/// Says that this child lives: [`Context::alive`].
pub fn alive() {
    Context::current().alive();
}

/// Whether this child is to stop: [`Context::should_stop`].
pub fn should_stop() -> bool {
    Context::current().should_stop()
}

/// Waits until this child is to stop: [`Context::wait_for_stop`].
pub fn wait_for_stop() {
    Context::current().wait_for_stop();
}
