//! One thread of the pool.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::adaptive_spin::{self, Patience};
use super::counters::Tally;
use super::current;
use super::locks::lock;
use super::pool::Shared;
use super::scheduler::Idle;
use super::thread_table::{ABORTED, ENDING, SURPLUS};
use super::work::{Refusal, Went, Work};
use crate::JoinError;
use crate::task::entry::caught;
use crate::task::name::TaskName;
use crate::task::panic::contained;

/// How long a thread that is one too many sleeps before it ends: it may be wanted again.
const LINGER: Duration = Duration::from_millis(100);

/// How long one that stands by sleeps between two looks, and how many are in vain before it sleeps
/// for good.
const LOOK: Duration = Duration::from_micros(100);
const LOOKS: u32 = 20;

pub(super) struct Worker {
    pub(super) id: u64,
    pub(super) crew: Arc<Shared>,
    thread: OnceLock<thread::Thread>,
    /// Somebody took it off the list of sleepers.
    woken: AtomicBool,
    /// When the task that it runs began, by the pool's clock; 0 while it runs none. Kept only where
    /// tasks have a time.
    pub(super) began: AtomicU64,
    /// Since when it is at what it is at, which is when it ended what was before that, by the
    /// pool's clock; 0 if it has waited since.
    since: AtomicU64,
    /// What it is at. For those who may have to end that.
    desk: Mutex<Option<Arc<dyn Work>>>,
    pub(super) tally: Tally,
}

impl Worker {
    pub(super) fn new(id: u64, crew: Arc<Shared>) -> Worker {
        Worker {
            id,
            crew,
            thread: OnceLock::new(),
            woken: AtomicBool::new(false),
            began: AtomicU64::new(0),
            since: AtomicU64::new(0),
            desk: Mutex::new(None),
            tally: Tally::new(),
        }
    }

    /// The thread's main function.
    pub(super) fn main(self: Arc<Self>) {
        let _ = self.thread.set(thread::current());
        current::enter(&self);
        if let Some(Err(unwound)) = self.crew.options.initializer.map(caught) {
            self.crew.failed(&self, unwound);
            return;
        }
        if self.crew.ready(self.id) {
            self.work();
        }
        current::leave();
    }

    fn work(self: &Arc<Self>) {
        // Whether the pool counts on it to look for work. One that was just started has not been
        // waited for.
        let mut searching = false;
        let mut patience = Patience::new();
        loop {
            if self.crew.hint() & SURPLUS != 0 && !searching {
                if self.sleep(&mut searching, true) {
                    continue;
                }
                return;
            }
            let Some(item) = self.crew.next() else {
                if self.look(&mut searching, &mut patience) {
                    continue;
                }
                return;
            };
            if searching {
                searching = false;
                self.crew.found();
            }
            if self.run(item) == Went::LetGo {
                return;
            }
            if self.is_used_up() {
                self.crew.recycle(self);
                return;
            }
        }
    }

    fn run(self: &Arc<Self>, item: Arc<dyn Work>) -> Went {
        let mut went = Went::Well;
        // A destructor of a value that nobody wants, or a waker, may panic: its task has ended by
        // then.
        contained(|| {
            self.is_at(Arc::clone(&item));
            // Who aborts the pool says so before he looks at the desk.
            if self.crew.hint() & ABORTED != 0 {
                item.refuse(&self.crew, &Refusal::Cancelled);
            } else {
                went = item.run(self);
            }
        });
        went
    }

    /// It is at nothing any more.
    fn clears_desk(&self) {
        let item = lock(&self.desk).take();
        contained(|| drop(item));
    }

    /// It is at something else now.
    pub(super) fn is_at(&self, item: Arc<dyn Work>) {
        let before = lock(&self.desk).replace(item);
        // Its result may have been nobody's.
        contained(|| drop(before));
    }

    /// What it is at.
    pub(super) fn desk(&self) -> Option<Arc<dyn Work>> {
        lock(&self.desk).clone()
    }

    /// Whether it has run as many tasks as a thread of this pool may.
    pub(super) fn is_used_up(&self) -> bool {
        (self.crew.options.recycle_after)
            .is_some_and(|most| self.tally.begun.load(Ordering::Relaxed) >= most)
    }

    /// A task of its ended by itself.
    pub(super) fn counts<R>(&self, result: &Result<R, JoinError>) {
        match result {
            Ok(_) => super::counters::add(&self.tally.done, 1),
            Err(JoinError::Panicked(_)) => super::counters::add(&self.tally.panicked, 1),
            Err(error) => self.crew.roster(|_| {
                self.counts_elsewhere();
                self.crew.counters.count(error, 1);
            }),
        }
    }

    /// The end of a task of its is counted, but not by it. Under the roster's lock.
    pub(super) fn counts_elsewhere(&self) {
        super::counters::add(&self.tally.elsewhere, 1);
    }

    /// When what it does next begins, by the pool's clock.
    pub(super) fn turn(&self) -> u64 {
        match self.since.load(Ordering::Relaxed) {
            0 => {
                let now = self.crew.now();
                self.since.store(now, Ordering::Relaxed);
                now
            }
            since => since,
        }
    }

    /// It was busy until now.
    pub(super) fn was_busy(&self, now: u64) {
        let since = self.since.load(Ordering::Relaxed);
        super::counters::add(&self.tally.busy, now.saturating_sub(since));
        self.since.store(now, Ordering::Relaxed);
    }

    /// A task begins: now, by the pool's clock.
    pub(super) fn begins(&self) -> u64 {
        super::counters::add(&self.tally.begun, 1);
        let Some(keeper) = &self.crew.keeper else {
            return 0;
        };
        let now = self.crew.now();
        self.began.store(now, Ordering::Relaxed);
        // Either it sees that somebody runs something, or we see that it sleeps.
        fence(Ordering::SeqCst);
        keeper.notice();
        now
    }

    /// It has ended, or what was begun after it is not watched.
    pub(super) fn ends(&self) {
        if self.crew.keeper.is_some() {
            self.began.store(0, Ordering::Relaxed);
        }
    }

    #[cold]
    pub(super) fn name(&self, task: usize, started: &'static Location<'static>) -> TaskName {
        TaskName::at(task, self.crew.options.name.clone(), started)
    }

    /// There is nothing to do: looks for a while, if nobody else does, and sleeps. `false`: it is
    /// not needed any more.
    fn look(self: &Arc<Self>, searching: &mut bool, patience: &mut Patience) -> bool {
        self.since.store(0, Ordering::Relaxed);
        // Tasks that come one right after another are not worth a word to the others.
        if adaptive_spin::has_idle_processor()
            && adaptive_spin::glance(|| !self.crew.queue_is_empty())
        {
            return true;
        }
        self.clears_desk();
        if !*searching {
            *searching = self.crew.search();
        }
        let crew = &self.crew;
        let has_come = || !crew.queue_is_empty() || crew.hint() & ENDING != 0;
        if *searching
            && patience.until(adaptive_spin::has_idle_processor(), has_come)
            && !crew.queue_is_empty()
        {
            return true;
        }
        let lay_down = Instant::now();
        let goes_on = self.sleep(searching, false);
        patience.slept(lay_down.elapsed());
        goes_on
    }

    /// `false`: it is not needed any more.
    fn sleep(self: &Arc<Self>, searching: &mut bool, surplus: bool) -> bool {
        let idle = match self.crew.lie_down(self, std::mem::take(searching), surplus) {
            Idle::Resume => return true,
            Idle::Exit => return false,
            idle => idle,
        };
        if !surplus {
            // Who gave the pool something before it could know that we sleep counted on us.
            fence(Ordering::SeqCst);
            if !self.crew.queue_is_empty() {
                self.crew.help();
            }
        }
        let mut looks = if idle == Idle::Sentry { LOOKS } else { 0 };
        let mut until = (idle != Idle::Sleep).then(|| Instant::now() + LINGER);
        loop {
            if self.woken.swap(false, Ordering::Acquire) {
                *searching = true;
                return true;
            }
            if looks > 0 {
                thread::park_timeout(LOOK);
                looks -= 1;
                self.crew.stands_by(self, looks == 0);
            } else if let Some(at) = until {
                let left = at.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    thread::park_timeout(left);
                } else if self.crew.leave_bed(self) {
                    return false;
                } else {
                    // It is needed, or somebody is about to wake it.
                    until = None;
                }
            } else if self.crew.hint() & ENDING != 0 {
                // It has lain down since the sleepers were told: nobody wakes it any more, unless
                // for work.
                if self.crew.queue_is_empty() && self.crew.leave_bed(self) {
                    return false;
                }
                thread::park_timeout(LOOK);
            } else {
                thread::park();
            }
        }
    }

    /// It is off the list of sleepers.
    pub(super) fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
