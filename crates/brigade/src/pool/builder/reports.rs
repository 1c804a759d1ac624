//! What a pool reports of its tasks beside their ends: crash files, stacks, events.

use std::path::Path;

use super::PoolBuilder;
#[cfg(feature = "tracing")]
use crate::trace::LevelFilter;

impl PoolBuilder {
    /// Writes a file into this directory for each task whose worker process died, or was killed
    /// because the task ran over its time: what it was, its input, and all that is known of the
    /// end. With `BRIGADE_REPLAY` it is run again, in a debugger if you like: see
    /// [`init`](crate::init).
    ///
    /// The file is a text, for people first, and [`Crash::file`](crate::Crash::file) says where it
    /// is. The directory is made if it is missing. Only the program's user can read what is in it:
    /// inputs may be secret, and so may the variables that the pool's [`process`](Self::process)
    /// sets, which are in the file too. A task that panicked or was cancelled leaves none; with
    /// [`retries`](Self::retries) there is one for each crash, and those before the last may come a
    /// moment after the task's end, but before the pool's. An input that came with descriptors
    /// (ends of channels, [`Shared`](crate::Shared) memory, files) is mentioned, but cannot be
    /// replayed. For threads it does nothing: their crash is the program's.
    ///
    /// *Default: no files.*
    ///
    /// # Examples
    /// ```
    /// use brigade::{JoinError, Kind, Pool};
    ///
    /// fn peek(address: usize) -> u8 {
    ///     // A C library's mistake, in one line.
    ///     unsafe { std::ptr::read_volatile(address as *const u8) }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// brigade::init();
    /// let crashes = std::env::temp_dir().join(format!("crashes-{}", std::process::id()));
    /// let pool = Pool::builder(Kind::Process).workers(1).keep_crashes(&crashes).build()?;
    /// if let Err(JoinError::Crashed(crash)) = pool.submit(peek, 0x10).join() {
    ///     let file = crash.file().expect("there is room for it");
    ///     eprintln!("{crash}; once more: BRIGADE_REPLAY={} {}", file.display(), std::env::current_exe()?.display());
    /// #   assert!(std::fs::read_to_string(file)?.contains("peek"));
    /// }
    /// # drop(pool);
    /// # std::fs::remove_dir_all(&crashes)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_crashes(mut self, dir: impl AsRef<Path>) -> PoolBuilder {
        self.options.keep_crashes = Some(dir.as_ref().to_owned());
        self
    }

    /// The pool's threads may be asked where they are: then a task that runs over its time tells
    /// where it was stuck ([`Timeout::backtrace`](crate::Timeout::backtrace)), and
    /// [`Pool::stacks`](crate::Pool::stacks) has the stacks of threads. For processes that is
    /// always so, and this does nothing.
    ///
    /// A thread is asked by a signal, `SIGRTMAX-9`: this is the only case in which the library has
    /// a signal handler in the program. It stays when the pool is gone. It runs on the thread's own
    /// stack, of which it needs some 8 KiB, more where the processor has large registers: a task
    /// that is about to use up its stack overflows it then. What is said of interrupted system
    /// calls under [`Pool::stacks`](crate::Pool::stacks) holds for threads too. Code that was not
    /// made by a compiler that describes its frames (a just-in-time compiler, assembly) must leave
    /// the stack such that it can be walked.
    ///
    /// *Default: `false`.*
    ///
    /// # Examples
    /// ```
    /// # #[cfg(all(target_os = "linux", feature = "backtrace"))]
    /// # fn main() -> std::io::Result<()> {
    /// use std::time::Duration;
    /// use brigade::{JoinError, Kind, Pool};
    ///
    /// fn endless(_: ()) {
    ///     loop {
    ///         std::hint::spin_loop();
    ///     }
    /// }
    ///
    /// let time = Duration::from_millis(100);
    /// let pool = Pool::builder(Kind::Thread).workers(1).timeout(time).thread_stacks(true).build()?;
    /// let Err(JoinError::TimedOut(timeout)) = pool.submit(endless, ()).join() else {
    ///     panic!("it has no end");
    /// };
    /// // A thread that has no processor for 10 ms does not answer in time.
    /// if let Some(backtrace) = timeout.backtrace() {
    ///     assert!(backtrace.contains("endless"));
    /// }
    /// # Ok(())
    /// # }
    /// # #[cfg(not(all(target_os = "linux", feature = "backtrace")))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// [`build`](Self::build) gives one where the program has a handler of its own for that signal;
    /// on systems other than Linux it does nothing.
    pub fn thread_stacks(mut self, yes: bool) -> PoolBuilder {
        self.options.thread_stacks = yes;
        self
    }

    /// What tasks tell by [`tracing`](https://docs.rs/tracing) lies in the span of the task, which
    /// lies in the span in which that was submitted; and what those in processes tell up to this
    /// level, also by the crate `log`, goes to the program's subscriber:
    /// [`process::Builder::forward_tracing`](crate::process::Builder::forward_tracing) says how,
    /// and what it is that arrives.
    ///
    /// In a thread a task's events are the program's own, whatever their level. There the span is
    /// opened for each task, and the task runs within it.
    ///
    /// A task of a pool of processes costs 0.2 µs more in a map, and 2 µs by itself, also where it
    /// tells nothing.
    ///
    /// *Default: [`LevelFilter::OFF`](tracing::level_filters::LevelFilter::OFF), no spans; what
    /// [`process`](Self::process) says, for processes.*
    ///
    /// # Examples
    /// ```
    /// use brigade::{Kind, Pool};
    /// use tracing::level_filters::LevelFilter;
    ///
    /// fn resize(image: Vec<u8>) -> usize {
    ///     tracing::debug!(bytes = image.len(), "resizing");
    ///     image.len() / 4
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// brigade::init();
    /// // tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    /// # #[cfg(target_os = "linux")]
    /// let kind = Kind::Process;
    /// # #[cfg(not(target_os = "linux"))]
    /// # let kind = Kind::Thread;
    /// let pool = Pool::builder(kind).workers(2).forward_tracing(LevelFilter::DEBUG).build()?;
    /// let request = tracing::info_span!("request", id = 7).entered();
    /// assert_eq!(pool.map(resize, vec![vec![0; 100]; 8]).flatten().sum::<usize>(), 200);
    /// drop(request);
    /// drop(pool); // now all was told
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tracing")]
    #[doc(alias = "log")]
    #[doc(alias = "subscriber")]
    pub fn forward_tracing(mut self, level: LevelFilter) -> PoolBuilder {
        self.options.forward_tracing = level.into_level();
        self
    }
}
