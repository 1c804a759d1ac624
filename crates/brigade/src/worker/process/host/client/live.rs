//! What workers do now, for `publish`: tasks that have a worker of their own, and the last
//! lines that workers have written to stderr.
//!
//! The fork server reads what workers write. It says on the exit table what that was, when it is
//! asked, so that nothing is copied without a reader. It is not asked a second time before it has
//! answered, and is waited for under no lock, for a bounded time: one that is stopped answers
//! later.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::ForkServerClient;
use crate::sys::futex;
use crate::sys::per_process::PerProcess;
use crate::task::name::TaskName;
use crate::worker::process::ipc::protocol::Request;

/// A worker that lives.
pub(crate) struct LiveWorker {
    pub(crate) pid: u32,
    /// Its only task, and for how long it has it. `None`: a worker of a pool, or a spare.
    pub(crate) task: Option<(TaskName, Duration)>,
    /// The last that it has written to stderr, as far as that is known.
    pub(crate) stderr: Vec<u8>,
}

/// All that were started, those too that others have taken the place of.
static ALL: PerProcess<Mutex<Vec<Weak<ForkServerClient>>>> = PerProcess::new(Mutex::default);

fn all() -> MutexGuard<'static, Vec<Weak<ForkServerClient>>> {
    ALL.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enters a fork server that was started.
pub(super) fn enter(server: &Arc<ForkServerClient>) {
    let mut all = all();
    all.retain(|server| server.strong_count() > 0);
    all.push(Arc::downgrade(server));
}

/// The program's fork servers, and their workers that have a task of their own or have written
/// something. The fork servers have until then to say what.
pub(crate) fn live_workers(deadline: Instant) -> (Vec<u32>, Vec<LiveWorker>) {
    let servers: Vec<_> = all().iter().filter_map(Weak::upgrade).collect();
    let servers: Vec<_> = (servers.into_iter())
        .filter(|server| !server.is_gone())
        .collect();
    let asked: Vec<u32> = (servers.iter())
        .map(|server| server.ask_for_stderr())
        .collect();
    let mut workers = Vec::new();
    for (server, number) in servers.iter().zip(asked) {
        server.wait_for_stderr(number, deadline);
        workers.extend(server.workers_now());
    }
    (servers.iter().map(|server| server.pid()).collect(), workers)
}

impl ForkServerClient {
    /// Has the fork server show what workers have written. Returns what the exit table's count will
    /// be when it has.
    fn ask_for_stderr(&self) -> u32 {
        let shown = self.exit_table.shown().load(Ordering::Acquire);
        let next = shown.wrapping_add(1);
        let asked = &self.asked_for_stderr;
        let is_first = asked
            .compare_exchange(shown, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if is_first && self.send(Request::ShowStderr).is_err() {
            // It is about to be gone. Where it is not, it is asked again.
            asked.store(shown, Ordering::Relaxed);
            return shown;
        }
        next
    }

    fn wait_for_stderr(&self, number: u32, deadline: Instant) {
        let word = self.exit_table.shown();
        loop {
            let shown = word.load(Ordering::Acquire);
            if shown == number || Instant::now() >= deadline {
                return;
            }
            futex::wait_shared(word, shown, Some(deadline));
        }
    }

    fn workers_now(&self) -> Vec<LiveWorker> {
        let now = Instant::now();
        let last: Vec<_> = {
            let state = self.lock();
            let last = state.last.iter().zip(0_u32..);
            last.filter(|&(worker, slot)| worker.pid != 0 && !self.exit_table.has_ended(slot))
                .map(|(worker, slot)| (slot, worker.pid, worker.task.clone()))
                .collect()
        };
        let workers = last.into_iter().map(|(slot, pid, task)| LiveWorker {
            pid,
            task: task.map(|(name, since)| (name, now.saturating_duration_since(since))),
            stderr: self.exit_table.shown_stderr(slot, pid).unwrap_or_default(),
        });
        workers
            .filter(|worker| worker.task.is_some() || !worker.stderr.is_empty())
            .collect()
    }
}
