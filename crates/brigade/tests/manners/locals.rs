//! Destructors of thread-locals that use the library: they run when the library's own thread-locals
//! may be gone.
//!
//! The locals of a thread are destroyed in the opposite order of their first use. So there are
//! three hosts: one whose local was there *before* the library was used in that thread, and
//! outlives what it keeps; one whose local came *after*; and one that *alone* uses the library,
//! while the thread ends.

use std::cell::Cell;

use brigade::channel::{Receiver, Select, Sender, Transport, channel, select};
use brigade::sync::{Condvar, Mutex, Once, RwLock, Semaphore};
use brigade::{Cause, Descriptor, JoinError, JoinHandle, Kind, Pool, Shared};
use brigade_test_support::block_on;
use libtest_mimic::Trial;
use serde::{Deserialize, Serialize, Serializer};

use crate::hosts::{Host, double};
use crate::observe::well_behaved;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("locals", locals)];

type Done = Result<(), Box<dyn std::error::Error>>;

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        for place in ["thread", "main"] {
            for order in ["before", "after", "alone"] {
                let name = format!("a_local_that_uses_a_{kind}_as_it_ends: {place}, {order}");
                all.push(trial(&name, move || {
                    let output = well_behaved("locals", &[&kind.to_string(), place, order]);
                    let out = String::from_utf8_lossy(&output.stdout);
                    assert!(out.ends_with("\nall is done\n"), "{out}");
                }));
            }
        }
    }
    all
}

fn locals(args: &[String]) -> Done {
    brigade::init();
    let [kind, place, order] = args else {
        return Err("a kind, a place, an order".into());
    };
    let kind = kind.parse()?;
    let scene = match order.as_str() {
        "before" => before,
        "after" => after,
        "alone" => alone,
        _ => return Err("no such order".into()),
    };
    if place == "main" {
        return scene(kind);
    }
    let thread = std::thread::spawn(move || scene(kind).map_err(|e| e.to_string()));
    Ok(thread.join().map_err(|_| "it panicked")??)
}

/// What is there when the thread ends.
struct AtTheEnd {
    kind: Kind,
    pool: Pool,
    handles: Vec<JoinHandle<u32>>,
    ends: Vec<(Sender<String>, Receiver<String>)>,
}

thread_local! {
    static LOCAL: Cell<Option<AtTheEnd>> = const { Cell::new(None) };
}

impl AtTheEnd {
    fn new(kind: Kind) -> Result<AtTheEnd, Box<dyn std::error::Error>> {
        let pool = Pool::new(kind, 2)?;
        let handles = vec![pool.submit(double, 1), kind.spawn(double, 2)?];
        let ends = Transport::ALL.map(|over| channel(over, 4));
        let ends = ends.into_iter().collect::<Result<_, _>>()?;
        Ok(AtTheEnd {
            kind,
            pool,
            handles,
            ends,
        })
    }
}

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        for (name, act) in ACTS {
            // A panic would end the process here, with less to say.
            if let Err(e) = act(self) {
                println!("{name}: {e}");
                return;
            }
            println!("{name}");
        }
        println!("all is done");
    }
}

/// What a thread keeps of the library comes into being after the local: it is gone when that one's
/// destructor runs.
fn before(kind: Kind) -> Done {
    LOCAL.set(None);
    let all = AtTheEnd::new(kind)?;
    for (name, act) in ACTS {
        act(&all).map_err(|e| format!("beforehand, {name}: {e}"))?;
    }
    LOCAL.set(Some(all));
    Ok(())
}

fn after(kind: Kind) -> Done {
    let all = AtTheEnd::new(kind)?;
    for (name, act) in ACTS {
        act(&all).map_err(|e| format!("beforehand, {name}: {e}"))?;
    }
    LOCAL.set(Some(all));
    Ok(())
}

fn alone(kind: Kind) -> Done {
    // Whatever is used while it is made is not this thread's.
    let all = std::thread::spawn(move || AtTheEnd::new(kind).map_err(|e| e.to_string()));
    LOCAL.set(Some(all.join().map_err(|_| "it panicked")??));
    Ok(())
}

type Act = fn(&AtTheEnd) -> Done;

const ACTS: &[(&str, Act)] = &[
    ("looks at a handle", |all| {
        drop(
            all.handles
                .iter()
                .map(JoinHandle::is_finished)
                .collect::<Vec<_>>(),
        );
        drop(format!(
            "{:?} {:?} {:?}",
            all.handles,
            all.pool.stats(),
            all.pool.pids()
        ));
        Ok(())
    }),
    ("submits and joins", |all| {
        is(all.pool.submit(double, 21).join()?, 42)?;
        let tried = all.pool.try_submit(double, 21);
        is(tried.map_err(|_| "refused")?.join()?, 42)
    }),
    ("spawns and joins", |all| {
        is(all.kind.spawn(double, 21)?.join()?, 42)
    }),
    ("maps", |all| {
        let sum: u32 = all.pool.map(double, 0..1000).sum::<Result<_, _>>()?;
        is(sum, 999_000)?;
        let unordered = all.pool.map_unordered(double, 0..100);
        is(unordered.map(|(_, n)| n.unwrap_or(0)).sum::<u32>(), 9900)?;
        // One that is not asked to its end.
        is(all.pool.map(double, 0..1000).next().is_some(), true)
    }),
    ("cancels", |all| {
        for handle in [all.pool.submit(double, 21), all.kind.spawn(double, 21)?] {
            handle.cancel();
            match handle.join() {
                Ok(42) | Err(JoinError::Cancelled) => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(())
    }),
    ("awaits", |all| {
        is(block_on(all.pool.submit(double, 21))?, 42)?;
        is(block_on(all.kind.spawn(double, 21)?)?, 42)?;
        let (sender, receiver) = channel(Transport::Pipe, 4)?;
        let task = |sender: Sender<String>| sender.send("sent".to_owned()).is_ok();
        let sent = all.pool.submit(task, sender);
        is(block_on(receiver.recv_async())?.as_str(), "sent")?;
        is(sent.join()?, true)
    }),
    ("has a task that panics", |all| {
        for handle in [all.pool.submit(panics, 0), all.kind.spawn(panics, 0)?] {
            match handle.join() {
                Err(JoinError::Panicked(p)) if p.message() == "as it should" => {
                    p.backtrace();
                }
                other => return Err(format!("{other:?}").into()),
            }
        }
        Ok(())
    }),
    ("gives what cannot be encoded", |all| {
        let refused = all.pool.submit(|_: Refused| (), Refused).join();
        match (all.kind, refused) {
            (Kind::Thread, Ok(())) => {}
            (Kind::Process, Err(JoinError::Undeliverable(why))) if why.contains("never") => {}
            (_, other) => return Err(format!("{other:?}").into()),
        }
        match (all.kind, all.pool.submit(|_: Panics| (), Panics).join()) {
            (Kind::Thread, Ok(())) => Ok(()),
            (Kind::Process, Err(JoinError::Panicked(p))) => is(p.location().is_some(), true),
            (_, other) => Err(format!("{other:?}").into()),
        }
    }),
    ("sends and receives", |all| {
        for (sender, receiver) in &all.ends {
            sender.send("one".to_owned())?;
            sender.try_send("two".to_owned())?;
            is(receiver.recv()?.as_str(), "one")?;
            is(receiver.try_recv()?.as_str(), "two")?;
            is(receiver.try_recv().is_err(), true)?;
            sender.send("x".repeat(100_000))?;
            is(receiver.recv()?.len(), 100_000)?;
        }
        Ok(())
    }),
    ("selects", |all| {
        let receivers: Vec<_> = all.ends.iter().map(|(_, receiver)| receiver).collect();
        all.ends[2].0.send("this".to_owned())?;
        let mut among = Select::new();
        for receiver in &receivers {
            among.recv(receiver);
        }
        is(among.ready(), 2)?;
        let (which, received) = select(&receivers);
        is(which, 2)?;
        is(received?.as_str(), "this")
    }),
    ("passes ends, regions and files", |all| {
        let region = Shared::<[u64]>::from_slice(&[1, 2, 3])?;
        let file = Descriptor(std::fs::File::open("/proc/self/stat")?);
        let (sender, receiver) = channel::<u64>(Transport::Socket, 4)?;
        let task =
            |(region, file, sender): (Shared<[u64]>, Descriptor<std::fs::File>, Sender<u64>)| {
                sender.send(region.iter().sum()).is_ok() && file.0.metadata().is_ok()
            };
        is(all.pool.submit(task, (region, file, sender)).join()?, true)?;
        is(receiver.recv()?, 6)?;
        let result = all
            .pool
            .submit(|()| channel::<u64>(Transport::SharedMemory, 4).ok(), ());
        let (sender, receiver) = result.join()?.ok_or("no channel")?;
        sender.send(7)?;
        is(receiver.recv()?, 7)
    }),
    ("locks", |_| {
        static SHARED: Mutex<u32> = Mutex::new(0);
        let lock = Shared::new(RwLock::new(1_u32))?;
        let semaphore = Shared::new(Semaphore::new(1))?;
        *SHARED.lock().map_err(|_| "poisoned")? += 1;
        *lock.write().map_err(|_| "poisoned")? += 1;
        is(*lock.read().map_err(|_| "poisoned")?, 2)?;
        drop(semaphore.acquire());
        Once::new().call_once(|| ());
        let guard = SHARED.lock().map_err(|_| "poisoned")?;
        let soon = std::time::Duration::from_millis(1);
        let waited = Condvar::new().wait_timeout_while(guard, soon, |_| true);
        is(waited.map_err(|_| "poisoned")?.1.timed_out(), true)
    }),
    ("has a task that kills its worker", |all| {
        if all.kind == Kind::Thread {
            return Ok(());
        }
        match all
            .pool
            .submit(|()| -> () { std::process::abort() }, ())
            .join()
        {
            Err(JoinError::Crashed(crash)) => is(crash.cause(), &Cause::Abort),
            other => Err(format!("{other:?}").into()),
        }
    }),
    ("has another pool", |all| {
        let pool = Pool::new(all.kind, 1)?;
        is(pool.submit(double, 21).join()?, 42)?;
        drop(pool.submit(double, 21));
        pool.shutdown();
        let pool = Pool::new(all.kind, 1)?;
        let handle = pool.submit(double, 21);
        pool.abort();
        match handle.join() {
            Ok(42) | Err(JoinError::Cancelled) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    }),
];

fn panics(_: u32) -> u32 {
    panic!("as it should")
}

/// Cannot be encoded, and says so.
#[derive(Deserialize)]
struct Refused;

impl Serialize for Refused {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

/// Cannot be encoded, and panics.
#[derive(Deserialize)]
struct Panics;

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("as it should")
    }
}

fn is<T: PartialEq + std::fmt::Debug>(got: T, wanted: T) -> Done {
    if got == wanted {
        return Ok(());
    }
    Err(format!("{got:?}, and not {wanted:?}").into())
}
