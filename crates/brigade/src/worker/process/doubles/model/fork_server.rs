//! The fork server in the models of `scripts/shuttle`.
//!
//! It and the listener are one thread: it calls the pool when a worker wakes the listener, when one
//! has come or ended, and when it is time. Its [workers](super::worker) are threads.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32 as Count, Ordering as Ordinary};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::sim::shuttle_os::{
    AtomicU32, Condvar, Instant, Killed, Life, Mutex, MutexGuard, Ordering, futex, one_in, pause,
};
use crate::sys::process::Ended;
use crate::task::symbols::{Frames, Symbols};
use crate::task::whereabouts::Whereabouts;
use crate::worker::process::doubles::model::worker::ModelWorker;
use crate::worker::process::host::client::{Origin, PoolObserver};
use crate::worker::process::ipc::exit_table::ExitRecord;
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::Limits;
use crate::worker::process::ipc::streams::SentRoutes;

/// No worker is asked where it is.
pub(crate) struct Question(u32);

impl Question {
    pub(crate) fn new(
        _server: &Arc<ForkServerClient>,
        (_slot, pid): (u32, u32),
        _mailbox: &Arc<Mailbox>,
    ) -> Question {
        Question(pid)
    }

    pub(crate) fn ask(&mut self) {}

    pub(crate) fn wait(self, _deadline: std::time::Instant) -> Whereabouts {
        let frames = Frames::new(Symbols::of_this_process(), Vec::new());
        Whereabouts::new(Some(self.0), None, frames)
    }
}

/// What may happen in a world. Each number `n`: once in `n` times; 0: never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// A worker dies at one of its steps.
    pub(crate) dies: u32,
    /// As many of them at the most.
    pub(crate) deaths: u32,
    /// A worker that was made says that it is not ready.
    pub(crate) unready: u32,
    /// No worker can be made.
    pub(crate) unmade: u32,
    /// The timer that looks after workers which do not begin expires: in models without it, no code
    /// may depend on that.
    pub(crate) slow: bool,
}

const SLOTS: usize = 64;
const ENDED: u32 = 1;

/// As [`exit_table::ExitTable`](crate::worker::process::ipc::exit_table::ExitTable).
#[derive(Debug)]
pub(crate) struct ExitTable {
    epoch: AtomicU32,
    /// No worker is ever stopped.
    stops: AtomicU32,
    words: [AtomicU32; SLOTS],
}

impl ExitTable {
    pub(crate) fn epoch(&self) -> &AtomicU32 {
        &self.epoch
    }

    pub(crate) fn stops(&self) -> &AtomicU32 {
        &self.stops
    }

    pub(crate) fn stop(&self, _slot: u32) -> (bool, Duration) {
        (false, Duration::ZERO)
    }

    pub(crate) fn ask_for_events(&self, _slot: u32) {}

    pub(crate) fn has_ended(&self, slot: u32) -> bool {
        self.words[slot as usize].load(Ordering::SeqCst) == ENDED
    }

    pub(crate) fn still_alive(&self, slot: u32) -> Option<(&AtomicU32, u32)> {
        let word = &self.words[slot as usize];
        (word.load(Ordering::SeqCst) != ENDED).then_some((word, 0))
    }

    pub(crate) fn release(&self, slot: u32) -> bool {
        self.has_ended(slot)
    }

    pub(crate) fn exit_record(&self, _slot: u32) -> ExitRecord {
        ExitRecord {
            ended: Some(Ended::Signaled(libc::SIGKILL)),
            unstarted: None,
            oom_killed: false,
            look: None,
            stderr: Vec::new(),
            written: 0,
        }
    }

    fn end(&self, slot: u32) {
        let word = &self.words[slot as usize];
        word.store(ENDED, Ordering::SeqCst);
        futex::wake_all_shared(word);
        self.epoch.fetch_add(1, Ordering::SeqCst);
        futex::wake_all_shared(&self.epoch);
    }
}

/// A worker that was not given anything to do.
#[derive(Debug)]
pub(crate) struct SpareWorker {
    pub(crate) slot: u32,
    pub(crate) pid: u32,
    pub(crate) mailbox: Arc<Mailbox>,
}

/// As [`client::ForkServerClient`](crate::worker::process::host::client::ForkServerClient).
pub(crate) struct ForkServerClient {
    pub(crate) exit_table: ExitTable,
    pub(crate) symbols: Arc<Symbols>,
    pub(super) fate: Fate,
    deaths: Count,
    /// How often each task was begun.
    ran: std::sync::Mutex<BTreeMap<u64, u32>>,
    state: Mutex<ModelState>,
    news: Condvar,
}

#[derive(Default)]
struct ModelState {
    observers: BTreeMap<u64, (Weak<dyn PoolObserver>, Option<Instant>)>,
    next: u64,
    expected: usize,
    spares: Vec<SpareWorker>,
    failures: usize,
    lives: Vec<Arc<Life>>,
    threads: Vec<shuttle::thread::JoinHandle<()>>,
    /// The pipe has something in it.
    was_woken: bool,
    over: bool,
    /// Those that were given out.
    taken: Vec<u32>,
}

thread_local! {
    static CURRENT: std::cell::RefCell<Option<Arc<ForkServerClient>>> = const { std::cell::RefCell::new(None) };
}

/// Has `f` happen in a world of its own.
pub(crate) fn world(fate: Fate, f: impl FnOnce(&ForkServerClient)) {
    futex::begin();
    let server = Arc::new(ForkServerClient {
        exit_table: ExitTable {
            epoch: AtomicU32::new(0),
            stops: AtomicU32::new(0),
            words: std::array::from_fn(|_| AtomicU32::new(0)),
        },
        symbols: Arc::new(Symbols::new(Vec::new())),
        fate,
        deaths: Count::new(0),
        ran: std::sync::Mutex::default(),
        state: Mutex::default(),
        news: Condvar::new(),
    });
    CURRENT.set(Some(Arc::clone(&server)));
    let listener = {
        let server = Arc::clone(&server);
        shuttle::thread::spawn(move || server.listen())
    };
    f(&server);
    server.end();
    listener.join().expect("the listener");
    CURRENT.set(None);
}

impl ForkServerClient {
    /// A worker of the model is no process.
    pub(crate) fn pid(&self) -> u32 {
        0
    }

    pub(crate) fn get() -> io::Result<Arc<ForkServerClient>> {
        CURRENT
            .with_borrow(Clone::clone)
            .ok_or_else(|| io::Error::other("there is no world"))
    }

    fn lock(&self) -> MutexGuard<'_, ModelState> {
        self.state.lock().expect("not poisoned")
    }

    // ---- as the pool sees it

    pub(crate) fn like_us(_: Origin<'_>) -> io::Result<Arc<ForkServerClient>> {
        ForkServerClient::get()
    }

    pub(crate) fn is_like(&self, _other: &ForkServerClient) -> bool {
        true
    }

    pub(crate) fn may_make_more(&self) -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn is_fork_of_owner(&self) -> bool {
        false
    }

    pub(crate) fn is_gone(&self) -> bool {
        false
    }

    pub(crate) fn has_reported_ends(&self) -> bool {
        true
    }

    pub(crate) fn register(&self, observer: Weak<dyn PoolObserver>) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.observers.insert(number, (observer, None));
        number
    }

    pub(crate) fn move_observer(&self, _observer: u64, _to: &ForkServerClient) -> u64 {
        unreachable!("the fork server does not end")
    }

    pub(crate) fn unregister(&self, observer: u64) {
        let gone = self.lock().observers.remove(&observer);
        drop(gone);
    }

    /// No worker of a model has limits.
    pub(crate) fn tell_limits(&self, _limits: &Limits, _slot: u32, _pid: u32) -> io::Result<()> {
        Ok(())
    }

    /// Nor streams of its own.
    pub(crate) fn tell_streams(
        &self,
        _routes: Option<SentRoutes>,
        _slot: u32,
        _pid: u32,
    ) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn try_take_worker(
        &self,
        _observer: u64,
        lacks: usize,
    ) -> io::Result<Option<SpareWorker>> {
        let mut state = self.lock();
        if let Some(spare) = state.spares.pop() {
            state.taken.push(spare.slot);
            return Ok(Some(spare));
        }
        if state.failures > 0 {
            state.failures -= 1;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        state.expected = state.expected.max(lacks);
        drop(state);
        self.news.notify_all();
        Ok(None)
    }

    pub(crate) fn call_at(&self, observer: u64, at: Option<Instant>) {
        if let Some((_, timer)) = self.lock().observers.get_mut(&observer) {
            *timer = at.filter(|at| self.goes_off(*at));
        }
        self.news.notify_all();
    }

    /// Timers for what no wake-up was sent for are set 20 ms ahead, and 100 ms.
    fn goes_off(&self, at: Instant) -> bool {
        let ahead = at - Instant::now();
        let is_net = [20, 100]
            .map(Duration::from_millis)
            .map(|net| (net - Duration::from_micros(100)..net).contains(&ahead));
        self.fate.slow || !is_net.contains(&true)
    }

    pub(crate) fn ask_for_fd_socket(&self, _slot: u32, _pid: u32) -> io::Result<u64> {
        Ok(0)
    }

    pub(crate) fn fd_socket_that_came(
        &self,
        _request_number: u64,
    ) -> Option<io::Result<Option<OwnedFd>>> {
        Some(Ok(None))
    }

    pub(crate) fn forget_fd_socket(&self, _request_number: u64) {}

    pub(crate) fn kill(&self, slot: u32, _pid: u32, _grace: Duration) {
        let life = Arc::clone(&self.lock().lives[slot as usize]);
        life.kill();
    }

    pub(crate) fn ask_and_kill(&self, slot: u32, pid: u32, grace: Duration) {
        self.kill(slot, pid, grace);
    }

    pub(crate) fn released(&self) {}

    // ---- as the model sees it

    /// How often this task was begun.
    pub(crate) fn ran(&self, number: u64) -> u32 {
        let ran = self.ran.lock().expect("not poisoned");
        ran.get(&number).copied().unwrap_or(0)
    }

    /// How many workers that were taken have not ended.
    pub(crate) fn living(&self) -> usize {
        let taken = self.lock().taken.clone();
        let living = taken
            .iter()
            .filter(|slot| !self.exit_table.has_ended(**slot));
        living.count()
    }

    /// Takes down that it runs. Gives how often it did before.
    pub(super) fn note(&self, number: u64) -> u32 {
        let mut ran = self.ran.lock().expect("not poisoned");
        let times = ran.entry(number).or_default();
        *times += 1;
        *times - 1
    }

    pub(super) fn dies_now(&self) -> bool {
        self.fate.dies > 0
            && one_in(self.fate.dies)
            && self.deaths.fetch_add(1, Ordinary::Relaxed) < self.fate.deaths
    }

    /// Wakes the listener: something is written to the wake socket, or to the fork server's socket.
    pub(super) fn wake_listener(&self) {
        self.lock().was_woken = true;
        self.news.notify_all();
    }

    fn end(&self) {
        let (lives, threads) = {
            let mut state = self.lock();
            state.over = true;
            (
                std::mem::take(&mut state.lives),
                std::mem::take(&mut state.threads),
            )
        };
        self.news.notify_all();
        for life in lives {
            life.kill();
        }
        for thread in threads {
            thread.join().expect("a worker");
        }
    }

    fn listen(self: &Arc<ForkServerClient>) {
        loop {
            let mut state = self.lock();
            loop {
                if state.over {
                    return;
                }
                if std::mem::take(&mut state.was_woken) {
                    break;
                }
                if state.expected > 0 {
                    state.expected -= 1;
                    if one_in(self.fate.unmade) {
                        state.failures += 1;
                    } else {
                        let taken = self.make_worker(&mut state);
                        state.spares.push(taken);
                    }
                    break;
                }
                let timers = state.observers.values().filter_map(|(_, timer)| *timer);
                match timers.min() {
                    None => state = self.news.wait(state).expect("not poisoned"),
                    Some(at) if one_in(8) => {
                        at.come();
                        break;
                    }
                    Some(_) => {
                        drop(state);
                        pause();
                        state = self.lock();
                    }
                }
            }
            let now = Instant::now();
            for (_, timer) in state.observers.values_mut() {
                *timer = timer.filter(|at| *at > now);
            }
            let observers: Vec<_> = state
                .observers
                .values()
                .filter_map(|(observer, _)| observer.upgrade())
                .collect();
            drop(state);
            for observer in observers {
                observer.on_event(Duration::ZERO, std::time::Instant::now());
            }
        }
    }

    fn make_worker(self: &Arc<ForkServerClient>, state: &mut ModelState) -> SpareWorker {
        let mailbox = Mailbox::file().and_then(Mailbox::map);
        let mailbox = Arc::new(mailbox.expect("memory for a mailbox"));
        let slot = state.lives.len() as u32;
        assert!((slot as usize) < SLOTS, "a world of few workers");
        let life = Arc::new(Life::default());
        state.lives.push(Arc::clone(&life));
        let (server, theirs) = (Arc::clone(self), Arc::clone(&mailbox));
        state.threads.push(shuttle::thread::spawn(move || {
            life.begin();
            let ended = catch_unwind(AssertUnwindSafe(|| {
                ModelWorker::new(&server, &life, &theirs).live();
            }));
            if let Err(why) = ended
                && !why.is::<Killed>()
            {
                resume_unwind(why);
            }
            server.exit_table.end(slot);
            server.wake_listener();
        }));
        SpareWorker {
            slot,
            pid: (1 << 22) + 1 + slot,
            mailbox,
        }
    }
}
