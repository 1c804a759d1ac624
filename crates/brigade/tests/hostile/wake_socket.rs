//! A worker that does what it can to the way by which all workers wake the host: nobody else's
//! result is kept from who awaits it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use brigade::sync::Barrier;
use brigade::{Pool, Shared, process};
use brigade_test_support::block_on;

use crate::{alone, end, within_limit};

/// The numbers of the descriptors that this worker was born with.
pub(crate) fn born_with() -> impl Iterator<Item = i32> {
    // SAFETY: asks for a flag of a number, which may be none.
    (3..64).filter(|&number| unsafe { libc::fcntl(number, libc::F_GETFD) } != -1)
}

/// Takes away what others say, if it can.
fn drain(there: Shared<Barrier>) {
    drain_all(born_with().collect(), there, |number, bytes| {
        // SAFETY: the buffer is as long as it is said to be.
        unsafe {
            libc::recv(
                number,
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT,
            )
        };
    })
}

/// Reads without end: from these, by `read`, and from the same opened anew.
pub(crate) fn drain_all(own: Vec<i32>, there: Shared<Barrier>, read: impl Fn(i32, &mut [u8])) -> ! {
    let open = |number| {
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        options.open(format!("/proc/self/fd/{number}")).ok()
    };
    let mut opened: Vec<File> = own.iter().filter_map(open).collect();
    there.wait().expect("the test is there");
    let mut bytes = [0; 4096];
    loop {
        for file in &mut opened {
            let _ = file.read(&mut bytes);
        }
        for &number in &own {
            read(number, &mut bytes);
        }
    }
}

/// Makes what all share useless, if it can.
fn spoil(there: Shared<Barrier>) {
    for number in born_with() {
        let small: libc::c_int = 1;
        // SAFETY: numbers, and an option that is as long as it is said to be.
        unsafe {
            libc::setsockopt(
                number,
                libc::SOL_SOCKET,
                libc::SO_SNDBUF,
                (&raw const small).cast(),
                size_of_val(&small) as libc::socklen_t,
            );
            let flags = libc::fcntl(number, libc::F_GETFL);
            libc::fcntl(number, libc::F_SETFL, flags & !libc::O_NONBLOCK);
            libc::shutdown(number, libc::SHUT_RDWR);
            libc::send(number, std::ptr::null(), 0, libc::MSG_DONTWAIT);
        }
    }
    there.wait().expect("the test is there");
    loop {
        std::thread::park();
    }
}

/// Returns when the host has gone to sleep, most likely: what it is not woken for shows then.
fn later(n: u64) -> u64 {
    std::thread::park_timeout(Duration::from_millis(2));
    n + 1
}

fn others_are_served(rounds: u64) {
    let pool = Pool::processes(2).expect("a pool");
    for n in 0..rounds {
        assert_eq!(block_on(pool.submit(later, n)).expect("it returns"), n + 1);
        let one = process::spawn(later, n).expect("a process starts");
        assert_eq!(block_on(one).expect("it returns"), n + 1);
        // Whose worker has to say first that it is ready.
        let fresh = Pool::processes(1).expect("a pool");
        assert_eq!(block_on(fresh.submit(later, n)).expect("it returns"), n + 1);
    }
}

fn with(worst: fn(Shared<Barrier>)) {
    brigade::init();
    within_limit("the wake socket", move || {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                // No channel, which it would take for its own.
                let there = Shared::new(Barrier::new(2)).expect("a region");
                let worker = process::spawn(worst, there.clone()).expect("a process starts");
                there.wait().expect("it is there");
                worker
            })
            .collect();
        others_are_served(50);
        workers.into_iter().for_each(end);
        others_are_served(5);
    });
}

#[test]
#[ignore = "run by the one below, alone in a program of its own: all workers have the same wake socket"]
fn inside_a_program_with_one_that_drains() {
    with(drain);
}

#[test]
fn one_that_reads_it_dry() {
    alone("wake_socket::inside_a_program_with_one_that_drains");
}

#[test]
#[ignore = "run by the one below"]
fn inside_a_program_with_one_that_spoils() {
    with(spoil);
}

#[test]
fn one_that_shuts_it_down() {
    alone("wake_socket::inside_a_program_with_one_that_spoils");
}
