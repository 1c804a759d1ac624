//! A worker that has a sending end, and does what it can to that by which a receiver is woken: no
//! other sender waits, and the receiver hears of each message.

use std::sync::mpsc;
use std::time::Duration;

use brigade::channel::{Receiver, Select, Sender, Transport, TryRecvError, channel};
use brigade::sync::Barrier;
use brigade::{JoinHandle, Shared, process};
use brigade_test_support::block_on;

use crate::wake_socket::{born_with, drain_all};
use crate::{LIMIT, end, within_limit};

/// Messages that each of the others sends, in each way.
const EACH: u64 = 5;

type Worst = fn((Sender<u64>, Shared<Barrier>));

/// What this worker has that is no memory: it is not the memory that is tried here.
fn streams() -> impl Iterator<Item = i32> {
    born_with().filter(|&number| {
        // SAFETY: plain numbers, for which zero is valid.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: writes one `stat`, which is ours.
        let known = unsafe { libc::fstat(number, &raw mut stat) } == 0;
        known && stat.st_mode & libc::S_IFMT != libc::S_IFREG
    })
}

fn set_nonblocking(number: i32, on: bool) {
    // SAFETY: numbers only.
    unsafe {
        let flags = libc::fcntl(number, libc::F_GETFL) & !libc::O_NONBLOCK;
        libc::fcntl(
            number,
            libc::F_SETFL,
            if on { flags | libc::O_NONBLOCK } else { flags },
        );
    }
}

fn rest_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Fills all that it has, and says that who writes next shall wait.
fn fill((_to, there): (Sender<u64>, Shared<Barrier>)) {
    // For an event descriptor it is as much as it takes; all others take bytes.
    let much = (u64::MAX - 1).to_ne_bytes();
    for number in streams() {
        set_nonblocking(number, true);
        // SAFETY: the buffer is as long as it is said to be.
        while unsafe { libc::write(number, much.as_ptr().cast(), much.len()) } > 0 {}
        set_nonblocking(number, false);
    }
    there.wait().expect("the test is there");
    rest_for_ever()
}

/// Takes away what others send, if it can.
fn drain((_to, there): (Sender<u64>, Shared<Barrier>)) {
    let own: Vec<i32> = streams().collect();
    for &number in &own {
        set_nonblocking(number, true);
    }
    drain_all(own, there, |number, bytes| {
        // SAFETY: the buffer is as long as it is said to be.
        unsafe { libc::read(number, bytes.as_mut_ptr().cast(), bytes.len()) };
    })
}

/// Says of all sockets that nothing comes any more.
fn shut_down((_to, there): (Sender<u64>, Shared<Barrier>)) {
    for number in streams() {
        // SAFETY: numbers only.
        unsafe { libc::shutdown(number, libc::SHUT_RDWR) };
    }
    there.wait().expect("the test is there");
    rest_for_ever()
}

/// Begins it, and has it do its worst.
fn start(worst: Worst, to: &Sender<u64>) -> JoinHandle<()> {
    // No channel, which it would take for its own.
    let there = Shared::new(Barrier::new(2)).expect("a region");
    let worker = process::spawn(worst, (to.clone(), there.clone())).expect("a process starts");
    there.wait().expect("it is there");
    worker
}

/// How many were sent.
fn send_in_all_ways(to: Sender<u64>) -> u64 {
    let mut sent = 0;
    for n in 0..EACH {
        sent += u64::from(to.try_send(n).is_ok());
        sent += u64::from(to.send_timeout(n, Duration::from_secs(10)).is_ok());
        sent += u64::from(to.send(n).is_ok());
    }
    sent
}

#[test]
fn one_that_fills_all_it_has_makes_no_other_sender_wait() {
    brigade::init();
    for over in Transport::ALL {
        within_limit(&format!("{over}, full"), move || {
            let (to, from) = channel(over, 64).expect("a channel");
            // It announces that it sleeps, and leaves that behind.
            let nothing = from.recv_timeout(Duration::from_millis(1));
            assert!(nothing.expect_err("nothing was sent").is_timeout());
            let worker = start(fill, &to);
            assert_eq!(send_in_all_ways(to.clone()), 3 * EACH, "{over}");
            let other = process::spawn(send_in_all_ways, to).expect("a process starts");
            assert_eq!(other.join().expect("it returns"), 3 * EACH, "{over}");
            let mut came = 0;
            let fault = loop {
                match from.try_recv() {
                    Ok(_) => came += 1,
                    // What it has filled the mechanism with.
                    Err(TryRecvError::Undeliverable(_)) => {}
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break from.fault(),
                }
            };
            // In a pipe nobody can say where the next message begins.
            if over == Transport::Pipe {
                assert!(fault.is_some());
            } else {
                assert_eq!((came, fault), (6 * EACH, None), "{over}");
            }
            end(worker);
        });
    }
}

type Wait = fn(&Receiver<u64>) -> Option<u64>;

/// The ways to wait for a message.
const WAYS: [(&str, Wait); 4] = [
    ("recv", |from| from.recv().ok()),
    ("recv_timeout", |from| from.recv_timeout(LIMIT).ok()),
    ("select", |from| {
        loop {
            let mut select = Select::new();
            select.recv(from);
            select.ready();
            match from.try_recv() {
                Ok(n) => return Some(n),
                Err(TryRecvError::Empty) => {}
                Err(_) => return None,
            }
        }
    }),
    ("recv_async", |from| block_on(from.recv_async()).ok()),
];

#[test]
fn one_that_takes_away_what_it_can_keeps_no_message_from_a_receiver_that_sleeps() {
    brigade::init();
    for (way, wait) in WAYS {
        within_limit(way, move || {
            let (to, from) = channel(Transport::SharedMemory, 4).expect("a channel");
            let worker = start(drain, &to);
            let (say, said) = mpsc::channel();
            let receiving = std::thread::spawn(move || {
                while let Some(n) = wait(&from) {
                    say.send(n).expect("the test is there");
                    if n == 0 {
                        break;
                    }
                }
            });
            for n in (0..100).rev() {
                // By then it sleeps, most likely: what it is not woken for shows then.
                std::thread::park_timeout(Duration::from_millis(2));
                to.send(n).expect("it is there");
                assert_eq!(said.recv_timeout(LIMIT / 4), Ok(n), "{way}");
            }
            receiving.join().expect("no panic");
            end(worker);
        });
    }
}

#[test]
fn one_that_shuts_all_down_ends_the_channel_and_nobody_waits() {
    brigade::init();
    for over in Transport::ALL {
        for (way, wait) in WAYS {
            // That sleeps in the pipe itself, which cannot be shut down, and is at its end when
            // this sender is.
            if (over, way) == (Transport::Pipe, "recv") {
                continue;
            }
            within_limit(&format!("{over}, shut down, {way}"), move || {
                let (to, from) = channel(over, 4).expect("a channel");
                let receiving = std::thread::spawn(move || {
                    assert_eq!(wait(&from), None);
                    assert_eq!(from.try_recv(), Err(TryRecvError::Disconnected));
                });
                std::thread::park_timeout(Duration::from_millis(2));
                let worker = start(shut_down, &to);
                receiving.join().expect("no panic");
                while to.send(7).is_ok() {}
                end(worker);
            });
        }
    }
}
