//! Pools of threads. In them nothing has to leave the process.

use std::io;
use std::sync::mpsc;
use std::time::Instant;

use crate::rounds::{each, microseconds};

pub(crate) const RAYON_SPAWN: &str = "rayon 1.12.0, spawn + std mpsc";
pub(crate) const RAYON_CROSSBEAM: &str = "rayon 1.12.0, spawn + crossbeam";
pub(crate) const RAYON_INSTALL: &str = "rayon 1.12.0, install";
pub(crate) const RAYON_SCOPE: &str = "rayon 1.12.0, scope";
pub(crate) const THREADPOOL: &str = "threadpool 1.8.1";
pub(crate) const TOKIO: &str = "tokio 1.54.1, spawn_blocking";
pub(crate) const RAYON_CHANNELS: &str = "rayon 1.12.0, spawn + a channel each";
pub(crate) const THREADPOOL_CHANNELS: &str = "threadpool 1.8.1, a channel each";
pub(crate) const TOKIO_ALL: &str = "tokio 1.54.1, spawn_blocking all";

/// What a task of theirs is.
pub(crate) trait Task: Fn() + Copy + Send + Sync + 'static {}

impl<T: Fn() + Copy + Send + Sync + 'static> Task for T {}

/// Microseconds a task, where `all` runs `count` of them.
fn per_task(count: u32, all: impl FnOnce()) -> f64 {
    let start = Instant::now();
    all();
    microseconds(start.elapsed()) / f64::from(count)
}

/// Microseconds a task: `spawn` gives `count` tasks to a pool, then the caller receives the end of
/// each from a channel of that task's own.
fn with_channels(count: u32, spawn: impl Fn(mpsc::SyncSender<()>)) -> io::Result<f64> {
    let start = Instant::now();
    let ends: Vec<_> = (0..count)
        .map(|_| {
            let (to, from) = mpsc::sync_channel(1);
            spawn(to);
            from
        })
        .collect();
    for end in ends {
        end.recv().map_err(io::Error::other)?;
    }
    Ok(microseconds(start.elapsed()) / f64::from(count))
}

#[derive(Debug)]
pub(crate) struct Rayon(rayon::ThreadPool);

impl Rayon {
    pub(crate) fn new(threads: usize) -> io::Result<Rayon> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map(Rayon)
            .map_err(io::Error::other)
    }

    /// One at a time: the task is spawned, and a channel of std's says that it is done.
    pub(crate) fn spawned(&self, count: u32) -> io::Result<f64> {
        let (to, from) = mpsc::sync_channel(1);
        each(count, || {
            let to = to.clone();
            self.0.spawn(move || {
                let _ = to.send(());
            });
            from.recv().map_err(io::Error::other)
        })
    }

    /// The same with a channel of crossbeam's, whose receiver gives the processor away for a moment
    /// before it sleeps: so, mostly, the receiving thread does not sleep.
    pub(crate) fn spawned_crossbeam(&self, count: u32) -> io::Result<f64> {
        let (to, from) = crossbeam_channel::bounded(1);
        each(count, || {
            let to = to.clone();
            self.0.spawn(move || {
                let _ = to.send(());
            });
            from.recv().map_err(io::Error::other)
        })
    }

    /// One at a time, each waited for as rayon itself does.
    pub(crate) fn installed(&self, count: u32) -> io::Result<f64> {
        each(count, || {
            self.0.install(|| ());
            Ok(())
        })
    }

    /// All at once, each with a channel.
    pub(crate) fn all_with_channels(&self, count: u32) -> io::Result<f64> {
        with_channels(count, |to| {
            self.0.spawn(move || {
                let _ = to.send(());
            });
        })
    }

    /// All at once.
    pub(crate) fn scoped(&self, count: u32, task: impl Task) -> io::Result<f64> {
        Ok(per_task(count, || {
            self.0.scope(|scope| {
                for _ in 0..count {
                    scope.spawn(move |_| task());
                }
            });
        }))
    }
}

#[derive(Debug)]
pub(crate) struct Threadpool(threadpool::ThreadPool);

impl Threadpool {
    pub(crate) fn new(threads: usize) -> Threadpool {
        Threadpool(threadpool::ThreadPool::new(threads))
    }

    /// One at a time; a channel says that it is done, as in its documentation.
    pub(crate) fn one_at_a_time(&self, count: u32) -> io::Result<f64> {
        let (to, from) = crossbeam_channel::bounded(1);
        each(count, || {
            let to = to.clone();
            self.0.execute(move || {
                let _ = to.send(());
            });
            from.recv().map_err(io::Error::other)
        })
    }

    /// All at once, each with a channel.
    pub(crate) fn all_with_channels(&self, count: u32) -> io::Result<f64> {
        with_channels(count, |to| {
            self.0.execute(move || {
                let _ = to.send(());
            });
        })
    }

    /// All at once.
    pub(crate) fn all(&self, count: u32, task: impl Task) -> io::Result<f64> {
        Ok(per_task(count, || {
            for _ in 0..count {
                self.0.execute(task);
            }
            self.0.join();
        }))
    }
}

#[derive(Debug)]
pub(crate) struct Tokio(tokio::runtime::Runtime);

impl Tokio {
    pub(crate) fn new(threads: usize) -> io::Result<Tokio> {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(threads)
            .build()
            .map(Tokio)
    }

    /// One at a time.
    pub(crate) fn one_at_a_time(&self, count: u32) -> io::Result<f64> {
        let start = Instant::now();
        self.0.block_on(async {
            for _ in 0..count {
                tokio::task::spawn_blocking(|| ()).await?;
            }
            Ok::<(), tokio::task::JoinError>(())
        })?;
        Ok(microseconds(start.elapsed()) / f64::from(count))
    }

    /// All at once; each is awaited by its handle.
    pub(crate) fn all(&self, count: u32) -> io::Result<f64> {
        let start = Instant::now();
        self.0.block_on(async {
            let handles: Vec<_> = (0..count)
                .map(|_| tokio::task::spawn_blocking(|| ()))
                .collect();
            for handle in handles {
                handle.await?;
            }
            Ok::<(), tokio::task::JoinError>(())
        })?;
        Ok(microseconds(start.elapsed()) / f64::from(count))
    }
}
