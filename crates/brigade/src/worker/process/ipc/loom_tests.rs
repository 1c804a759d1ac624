//! What must hold of a worker of a pool and its host, whatever the order in which both take their
//! steps, and whatever they see of each other's stores: run by `scripts/loom`.
//!
//! The worker does what [`worker_loop`](crate::worker::process::child::worker_loop) does, and the
//! host what [`connection`](crate::worker::process::host::connection) and the pool do, with the
//! same functions. A wake-up that is lost is a deadlock, which loom reports. Frames lie in rings,
//! where loom sees whether one is read while it is written.

use loom::sync::Arc;
use loom::thread;

use crate::sim::loom_os::Event;
use crate::sim::shared::futex;
use crate::transport::ring::{Consumer, ModelParts, Producer};
use crate::worker::process::ipc::handoff::{Handoff, Notify};

/// What both share.
struct Shared {
    handoff: Handoff,
    orders: ModelParts,
    replies: ModelParts,
    pipe: Event,
}

/// A task that ends the worker.
const STOP: u32 = 99;

/// The tags of replies.
const RETURNED: u32 = 2;
const LEAVING: u32 = 7;

/// As many bytes of replies as the host takes before it looks whether the worker waits for room: a
/// quarter of the ring.
const ROOMY: usize = RING / 4;
const RING: usize = 128;
/// The largest reply: half of the ring.
const LARGEST: usize = RING / 2;

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            handoff: Handoff::default(),
            orders: ModelParts::new(RING),
            replies: ModelParts::new(RING),
            pipe: Event::new(),
        })
    }

    /// A worker as a thread. Gives the tasks that it has begun, in order.
    fn start_worker(
        shared: &Arc<Shared>,
        leaves_after: usize,
        reply: &'static [usize],
    ) -> thread::JoinHandle<Vec<u32>> {
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let mut worker = shared.worker();
            let mut ran = Vec::new();
            loop {
                let tag = worker.begin();
                if tag == STOP {
                    // A side that looks only now and then does so now.
                    shared.pipe.write();
                    return ran;
                }
                ran.push(tag);
                // Without replies, the host does not hear of the end of a task.
                if let Some(len) = reply.get(ran.len() - 1) {
                    worker.say(RETURNED, *len);
                    worker.show();
                }
                if ran.len() == leaves_after {
                    worker.say(LEAVING, 0);
                    worker.replies.show();
                    shared.handoff.leave(|| shared.pipe.write());
                    return ran;
                }
            }
        })
    }

    fn worker(&self) -> Worker<'_> {
        Worker {
            shared: self,
            orders: self.orders.consumer(),
            replies: self.replies.producer(0),
            begun: 0,
            finished: 0,
        }
    }

    fn host(&self) -> Host<'_> {
        Host {
            shared: self,
            orders: self.orders.producer(0),
            replies: self.replies.consumer(),
            at: Vec::new(),
            offered: 0,
            taken: 0,
            left: false,
        }
    }
}

/// As the worker in `worker_loop`.
struct Worker<'s> {
    shared: &'s Shared,
    orders: Consumer<'s>,
    replies: Producer<'s>,
    begun: u32,
    finished: u32,
}

impl Worker<'_> {
    /// Begins the next task. Gives its tag.
    fn begin(&mut self) -> u32 {
        let Shared { handoff, pipe, .. } = self.shared;
        let mut begun =
            handoff.begin_or_notify(self.begun, self.finished, || None, || pipe.write());
        while begun == Ok(false) {
            begun = handoff.claims.begin(self.begun);
            if begun == Ok(false) {
                handoff.sleep_until_more(self.begun);
            }
        }
        assert_eq!(begun, Ok(true), "an honest host");
        self.begun += 1;
        self.orders.assume_next_frame();
        let popped = self.orders.pop(&mut Vec::new());
        popped.expect("a frame").expect("a whole one")
    }

    fn say(&mut self, tag: u32, len: usize) {
        let Shared { handoff, pipe, .. } = self.shared;
        while self.replies.push(tag, &[0; RING][..len]).is_err() {
            handoff.wait_for_room(|| self.replies.has_room(len), || pipe.write());
        }
    }

    fn show(&mut self) {
        self.replies.show();
        self.finished += 1;
        self.shared.handoff.finish(self.finished);
    }
}

/// As the host in `line`.
struct Host<'s> {
    shared: &'s Shared,
    orders: Producer<'s>,
    replies: Consumer<'s>,
    /// Where the frames of tasks begin.
    at: Vec<u64>,
    offered: u32,
    taken: u32,
    /// The worker has said that it leaves.
    left: bool,
}

impl Host<'_> {
    fn offer(&mut self, tags: &[u32]) {
        for tag in tags {
            self.at.push(self.orders.position());
            self.orders.push(*tag, &[]).expect("room");
        }
        self.shared.handoff.offer_and_wake(tags.len() as u32);
        self.offered += tags.len() as u32;
    }

    /// Takes back all but the first `keep`, and gives how many are left.
    fn take_back(&mut self, keep: u32) -> u32 {
        let handoff = &self.shared.handoff;
        let left = handoff.claims.take_back(keep, self.taken, self.offered);
        let left = left.expect("an honest worker");
        if left != self.offered {
            self.orders.take_back(self.at[left as usize]);
            self.at.truncate(left as usize);
        }
        self.offered = left;
        left
    }

    /// Takes the results that are there, as the pool does.
    fn drain(&mut self) {
        if !self.replies.is_ready() {
            return;
        }
        let said = self.shared.handoff.finished();
        let (mut bytes, mut frame) = (0, Vec::new());
        while let Some(tag) = self.replies.pop(&mut frame).expect("an honest worker") {
            bytes += frame.len() + 16;
            match tag {
                LEAVING => self.left = true,
                _ => self.taken += 1,
            }
        }
        if bytes >= ROOMY {
            self.shared.handoff.made_room();
        }
        assert!(said <= self.taken, "what is finished was shown");
    }

    /// Asks the worker when to wake the host. Whether it did so before there was anything new.
    fn set_notify(&self, notify: Notify) -> Option<u32> {
        let counts = (self.taken, self.offered);
        let handoff = &self.shared.handoff;
        let (word, quiet) =
            handoff.set_notify_and_check(notify, counts, || self.replies.is_ready());
        quiet.then_some(word)
    }

    /// Sleeps as it was told to, until it is woken.
    fn sleep(&self, notify: Notify, word: u32) {
        match notify {
            Notify::Futex(_) => {
                futex::wait(self.shared.handoff.notify_word(), word, None);
            }
            _ => {
                self.shared.pipe.poll();
                self.shared.pipe.read();
            }
        }
    }

    /// Takes results, and sleeps while there are none, until `count` are there. `notify`: when it
    /// is to be woken, by how many were taken.
    fn wait_for(&mut self, count: u32, notify: impl Fn(u32) -> Notify) {
        loop {
            self.drain();
            if self.taken >= count || self.left {
                return;
            }
            let notify = notify(self.taken);
            if let Some(word) = self.set_notify(notify) {
                self.sleep(notify, word);
            }
        }
    }

    fn stop(mut self, worker: thread::JoinHandle<Vec<u32>>) -> Vec<u32> {
        self.offer(&[STOP]);
        worker.join().expect("a thread of the model")
    }
}

const FOR_EVER: usize = usize::MAX;

#[test]
fn loom_handoff_a_task_is_begun_or_taken_back() {
    loom::model(|| {
        let shared = Shared::new();
        let worker = Shared::start_worker(&shared, FOR_EVER, &[]);
        let mut host = shared.host();
        host.offer(&[0, 1]);
        let left = host.take_back(0);
        host.offer(&[2]);
        // What was begun, in order, and what came in the place of the others.
        let ran = host.stop(worker);
        assert_eq!(ran, [&[0, 1][..left as usize], &[2]].concat());
    });
}

#[test]
fn loom_handoff_some_are_kept() {
    loom::model(|| {
        let shared = Shared::new();
        let worker = Shared::start_worker(&shared, FOR_EVER, &[]);
        let mut host = shared.host();
        host.offer(&[0, 1]);
        let left = host.take_back(1);
        assert!(left >= 1);
        let again = host.take_back(0);
        assert!(again <= left);
        let ran = host.stop(worker);
        assert_eq!(ran, [0, 1][..again as usize]);
    });
}

#[test]
fn loom_handoff_who_sleeps_is_woken_for_tasks() {
    loom::model(|| {
        let shared = Shared::new();
        let worker = Shared::start_worker(&shared, FOR_EVER, &[]);
        let mut host = shared.host();
        host.offer(&[0]);
        host.offer(&[1]);
        assert_eq!(host.stop(worker), [0, 1]);
    });
}

#[test]
fn loom_handoff_who_sleeps_is_woken_for_what_comes_after_what_was_taken_back() {
    loom::model(|| {
        let shared = Shared::new();
        let worker = Shared::start_worker(&shared, FOR_EVER, &[]);
        let mut host = shared.host();
        host.offer(&[0]);
        host.take_back(0);
        host.stop(worker);
    });
}

/// The host waits for both of two results, and is woken when it wants to be.
fn waits_for_results(notify: fn(u32) -> Notify) {
    loom::model(move || {
        let shared = Shared::new();
        let worker = Shared::start_worker(&shared, FOR_EVER, &[0, 0]);
        let mut host = shared.host();
        host.offer(&[0, 1]);
        host.wait_for(2, notify);
        host.stop(worker);
    });
}

#[test]
fn loom_handoff_the_host_is_woken_for_each() {
    waits_for_results(|taken| Notify::Futex(taken + 1));
}

#[test]
fn loom_handoff_the_host_is_woken_at_the_last() {
    waits_for_results(|_| Notify::Futex(2));
}

#[test]
fn loom_handoff_the_host_is_woken_when_there_is_no_more() {
    waits_for_results(|_| Notify::Futex(3));
}

#[test]
fn loom_handoff_the_host_is_woken_for_each_through_the_pipe() {
    waits_for_results(|taken| Notify::Listener(taken + 1));
}

#[test]
fn loom_handoff_the_host_is_woken_when_there_is_no_more_through_the_pipe() {
    waits_for_results(|_| Notify::Listener(3));
}

/// The host is to be woken at a number that is never reached, for tasks are taken back after that.
fn waits_for_what_was_taken_back(notify: Notify) {
    loom::model(move || {
        let shared = Shared::new();
        let worker = Shared::start_worker(&shared, FOR_EVER, &[0, 0]);
        let mut host = shared.host();
        host.offer(&[0, 1]);
        let word = host.set_notify(notify);
        // By another thread, while the one that is to be woken goes to sleep.
        let left = host.take_back(1);
        if let Some(word) = word {
            host.sleep(notify, word);
        }
        host.wait_for(left, |_| notify);
        host.stop(worker);
    });
}

#[test]
fn loom_handoff_the_host_is_woken_though_tasks_were_taken_back() {
    waits_for_what_was_taken_back(Notify::Futex(2));
}

#[test]
fn loom_handoff_the_host_is_woken_though_tasks_were_taken_back_through_the_pipe() {
    waits_for_what_was_taken_back(Notify::Listener(2));
}

#[test]
fn loom_handoff_the_host_hears_that_one_leaves() {
    loom::model(|| {
        let shared = Shared::new();
        let worker = Shared::start_worker(&shared, 1, &[0, 0]);
        let mut host = shared.host();
        host.offer(&[0, 1]);
        host.wait_for(2, |_| Notify::Futex(2));
        assert!(host.left && host.taken == 1);
        assert_eq!(host.take_back(0), 1);
        assert_eq!(worker.join().expect("a thread of the model"), [0]);
    });
}

/// There is no room for the last reply before some of the others were taken.
fn waits_for_room(notify: fn(u32) -> Notify) {
    loom::model(move || {
        let shared = Shared::new();
        let worker = Shared::start_worker(&shared, FOR_EVER, &[LARGEST, LARGEST]);
        let mut host = shared.host();
        host.offer(&[0, 1, STOP]);
        host.wait_for(2, notify);
        worker.join().expect("a thread of the model");
    });
}

#[test]
fn loom_handoff_room_is_not_waited_for_in_vain() {
    waits_for_room(|_| Notify::ListenerIfFull);
}

#[test]
fn loom_handoff_room_is_not_waited_for_in_vain_by_a_sleeper() {
    waits_for_room(|_| Notify::Futex(2));
}

#[test]
fn loom_handoff_room_is_not_waited_for_in_vain_after_small_replies() {
    // Each time few enough are taken that no thread tells the worker that there is room.
    for looks in 1..=3 {
        loom::model(move || {
            let shared = Shared::new();
            let worker = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut worker = shared.worker();
                    for _ in 0..4 {
                        worker.say(RETURNED, 8);
                        worker.replies.show();
                        thread::yield_now();
                    }
                    worker.say(RETURNED, LARGEST);
                    worker.replies.show();
                    shared.pipe.write();
                })
            };
            let mut host = shared.host();
            for _ in 0..looks {
                host.drain();
                thread::yield_now();
            }
            host.wait_for(5, |_| Notify::ListenerIfFull);
            worker.join().expect("a thread of the model");
        });
    }
}
