//! A handle is a future, for any executor: here for one that parks a thread.

use std::future::Future;
use std::path::PathBuf;
use std::task::{Context, Poll, Waker};

use brigade::JoinError;
use brigade_test_support::block_on;

use crate::{Fifo, both};

#[test]
fn it_is_awaited() {
    both(|kind| {
        for n in 0..50_u32 {
            let handle = kind.spawn(|n: u32| n * 2, n).expect("starts");
            assert_eq!(block_on(handle).expect("returns"), n * 2);
        }
    });
}

#[test]
fn it_wakes_when_it_ends_late() {
    both(|kind| {
        let go = Fifo::new();
        let handle = kind
            .spawn(
                |go: PathBuf| std::fs::read_to_string(go).expect("written"),
                go.path(),
            )
            .expect("starts");
        let teller = std::thread::spawn(move || {
            go.tell("late");
            go
        });
        assert_eq!(block_on(handle).expect("returns"), "late");
        teller.join().expect("told");
    });
}

#[test]
fn many_are_awaited_together() {
    both(|kind| {
        let handles: Vec<_> = (0..64_u32)
            .map(|n| kind.spawn(|n: u32| n, n).expect("starts"))
            .collect();
        let mut left: Vec<_> = handles.into_iter().map(Some).collect();
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
        assert_eq!(sum, 64 * 63 / 2);
    });
}

#[test]
fn panics_and_cancellations_wake_too() {
    both(|kind| {
        assert!(matches!(
            block_on(
                kind.spawn(|()| -> () { panic!("awaited") }, ())
                    .expect("starts")
            ),
            Err(JoinError::Panicked(_))
        ));
        let (said, go) = (Fifo::new(), Fifo::new());
        let handle = kind
            .spawn(
                |(said, go): (PathBuf, PathBuf)| {
                    std::fs::write(said, "up").expect("read");
                    std::fs::read_to_string(go).expect("written")
                },
                (said.path(), go.path()),
            )
            .expect("starts");
        said.hear();
        handle.cancel();
        assert!(matches!(block_on(handle), Err(JoinError::Cancelled)));
        if kind == brigade::Kind::Thread {
            go.tell("end");
        }
    });
}

#[test]
fn a_crash_wakes_too() {
    brigade::init();
    let handle = brigade::process::spawn(|()| -> () { std::process::abort() }, ()).expect("starts");
    assert!(matches!(block_on(handle), Err(JoinError::Crashed(_))));
}

#[test]
#[should_panic(expected = "polled after it was ready")]
fn a_thread_polled_again_panics() {
    twice(brigade::Kind::Thread);
}

#[test]
#[should_panic(expected = "polled after it was ready")]
fn a_process_polled_again_panics() {
    twice(brigade::Kind::Process);
}

fn twice(kind: brigade::Kind) {
    brigade::init();
    let mut handle = kind.spawn(|()| (), ()).expect("starts");
    block_on(&mut handle).expect("returns");
    let _ = block_on(&mut handle);
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
