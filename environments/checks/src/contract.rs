//! What is checked, for threads and processes: CONTRACT.md's table in short.

use std::fmt::Debug;
use std::time::Duration;

use brigade::channel::{RecvTimeoutError, Sender, Transport, channel};
use brigade::sync::Mutex;
use brigade::{Cause, JoinError, JoinHandle, Kind, Message, Pool, Shared};

use crate::{Check, Outcome};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const ALL: &[Check] = &[
    ("tasks return", returns),
    ("a panic is told", panics),
    ("a crash is named", crashes),
    (
        "what is cancelled is gone, with the daemon it started",
        cancelled,
    ),
    ("a pool maps in order, and loses only what crashes", maps),
    (
        "a task that is over its time is gone, with the daemon it started",
        timed_out,
    ),
    ("channels over each transport", channels),
    ("memory is shared, and whose holder dies is told", shared),
];

pub(crate) fn double(n: i32) -> i32 {
    2 * n
}

fn both(row: impl Fn(Kind) -> Outcome) -> Outcome {
    for kind in Kind::ALL {
        row(kind).map_err(|why| format!("as a {kind}: {why}"))?;
    }
    Ok(())
}

fn start<A: Message, R: Message>(
    kind: Kind,
    task: fn(A) -> R,
    input: A,
) -> Result<JoinHandle<R>, String> {
    kind.spawn(task, input)
        .map_err(|e| format!("not started: {e}"))
}

/// `Ok` if they are equal.
fn equal<T: PartialEq + Debug>(got: T, expected: T) -> Outcome {
    if got == expected {
        Ok(())
    } else {
        Err(format!("{got:?} instead of {expected:?}"))
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn returns() -> Outcome {
    both(|kind| equal(start(kind, double, 21)?.join().map_err(text)?, 42))
}

/// What must hold where processes are refused.
pub(crate) fn threads_work() -> Outcome {
    equal(start(Kind::Thread, double, 21)?.join().map_err(text)?, 42)?;
    let pool = Pool::threads(2).map_err(text)?;
    let sum: i32 = pool.map(double, 0..100).flatten().sum();
    equal(sum, 9900)
}

fn panics() -> Outcome {
    let aborts = cfg!(panic = "abort");
    both(|kind| {
        // A thread's would end this program.
        if aborts && kind == Kind::Thread {
            return Ok(());
        }
        let task = start(kind, |n: i32| -> i32 { panic!("no {n}") }, 3)?;
        match task.join() {
            Err(JoinError::Panicked(panic)) if !aborts => equal(panic.message(), "no 3"),
            Err(JoinError::Crashed(crash)) if aborts => {
                equal(crash.cause(), &Cause::Abort)?;
                equal(crash.stderr().contains("no 3"), true)
            }
            other => Err(format!("{other:?}")),
        }
    })
}

fn crashes() -> Outcome {
    let cases: [(fn(()), Cause); 3] = [
        (|()| std::process::abort(), Cause::Abort),
        (leave, Cause::Exit(7)),
        (recurse_for_ever, Cause::StackOverflow),
    ];
    for (task, cause) in cases {
        match start(Kind::Process, task, ())?.join() {
            Err(JoinError::Crashed(crash)) if *crash.cause() == cause => {}
            other => return Err(format!("instead of {cause:?}: {other:?}")),
        }
    }
    Ok(())
}

fn leave((): ()) {
    // SAFETY: a worker has one thread that could run what is registered for the exit.
    unsafe { libc::exit(7) }
}

fn recurse_for_ever((): ()) {
    fn deeper(n: u64) -> u64 {
        let here = std::hint::black_box([n; 64]);
        if here[0] == u64::MAX {
            return n;
        }
        deeper(std::hint::black_box(n + 1)) + here[0]
    }
    std::hint::black_box(deeper(0));
}

/// A task: starts a daemon, as daemon(7) has it, says so, and waits for ever. The daemon has the
/// end of the channel, too.
fn with_daemon(says: Sender<u32>) {
    // SAFETY: a worker has one thread, so its forks are whole. They make system calls only.
    unsafe {
        match libc::fork() {
            0 => {
                libc::setsid();
                match libc::fork() {
                    0 => wait_for_ever(),
                    _ => libc::_exit(0),
                }
            }
            child => {
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
    }
    // The test hears of nothing if it does not arrive.
    let _ = says.send(std::process::id());
    wait_for_ever()
}

fn wait_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Waits until no process has the other end any more.
fn all_gone(ends: impl Fn() -> Result<u32, RecvTimeoutError>) -> Outcome {
    match ends() {
        Err(RecvTimeoutError::Disconnected) => Ok(()),
        other => Err(format!("a process that it started is left: {other:?}")),
    }
}

fn cancelled() -> Outcome {
    let (says, said) = channel(Transport::Pipe, 1).map_err(text)?;
    let task = start(Kind::Process, with_daemon, says)?;
    said.recv_timeout(LIMIT).map_err(text)?;
    task.cancel();
    let ended = task.join();
    if !matches!(ended, Err(JoinError::Cancelled)) {
        return Err(format!("{ended:?}"));
    }
    all_gone(|| said.recv_timeout(LIMIT))
}

fn timed_out() -> Outcome {
    let (says, said) = channel(Transport::Pipe, 1).map_err(text)?;
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .timeout(Duration::from_secs(1));
    let pool = pool.build().map_err(text)?;
    let ended = pool.submit(with_daemon, says).join();
    if !matches!(ended, Err(JoinError::TimedOut(_))) {
        return Err(format!("{ended:?}"));
    }
    // The first is what it said.
    said.recv_timeout(LIMIT).map_err(text)?;
    all_gone(|| said.recv_timeout(LIMIT))?;
    equal(pool.submit(double, 21).join().map_err(text)?, 42)
}

fn maps() -> Outcome {
    both(|kind| {
        let pool = Pool::new(kind, 2).map_err(text)?;
        for (at, result) in (0..).zip(pool.map(double, 0..1000)) {
            equal(result.map_err(text)?, 2 * at)?;
        }
        if kind == Kind::Thread {
            return Ok(());
        }
        let fragile = |n: i32| if n == 5 { std::process::abort() } else { n };
        let lost: Vec<usize> = pool
            .map(fragile, 0..10)
            .enumerate()
            .filter_map(|(at, result)| result.is_err().then_some(at))
            .collect();
        equal(lost, vec![5])
    })
}

fn channels() -> Outcome {
    for over in Transport::ALL {
        both(|kind| {
            let (give, take) = channel::<u64>(over, 4).map_err(text)?;
            let (answer, answers) = channel::<u64>(over, 4).map_err(text)?;
            let task = start(
                kind,
                |(take, answer): (brigade::channel::Receiver<u64>, Sender<u64>)| {
                    while let Ok(n) = take.recv() {
                        answer.send(n + 1).expect("the program listens");
                    }
                },
                (take, answer),
            )?;
            for n in 0..100 {
                give.send(n).map_err(text)?;
                equal(answers.recv_timeout(LIMIT).map_err(text)?, n + 1)?;
            }
            drop(give);
            task.join().map_err(text)
        })
        .map_err(|why| format!("{over:?}: {why}"))?;
    }
    Ok(())
}

fn shared() -> Outcome {
    let counter = Shared::new(Mutex::new(0_u64)).map_err(text)?;
    both(|kind| {
        let add = |counter: Shared<Mutex<u64>>| match counter.lock() {
            Ok(mut count) => *count += 1,
            Err(_) => std::process::abort(),
        };
        start(kind, add, counter.clone())?.join().map_err(text)
    })?;
    equal(*counter.lock().map_err(text)?, 2)?;
    let hold = |counter: Shared<Mutex<u64>>| {
        let _held = counter.lock();
        std::process::abort()
    };
    let ended: Result<(), _> = start(Kind::Process, hold, counter.clone())?.join();
    equal(ended.is_err(), true)?;
    equal(counter.lock().is_err(), true)
}
