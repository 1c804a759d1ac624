//! A handle is a future, for any executor: here for one that parks a thread.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::task::{Context, Poll, Waker};

use brigade::{JoinError, Kind};
use brigade_test_support::block_on;

use crate::{Fifo, Starter, each_way};

#[test]
fn it_is_awaited() {
    each_way(|starter| {
        for n in 0..200_u32 {
            let handle = starter.start(|n: u32| n * 2, n);
            assert_eq!(block_on(handle).expect("returns"), n * 2);
        }
    });
}

#[test]
fn it_wakes_when_it_ends_late() {
    each_way(|starter| {
        for _ in 0..20 {
            let go = Fifo::new();
            let handle = starter.start(
                |go: PathBuf| std::fs::read_to_string(go).expect("written"),
                go.path(),
            );
            let teller = std::thread::spawn(move || {
                go.tell("late");
                go
            });
            assert_eq!(block_on(handle).expect("returns"), "late");
            teller.join().expect("told");
        }
    });
}

#[test]
fn many_are_awaited_together() {
    each_way(|starter| {
        let many = match starter {
            Starter::Fresh(_) => 64,
            Starter::Pooled(_) => 1000,
        };
        let handles = (0..many).map(|n| starter.start(|n: u32| n, n));
        let mut left: Vec<_> = handles.map(Some).collect();
        let mut sum = 0;
        block_on(std::future::poll_fn(|context| {
            for handle in &mut left {
                if let Some(h) = handle
                    && let Poll::Ready(ended) = std::pin::Pin::new(h).poll(context)
                {
                    sum += ended.expect("returns");
                    *handle = None;
                }
            }
            if left.iter().all(Option::is_none) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        assert_eq!(sum, many * (many - 1) / 2);
    });
}

#[test]
fn every_end_wakes() {
    each_way(|starter| {
        let panicked = block_on(starter.start(|()| -> () { panic!("awaited") }, ()));
        assert!(matches!(panicked, Err(JoinError::Panicked(_))));
        let (said, go) = (Fifo::new(), Fifo::new());
        let handle = starter.start(
            |(said, go): (PathBuf, PathBuf)| {
                std::fs::write(said, "up").expect("read");
                std::fs::read_to_string(go).expect("written")
            },
            (said.path(), go.path()),
        );
        said.hear();
        handle.cancel();
        assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        match starter.kind() {
            Kind::Thread => go.tell("end"),
            Kind::Process => {
                let crashed = block_on(starter.start(|()| -> () { std::process::abort() }, ()));
                assert!(matches!(crashed, Err(JoinError::Crashed(_))));
            }
        }
    });
}

#[test]
fn polled_again_after_its_end_it_panics() {
    each_way(|starter| {
        let mut handle = starter.start(|n: u32| n, 1);
        block_on(&mut handle).expect("returns");
        let again = catch_unwind(AssertUnwindSafe(|| drop(block_on(&mut handle))));
        let why = again.expect_err("it panics");
        let why = why.downcast_ref::<&str>().expect("a sentence");
        assert!(why.contains("polled after it was ready"), "{why}");
    });
}

#[test]
fn a_task_that_closes_our_descriptors_gets_nothing_written_into_its_own() {
    brigade::init();
    let path = std::env::temp_dir().join(format!("brigade-own-file-{}", std::process::id()));
    let handle = brigade::process::spawn(
        |path: PathBuf| {
            // SAFETY: the misbehaviour in question: descriptors that are not the task's.
            unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
            // Kept open under their numbers.
            for _ in 0..8 {
                let file = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&path)
                    .expect("opens");
                let _ = std::os::fd::IntoRawFd::into_raw_fd(file);
            }
        },
        path.clone(),
    );
    let mut handle = handle.expect("starts");
    // Asks to be told, which is what the worker writes for.
    let waker = Waker::noop();
    let first = std::pin::Pin::new(&mut handle).poll(&mut Context::from_waker(waker));
    if first.is_pending() {
        handle.join().expect("returns");
    }
    assert_eq!(std::fs::read(&path).expect("the task made it"), b"");
    std::fs::remove_file(&path).expect("removed");
}
