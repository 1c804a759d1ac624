//! Whoever is at the other end may stop at any instruction, and stay: nobody waits longer than they
//! said.

use std::time::{Duration, Instant};

use brigade::channel::{Receiver, Sender, Transport, channel};
use brigade::{Descriptor, JoinHandle, process};
use brigade_test_support::signal::{go_on, stop};

use crate::{LIMIT, text};

fn over_all(row: impl Fn(Transport)) {
    brigade::init();
    for over in Transport::ALL {
        eprintln!("over {over}:");
        row(over);
    }
}

fn pid<R>(task: &JoinHandle<R>) -> u32 {
    task.pid().expect("a process")
}

type Numbered = (u64, String);

/// Frames that are put in one step, in several, and beside the mechanism.
fn numbered(n: u64) -> Numbered {
    let len = [10, 5_000, 300, 20_000, 1_500_000][n as usize % 5];
    (n, text(len / 1000 * 1000 / 50, n as usize).repeat(50))
}

/// How many came, in their order.
fn receive_all((from, ready): (Receiver<Numbered>, Sender<()>)) -> u64 {
    let mut next = 0;
    for message in from {
        let (n, got) = message.expect("whole");
        assert_eq!((n, got), numbered(next));
        if next == 0 {
            ready.send(()).expect("received");
        }
        next += 1;
    }
    next
}

#[test]
fn a_receiver_that_is_stopped_makes_nobody_wait_longer_than_they_said() {
    over_all(|over| {
        let (sender, receiver) = channel(over, 8).expect("a channel");
        let (ready, is_ready) = channel(over, 1).expect("a channel");
        let task = process::spawn(receive_all, (receiver, ready)).expect("starts");
        sender.send(numbered(0)).expect("received");
        is_ready.recv_timeout(LIMIT).expect("ready");
        assert!(stop(pid(&task)));
        let mut sent = 1;
        let began = Instant::now();
        while sender.try_send(numbered(sent)).is_ok() {
            sent += 1;
        }
        assert!((2..=17).contains(&sent), "{sent} went");
        // One waits as long as it takes; it is in nobody's way.
        let waits = {
            let (sender, n) = (sender.clone(), sent);
            std::thread::spawn(move || sender.send(numbered(n)))
        };
        for _ in 0..5 {
            let refused = sender.try_send(numbered(0)).expect_err("no room");
            assert!(refused.is_full());
            let refused = sender
                .send_timeout(numbered(0), Duration::from_millis(20))
                .expect_err("no room");
            assert!(refused.is_timeout());
        }
        assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
        assert!(!waits.is_finished());
        go_on(pid(&task));
        waits.join().expect("no panic").expect("received");
        sender
            .send_timeout(numbered(sent + 1), LIMIT)
            .expect("received");
        drop(sender);
        assert_eq!(task.join().expect("returns"), sent + 2);
    });
}

fn send_for_ever(to: Sender<Numbered>) {
    for n in 1.. {
        if to.send(numbered(n)).is_err() {
            return;
        }
    }
}

#[test]
fn a_sender_that_is_stopped_anywhere_makes_nobody_wait_longer_than_they_said() {
    over_all(|over| {
        let (sender, receiver) = channel(over, 4).expect("a channel");
        let task = process::spawn(send_for_ever, sender.clone()).expect("starts");
        let soon = Duration::from_millis(5);
        // Its messages come in order, ours have the number 0.
        let mut next = 1;
        let mut is_next = |message: Numbered| {
            if message.0 != 0 {
                assert!(message == numbered(next), "{} for {next}", message.0);
                next += 1;
            }
        };
        for round in 0..40 {
            for _ in 0..round % 7 {
                is_next(receiver.recv_timeout(LIMIT).expect("sent"));
            }
            assert!(stop(pid(&task)));
            // It may have the lock.
            let began = Instant::now();
            let _ = sender.try_send(numbered(0));
            let _ = sender.send_timeout(numbered(0), soon);
            while let Ok(message) = receiver.try_recv() {
                is_next(message);
            }
            if let Ok(message) = receiver.recv_timeout(soon) {
                is_next(message);
            }
            assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
            go_on(pid(&task));
        }
        drop(receiver);
        task.join().expect("returns");
    });
}

/// Makes each pipe that it reads from as small as can be.
fn make_pipes_smaller() -> usize {
    let mut made = 0;
    for entry in std::fs::read_dir("/proc/self/fd").expect("/proc") {
        let path = entry.expect("an entry").path();
        let is_pipe = std::fs::read_link(&path)
            .is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"));
        let number = path.file_name().and_then(|n| n.to_str()?.parse().ok());
        if let (true, Some(3..)) = (is_pipe, number) {
            let number: i32 = number.expect("a number");
            // SAFETY: numbers only.
            let set = unsafe { libc::fcntl(number, libc::F_SETPIPE_SZ, 4096) };
            made += usize::from(set == 4096);
        }
    }
    made
}

fn receive_through_small_pipes((from, ready): (Receiver<Numbered>, Sender<()>)) -> u64 {
    assert!(make_pipes_smaller() >= 1);
    ready.send(()).expect("received");
    let mut next = 0;
    for message in from {
        assert_eq!(message.expect("whole"), numbered(next));
        next += 1;
    }
    next
}

#[test]
fn a_receiver_that_makes_its_pipe_smaller_loses_nothing_and_stops_nobody() {
    brigade::init();
    let (sender, receiver) = channel(Transport::Pipe, 8).expect("a channel");
    let (ready, is_ready) = channel(Transport::Socket, 1).expect("a channel");
    let task = process::spawn(receive_through_small_pipes, (receiver, ready)).expect("starts");
    is_ready.recv_timeout(LIMIT).expect("ready");
    let mut full = 0;
    for n in 0..500 {
        let began = Instant::now();
        if let Err(refused) = sender.try_send(numbered(n)) {
            full += 1;
            sender
                .send_timeout(refused.into_inner(), LIMIT)
                .expect("received");
        }
        assert!(began.elapsed() < LIMIT);
    }
    eprintln!("{full} of 500 had to wait");
    drop(sender);
    assert_eq!(task.join().expect("returns"), 500);
}

type WithFile = (u64, Option<Descriptor>);

fn receive_files_through_small_pipes((from, ready): (Receiver<WithFile>, Sender<()>)) -> u64 {
    assert!(make_pipes_smaller() >= 1);
    ready.send(()).expect("received");
    let mut next = 0;
    for message in from {
        let (n, file) = message.expect("whole");
        assert_eq!((n, file.is_some()), (next, next % 3 == 0));
        next += 1;
    }
    next
}

#[test]
fn files_come_through_a_pipe_that_was_made_smaller() {
    brigade::init();
    let (sender, receiver) = channel(Transport::Pipe, 8).expect("a channel");
    let (ready, is_ready) = channel(Transport::Socket, 1).expect("a channel");
    let task =
        process::spawn(receive_files_through_small_pipes, (receiver, ready)).expect("starts");
    is_ready.recv_timeout(LIMIT).expect("ready");
    for n in 0..500 {
        let file = (n % 3 == 0).then(|| {
            let null = std::fs::File::open("/dev/null").expect("it is there");
            Descriptor(null.into())
        });
        sender.send_timeout((n, file), LIMIT).expect("received");
    }
    drop(sender);
    assert_eq!(task.join().expect("returns"), 500);
}

/// Fills each pipe that it can write to, and says that who writes next shall wait.
fn fill_and_block((_to, ready): (Sender<Numbered>, Sender<usize>)) {
    let mut filled = 0;
    for number in 3..64 {
        // SAFETY: numbers, and bytes that live across the call.
        unsafe {
            let flags = libc::fcntl(number, libc::F_GETFL);
            let is_pipe = libc::fcntl(number, libc::F_GETPIPE_SZ) > 0;
            if flags == -1 || !is_pipe || flags & libc::O_ACCMODE != libc::O_WRONLY {
                continue;
            }
            libc::fcntl(number, libc::F_SETFL, flags | libc::O_NONBLOCK);
            while libc::write(number, [7_u8; 4096].as_ptr().cast(), 4096) > 0 {}
            libc::fcntl(number, libc::F_SETFL, flags & !libc::O_NONBLOCK);
            filled += 1;
        }
    }
    ready.send(filled).expect("received");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_sender_that_fills_the_pipe_and_changes_its_flags_makes_no_other_wait() {
    brigade::init();
    let (sender, receiver) = channel(Transport::Pipe, 64).expect("a channel");
    let (ready, is_ready) = channel(Transport::Socket, 1).expect("a channel");
    let task = process::spawn(fill_and_block, (sender.clone(), ready)).expect("starts");
    assert!(is_ready.recv_timeout(LIMIT).expect("ready") >= 1);
    let (say, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for n in 0..10 {
            let _ = sender.try_send(numbered(n));
            let _ = sender.send_timeout(numbered(n), Duration::from_millis(5));
        }
        say.send(())
    });
    said.recv_timeout(LIMIT).expect("nobody waits");
    // What is in the pipe is no message, and that is told once.
    let told = receiver.recv_timeout(LIMIT).expect_err("told");
    assert!(!told.is_timeout() && !told.is_disconnected(), "{told}");
    assert!(receiver.fault().is_some());
    assert!(receiver.recv().expect_err("the end").is_disconnected());
    task.cancel();
}
