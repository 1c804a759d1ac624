//! A message that cannot be carried is an error of its own, and costs no other message.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use brigade::channel::{
    Receiver, RecvError, RecvTimeoutError, Select, SendTimeoutError, Sender, Transport,
    TryRecvError, TrySendError, Undeliverable, channel, select,
};
use brigade::{Descriptor, Kind};

use crate::{LIMIT, each};

/// Says of itself how it behaves.
#[derive(Clone, Debug, PartialEq)]
enum Fickle {
    Whole(u32),
    /// Its own encoding is refused.
    CannotBeEncoded,
    /// What it writes cannot be read.
    CannotBeDecoded,
    /// Who reads it panics.
    PanicsWhenDecoded,
    /// As `CannotBeDecoded`, in a message that does not fit the mechanism.
    LargeAndCannotBeDecoded,
}

const LARGE: usize = 2 << 20;

impl serde::Serialize for Fickle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let (what, filling) = match self {
            Fickle::Whole(n) => (*n, 0),
            Fickle::CannotBeEncoded => return Err(S::Error::custom("it does not want to go")),
            Fickle::CannotBeDecoded => (1_000_000, 0),
            Fickle::PanicsWhenDecoded => (1_000_001, 0),
            Fickle::LargeAndCannotBeDecoded => (1_000_000, LARGE),
        };
        (what, "x".repeat(filling)).serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Fickle {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        match <(u32, String)>::deserialize(deserializer)? {
            (1_000_000, _) => Err(D::Error::custom("it does not want to come")),
            (1_000_001, _) => panic!("a message's own panic"),
            (n, _) => Ok(Fickle::Whole(n)),
        }
    }
}

fn send_all((to, messages): (Sender<Fickle>, Vec<(bool, u32)>)) {
    for (whole, n) in messages {
        let message = match whole {
            true => Fickle::Whole(n),
            false if n % 2 == 0 => Fickle::CannotBeDecoded,
            false => Fickle::LargeAndCannotBeDecoded,
        };
        to.send(message).expect("it can be sent");
    }
}

/// The reason names what it was, which way it went, and what serde said.
fn is_told(why: &str) {
    for part in ["Fickle", "received", "could not be decoded"] {
        assert!(why.contains(part), "no `{part}` in: {why}");
    }
}

#[test]
fn what_cannot_be_decoded_is_an_error_between_its_neighbours() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 3).expect("a channel");
        let messages: Vec<(bool, u32)> = (0..40).map(|n| (n % 5 < 3, n)).collect();
        let task = kind
            .spawn(send_all, (sender, messages.clone()))
            .expect("starts");
        let mut came = receiver.iter();
        for (whole, n) in messages {
            match came.next() {
                Some(Ok(message)) => assert_eq!((message, whole), (Fickle::Whole(n), true)),
                Some(Err(Undeliverable(why))) => {
                    assert!(!whole);
                    is_told(&why);
                }
                None => panic!("the end, before {n}"),
            }
        }
        assert!(came.next().is_none(), "and then the end");
        assert_eq!(receiver.fault(), None, "the channel is in order");
        task.join().expect("returns");
    });
}

/// A channel in which a message that cannot be decoded is followed by one that can.
fn bad_then_good(over: Transport, n: u32) -> (Sender<Fickle>, Receiver<Fickle>) {
    let (sender, receiver) = channel(over, 4).expect("a channel");
    sender.send(Fickle::CannotBeDecoded).expect("sent");
    sender.send(Fickle::Whole(n)).expect("sent");
    (sender, receiver)
}

/// Polled until it is ready; nothing here has to be waited for.
fn ready_now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is something to receive"),
    }
}

#[test]
fn every_way_to_receive_says_so_and_goes_on() {
    each(|over, _| {
        let good = Fickle::Whole(7);
        let (_sender, receiver) = bad_then_good(over, 7);
        match receiver.recv() {
            Err(RecvError::Undeliverable(why)) => is_told(&why),
            other => panic!("{other:?}"),
        }
        assert_eq!(receiver.recv(), Ok(good.clone()));

        let (_sender, receiver) = bad_then_good(over, 7);
        match receiver.try_recv() {
            Err(TryRecvError::Undeliverable(why)) => is_told(&why),
            other => panic!("{other:?}"),
        }
        assert_eq!(receiver.try_recv(), Ok(good.clone()));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));

        let (_sender, receiver) = bad_then_good(over, 7);
        match receiver.recv_timeout(LIMIT) {
            Err(RecvTimeoutError::Undeliverable(why)) => is_told(&why),
            other => panic!("{other:?}"),
        }
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(good.clone()));

        let (_sender, receiver) = bad_then_good(over, 7);
        match ready_now(receiver.recv_async()) {
            Err(RecvError::Undeliverable(why)) => is_told(&why),
            other => panic!("{other:?}"),
        }
        assert_eq!(ready_now(receiver.recv_async()), Ok(good.clone()));

        let (_sender, receiver) = bad_then_good(over, 7);
        let (_idle, from_idle) = channel::<Fickle>(over, 1).expect("a channel");
        match select(&[&from_idle, &receiver]) {
            (1, Err(RecvError::Undeliverable(why))) => is_told(&why),
            other => panic!("{other:?}"),
        }
        assert_eq!(select(&[&from_idle, &receiver]), (1, Ok(good.clone())));

        let (_sender, receiver) = bad_then_good(over, 7);
        let mut selecting = Select::new();
        selecting.recv(&from_idle);
        selecting.recv(&receiver);
        assert_eq!(selecting.ready_timeout(LIMIT), Ok(1));
        assert!(receiver.try_recv().is_err());
        assert_eq!(selecting.ready_timeout(LIMIT), Ok(1));
        assert_eq!(receiver.try_recv(), Ok(good.clone()));
        assert!(selecting.try_ready().is_err(), "nothing is left");

        let (sender, receiver) = bad_then_good(over, 7);
        let here: Vec<_> = receiver.try_iter().collect();
        assert!(matches!(&here[..], [Err(_), Ok(n)] if *n == good));

        sender.send(Fickle::CannotBeDecoded).expect("sent");
        sender.send(Fickle::Whole(8)).expect("sent");
        drop(sender);
        let all: Vec<_> = receiver.into_iter().collect();
        assert!(matches!(&all[..], [Err(_), Ok(Fickle::Whole(8))]));
    });
}

#[test]
fn a_lost_message_makes_room_for_the_next() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 2).expect("a channel");
        sender.send(Fickle::CannotBeDecoded).expect("there is room");
        sender.send(Fickle::CannotBeDecoded).expect("there is room");
        assert!(
            sender
                .try_send(Fickle::Whole(0))
                .expect_err("full")
                .is_full()
        );
        let messages = (0..10).map(|n| (n == 9, n)).collect();
        let task = kind.spawn(send_all, (sender, messages)).expect("starts");
        let lost = (0..11).filter(|_| receiver.recv_timeout(LIMIT).is_err());
        assert_eq!(lost.count(), 11);
        assert_eq!(receiver.recv_timeout(LIMIT), Ok(Fickle::Whole(9)));
        assert_eq!(receiver.len(), 0);
        assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
        task.join().expect("returns");
    });
}

#[test]
fn a_panic_in_decoding_costs_that_message_alone() {
    each(|over, _| {
        let (sender, receiver) = channel(over, 8).expect("a channel");
        for _ in 0..2 {
            sender.send(Fickle::PanicsWhenDecoded).expect("sent");
            sender.send(Fickle::Whole(3)).expect("sent");
        }
        let panicked = catch_unwind(|| receiver.recv()).expect_err("its own panic");
        assert_eq!(
            panicked.downcast_ref(),
            Some(&"a message's own panic"),
            "and no other"
        );
        assert_eq!(receiver.recv(), Ok(Fickle::Whole(3)));
        let future = AssertUnwindSafe(|| ready_now(receiver.recv_async()));
        assert!(catch_unwind(future).is_err());
        assert_eq!(ready_now(receiver.recv_async()), Ok(Fickle::Whole(3)));
        assert_eq!((receiver.len(), receiver.fault()), (0, None));
        sender.send(Fickle::Whole(4)).expect("sent");
        drop(sender);
        assert_eq!(receiver.recv(), Ok(Fickle::Whole(4)));
        assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
    });
}

/// Receives what there is, with the receiver that comes along with what it has already taken in.
fn receive_on(from: Receiver<Fickle>) -> (usize, Vec<u32>) {
    let mut lost = 0;
    let mut whole = Vec::new();
    for message in from {
        match message {
            Ok(Fickle::Whole(n)) => whole.push(n),
            Ok(other) => panic!("{other:?}"),
            Err(_) => lost += 1,
        }
    }
    (lost, whole)
}

#[test]
fn a_receiver_that_moves_after_a_loss_goes_on_there() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 16).expect("a channel");
        for n in 0..5 {
            sender.send(Fickle::CannotBeDecoded).expect("sent");
            sender.send(Fickle::Whole(n)).expect("sent");
        }
        assert!(receiver.recv().is_err());
        drop(sender);
        let task = kind.spawn(receive_on, receiver).expect("starts");
        assert_eq!(task.join().expect("returns"), (4, (0..5).collect()));
    });
}

#[test]
fn what_cannot_be_encoded_comes_back_and_the_channel_goes_on() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 2).expect("a channel");
        assert_eq!(sender.fault(), None);
        for _ in 0..5 {
            let back = sender.send(Fickle::CannotBeEncoded).expect_err("refused");
            assert_eq!(back.0, Fickle::CannotBeEncoded);
            let fault = sender.fault().expect("told");
            for part in ["Fickle", "to be sent", "could not be encoded"] {
                assert!(fault.contains(part), "no `{part}` in: {fault}");
            }
            assert_eq!(
                sender.try_send(Fickle::CannotBeEncoded),
                Err(TrySendError::Disconnected(Fickle::CannotBeEncoded))
            );
            assert_eq!(
                sender.send_timeout(Fickle::CannotBeEncoded, LIMIT),
                Err(SendTimeoutError::Disconnected(Fickle::CannotBeEncoded))
            );
            assert!(sender.send_ref(&Fickle::CannotBeEncoded).is_err());
        }
        assert!(receiver.is_empty());
        // The next can be sent, from here and from elsewhere.
        sender.send(Fickle::Whole(1)).expect("sent");
        assert_eq!(receiver.recv(), Ok(Fickle::Whole(1)));
        let task = kind
            .spawn(send_all, (sender, vec![(true, 2)]))
            .expect("starts");
        assert_eq!(receiver.recv(), Ok(Fickle::Whole(2)));
        task.join().expect("returns");
    });
}

#[test]
fn a_thread_is_told_why_its_own_message_came_back() {
    each(|over, _| {
        let (sender, receiver) = channel(over, 1).expect("a channel");
        sender.send(Fickle::CannotBeEncoded).expect_err("refused");
        let other = sender.clone();
        std::thread::spawn(move || {
            assert!(other.fault().is_some(), "none of its own: the last of all");
            drop(receiver);
            assert!((0..3).any(|n| other.send(Fickle::Whole(n)).is_err()));
            assert_eq!(other.fault(), None, "the receiver is gone");
        })
        .join()
        .expect("no panic");
        let why = sender.fault().expect("still its own");
        assert!(why.contains("could not be encoded"), "{why}");
    });
}

fn allow_descriptors(more: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the limit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let before = limit.rlim_cur;
    // Above the highest that is in use, so that there are just so many.
    let highest = std::fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok())
        .max();
    limit.rlim_cur = highest.expect("some are open") + more;
    // SAFETY: reads the limit.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    before
}

/// What is in the message that has no descriptors, what the one says that has too many, and what
/// comes after.
fn receive_with_few_descriptors(
    from: Receiver<(u32, Vec<Descriptor>)>,
) -> Result<(String, u32), String> {
    let mut filling: Vec<std::fs::File> = Vec::new();
    let before = allow_descriptors(1);
    while let Ok(file) = std::fs::File::open("/dev/null") {
        filling.push(file);
    }
    let lost = from.recv();
    drop(filling);
    let mut limit = libc::rlimit {
        rlim_cur: before,
        rlim_max: before,
    };
    // SAFETY: writes the limit, and then reads it.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = before;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    let why = match lost {
        Err(RecvError::Undeliverable(why)) => why,
        other => return Err(format!("{other:?}")),
    };
    match from.recv() {
        Ok((n, files)) if files.len() == 3 => Ok((why, n)),
        other => Err(format!("then {other:?}")),
    }
}

#[test]
fn a_message_whose_descriptors_have_no_room_is_lost_alone() {
    brigade::init();
    for over in Transport::ALL {
        eprintln!("over {over}:");
        let (sender, receiver) = channel(over, 4).expect("a channel");
        let files = || {
            (0..3)
                .map(|_| {
                    let null = std::fs::File::open("/dev/null").expect("it is there");
                    Descriptor(null.into())
                })
                .collect::<Vec<Descriptor>>()
        };
        sender.send((1, files())).expect("sent");
        sender.send((2, files())).expect("sent");
        let task = Kind::Process
            .spawn(receive_with_few_descriptors, receiver)
            .expect("starts");
        let (why, n) = task.join().expect("returns").expect("one is lost");
        assert!(why.contains("3 descriptors"), "{why}");
        assert_eq!(n, 2);
    }
}

struct Late(Sender<u32>, Receiver<u32>);

impl Drop for Late {
    fn drop(&mut self) {
        self.0.send(1).expect("sent");
        assert_eq!(self.1.recv(), Ok(1));
    }
}

thread_local! {
    static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn a_threads_last_destructors_can_send_and_receive() {
    each(|over, _| {
        let (sender, receiver) = channel(over, 1).expect("a channel");
        std::thread::spawn(move || {
            // Registered first, so it is dropped last: after all that sending and receiving keep.
            LATE.with_borrow_mut(|late| *late = Some(Late(sender.clone(), receiver)));
            sender.send(0).expect("sent");
            LATE.with_borrow(|late| {
                let late = late.as_ref().expect("it is there");
                assert_eq!(late.1.recv(), Ok(0));
            });
        })
        .join()
        .expect("no panic in a destructor, which would be an abort");
    });
}
