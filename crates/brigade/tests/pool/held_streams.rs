//! A task leaves somebody behind who holds a stream: neither its end nor any other task waits for
//! that.

use std::io::Write;
use std::sync::mpsc;

use brigade::{JoinHandle, Kind, Pool, process};
use brigade_test_support::deny;

use crate::{double, join, pool, processes, until};

unsafe extern "C" {
    static mut stdout: *mut libc::FILE;
    fn flockfile(stream: *mut libc::FILE);
}

/// Starts a thread that holds something for ever, and waits until it does.
fn left_behind(hold: fn()) {
    let (say, held) = mpsc::channel();
    std::thread::spawn(move || {
        hold();
        say.send(()).expect("heard");
        loop {
            std::thread::park();
        }
    });
    held.recv().expect("it holds it");
}

fn hold_stdout() {
    let _ = std::mem::ManuallyDrop::new(std::io::stdout().lock());
}

fn hold_c_stdout() {
    // SAFETY: the stream lives as long as the process; it has something to flush.
    unsafe {
        libc::fputs(c"from C, without an end of line".as_ptr(), stdout);
        flockfile(stdout);
    }
}

fn leaves_stdout(n: u32) -> u32 {
    left_behind(hold_stdout);
    n
}

fn leaves_c_stdout(n: u32) -> u32 {
    left_behind(hold_c_stdout);
    n
}

/// In a thread that is gone when the task returns.
fn ends(n: u32) -> u32 {
    std::thread::spawn(hold_stdout).join().expect("no panic");
    n
}

/// In the task's own thread.
fn itself(n: u32) -> u32 {
    hold_stdout();
    hold_c_stdout();
    n
}

/// A thread sits in fgetc(3), and fflush(3) of all streams waits for it.
fn reads(n: u32) -> u32 {
    let (say, begun) = mpsc::channel();
    std::thread::spawn(move || {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        // SAFETY: a descriptor that stays open, and a stream that nobody else has.
        unsafe {
            use std::os::fd::IntoRawFd;
            let stream = libc::fdopen(read.into_raw_fd(), c"r".as_ptr());
            say.send(()).expect("heard");
            libc::fgetc(stream);
        }
        drop(write);
    });
    begun.recv().expect("it is about to read");
    n
}

fn prints(n: u32) -> u32 {
    print!("");
    std::io::stdout().flush().expect("written");
    n
}

const HOLDING: [fn(u32) -> u32; 5] = [leaves_stdout, leaves_c_stdout, ends, itself, reads];

#[test]
fn in_a_worker_that_stays() {
    processes(|| {
        for hold in HOLDING {
            let pool = pool(Kind::Process, 1);
            for _ in 0..3 {
                let handles: Vec<JoinHandle<u32>> = [hold, double, prints]
                    .into_iter()
                    .map(|task| pool.submit(task, 7))
                    .collect();
                for (handle, result) in handles.into_iter().zip([7, 14, 7]) {
                    assert_eq!(join(handle).expect("it returned"), result);
                }
            }
            let stats = pool.stats();
            assert_eq!((stats.done, stats.failed()), (9, 0), "{stats:?}");
        }
    });
}

#[test]
fn in_a_worker_for_one_task() {
    processes(|| {
        for hold in HOLDING {
            let handle = process::spawn(hold, 7).expect("starts");
            assert_eq!(join(handle).expect("it returned"), 7);
        }
    });
}

#[test]
fn by_an_initializer() {
    fn hold() {
        left_behind(hold_stdout);
    }
    processes(|| {
        let builder = Pool::builder(Kind::Process).workers(1).initializer(hold);
        let pool = builder.build().expect("a pool");
        for n in 0..3 {
            assert_eq!(join(pool.submit(double, n)).expect("returns"), n * 2);
        }
    });
}

/// A worker that may have no thread beside its task's, and had one: what it prints is not lost, and
/// it serves on.
#[test]
fn where_no_thread_is_to_be_had() {
    fn say_without(n: u32) -> u32 {
        let tasks = || std::fs::read_dir("/proc/self/task").expect("proc").count();
        let before = tasks();
        std::thread::spawn(|| {}).join().expect("no panic");
        until("the thread is gone", || tasks() == before);
        let threads = [libc::SYS_clone, libc::SYS_clone3].map(Into::into);
        deny(&threads, libc::EAGAIN).expect("a filter");
        // It stays in the buffer, for it is no whole line.
        print!("said");
        n
    }
    fn say_more(n: u32) -> u32 {
        print!("");
        n
    }
    processes(|| {
        let pool = pool(Kind::Process, 1);
        assert_eq!(join(pool.submit(say_without, 1)).expect("returns"), 1);
        for n in 0..20 {
            assert_eq!(join(pool.submit(say_more, n)).expect("returns"), n);
        }
        assert_eq!(pool.stats().recycled, 0);
    });
}

/// A thread that holds nothing costs its worker nothing.
#[test]
fn a_thread_that_only_stays_is_left_in_peace() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        fn stay(n: u32) -> u32 {
            left_behind(|| {});
            n
        }
        for n in 0..20 {
            assert_eq!(join(pool.submit(stay, n)).expect("returns"), n);
            assert_eq!(join(pool.submit(prints, n)).expect("returns"), n);
        }
        // On a busy machine a thread that has nothing to flush may take as long as one that is
        // stuck.
        let stats = pool.stats();
        assert!(stats.recycled <= 5, "{stats:?}");
    });
}
