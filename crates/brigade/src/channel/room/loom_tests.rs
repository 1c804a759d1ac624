//! Models of the wait for room of futures: none waits in vain, without a tick.
//!
//! The thread, what it shares with futures and with the receiver, and the futures' queue are the
//! library's own code. The future here is `SendAsync` with a channel that is only counts.

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::thread;

use super::{AwaitedRoom, Looks, RoomThread};
use crate::sim::futures::{AtomicBool, AtomicU32, Ordering, futex};
use crate::sim::shared::AtomicU64;
use crate::sync::DeathWatch;
use crate::task::waiters::FutureWaiter;
use crate::transport::header::{CapacityWait, RoomView};

/// A channel, of which only the counts are left, and the thread that waits for its room.
struct Model {
    capacity: u64,
    waiting: Arc<CapacityWait>,
    sent: AtomicU64,
    received: AtomicU64,
    room: Arc<AwaitedRoom>,
    thread: RoomThread,
    is_over: AtomicBool,
}

impl Model {
    /// It is full.
    fn full(capacity: u64) -> Arc<Model> {
        let waiting = Arc::new(CapacityWait::default());
        let room = Arc::new(AwaitedRoom::new(RoomView::made(Arc::clone(&waiting))));
        Arc::new(Model {
            capacity,
            waiting,
            sent: AtomicU64::new(capacity),
            received: AtomicU64::new(0),
            thread: RoomThread::new(Arc::clone(&room)),
            room,
            is_over: AtomicBool::new(false),
        })
    }

    /// The thread, until the model is over.
    fn serve(self: &Arc<Model>) -> thread::JoinHandle<()> {
        let model = Arc::clone(self);
        thread::spawn(move || {
            let mut looks = Looks {
                watch: DeathWatch::begin(),
                tick: None,
            };
            loop {
                let seen = model.thread.look(&mut looks);
                // After it has read how often it was called: the call at the end is not lost.
                if model.is_over.load(Ordering::Acquire) {
                    break;
                }
                model.thread.sleep(&mut looks, seen);
            }
        })
    }

    fn end(&self, thread: thread::JoinHandle<()>) {
        self.is_over.store(true, Ordering::Release);
        self.thread.call();
        thread.join().expect("a thread of the model");
    }

    fn has_room(&self) -> bool {
        let received = self.received.load(Ordering::Acquire);
        self.sent.load(Ordering::Relaxed) - received < self.capacity
    }

    /// In the library senders have a lock; here it is one step.
    fn offer(&self) -> bool {
        let received = self.received.load(Ordering::Acquire);
        let add = |sent: u64| (sent - received < self.capacity).then_some(sent + 1);
        self.sent
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, add)
            .is_ok()
    }

    /// Message `n`, counted from 0, when it is there.
    fn receive(&self, n: u64) {
        while self.sent.load(Ordering::Acquire) <= n {
            thread::yield_now();
        }
        let received = self.received.load(Ordering::Relaxed);
        self.received.store(received + 1, Ordering::Release);
        self.waiting.made_room();
    }
}

/// An executor of one future.
#[derive(Default)]
struct Executor {
    wakes: AtomicU32,
}

impl Wake for Executor {
    fn wake(self: Arc<Executor>) {
        self.wakes.fetch_add(1, Ordering::Release);
        futex::wake_all(&self.wakes);
    }
}

/// As `SendAsync`.
struct Future {
    model: Arc<Model>,
    waiter: Arc<FutureWaiter>,
    executor: Arc<Executor>,
}

impl Future {
    fn new(model: &Arc<Model>) -> Future {
        Future {
            model: Arc::clone(model),
            waiter: Arc::default(),
            executor: Arc::default(),
        }
    }

    /// Whether it has sent.
    fn poll(&self) -> bool {
        let Model { room, thread, .. } = &*self.model;
        if self.model.offer() {
            return true;
        }
        let waker = Waker::from(Arc::clone(&self.executor));
        room.waiters.wait(&self.waiter, waker);
        thread.have_it_look_soon();
        self.model.waiting.announce();
        self.model.offer()
    }

    fn leave(&self, sent: bool) {
        let waiters = &self.model.room.waiters;
        waiters.leave(&self.waiter, sent);
        if sent && self.model.has_room() {
            waiters.notify(1);
        }
    }

    /// To its end.
    fn run(&self) {
        let wakes = self.executor.wakes.load(Ordering::Acquire);
        if self.poll() {
            return self.leave(true);
        }
        self.resume(wakes);
    }

    /// The same, of one that waits since the executor was woken so often.
    fn resume(&self, wakes: u32) {
        futex::wait(&self.executor.wakes, wakes, None);
        self.run();
    }
}

/// Runs a model in every order of steps in which the scheduler forces at most `most` switches of
/// thread, or fewer if `LOOM_MAX_PREEMPTIONS` says so. One more takes half an hour.
fn with_switches(most: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let asked = builder.preemption_bound.unwrap_or(most);
    builder.preemption_bound = Some(asked.min(most));
    builder.check(model);
}

fn start(future: Future) -> thread::JoinHandle<()> {
    thread::spawn(move || future.run())
}

#[test]
fn loom_room_future_is_woken() {
    loom::model(|| {
        let model = Model::full(1);
        let served = model.serve();
        let sends = start(Future::new(&model));
        model.receive(0);
        sends.join().expect("a thread of the model");
        model.end(served);
    });
}

/// One notification is for what may be room for two.
#[test]
fn loom_room_futures_notify_each_other() {
    with_switches(2, || {
        let model = Model::full(2);
        let served = model.serve();
        let sends = start(Future::new(&model));
        let own = Future::new(&model);
        // This one waits first, if there is no room yet.
        let sent = own.poll();
        model.receive(0);
        model.receive(1);
        if sent {
            own.leave(true);
        } else {
            own.run();
        }
        sends.join().expect("a thread of the model");
        model.end(served);
    });
}

/// One that was notified, and is dropped, notifies the next.
#[test]
fn loom_room_future_is_dropped() {
    with_switches(2, || {
        let model = Model::full(1);
        let served = model.serve();
        let dropped = Future::new(&model);
        let sent = dropped.poll();
        assert!(!sent, "the channel is full");
        let sends = start(Future::new(&model));
        model.receive(0);
        dropped.leave(false);
        sends.join().expect("a thread of the model");
        model.end(served);
    });
}

/// The first room takes the announcements of both away: the thread announces the second anew. Both
/// wait from the beginning, which the scheduler would have to force otherwise.
#[test]
fn loom_room_futures_are_woken_one_after_the_other() {
    with_switches(1, || {
        let model = Model::full(1);
        let served = model.serve();
        let waiting = [(); 2].map(|()| Future::new(&model));
        assert!(waiting.iter().all(|future| !future.poll()), "it is full");
        let sends = waiting.map(|future| thread::spawn(move || future.resume(0)));
        model.receive(0);
        model.receive(1);
        for sends in sends {
            sends.join().expect("a thread of the model");
        }
        model.end(served);
    });
}
