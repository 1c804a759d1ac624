//! What a program publishes of its pools, for each process that may look into it: README.md beside
//! this file.
//!
//! - page: the memory and its thread; text: what is written there
//! - unsupported: in place of them, where there is no memory of that kind

#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod page;
#[cfg(any(not(target_os = "linux"), brigade_portable))]
#[path = "unsupported.rs"]
mod page;
#[cfg(all(target_os = "linux", not(brigade_portable)))]
mod text;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use crate::sys::original::Original;
use crate::sys::per_process::PerProcess;
use crate::{Crash, Kind, PoolStats};

/// How many crashes are kept, and how many bytes of a worker's stderr.
const MOST_CRASHES: usize = 16;
const MOST_STDERR: usize = 512;

/// Publishes the pools of this program, those that there are and those to come: `brigade top` and
/// `brigade inspect` show them. It stays so until the program ends; to call it again does nothing.
///
/// What is published: each pool's workers, with the name of the task that each has and for how long
/// it has had it; the queue, and [`PoolStats`]; tasks that have a process of their own
/// ([`process::spawn`](crate::process::spawn())); the last that workers which are processes have
/// written to stderr; the last crashes, with the last lines of theirs. Inputs and results are not.
///
/// **Its readers**: the same user, and root, by the rules of
/// [ptrace(2)](https://man7.org/linux/man-pages/man2/ptrace.2.html); of a program that is not
/// dumpable, or has the privileges of another user, root alone. No other process can change it. It
/// is memory without a name in any file system, and gone when the program ends, however it ends.
///
/// **What it costs**: one thread, `brigade-publish`, which sleeps until a reader asks, and 256 KiB
/// of address space. Without a reader nothing runs, and tasks cost the same as without it; a reader
/// costs each pool about as much as [`Pool::stats`](crate::Pool::stats), and the fork server a
/// look at what it has read of stderr, at most 20 times a second.
///
/// A fork of the program publishes nothing, unless it calls this itself; neither does a program
/// that it becomes by execve(2).
///
/// The format is described in the sources, `src/publish/README.md`.
///
/// # Errors
/// The kernel gives no memory or no thread, or a limit is in the way.
/// [`Unsupported`](io::ErrorKind::Unsupported) on systems other than Linux.
///
/// # Examples
/// ```
/// # fn main() -> std::io::Result<()> {
/// brigade::init();
/// brigade::publish()?; // now `brigade top` shows what this pool does
/// let pool = brigade::Pool::processes(2)?;
/// # assert_eq!(pool.map(|n: u32| n, 0..10).count(), 10);
/// # Ok(())
/// # }
/// ```
pub fn publish() -> io::Result<()> {
    let registry = REGISTRY.get();
    let mut page = lock(&registry.page);
    if page.is_none() {
        *page = Some(page::Page::start()?);
        registry.is_published.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// A pool, as it is published.
pub(crate) trait PoolSource: Send + Sync {
    fn picture(&self) -> PoolPicture;
}

pub(crate) struct PoolPicture {
    pub(crate) kind: Kind,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) fork_server: Option<u32>,
    pub(crate) stats: PoolStats,
    pub(crate) workers: Vec<WorkerPicture>,
}

pub(crate) struct WorkerPicture {
    /// The process, or the thread.
    pub(crate) id: u32,
    pub(crate) state: &'static str,
    pub(crate) task: Option<TaskPicture>,
    /// How many tasks lie ahead of it beside that one.
    pub(crate) ahead: usize,
}

/// A task that a worker has. Its name is looked up later, when no pool is locked.
#[derive(Clone, Copy)]
pub(crate) struct TaskPicture {
    pub(crate) function: usize,
    pub(crate) call_site: &'static Location<'static>,
    pub(crate) since: Duration,
}

/// A crash that is kept.
struct KeptCrash {
    pool: u64,
    pid: u32,
    cause: String,
    task: String,
    at: SystemTime,
    stderr: String,
}

/// The pools of this process. Those of its parent, if it is a fork, are not its own.
struct PublishedPools {
    pools: Mutex<Pools>,
    crashes: Mutex<VecDeque<KeptCrash>>,
    is_published: AtomicBool,
    page: Mutex<Option<page::Page>>,
}

#[derive(Default)]
struct Pools {
    last: u64,
    all: BTreeMap<u64, Weak<dyn PoolSource>>,
}

static REGISTRY: PerProcess<PublishedPools> = PerProcess::new(|| PublishedPools {
    pools: Mutex::default(),
    crashes: Mutex::default(),
    is_published: AtomicBool::new(false),
    page: Mutex::new(None),
});

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is changed in one step, after which it is as it should be.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pool's place in the list, until this is dropped.
pub(crate) struct Registration {
    number: u64,
    by: Original,
}

/// Enters a pool, so that it is published if the program wants that, now or later.
pub(crate) fn register(pool: Weak<dyn PoolSource>) -> Registration {
    let mut pools = lock(&REGISTRY.get().pools);
    pools.last += 1;
    let number = pools.last;
    pools.all.insert(number, pool);
    Registration {
        number,
        by: Original::this_process(),
    }
}

impl Registration {
    #[cfg(test)]
    fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // In a fork the pool is only a copy, and its number may be another's.
        if self.by.is_this_process() {
            lock(&REGISTRY.get().pools).all.remove(&self.number);
        }
    }
}

/// A worker of this pool died.
pub(crate) fn note_crash(pool: &dyn PoolSource, crash: &Crash) {
    let registry = REGISTRY.get();
    if !registry.is_published.load(Ordering::Relaxed) {
        return;
    }
    let at = std::ptr::from_ref(pool).cast::<()>();
    let pools = lock(&registry.pools);
    let number = (pools.all.iter())
        .find(|(_, pool)| std::ptr::eq(pool.as_ptr().cast::<()>(), at))
        .map_or(0, |(&number, _)| number);
    drop(pools);
    let kept = KeptCrash {
        pool: number,
        pid: crash.pid(),
        cause: crash.cause().to_string(),
        task: crash.task().to_owned(),
        at: SystemTime::now(),
        stderr: last_of(crash.stderr().as_bytes()).into_owned(),
    };
    let mut crashes = lock(&registry.crashes);
    crashes.truncate(MOST_CRASHES - 1);
    crashes.push_front(kept);
}

/// The pools that there are, by number.
fn pools() -> Vec<(u64, Arc<dyn PoolSource>)> {
    let pools = lock(&REGISTRY.get().pools);
    let alive = pools.all.iter();
    alive
        .filter_map(|(&number, pool)| Some((number, pool.upgrade()?)))
        .collect()
}

/// What was written last, in whole lines if there is one.
fn last_of(stderr: &[u8]) -> Cow<'_, str> {
    let cut = stderr.len().saturating_sub(MOST_STDERR);
    let mut last = &stderr[cut..];
    let line_ends = last.iter().position(|&byte| byte == b'\n');
    if let Some(end) = line_ends.filter(|&end| cut > 0 && end + 1 < last.len()) {
        last = &last[end + 1..];
    }
    String::from_utf8_lossy(last)
}
