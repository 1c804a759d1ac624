//! One worker's socket: what comes out of it, and which tasks its events are of.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::Spans;
use crate::trace::Span;
use crate::worker::process::ipc::mailbox::Mailbox;

/// A worker that sends its events, as the program sees it.
pub(crate) struct WorkerEvents {
    socket: OwnedFd,
    worker: u32,
    mailbox: Arc<Mailbox>,
    spans: Arc<dyn Spans>,
    runs: Mutex<RecentTasks>,
    /// How many events the worker had lost when that was reported last.
    told_lost: AtomicU32,
    /// An event has reported that the worker sends what makes no sense.
    told_nonsense: AtomicBool,
}

impl std::fmt::Debug for WorkerEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let worker = &self.worker;
        f.debug_struct("WorkerEvents")
            .field("worker", worker)
            .finish_non_exhaustive()
    }
}

/// What was read of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The bytes of one frame, or a number of more than the buffer has.
    Frame(usize),
    Nothing,
    /// No process has the other end any more.
    End,
}

impl WorkerEvents {
    pub(super) fn new(
        socket: OwnedFd,
        worker: u32,
        mailbox: &Arc<Mailbox>,
        spans: &Arc<dyn Spans>,
    ) -> WorkerEvents {
        WorkerEvents {
            socket,
            worker,
            mailbox: Arc::clone(mailbox),
            spans: Arc::clone(spans),
            runs: Mutex::default(),
            told_lost: AtomicU32::new(0),
            told_nonsense: AtomicBool::new(false),
        }
    }

    /// The worker was given `count` tasks: the first is the one of this number among all that it
    /// was given, counted from 0 in 32 bits that wrap, and `task` in its pool. The worker does not
    /// see them before this is known.
    pub(crate) fn gave(&self, position: u32, count: u32, task: u64) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.add(TaskRange {
            position,
            count,
            task,
        });
    }

    #[cfg(all(test, not(any(loom, shuttle))))]
    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    pub(super) fn worker(&self) -> u32 {
        self.worker
    }

    pub(super) fn spans(&self) -> &Arc<dyn Spans> {
        &self.spans
    }

    /// Takes the next frame that is there.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Read {
        loop {
            // Descriptors that a hostile worker sends along have no place here: the kernel closes
            // them.
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match rustix::net::recv(&self.socket, &mut *buffer, flags) {
                Ok((_, 0)) => return Read::End,
                Ok((_, len)) => return Read::Frame(len),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return Read::Nothing,
                Err(_) => return Read::End,
            }
        }
    }

    /// The span that an event belongs under which the worker sent while it ran that one of its
    /// tasks.
    pub(super) fn span(&self, position: Option<u32>) -> Arc<Span> {
        let task = position.and_then(|position| {
            let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.task(position)
        });
        // What a task has left running may send when it has ended.
        let of_task = task.and_then(|task| self.spans.of_task(task, self.worker));
        of_task.unwrap_or_else(|| self.spans.of_worker(self.worker))
    }

    /// How many events the worker has lost that were not told.
    pub(super) fn lost(&self) -> u32 {
        let now = self.mailbox.lost_events();
        now.wrapping_sub(self.told_lost.swap(now, Ordering::Relaxed))
    }

    /// The worker has sent what makes no sense. `true`: for the first time.
    pub(super) fn is_first_nonsense(&self) -> bool {
        !self.told_nonsense.swap(true, Ordering::Relaxed)
    }
}

impl AsFd for WorkerEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Tasks that a worker was given one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TaskRange {
    position: u32,
    count: u32,
    task: u64,
}

/// Which tasks a worker was given. Where there are enough of them that some have ended long ago,
/// the first are forgotten.
#[derive(Debug, Default)]
struct RecentTasks(VecDeque<TaskRange>);

const MAX_RUNS: usize = 8192;

impl RecentTasks {
    /// Those that it was given from the same place on before were taken back.
    fn add(&mut self, run: TaskRange) {
        while let Some(last) = self.0.back_mut() {
            let before = run.position.wrapping_sub(last.position);
            // Half of all numbers lie before a position, the others behind it.
            if before == 0 || before > u32::MAX / 2 {
                self.0.pop_back();
                continue;
            }
            last.count = last.count.min(before);
            let follows = last.count == before
                && last.task + u64::from(before) == run.task
                && before < u32::MAX / 4;
            if follows {
                last.count += run.count;
                return;
            }
            break;
        }
        if self.0.len() >= MAX_RUNS {
            self.0.pop_front();
        }
        self.0.push_back(run);
    }

    fn task(&self, position: u32) -> Option<u64> {
        let at = |run: &TaskRange| position.wrapping_sub(run.position);
        let run = self.0.iter().rev().find(|run| at(run) < run.count)?;
        Some(run.task + u64::from(at(run)))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_taken_back_is_another_task() {
        let mut runs = RecentTasks::default();
        let mut add = |position, count, task| {
            runs.add(TaskRange {
                position,
                count,
                task,
            });
        };
        add(0, 1, 10);
        add(1, 4, 11);
        add(5, 2, 50);
        // All but the first three were taken back, and these given.
        add(3, 2, 90);
        let tasks: Vec<_> = (0..7).map(|position| runs.task(position)).collect();
        let expected = [Some(10), Some(11), Some(12), Some(90), Some(91), None, None];
        assert_eq!(tasks, expected);
        assert_eq!(runs.task(u32::MAX), None);
    }

    #[test]
    fn positions_wrap_and_few_are_kept() {
        let mut runs = RecentTasks::default();
        let first = u32::MAX - 2;
        for n in 0..2 * MAX_RUNS as u32 {
            let task = 3 * u64::from(n);
            runs.add(TaskRange {
                position: first.wrapping_add(n),
                count: 1,
                task,
            });
            assert_eq!(runs.task(first.wrapping_add(n)), Some(task));
        }
        assert_eq!(runs.0.len(), MAX_RUNS);
        assert_eq!(runs.task(first), None);
    }

    proptest! {
        /// As a list would have it that has one entry for each position.
        #[test]
        fn each_position_is_the_task_that_was_given_last(
            steps in proptest::collection::vec((0..8_u32, 1..5_u32, 0..1000_u64), 1..40),
        ) {
            let (mut runs, mut list, mut next) = (RecentTasks::default(), Vec::new(), 0_u32);
            for (back, count, task) in steps {
                next = next.saturating_sub(back);
                list.truncate(next as usize);
                list.extend((task..).take(count as usize));
                runs.add(TaskRange { position: next, count, task });
                next += count;
                for (position, task) in (0..).zip(&list) {
                    prop_assert_eq!(runs.task(position), Some(*task));
                }
                prop_assert_eq!(runs.task(next), None);
            }
        }
    }
}
