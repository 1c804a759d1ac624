//! Waiting for lines: for a time, and in async code.

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use brigade::process::{Builder, Line, LineStream, Output};
use brigade::{Kind, Pool, channel};
use brigade_test_support::block_on;
use brigade_test_support::wait::{LIMIT, until};
use futures_core::Stream;

use crate::write_numbers;

fn next(lines: &mut LineStream) -> impl Future<Output = Option<Line>> {
    poll_fn(|context| Pin::new(&mut *lines).poll_next(context))
}

#[test]
fn a_wait_that_ends_loses_nothing() {
    brigade::init();
    let (output, mut lines) = Output::lines().expect("lines");
    let (gate, opened) = channel::shm::<()>(1).expect("a channel");
    let worker = Builder::new().stdout(output).spawn(
        |opened: channel::Receiver<()>| {
            opened.recv().expect("opened");
            println!("after");
        },
        opened,
    );
    let worker = worker.expect("a worker");
    for timeout in [Duration::ZERO, Duration::from_millis(5)] {
        let none = lines.next_timeout(timeout).expect_err("it waits");
        assert_eq!(none.kind(), ErrorKind::TimedOut);
    }
    gate.send(()).expect("it waits");
    let line = lines.next_timeout(LIMIT).expect("in time").expect("a line");
    assert_eq!(line.text(), "after");
    worker.join().expect("returns");
    // No writer is left.
    assert!(lines.next_timeout(LIMIT).expect("in time").is_none());
    assert!(
        lines
            .next_timeout(Duration::MAX)
            .expect("at once")
            .is_none()
    );
}

#[test]
fn a_stream_gives_all_lines_and_ends() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let builder = Builder::new().stdout(output);
    let pool = Pool::builder(Kind::Process).workers(2).process(builder);
    let pool = pool.build().expect("a pool");
    let count = 20_000;
    let handles = [1, 2].map(|_| pool.submit(write_numbers, count));
    let closing = std::thread::spawn(move || {
        let written: Vec<u32> = handles.map(|it| it.join().expect("returns")).to_vec();
        drop(pool);
        written
    });
    let mut lines = lines.into_stream();
    let mut read = 0;
    while let Some(line) = block_on(next(&mut lines)) {
        assert!(line.is_whole() && line.lost() == 0, "{line}");
        read += 1;
    }
    assert_eq!(read, 2 * count);
    assert_eq!(closing.join().expect("no panic"), [count, count]);
    assert!(block_on(next(&mut lines)).is_none(), "it stays at its end");
}

#[test]
fn a_stream_ends_when_its_worker_is_killed() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let worker = Builder::new().stdout(output).spawn(
        |()| {
            println!("begun");
            loop {
                std::thread::park();
            }
        },
        (),
    );
    let worker: brigade::JoinHandle<()> = worker.expect("a worker");
    let mut lines = lines.into_stream();
    let first = block_on(next(&mut lines)).expect("a line");
    assert_eq!(first.text(), "begun");
    let pid = worker.pid().expect("it runs");
    let killer = std::thread::spawn(move || brigade_test_support::signal::kill(pid));
    assert!(block_on(next(&mut lines)).is_none());
    killer.join().expect("no panic");
    worker.join().expect_err("it was killed");
}

struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_future_is_woken_by_a_line_and_costs_no_thread_of_its_own() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let mut lines = lines.into_stream();
    let woken = Arc::new(Woken(AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    {
        let mut future = pin!(next(&mut lines));
        assert!(future.as_mut().poll(&mut context).is_pending());
        assert!(future.as_mut().poll(&mut context).is_pending());
        assert_eq!(woken.0.load(SeqCst), 0);
        let worker = Builder::new()
            .stdout(output)
            .spawn(|()| println!("line"), ());
        worker.expect("a worker").join().expect("returns");
        until("it is woken", || woken.0.load(SeqCst) > 0);
        // It is dropped here, and its line is not lost.
    }
    let line = block_on(next(&mut lines)).expect("a line");
    assert_eq!(line.text(), "line");
}
