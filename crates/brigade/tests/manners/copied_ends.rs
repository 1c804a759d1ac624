//! A host that is copied by fork(2), with ends of channels and locks in shared memory: they work in
//! both, as far as they can, and what the copy drops is no loss to the original.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use brigade::channel::{self, Receiver, RecvError, Select, SendAsync, Sender, Transport};
use brigade::sync::{Barrier, Mutex, RwLock};
use brigade::{JoinHandle, Shared, ShmSafe, process};
use brigade_test_support::block_on;

use crate::copies::{Ended, copy, end_copy, wait_for_copy};

/// Only what hangs takes longer.
const LIMIT: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_millis(20);

fn fail<T>(what: impl Into<String>) -> Result<T, Box<dyn std::error::Error>> {
    Err(what.into().into())
}

fn numbered(n: usize) -> (usize, Vec<u8>) {
    (n, vec![n as u8; [10, 300, 6_000, 40_000, 1_500_000][n % 5]])
}

type Message = (usize, Vec<u8>);

/// The copy asks, and the original answers. Each drops what the other uses, or keeps it.
pub(crate) fn talk(_: &[String]) -> Ended {
    brigade::init();
    for over in Transport::ALL {
        for turn in 0..6 {
            // Before the first turn no process was ever asked for; then there is a fork server.
            if turn == 2 {
                process::spawn(|()| (), ())?.join()?;
            }
            talk_over(over, turn).map_err(|why| format!("over {over}, turn {turn}: {why}"))?;
        }
    }
    Ok(())
}

fn talk_over(over: Transport, turn: usize) -> Ended {
    let (ask, questions) = channel::channel::<Message>(over, 4)?;
    let (answer, answers) = channel::channel::<Message>(over, 4)?;
    let (keeps, awaits) = (turn % 2 == 0, turn % 3 == 2);
    let Some(pid) = copy() else {
        let ended = (|| {
            // Until it leaves by `_exit`, or at once.
            let _kept = keeps.then_some((questions, answer));
            for n in 0..40 {
                match awaits {
                    true => block_on(ask.send_async(numbered(n)))?,
                    false => ask.send(numbered(n))?,
                }
                let came = match awaits {
                    true => block_on(answers.recv_async())?,
                    false => answers.recv_timeout(LIMIT)?,
                };
                if came != numbered(n) {
                    return fail(format!("{} for {n}", came.0));
                }
            }
            drop((ask, answers));
            Ok(())
        })();
        end_copy(ended)
    };
    drop(ask);
    // The copy has received with it: this one is of no use but to be dropped.
    let kept = keeps.then_some(answers);
    for n in 0..40 {
        let came = questions
            .recv_timeout(LIMIT)
            .map_err(|e| format!("{n}: {e}"))?;
        if came != numbered(n) {
            return fail(format!("{} for {n}", came.0));
        }
        match awaits {
            true => block_on(answer.send_async(came))?,
            false => answer.send_timeout(came, LIMIT)?,
        }
    }
    wait_for_copy(pid)?;
    match questions.recv_timeout(LIMIT) {
        Err(e) if e.is_disconnected() => {}
        other => return fail(format!("the copy is gone, and {:?}", other.map(|m| m.0))),
    }
    // Also noticed though nobody has said so: at the latest when it is full.
    drop(kept);
    if (0..8).all(|n| answer.send_timeout(numbered(n), LIMIT).is_ok()) {
        return fail("nobody receives, and it is sent");
    }
    Ok(())
}

/// Waits until this thread of ours sleeps.
fn until_it_sleeps(tid: i32) -> Ended {
    let began = Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat"))?;
        if stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('S'))
        {
            return Ok(());
        }
        if began.elapsed() > LIMIT {
            return fail(format!("it does not sleep: {stat}"));
        }
        std::thread::yield_now();
    }
}

/// A thread that waits for a message; it gives it, and what is next.
fn waits_in_a_thread<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    wait: impl FnOnce() -> Result<Message, RecvError> + Send + 's,
) -> Result<std::thread::ScopedJoinHandle<'s, Result<Message, RecvError>>, Box<dyn std::error::Error>>
{
    let (say, said) = std::sync::mpsc::channel();
    let thread = scope.spawn(move || {
        let _ = say.send(rustix::thread::gettid().as_raw_nonzero().get());
        wait()
    });
    until_it_sleeps(said.recv()?)?;
    Ok(thread)
}

fn begins_to_wait(future: &mut SendAsync<Message>) -> Ended {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(future).poll(&mut context) {
        Poll::Pending => Ok(()),
        Poll::Ready(ended) => fail(format!("there is no room, and {ended:?}")),
    }
}

/// Threads of the original wait with a receiver, await one and select one; the copy drops them all.
pub(crate) fn dropped(_: &[String]) -> Ended {
    brigade::init();
    for over in Transport::ALL {
        for turn in 0..4 {
            dropped_over(over).map_err(|why| format!("over {over}, turn {turn}: {why}"))?;
        }
    }
    Ok(())
}

fn dropped_over(over: Transport) -> Ended {
    let ends = (0..3).map(|_| channel::channel::<Message>(over, 4));
    let (senders, receivers): (Vec<_>, Vec<_>) =
        ends.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    std::thread::scope(|scope| {
        let [waited, awaited, selected] = &receivers[..] else {
            return fail("three");
        };
        let threads = [
            waits_in_a_thread(scope, || waited.recv())?,
            waits_in_a_thread(scope, || block_on(awaited.recv_async()))?,
            waits_in_a_thread(scope, || {
                let mut select = Select::new();
                select.recv(selected);
                select.ready();
                selected.try_recv().map_err(|_| RecvError::Disconnected)
            })?,
        ];
        // A future that waits for room: there are two of it, and one is dropped in the copy.
        let (full, has_first) = channel::channel::<Message>(over, 1)?;
        full.send(numbered(0))?;
        let mut second = full.send_async(numbered(1));
        begins_to_wait(&mut second)?;
        let Some(pid) = copy() else {
            let ended = begins_to_wait(&mut second);
            drop(second);
            end_copy(ended.and_then(|()| in_the_copy(&senders, &receivers)))
        };
        wait_for_copy(pid)?;
        if has_first.recv_timeout(LIMIT)? != numbered(0) {
            return fail("the first is another");
        }
        block_on(second)?;
        if has_first.recv_timeout(LIMIT)? != numbered(1) || !has_first.is_empty() {
            return fail("the second is another, or was sent twice");
        }
        for (n, (sender, thread)) in senders.iter().zip(threads).enumerate() {
            if sender.is_empty() {
                sender.send_timeout(numbered(n), LIMIT)?;
            }
            if thread.join().map_err(|_| "a panic")? != Ok(numbered(n)) {
                return fail(format!("thread {n} was told otherwise"));
            }
        }
        // And on.
        for (n, (sender, receiver)) in senders.iter().zip(&receivers).enumerate() {
            sender.send_timeout(numbered(n), LIMIT)?;
            if block_on(receiver.recv_async()) != Ok(numbered(n)) {
                return fail(format!("channel {n} is out of order"));
            }
        }
        Ok(())
    })
}

/// What can be done there with ends that threads of the original use, and then their end.
fn in_the_copy(senders: &[Sender<Message>], receivers: &[Receiver<Message>]) -> Ended {
    // A thread that is not here has the first, for good: that is said, and does not hang.
    let first = &receivers[0];
    let mut select = Select::new();
    select.recv(first);
    select.ready_timeout(LIMIT)?;
    match first.recv() {
        Err(RecvError::Undeliverable(why)) if why.contains("fork") => {}
        other => return fail(format!("{other:?}")),
    }
    if first.recv() != Err(RecvError::Disconnected) || first.fault().is_none() {
        return fail("it is in order now");
    }
    let _ = (first.try_recv(), block_on(first.recv_async()));
    // Sending is for everybody.
    for (n, sender) in senders.iter().enumerate() {
        sender.send_timeout(numbered(n), LIMIT)?;
        let _ = sender.fault();
    }
    // As the end of their scope would.
    for end in receivers {
        // SAFETY: the copy leaves by `_exit` and never looks at them again.
        drop(unsafe { std::ptr::read(end) });
    }
    for end in senders {
        // SAFETY: as above.
        drop(unsafe { std::ptr::read(end) });
    }
    Ok(())
}

#[derive(ShmSafe)]
#[repr(C)]
struct Locks {
    mutex: Mutex<u64>,
    rwlock: RwLock<u64>,
    /// Two of those who lock.
    meet: Barrier,
}

fn locks() -> std::io::Result<Shared<Locks>> {
    Shared::new(Locks {
        mutex: Mutex::new(0),
        rwlock: RwLock::new(0),
        meet: Barrier::new(2),
    })
}

fn hold(locks: Shared<Locks>) {
    let _mutex = locks.mutex.lock().expect("nobody died with it");
    let _rwlock = locks.rwlock.write().expect("nobody died with it");
    locks.meet.wait().expect("both come");
    // Until it is allowed to let go, or is killed.
    locks.meet.wait().expect("both come");
}

/// Nobody has them who lives.
fn are_poisoned(locks: &Locks) -> Ended {
    match locks.mutex.lock_timeout(LIMIT) {
        Err(std::sync::TryLockError::Poisoned(_)) => {}
        other => {
            return fail(format!(
                "the mutex: {:?}",
                other.map(|_| ()).map_err(|_| ())
            ));
        }
    }
    match locks.rwlock.write_timeout(LIMIT) {
        Err(std::sync::TryLockError::Poisoned(_)) => {}
        other => return fail(format!("the lock: {:?}", other.map(|_| ()).map_err(|_| ()))),
    }
    locks.mutex.clear_poison();
    locks.rwlock.clear_poison();
    Ok(())
}

/// Somebody who lives has them.
fn are_held(locks: &Locks) -> Ended {
    use std::sync::TryLockError::WouldBlock;
    let mutex = locks.mutex.lock_timeout(SOON).map(drop);
    let rwlock = locks.rwlock.read_timeout(SOON).map(drop);
    match (&mutex, &rwlock) {
        (Err(WouldBlock), Err(WouldBlock)) => Ok(()),
        _ => fail(format!(
            "two have it at a time: {:?}, {:?}",
            mutex.is_ok(),
            rwlock.is_ok()
        )),
    }
}

/// Runs it in a program that can open nothing.
fn without_descriptors<R>(run: impl FnOnce() -> R) -> R {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        ..before
    };
    setrlimit(Resource::Nofile, none).expect("lowered");
    let result = run();
    setrlimit(Resource::Nofile, before).expect("raised to what it was");
    result
}

fn are_free(locks: &Locks) -> Ended {
    if locks.mutex.lock_timeout(LIMIT).is_err() || locks.rwlock.write_timeout(LIMIT).is_err() {
        return fail("nobody has it, and it cannot be had");
    }
    Ok(())
}

fn kill<R>(task: &JoinHandle<R>) -> Ended {
    let pid = task.pid().ok_or("a process")?;
    let pid = rustix::process::Pid::from_raw(pid as i32).ok_or("a number")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    Ok(())
}

/// The original, its workers and its copies are all told apart, and each death is noticed by all.
pub(crate) fn locked(_: &[String]) -> Ended {
    brigade::init();
    for turn in 0..5 {
        let locks = locks()?;
        // The copy has them, and then dies with them.
        let Some(pid) = copy() else {
            let (_mutex, _rwlock) = (locks.mutex.lock(), locks.rwlock.write());
            let ended = (|| {
                locks.meet.wait_timeout(LIMIT)?;
                locks.meet.wait_timeout(LIMIT)?;
                Ok(())
            })();
            end_copy(ended)
        };
        locks.meet.wait_timeout(LIMIT)?;
        are_held(&locks).map_err(|why| format!("turn {turn}, the copy: {why}"))?;
        // Who cannot look whether it lives takes nothing over from it.
        without_descriptors(|| are_held(&locks))
            .map_err(|why| format!("turn {turn}, the copy, and no descriptor: {why}"))?;
        locks.meet.wait_timeout(LIMIT)?;
        wait_for_copy(pid)?;
        are_poisoned(&locks).map_err(|why| format!("turn {turn}, the copy: {why}"))?;

        // A worker has them, of the original or of the copy.
        for (of_the_copy, dies) in [(false, false), (false, true), (true, false), (true, true)] {
            let held = self::locks()?;
            copy_with_worker(&held, of_the_copy, dies).map_err(|why| {
                format!("turn {turn}, a worker, the copy's: {of_the_copy}, dies: {dies}: {why}")
            })?;
        }
    }
    Ok(())
}

/// Somebody's worker holds the locks, and lets go of them or dies; the other one looks.
fn copy_with_worker(held: &Shared<Locks>, of_the_copy: bool, dies: bool) -> Ended {
    let done = Shared::new(Barrier::new(2))?;
    let of_the_original = (!of_the_copy).then(|| process::spawn(hold, held.clone()));
    let of_the_original = of_the_original.transpose()?;
    let end = |worker: JoinHandle<()>| -> Ended {
        if dies {
            kill(&worker)?;
            let _ = worker.join();
        } else {
            held.meet.wait_timeout(LIMIT)?;
            worker.join()?;
        }
        Ok(())
    };
    let looks_on = || -> Ended {
        done.wait_timeout(LIMIT)?;
        are_held(held)?;
        done.wait_timeout(LIMIT)?;
        match dies {
            true => are_poisoned(held),
            false => are_free(held),
        }
    };
    let works = |worker: JoinHandle<()>| -> Ended {
        held.meet.wait_timeout(LIMIT)?;
        done.wait_timeout(LIMIT)?;
        done.wait_timeout(LIMIT)?;
        end(worker)
    };
    let Some(pid) = copy() else {
        end_copy(match of_the_copy {
            true => (|| works(process::spawn(hold, held.clone())?))(),
            false => looks_on(),
        })
    };
    match of_the_original {
        Some(worker) => works(worker)?,
        None => looks_on()?,
    }
    wait_for_copy(pid)
}

/// The original ends with locks that its copy waits for. The copy says what it was told.
pub(crate) fn orphaned(_: &[String]) -> Ended {
    brigade::init();
    let locks = locks()?;
    let (_mutex, _rwlock) = (locks.mutex.lock(), locks.rwlock.write());
    let Some(_) = copy() else {
        let ended = (|| {
            locks.meet.wait_timeout(LIMIT)?;
            are_poisoned(&locks)
        })();
        if ended.is_ok() {
            let _ = rustix::io::write(rustix::stdio::stdout(), b"told\n");
        }
        end_copy(ended)
    };
    locks.meet.wait_timeout(LIMIT)?;
    end_copy(Ok(()))
}
