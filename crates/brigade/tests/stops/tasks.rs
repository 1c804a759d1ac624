//! What the programs of these tests do, and how they look at its end.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use brigade::{Crash, JoinError, JoinHandle, Shared, process};
use brigade_test_support::procfs::parent;
use brigade_test_support::wait::{LIMIT, pause, until};

pub(crate) fn double(n: u32) -> u32 {
    n * 2
}

/// A word that a task sets when it runs.
pub(crate) type Flag = Shared<AtomicU32>;

pub(crate) fn flag() -> Flag {
    Shared::new(AtomicU32::new(0)).expect("a region")
}

/// A task that never ends.
pub(crate) fn for_ever(begun: Flag) -> u32 {
    begun.store(std::process::id(), SeqCst);
    loop {
        std::thread::park();
    }
}

/// A task that ends when it is let.
pub(crate) fn until_let((begun, gate): (Flag, Flag)) -> u32 {
    begun.store(std::process::id(), SeqCst);
    while gate.load(SeqCst) == 0 {
        pause(Duration::from_millis(1));
    }
    7
}

pub(crate) fn is_set(flag: &Flag) -> u32 {
    until("a task has begun", || flag.load(SeqCst) != 0);
    flag.load(SeqCst)
}

pub(crate) fn join<R: std::fmt::Debug>(handle: JoinHandle<R>) -> Result<R, JoinError> {
    let ended = handle.join_timeout(LIMIT);
    ended.unwrap_or_else(|handle| panic!("{handle:?} has not ended"))
}

pub(crate) fn crash_of<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> Crash {
    match ended {
        Err(JoinError::Crashed(crash)) => crash,
        other => panic!("expected a crash, got {other:?}"),
    }
}

/// The fork server, which has some spare workers now.
pub(crate) fn server() -> u32 {
    let worker = process::spawn(|()| std::process::id(), ()).expect("a process");
    join(worker).expect("it returns");
    let (begun, gate) = (flag(), flag());
    let worker = process::spawn(until_let, (begun.clone(), gate.clone())).expect("a process");
    let server = parent(is_set(&begun)).expect("it is there");
    gate.store(1, SeqCst);
    join(worker).expect("it returns");
    server
}

/// A process with a task that never ends. Gives its number.
pub(crate) fn running() -> (JoinHandle<u32>, u32) {
    let begun = flag();
    let handle = process::spawn(for_ever, begun.clone()).expect("a process");
    let pid = is_set(&begun);
    (handle, pid)
}
