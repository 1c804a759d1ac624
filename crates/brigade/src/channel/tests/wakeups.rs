//! The way by which the receiver of a channel over shared memory is woken, in the hands of a
//! hostile process that has a sending end.

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::net::Shutdown;

use crate::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, shm};
use crate::sync::testing::polling;
use crate::sys::wakeup;
use crate::task::codec;
use crate::transport::FrameHeader;
use crate::transport::shm::RingSender;

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(30);

fn shut_down(sender: &Sender<u32>, how: Shutdown) {
    let wakeup = sender.side().descriptor().expect("a socket");
    rustix::net::shutdown(wakeup, how).expect("shut down");
}

/// What a receiver that waits is told when this is done to it.
fn told_while_it_waits(
    receiver: Receiver<u32>,
    worst: impl FnOnce(),
) -> Result<u32, RecvTimeoutError> {
    std::thread::scope(|scope| {
        let receiving = polling(scope, move || receiver.recv_timeout(LIMIT));
        worst();
        receiving.join().expect("it returns")
    })
}

#[test]
fn where_nobody_can_be_woken_any_more_the_channel_ends_for_both_sides() {
    for how in [Shutdown::Write, Shutdown::Both] {
        let (sender, receiver) = shm(4).expect("a channel");
        sender.send(1).expect("sent");
        shut_down(&sender, how);
        assert_eq!(receiver.recv(), Ok(1), "what was sent before");
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(
            receiver.recv_timeout(LIMIT),
            Err(RecvTimeoutError::Disconnected)
        );

        let (sender, receiver) = shm(4).expect("a channel");
        let told = told_while_it_waits(receiver, || shut_down(&sender, how));
        assert_eq!(told, Err(RecvTimeoutError::Disconnected));

        // A receiver that has been told and stays.
        let (sender, receiver) = shm(4).expect("a channel");
        let nothing = receiver.recv_timeout(Duration::from_millis(1));
        assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
        shut_down(&sender, how);
        let refused = (0..4).find_map(|n| sender.try_send(n).err());
        assert!(
            matches!(refused, Some(TrySendError::Disconnected(_))),
            "{refused:?}"
        );
        assert!(receiver.try_recv().is_ok(), "it was sent before");
    }
}

#[test]
fn what_the_other_side_shuts_down_for_itself_changes_nothing() {
    let (sender, receiver) = shm(4).expect("a channel");
    shut_down(&sender, Shutdown::Read);
    let told = told_while_it_waits(receiver, || sender.send(7).expect("sent"));
    assert_eq!(told, Ok(7));
}

#[test]
fn a_wake_up_that_is_left_over_wakes_once() {
    let (sender, receiver) = shm(4).expect("a channel");
    let wakeup = sender.side().descriptor().expect("a socket");
    for _ in 0..1000 {
        rustix::net::send(wakeup, &[], rustix::net::SendFlags::DONTWAIT).ok();
        wakeup::wake(wakeup).expect("woken");
    }
    let nothing = receiver.recv_timeout(Duration::from_millis(20));
    assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    assert_eq!(
        told_while_it_waits(receiver, || sender.send(7).expect("sent")),
        Ok(7)
    );
}

#[test]
fn only_sockets_that_keep_messages_apart_are_taken_for_a_channels() {
    let (stream, _other) = UnixStream::pair().expect("a pair");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let tcp = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let (pipe, _write) = rustix::pipe::pipe().expect("a pipe");
    let others: [OwnedFd; 3] = [stream.into(), tcp.into(), pipe];
    for other in &others {
        assert!(wakeup::check(other).is_err(), "{other:?}");
    }
    let (woken, wakes) = wakeup::pair().expect("a pair");
    for end in [woken, wakes] {
        wakeup::check(end.as_fd()).expect("of the kind");
    }
}

/// As a sender that dies when its message is in the channel and the lock is free, before it has
/// woken the receiver.
fn die_before_it_wakes(sender: &Sender<u32>, message: u32) {
    let shared = sender.side().shared();
    shared.lock().acquire(None).expect("no deadline");
    let number = shared.next_number(&AtomicU64::new(0)).expect("room");
    let mut body = Vec::new();
    codec::encode(&message, &mut body).expect("a number");
    let header = FrameHeader {
        number,
        len: body.len() as u32,
        descriptors: 0,
        large: false,
    };
    let put = RingSender::default().put(shared, header, &body, || Ok(()));
    put.expect("room");
    shared.count_sent(number);
    shared.lock().release();
}

/// Each way to send. Says whether the message was sent.
const WAYS: [fn(&Sender<u32>, u32) -> bool; 3] = [
    |sender, n| sender.send_timeout(n, LIMIT).is_ok(),
    |sender, n| {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            if sender.try_send(n).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    },
    |sender, n| {
        let (sending, (say, said)) = (sender.send_async(n), mpsc::channel());
        std::thread::spawn(move || say.send(pollster::block_on(sending).is_ok()));
        said.recv_timeout(LIMIT) == Ok(true)
    },
];

#[test]
fn a_sender_that_finds_a_channel_full_wakes_a_receiver_that_the_dead_have_not_woken() {
    for send in WAYS {
        for capacity in [1, 3] {
            let (sender, receiver) = shm(capacity).expect("a channel");
            std::thread::scope(|scope| {
                let receiving = polling(scope, || receiver.recv_timeout(LIMIT));
                for n in 0..capacity as u32 {
                    die_before_it_wakes(&sender, n);
                }
                assert!(send(&sender, 7), "there is room soon");
                assert_eq!(receiving.join().expect("it returns"), Ok(0));
            });
            let rest: Vec<_> = receiver.try_iter().flatten().collect();
            assert_eq!(rest.last(), Some(&7));
        }
    }
}
