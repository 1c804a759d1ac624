//! What no worker can be sent: the task ends, with the reason.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use brigade::pool::Context;
use brigade::{Descriptor, JoinError, Kind, Pool};
use serde::{Deserialize, Serialize};

use crate::{double, join, pool, processes};

/// A file that the kernel passes to no other process (Linux 6.7 and later refuse it with EINVAL).
/// `None`: this kernel makes none, or denies it.
fn unsendable() -> Option<OwnedFd> {
    // `struct io_uring_params`, zeroed.
    let mut params = [0_u8; 120];
    // SAFETY: the kernel writes no more than a `struct io_uring_params`.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if fd < 0 {
        eprintln!("skipped, because there is no io_uring here");
        return None;
    }
    // SAFETY: it was made a moment ago, and is nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let fds = [std::os::fd::AsFd::as_fd(&fd)];
    control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds));
    let sent = rustix::net::sendmsg(
        &ours,
        &[std::io::IoSlice::new(b"x")],
        &mut control,
        rustix::net::SendFlags::empty(),
    );
    if sent.is_ok() {
        eprintln!("skipped, because this kernel passes on all descriptors");
        return None;
    }
    Some(fd)
}

fn number(fd: Descriptor) -> i32 {
    fd.0.as_raw_fd()
}

#[test]
fn an_input_that_the_kernel_does_not_pass_on_is_undeliverable() {
    processes(|| {
        for workers in [1, 2] {
            let Some(fd) = unsendable() else { return };
            let pool = pool(Kind::Process, workers);
            match join(pool.submit(number, Descriptor(fd))) {
                Err(JoinError::Undeliverable(why)) => {
                    assert!(
                        why.contains("number") && why.contains("Invalid argument"),
                        "{why}"
                    );
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(join(pool.submit(double, 4)).expect("it returns"), 8);
            let null = std::fs::File::open("/dev/null").expect("it is there");
            let passed = join(pool.submit(number, Descriptor(null.into())));
            assert!(passed.expect("it returns") >= 0);
            assert_eq!(pool.stats().restarts, 0);
        }
    });
}

#[derive(Serialize, Deserialize)]
struct Holds(Descriptor);

fn beside(_: &Holds, n: u32) -> u32 {
    n
}

#[test]
fn a_context_that_the_kernel_does_not_pass_on_is_undeliverable() {
    processes(|| {
        let Some(fd) = unsendable() else { return };
        let pool = pool(Kind::Process, 2);
        let context = Context::new(Holds(Descriptor(fd)));
        let mut ended = 0;
        for result in pool.map_with(context, beside, 0..100) {
            assert!(
                matches!(&result, Err(JoinError::Undeliverable(why)) if why.contains("Invalid argument")),
                "{result:?}"
            );
            ended += 1;
        }
        assert_eq!(ended, 100);
        assert_eq!(join(pool.submit(double, 4)).expect("it returns"), 8);
    });
}

/// As programs do that become daemons.
fn close_all() {
    // SAFETY: what it closes this process does not use any more, but for the library, which is to
    // notice.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

#[test]
fn workers_that_have_closed_the_way_of_descriptors_are_not_replaced_for_ever() {
    processes(|| {
        let pool = Pool::builder(Kind::Process)
            .workers(1)
            .initializer(close_all);
        let pool = pool.build().expect("a pool");
        let null = std::fs::File::open("/dev/null").expect("it is there");
        let ended = join(pool.submit(number, Descriptor(null.into())));
        assert!(
            matches!(ended, Err(JoinError::Undeliverable(_))),
            "{ended:?}"
        );
    });
}
