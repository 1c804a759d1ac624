//! Futures that wait for room in a channel.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use brigade::channel::{
    Receiver, SendAsync, SendError, Sender, Transport, TryRecvError, TrySendError, channel,
};
use brigade::sync::Barrier;
use brigade::{Kind, Message, Shared};
use brigade_test_support::block_on;
use brigade_test_support::wait::until;

use crate::{LIMIT, all, each, text};

#[derive(Default)]
struct Tally(AtomicU32);

impl Wake for Tally {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Tally {
    fn get(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

type Ended<T> = Result<(), SendError<T>>;

fn poll<T: Message>(future: &mut SendAsync<T>, waker: &Waker) -> Poll<Ended<T>> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A future that has begun to wait, and how often it was woken.
fn waiting<T: Message>(sender: &Sender<T>, message: T) -> (SendAsync<T>, Arc<Tally>) {
    let tally = Arc::new(Tally::default());
    let mut future = sender.send_async(message);
    assert!(poll(&mut future, &Arc::clone(&tally).into()).is_pending());
    (future, tally)
}

/// It is woken, and then sent or not.
fn woken<T: Message>((mut future, tally): (SendAsync<T>, Arc<Tally>)) -> Ended<T> {
    loop {
        let before = tally.get();
        match poll(&mut future, &Arc::clone(&tally).into()) {
            Poll::Ready(ended) => return ended,
            Poll::Pending => until("it is woken", || tally.get() > before),
        }
    }
}

/// A channel that is full of so many messages, counted from 0.
fn full(over: Transport, capacity: usize) -> (Sender<u32>, Receiver<u32>) {
    let (sender, receiver) = channel(over, capacity).expect("a channel");
    (0..capacity as u32).for_each(|n| sender.send(n).expect("there is room"));
    assert!(matches!(sender.try_send(7), Err(TrySendError::Full(7))));
    (sender, receiver)
}

fn receive_all(from: Receiver<u32>) -> Vec<u32> {
    all(&from)
}

#[test]
fn messages_wait_for_room_and_arrive_in_order() {
    each(|over, kind| {
        for capacity in [1, 2, 7] {
            let (sender, receiver) = channel(over, capacity).expect("a channel");
            let task = kind.spawn(receive_all, receiver).expect("starts");
            block_on(async {
                for n in 0..500 {
                    sender.send_async(n).await.expect("received");
                }
            });
            drop(sender);
            let received = task.join().expect("returns");
            assert!(received.into_iter().eq(0..500));
        }
    });
}

/// Waits until the other side is there, too.
fn meet(at: &Shared<Barrier>) {
    at.wait().expect("both come");
}

fn receive_late((from, at): (Receiver<u32>, Shared<Barrier>)) -> Vec<u32> {
    meet(&at);
    all(&from)
}

#[test]
fn room_that_comes_late_wakes_who_waits_for_it() {
    each(|over, kind| {
        for _ in 0..20 {
            let (sender, receiver) = full(over, 2);
            let at = Shared::new(Barrier::new(2)).expect("a region");
            let task = kind.spawn(receive_late, (receiver, at.clone()));
            let waits = waiting(&sender, 2);
            meet(&at);
            woken(waits).expect("received");
            drop(sender);
            assert_eq!(task.expect("starts").join().expect("returns"), [0, 1, 2]);
        }
    });
}

#[test]
fn those_that_wait_are_served_in_their_order() {
    each(|over, _| {
        let (sender, receiver) = full(over, 3);
        let mut waits: VecDeque<_> = (3..40).map(|n| waiting(&sender, n)).collect();
        for n in 0..40 {
            assert_eq!(receiver.recv_timeout(LIMIT), Ok(n));
            if let Some(first) = waits.pop_front() {
                woken(first).expect("there is room");
            }
        }
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    });
}

#[test]
fn room_for_several_serves_several() {
    each(|over, _| {
        let (sender, receiver) = full(over, 8);
        let waits: Vec<_> = (8..16).map(|n| waiting(&sender, n)).collect();
        for n in 0..8 {
            assert_eq!(receiver.recv_timeout(LIMIT), Ok(n));
        }
        // None is received meanwhile: each that is served tells the next.
        for waits in waits {
            woken(waits).expect("there is room");
        }
        assert!((8..16).all(|n| receiver.recv_timeout(LIMIT) == Ok(n)));
    });
}

#[test]
fn one_that_is_dropped_has_sent_nothing_and_wakes_the_next() {
    each(|over, _| {
        for turn in 0..6 {
            let (sender, receiver) = full(over, 1);
            let mut waits: Vec<_> = (10..14).map(|n| waiting(&sender, n)).collect();
            let last = waits.pop().expect("one");
            if turn % 2 == 0 {
                drop(waits.remove(1));
            }
            assert_eq!(receiver.recv_timeout(LIMIT), Ok(0));
            if turn % 3 != 0 {
                // Told, it is dropped before it looks.
                until("the first is woken", || waits[0].1.get() > 0);
            }
            drop(waits);
            woken(last).expect("there is room");
            drop(sender);
            assert_eq!(all(&receiver), [13]);
        }
    });
}

#[test]
fn one_that_was_not_polled_has_done_nothing() {
    each(|over, _| {
        let (sender, receiver) = channel(over, 1).expect("a channel");
        drop(sender.send_async(1));
        assert_eq!(sender.send_async(2).into_message(), Some(2));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        // Nor does it keep the channel from its end, once it is dropped.
        let kept = sender.send_async(3);
        drop(sender);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        drop(kept);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    });
}

#[test]
fn a_sender_that_has_waited_is_gone_when_it_is_dropped() {
    each(|over, _| {
        for _ in 0..20 {
            let (sender, receiver) = full(over, 1);
            let (future, _) = waiting(&sender, 1);
            drop((sender, future));
            assert_eq!(receiver.recv(), Ok(0));
            // At once: what wakes futures is no end.
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        }
    });
}

fn drop_late((from, at): (Receiver<u32>, Shared<Barrier>)) {
    meet(&at);
    drop(from);
}

#[test]
fn a_receiver_that_is_dropped_wakes_all_and_each_has_its_message_back() {
    each(|over, kind| {
        let (sender, receiver) = full(over, 1);
        let at = Shared::new(Barrier::new(2)).expect("a region");
        let task = kind
            .spawn(drop_late, (receiver, at.clone()))
            .expect("starts");
        let waits: Vec<_> = (1..20).map(|n| waiting(&sender, n)).collect();
        meet(&at);
        for (n, waits) in (1..).zip(waits) {
            assert_eq!(woken(waits), Err(SendError(n)));
        }
        assert_eq!(
            sender.fault(),
            None,
            "the receiver is gone, and nothing else"
        );
        assert_eq!(block_on(sender.send_async(7)), Err(SendError(7)));
        task.join().expect("returns");
    });
}

fn hold_and_hang((from, at): (Receiver<u32>, Shared<Barrier>)) {
    let _from = from;
    meet(&at);
    loop {
        std::thread::park();
    }
}

#[test]
fn a_receiver_that_is_killed_wakes_all_and_each_has_its_message_back() {
    each(|over, kind| {
        if kind == Kind::Thread {
            return;
        }
        for _ in 0..3 {
            let (sender, receiver) = full(over, 1);
            let at = Shared::new(Barrier::new(2)).expect("a region");
            let task = kind.spawn(hold_and_hang, (receiver, at.clone()));
            let task = task.expect("starts");
            meet(&at);
            let waits: Vec<_> = (1..10).map(|n| waiting(&sender, n)).collect();
            task.cancel();
            for (n, waits) in (1..).zip(waits) {
                assert_eq!(woken(waits), Err(SendError(n)));
            }
            assert!(task.join().is_err());
        }
    });
}

#[test]
fn a_receiver_that_is_lost_on_its_way_wakes_all() {
    each(|over, _| {
        let (sender, receiver) = full(over, 1);
        let (carrier, carried) = channel(over, 1).expect("a channel");
        carrier.send(receiver).expect("there is room");
        let waits: Vec<_> = (1..5).map(|n| waiting(&sender, n)).collect();
        // In a message that is never received. It is no death, and closes nothing.
        drop(carried);
        for (n, waits) in (1..).zip(waits) {
            assert_eq!(woken(waits), Err(SendError(n)));
        }
    });
}

/// As a runtime's `timeout`: what the future gives; `None` if the time was over first.
async fn within<F: Future + Unpin>(time: Duration, future: &mut F) -> Option<F::Output> {
    let (mut has_begun, over) = (false, Arc::new(AtomicU32::new(0)));
    poll_fn(|context| {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(context) {
            return Poll::Ready(Some(output));
        }
        if !std::mem::replace(&mut has_begun, true) {
            let (waker, over) = (context.waker().clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let (_kept, timer) = std::sync::mpsc::channel::<()>();
                timer.recv_timeout(time).expect_err("nothing is sent");
                over.store(1, SeqCst);
                waker.wake();
            });
        }
        match over.load(SeqCst) {
            0 => Poll::Pending,
            _ => Poll::Ready(None),
        }
    })
    .await
}

#[test]
fn a_time_that_is_over_gives_the_message_back() {
    each(|over, _| {
        let (sender, receiver) = full(over, 1);
        block_on(async {
            let mut second = sender.send_async(1);
            assert_eq!(within(Duration::from_millis(20), &mut second).await, None);
            assert_eq!(second.into_message(), Some(1));
            let mut third = sender.send_async(2);
            assert_eq!(within(Duration::from_millis(1), &mut third).await, None);
            assert_eq!(receiver.recv(), Ok(0));
            // It goes on where it was.
            assert_eq!(within(LIMIT, &mut third).await, Some(Ok(())));
            assert_eq!(third.into_message(), None, "it was sent");
        });
        drop(sender);
        assert_eq!(all(&receiver), [2]);
    });
}

fn send_many((to, from): (Sender<u32>, u32)) {
    for n in from..from + 200 {
        match n % 3 {
            0 => to.send(n).expect("received"),
            _ => block_on(to.send_async(n)).expect("received"),
        }
    }
}

#[test]
fn many_senders_wait_in_many_workers() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 3).expect("a channel");
        let tasks: Vec<_> = (0..4)
            .map(|i| {
                kind.spawn(send_many, (sender.clone(), i * 1000))
                    .expect("starts")
            })
            .collect();
        // And many at once in one thread.
        let mut here: Vec<_> = (0..50).map(|n| Some(sender.send_async(9000 + n))).collect();
        let reading = std::thread::spawn(move || all(&receiver));
        block_on(poll_fn(|context| {
            for future in &mut here {
                if let Some(waiting) = future
                    && let Poll::Ready(sent) = Pin::new(waiting).poll(context)
                {
                    sent.expect("received");
                    *future = None;
                }
            }
            match here.iter().all(Option::is_none) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        drop((sender, here));
        for task in tasks {
            task.join().expect("returns");
        }
        let mut next = [0, 1000, 2000, 3000];
        let mut came_from_here = 0;
        for n in reading.join().expect("receives") {
            match next.get_mut(n as usize / 1000) {
                Some(next) => {
                    assert_eq!(n, *next);
                    *next += 1;
                }
                None => came_from_here += 1,
            }
        }
        assert_eq!((next, came_from_here), ([200, 1200, 2200, 3200], 50));
    });
}

#[test]
fn more_channels_than_one_sleep_can_be_for_are_awaited() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    brigade::init();
    // A channel has six descriptors.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("raised");
    let channels: Vec<_> = (0..300).map(|_| full(Transport::SharedMemory, 1)).collect();
    let waits: Vec<_> = channels
        .iter()
        .map(|(sender, _)| waiting(sender, 1))
        .collect();
    for ((_, receiver), waits) in channels.iter().zip(waits).rev() {
        assert_eq!(receiver.recv(), Ok(0));
        woken(waits).expect("there is room");
        assert_eq!(receiver.recv(), Ok(1));
    }
}

fn measure(from: Receiver<(String, Sender<usize>)>) {
    for (text, answer) in from.iter().flatten() {
        answer.send(text.len()).expect("received");
    }
}

#[test]
fn large_messages_and_ends_of_channels_wait_too() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 1).expect("a channel");
        let (answer, answers) = channel(over, 4).expect("a channel");
        let task = kind.spawn(measure, receiver).expect("starts");
        let lens = [0, 100, 5_000, 300_000, 3_000_000, 10];
        block_on(async {
            for (n, len) in lens.into_iter().enumerate() {
                let message = (text(len, n), answer.clone());
                sender.send_async(message).await.expect("received");
            }
        });
        drop(sender);
        for len in lens {
            assert_eq!(answers.recv_timeout(LIMIT), Ok(len));
        }
        task.join().expect("returns");
    });
}

/// More of them than any mechanism has room for, while none is received.
#[test]
fn what_no_mechanism_has_room_for_waits_without_a_thread() {
    each(|over, _| {
        let (sender, receiver) = channel(over, 1000).expect("a channel");
        let mut sent = 0;
        let waits = loop {
            let tally = Arc::new(Tally::default());
            let mut future = sender.send_async(text(60_000, sent));
            match poll(&mut future, &Arc::clone(&tally).into()) {
                Poll::Ready(ended) => ended.expect("received"),
                Poll::Pending => break (future, tally),
            }
            sent += 1;
            assert!(sent < 1000, "the bytes are the limit");
        };
        for n in 0..sent {
            assert_eq!(receiver.recv_timeout(LIMIT), Ok(text(60_000, n)));
        }
        woken(waits).expect("there is room");
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(text(60_000, sent)));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    });
}

struct Refused;

impl serde::Serialize for Refused {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
}

impl<'de> serde::Deserialize<'de> for Refused {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("nor then"))
    }
}

#[test]
fn what_cannot_be_carried_comes_back_with_the_reason() {
    each(|over, _| {
        let (sender, receiver) = channel(over, 1).expect("a channel");
        let error = block_on(sender.send_async(Some(Refused))).expect_err("refused");
        assert!(error.to_string().contains("not today"), "{error}");
        assert!(error.0.is_some(), "it comes back");
        assert!(sender.fault().expect("a reason").contains("not today"));
        // The channel is as good as before.
        block_on(sender.send_async(None)).expect("sent");
        assert!(matches!(receiver.recv(), Ok(None)));
    });
}

#[test]
fn polled_again_after_its_end_it_panics() {
    each(|over, _| {
        let (sender, _receiver) = channel(over, 1).expect("a channel");
        let mut future = pin!(sender.send_async(1));
        block_on(future.as_mut()).expect("there is room");
        let again = std::panic::AssertUnwindSafe(|| block_on(future).is_ok());
        let why = std::panic::catch_unwind(again).expect_err("it panics");
        let why = why.downcast_ref::<&str>().expect("a sentence");
        assert!(why.contains("polled after it had ended"), "{why}");
    });
}
