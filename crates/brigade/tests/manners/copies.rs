//! A host that is copied by fork(2), with everything that this library gives out alive in it: each
//! thing knows in the copy that it is one, says so at once, and leaves what belongs to the original
//! alone.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use brigade::channel::{self, Receiver};
use brigade::supervise::{self, Child, Strategy, Supervisor};
use brigade::{JoinError, JoinHandle, Kind, Message, Pool, process, thread};
use brigade_test_support::block_on;
use futures_core::Stream;

use crate::hosts::double;

pub(crate) type Ended = Result<(), Box<dyn std::error::Error>>;

/// How long a copy may take for everything. It does not wait for anything.
const LIMIT: u32 = 20;

/// More than a map pulls at a time.
const INPUTS: u32 = 20_000;

fn answer(question: Receiver<u32>) -> u32 {
    question.recv().expect("the original asks")
}

fn wait_for_stop(_: ()) {
    supervise::wait_for_stop();
}

fn closed<R: std::fmt::Debug>(what: &str, ended: Result<R, JoinError>) -> Ended {
    match ended {
        Err(JoinError::Closed) => Ok(()),
        other => Err(format!("{what}: {other:?}").into()),
    }
}

/// All that a handle can be asked, of one that is a copy.
fn is_copy<R: Message + std::fmt::Debug>(what: &str, mut handle: JoinHandle<R>) -> Ended {
    handle.cancel();
    if !handle.is_finished() || handle.pid().is_some() {
        return Err(format!("{what}: {handle:?}").into());
    }
    match pin!(&mut handle).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => closed(what, ended)?,
        Poll::Pending => return Err(format!("{what}: pending").into()),
    }
    match handle.join_timeout(Duration::from_secs(3600)) {
        Ok(ended) => closed(what, ended),
        Err(_) => Err(format!("{what}: it came back").into()),
    }
}

/// Makes a copy, which is killed by its alarm if it hangs. `None`: this is the copy.
pub(crate) fn copy() -> Option<libc::pid_t> {
    // SAFETY: the copy goes on with one thread, in memory in which others may have locked anything:
    // that it gets by with that is what is tested. glibc makes its allocator usable after a fork.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: no memory is involved.
            unsafe { libc::alarm(LIMIT) };
            None
        }
        pid => Some(pid),
    }
}

/// Leaves at once.
pub(crate) fn end_copy(ended: Ended) -> ! {
    if let Err(why) = &ended {
        let text = format!("{}: {why}\n", std::process::id());
        let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(i32::from(ended.is_err())) }
}

pub(crate) fn wait_for_copy(pid: libc::pid_t) -> Ended {
    let mut status = 0;
    // SAFETY: writes one integer.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    match status {
        0 => Ok(()),
        status => Err(format!("a copy ended with {status}").into()),
    }
}

pub(crate) fn of_everything(_: &[String]) -> Ended {
    brigade::init();
    for turn in 0..5 {
        for kind in Kind::ALL {
            one(kind, turn)?;
        }
    }
    Ok(())
}

fn one(kind: Kind, turn: u32) -> Ended {
    let pool = Pool::new(kind, 2)?;
    let limited = Pool::builder(kind).workers(1).queue_limit(1).build()?;
    let (busy, idle) = (Pool::new(kind, 2)?, Pool::new(kind, 1)?);
    let asked: Vec<_> = (0..5).map(|_| channel::pipe(1)).collect::<Result<_, _>>()?;
    let (questions, answers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    let mut answers = answers.into_iter();
    let mut next = || answers.next().ok_or("five");
    // They run, or wait in a queue, until the original asks.
    let handles = [
        process::spawn(answer, next()?)?,
        thread::spawn(answer, next()?)?,
        pool.submit(answer, next()?),
        limited.submit(answer, next()?),
        limited.submit(answer, next()?),
    ];
    let done = [
        process::spawn(double, 1)?,
        thread::spawn(double, 1)?,
        pool.submit(double, 1),
    ];
    while !done.iter().all(JoinHandle::is_finished) {
        std::thread::yield_now();
    }
    let supervised = Supervisor::new(Strategy::OneForOne)
        .child(Child::new(kind, "waits", wait_for_stop, ()))
        .start()?;
    let events = supervised.events();
    let mut map = pool.map(double, 0..INPUTS);
    let mut unordered = pool.map_unordered(double, 0..INPUTS);
    for _ in 0..=turn {
        map.next().ok_or("a result")??;
        unordered.next().ok_or("a result")?.1?;
    }
    let mut stream = pool.map_stream(double, 0..INPUTS);
    for n in 0..=turn {
        if next_of(&mut stream).ok_or("a result")?? != n * 2 {
            return Err("a wrong result".into());
        }
    }
    // Both wait: for room, and for what the original has not asked for yet.
    let mut submitting = limited.submit_async(double, 5);
    let mut until_idle = limited.wait_idle_async();
    if poll(&mut submitting).is_ready() || poll(&mut until_idle).is_ready() {
        return Err("its only worker is busy, and its queue is full".into());
    }
    let over = AtomicBool::new(false);
    let begun = AtomicU32::new(0);
    std::thread::scope(|scope| {
        // Threads that have locked whatever there is at the moment of the fork.
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    begun.fetch_add(1, Ordering::Relaxed);
                    let _ = busy.submit(double, 1).join();
                    let _ = busy.map(double, 0..10).count();
                    let _ = (busy.stats(), busy.pids());
                    drop(Pool::threads(1));
                }
            });
        }
        while begun.load(Ordering::Relaxed) < 4 {
            std::thread::yield_now();
        }
        let ended = match copy() {
            None => {
                let ended = (|| {
                    for (n, handle) in handles.into_iter().chain(done).enumerate() {
                        is_copy(&format!("handle {n}"), handle)?;
                    }
                    ordered_is_copy(map, turn)?;
                    for (n, ended) in unordered {
                        match ended {
                            Ok(doubled) if doubled as usize == n * 2 => {}
                            ended => closed("map_unordered", ended)?,
                        }
                    }
                    ordered_is_copy(std::iter::from_fn(|| now_of(&mut stream)), turn)?;
                    drop(stream);
                    match poll(&mut submitting) {
                        Poll::Ready(handle) => is_copy("submit_async", handle)?,
                        Poll::Pending => return Err("submit_async: pending".into()),
                    }
                    drop(submitting);
                    if poll(&mut until_idle).is_pending() {
                        return Err("wait_idle_async: pending".into());
                    }
                    drop(until_idle);
                    [&pool, &limited, &busy, &idle]
                        .into_iter()
                        .try_for_each(pool_is_copy)?;
                    drop(idle);
                    limited.abort();
                    if events.count() + supervised.children().len() != 0 {
                        return Err("a supervisor answers".into());
                    }
                    drop(supervised);
                    works(kind)
                })();
                end_copy(ended)
            }
            Some(pid) => wait_for_copy(pid),
        };
        over.store(true, Ordering::Relaxed);
        if let Err(why) = ended {
            // Not by returning: the pools would wait for what nobody asks.
            end_copy(Err(why));
        }
        // The original goes on as if nothing had been.
        for (n, question) in (0..).zip(&questions) {
            question.send(n)?;
        }
        for (n, handle) in (0..).zip(handles) {
            if handle.join()? != n {
                return Err("a wrong answer".into());
            }
        }
        for handle in done {
            if handle.join()? != 2 {
                return Err("a wrong result".into());
            }
        }
        if block_on(async { submitting.await.await })? != 10 {
            return Err("a wrong result".into());
        }
        block_on(until_idle);
        let rest = std::iter::from_fn(|| next_of(&mut stream)).collect::<Result<Vec<_>, _>>()?;
        if !rest.into_iter().eq((turn + 1..INPUTS).map(|n| n * 2)) {
            return Err("wrong results of the stream".into());
        }
        let rest = map.collect::<Result<Vec<_>, _>>()?;
        if !rest.into_iter().eq((turn + 1..INPUTS).map(|n| n * 2)) {
            return Err("wrong results".into());
        }
        if supervised.counts().running != 1 || supervised.shutdown().children().len() != 1 {
            return Err("its child is lost".into());
        }
        if unordered.count() != (INPUTS - 1 - turn) as usize || pool.stats().failed() != 0 {
            return Err("not all results".into());
        }
        Ok(())
    })
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Its next item, which is waited for.
fn next_of<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    block_on(poll_fn(|context| Pin::new(&mut *stream).poll_next(context)))
}

/// Its next item, which is to be there.
fn now_of<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    match Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(item) => item,
        Poll::Pending => panic!("a copy waits"),
    }
}

fn pool_is_copy(pool: &Pool) -> Ended {
    if !pool.pids().is_empty() || pool.stats().submitted != 0 || pool.stats().workers == 0 {
        return Err(format!("{:?}, {:?}", pool.pids(), pool.stats()).into());
    }
    is_copy("submit", pool.submit(double, 1))?;
    if pool.try_submit(double, 7).err() != Some(7) {
        return Err("it took a task".into());
    }
    if !pool.is_closed() || !pool.drain(std::time::Duration::ZERO) {
        return Err("there is something to wait for".into());
    }
    pool.wait_idle();
    if poll(&mut pool.wait_idle_async()).is_pending() {
        return Err("wait_idle_async: pending".into());
    }
    if poll(&mut pool.shutdown_async()).is_pending() {
        return Err("shutdown_async: pending".into());
    }
    match poll(&mut pool.submit_async(double, 1)) {
        Poll::Ready(handle) => is_copy("submit_async", handle)?,
        Poll::Pending => return Err("submit_async: pending".into()),
    }
    pool.close();
    pool.shutdown();
    drop(pool.clone());
    let (ordered, unordered) = (pool.map(double, 0..3), pool.map_unordered(double, 0..3));
    let ordered: Vec<_> = ordered.collect();
    let unordered: Vec<_> = unordered.collect();
    if ordered.len() != 3 || !unordered.iter().map(|(n, _)| *n).eq(0..3) {
        return Err(format!("{ordered:?}, {unordered:?}").into());
    }
    let unordered = unordered.into_iter().map(|(_, ended)| ended);
    (ordered.into_iter().chain(unordered)).try_for_each(|ended| closed("map", ended))
}

/// What had come is still there; for all other inputs there is an error.
fn ordered_is_copy(map: impl Iterator<Item = Result<u32, JoinError>>, turn: u32) -> Ended {
    let rest: Vec<_> = map.collect();
    for (n, ended) in (turn + 1..).zip(&rest) {
        match ended {
            Ok(doubled) if *doubled == n * 2 => {}
            Err(JoinError::Closed) => {}
            other => return Err(format!("{n}: {other:?}").into()),
        }
    }
    match rest.last() {
        Some(Err(_)) if rest.len() == (INPUTS - 1 - turn) as usize => Ok(()),
        last => Err(format!("{} are left, the last is {last:?}", rest.len()).into()),
    }
}

/// A copy is a process like any other: what it makes itself is in order.
fn works(kind: Kind) -> Ended {
    let own = Pool::new(kind, 2)?;
    if !own.map(double, 0..100).all(|ended| ended.is_ok()) {
        return Err("its own pool is out of order".into());
    }
    for handle in [process::spawn(double, 4)?, thread::spawn(double, 4)?] {
        handle.join()?;
    }
    let broken = own.submit(|()| -> u32 { std::panic::resume_unwind(Box::new(0)) }, ());
    match broken.join() {
        Err(JoinError::Panicked(panic)) if panic.task().contains("copies") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// The copy of a thread of a pool ends with its task, and takes nothing else on.
pub(crate) fn in_a_task(_: &[String]) -> Ended {
    fn fork(wait: bool) -> bool {
        match copy() {
            // It comes back out of the task, and goes where the thread goes.
            None => true,
            Some(pid) => !wait || wait_for_copy(pid).is_ok(),
        }
    }
    brigade::init();
    let pool = Pool::threads(2)?;
    for _ in 0..20 {
        if !pool.submit(fork, true).join()? {
            return Err("its copy did not end".into());
        }
        for ended in pool.map(fork, [true; 4]) {
            if !ended? {
                return Err("the copy of one in a map did not end".into());
            }
        }
    }
    Ok(())
}
