//! Hosts with a pool.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::OnceLock;

use brigade::channel::{self, Receiver};
use brigade::{Cause, JoinError, Kind, Pool};
use brigade_test_support::signal;

use crate::hosts::{Host, double, limit, parent, spawn_works, until};

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("pool-never-inits", never_inits),
    ("pool-ignores-sigchld", ignores_sigchld),
    ("pool-reaps-everything", reaps_everything),
    ("pool-family", family),
    ("pool-in-a-static", in_a_static),
    ("pool-left-by-exit", left_by_exit),
    ("pool-floods", floods),
    ("pool-talks-at-once", talks_at_once),
    ("pool-asks", asks),
    ("pool-forks", forks),
    ("pool-few-descriptors", few_descriptors),
    ("pool-leaves-nothing", leaves_nothing),
    ("pool-memory-is-flat", memory_is_flat),
];

type Ended = Result<(), Box<dyn std::error::Error>>;

/// The pool is in order.
fn works(pool: &Pool) -> Ended {
    let doubled = pool.map(double, 0..100).collect::<Result<Vec<_>, _>>()?;
    match doubled.into_iter().eq((0..100).map(|n| n * 2)) {
        true => Ok(()),
        false => Err("wrong results".into()),
    }
}

fn never_inits(_: &[String]) -> Ended {
    let error = Pool::processes(2).err().ok_or("it worked")?;
    println!("{:?}: {error}", error.kind());
    // Threads need nothing.
    works(&Pool::threads(2)?)
}

fn ignores_sigchld(_: &[String]) -> Ended {
    brigade::init();
    // SAFETY: ignores a signal.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let pool = Pool::processes(2)?;
    works(&pool)?;
    match pool.submit(|()| -> () { std::process::abort() }, ()).join() {
        Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Abort => {}
        other => return Err(format!("{other:?}").into()),
    }
    works(&pool)?;
    drop(pool);
    // SAFETY: asks for the disposition.
    match unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) } {
        libc::SIG_IGN => Ok(()),
        _ => Err("the disposition was changed".into()),
    }
}

/// Its loop must find an end, while a pool is there.
fn reaps_everything(_: &[String]) -> Ended {
    brigade::init();
    let pool = Pool::processes(2)?;
    works(&pool)?;
    let own = Command::new("/bin/false").spawn()?;
    let statuses = signal::reap_all();
    if statuses != [(own.id() as i32, 1 << 8)] {
        return Err(format!("children that are not the host's: {statuses:?}").into());
    }
    for pid in pool.pids() {
        signal::kill(pid);
    }
    works(&pool)
}

/// A pool whose workers, and their children of every sort, wait: prints their numbers, and waits to
/// be killed, or to be told to end.
fn family(_: &[String]) -> Ended {
    brigade::init();
    let pool = Pool::processes(2)?;
    // A third and a fourth wait in the queue.
    let _handles: Vec<_> = (0..4).map(|_| pool.submit(parent, true)).collect();
    let mut line = String::new();
    std::io::stdin().read_to_string(&mut line)?;
    // Not dropped: that would wait for them.
    let _ = std::mem::ManuallyDrop::new(pool);
    Ok(())
}

static POOL: OnceLock<Pool> = OnceLock::new();

/// `main` returns, and the pool, which nobody drops, is in the middle of something.
fn in_a_static(_: &[String]) -> Ended {
    brigade::init();
    let pool = POOL.get_or_init(|| Pool::processes(3).expect("a pool"));
    works(pool)?;
    for n in 0..1000 {
        drop(pool.submit(double, n));
    }
    drop(pool.submit(parent, true));
    // Until the task has printed who it is, which its reader waits for.
    until(|| Ok(pool.stats().done >= 1100), "the others are done")?;
    Ok(())
}

/// Leaves by `exit` with work in flight, from another thread than the one that has the pool.
fn left_by_exit(_: &[String]) -> Ended {
    brigade::init();
    let pool = POOL.get_or_init(|| Pool::processes(3).expect("a pool"));
    works(pool)?;
    std::thread::spawn(|| {
        let pool = POOL.get().expect("made");
        pool.map(double, 0..).count()
    });
    until(|| Ok(pool.stats().done >= 5000), "it is at work")?;
    // SAFETY: ends the program as its own code may.
    unsafe { libc::exit(0) }
}

/// Tasks that write more than any pipe holds: nobody is held up, and nothing is lost.
fn floods(_: &[String]) -> Ended {
    fn flood(n: u32) -> u32 {
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..20_000 {
            print!("{line}");
            eprint!("{line}");
        }
        std::io::stdout().flush().expect("somebody reads");
        n
    }
    brigade::init();
    let pool = Pool::processes(2)?;
    println!();
    let handles: Vec<_> = (0..4).map(|n| pool.submit(flood, n)).collect();
    let plain: Vec<_> = (0..100).map(|n| pool.submit(double, n)).collect();
    for (n, handle) in (0..).zip(handles) {
        if handle.join()? != n {
            return Err("a wrong result".into());
        }
    }
    for handle in plain {
        handle.join()?;
    }
    Ok(())
}

/// Two workers write letter by letter, at the same time.
fn talks_at_once(_: &[String]) -> Ended {
    fn talk(who: char) {
        for _ in 0..200 {
            for letter in std::iter::repeat_n(who, 60).chain(['\n']) {
                let _ = rustix::io::write(rustix::stdio::stderr(), &[letter as u8]);
            }
        }
    }
    brigade::init();
    let pool = Pool::processes(2)?;
    for ended in pool.map(talk, ['a', 'b']) {
        ended?;
    }
    Ok(())
}

/// A task asks something, and the answer comes when the question is there to be read.
fn asks(_: &[String]) -> Ended {
    fn ask(answers: Receiver<String>) -> String {
        eprint!("how much? ");
        answers.recv().expect("an answer")
    }
    brigade::init();
    let pool = Pool::processes(1)?;
    let (sender, answers) = channel::pipe(1)?;
    let asked = pool.submit(ask, answers);
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    sender.send(answer)?;
    match asked.join()?.as_str() {
        "much\n" => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// A host that forks itself: the copy has the pool's memory, and none of its threads.
fn forks(_: &[String]) -> Ended {
    brigade::init();
    let pools = [Pool::threads(2)?, Pool::processes(2)?];
    pools.iter().try_for_each(works)?;
    let pids = pools[1].pids();
    // SAFETY: the copy does only what the test asks, and leaves by _exit; glibc makes its allocator
    // usable after a fork.
    match unsafe { libc::fork() } {
        0 => {
            let own = Kind::ALL
                .into_iter()
                .try_for_each(|kind| works(&Pool::new(kind, 2)?));
            // SAFETY: ends the copy; the pools are the original's.
            unsafe { libc::_exit(i32::from(own.is_err())) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: writes one integer.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            if status != 0 {
                return Err(format!("the copy ended with {status}").into());
            }
        }
    }
    pools.iter().try_for_each(works)?;
    if pools[1].pids() != pids {
        return Err("the copy took the original's workers".into());
    }
    spawn_works()
}

/// Comes to the limit of its descriptors: an error for who asks, and nothing for what runs already.
fn few_descriptors(_: &[String]) -> Ended {
    use rustix::process::Resource::Nofile;
    brigade::init();
    let pool = Pool::processes(2)?;
    works(&pool)?;
    let before = limit(Nofile, 0)?;
    // What needs none goes on; also when a worker is lost meanwhile.
    works(&pool)?;
    let mut failed = 0;
    for turn in 0..10 {
        if turn == 5 {
            for pid in pool.pids() {
                signal::kill(pid);
            }
        }
        let large = pool.submit(|text: String| text, "x".repeat(4 << 20));
        match large.join() {
            Ok(text) if text.len() == 4 << 20 => {}
            Err(_) => failed += 1,
            Ok(_) => return Err("a wrong result".into()),
        }
        // Whatever becomes of it, it ends.
        drop(pool.submit(double, turn).join());
        drop(Pool::processes(1));
    }
    rustix::process::setrlimit(Nofile, before)?;
    println!("{failed} of 10 large ones failed");
    until(
        || Ok(works(&pool).is_ok()),
        "the pool is in order when there are descriptors again",
    )?;
    works(&Pool::processes(2)?)
}

/// What this process holds: descriptors, threads, mappings of ours.
fn holdings() -> Result<[usize; 3], Box<dyn std::error::Error>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    Ok([
        std::fs::read_dir("/proc/self/fd")?.count(),
        std::fs::read_dir("/proc/self/task")?.count(),
        maps.lines().filter(|l| l.contains("brigade")).count(),
    ])
}

/// Pools come and go, in every way, and so do their tasks: what is held afterwards is what was held
/// before.
fn leaves_nothing(_: &[String]) -> Ended {
    fn cycle(turn: u32) -> Ended {
        for kind in Kind::ALL {
            let pool = Pool::builder(kind).workers(3).recycle_after(100).build()?;
            works(&pool)?;
            let large = pool.submit(|text: String| text, "x".repeat(1 << 20));
            let dropped = pool.map(double, 0..10_000).take(100).count();
            if kind == Kind::Process {
                for n in 0..10 {
                    drop(pool.submit(|_: u32| -> () { std::panic::resume_unwind(Box::new(0)) }, n));
                    drop(pool.submit(|()| -> () { std::process::abort() }, ()));
                }
                for pid in pool.pids() {
                    signal::kill(pid);
                }
            }
            match turn % 3 {
                0 => pool.shutdown(),
                1 => drop(pool),
                _ => pool.abort(),
            }
            // Its worker may have been killed, or the pool aborted, before it had ended.
            let is_right = match large.join() {
                Ok(text) => text.len() == 1 << 20,
                Err(JoinError::Crashed(_)) => kind == Kind::Process,
                Err(JoinError::Cancelled) => turn % 3 == 2,
                Err(_) => false,
            };
            if dropped != 100 || !is_right {
                return Err("a wrong result".into());
            }
        }
        Ok(())
    }
    brigade::init();
    std::panic::set_hook(Box::new(|_| {}));
    (0..6).try_for_each(cycle)?;
    // Spare workers go down and up again as they are used: what there is when all are there.
    let mut before = [0; 3];
    for _ in 0..40 {
        spawn_works()?;
        for (most, now) in before.iter_mut().zip(holdings()?) {
            *most = now.max(*most);
        }
    }
    (0..30).try_for_each(cycle)?;
    let mut last = [0; 3];
    let settled = until(
        || {
            // A worker for one task comes and goes as well, and what waits for that is done
            // meanwhile.
            spawn_works()?;
            last = holdings()?;
            Ok(last.iter().zip(before).all(|(now, before)| *now <= before))
        },
        "as much as before is held",
    );
    settled.map_err(|e| format!("{e}: {before:?}, and then {last:?}").into())
}

/// A million inputs, one after the other: memory does not grow with their number.
fn memory_is_flat(_: &[String]) -> Ended {
    fn resident() -> Result<usize, Box<dyn std::error::Error>> {
        let statm = std::fs::read_to_string("/proc/self/statm")?;
        let pages: usize = statm.split(' ').nth(1).ok_or("statm")?.parse()?;
        Ok(pages * 4)
    }
    brigade::init();
    for kind in Kind::ALL {
        let pool = Pool::new(kind, 2)?;
        let mut results = pool.map(double, 0..);
        let mut unordered = pool.map_unordered(double, 0..);
        let mut turn = |count: u32| -> Ended {
            for _ in 0..count {
                results.next().ok_or("more")??;
                unordered.next().ok_or("more")?.1?;
            }
            Ok(())
        };
        turn(100_000)?;
        let before = resident()?;
        turn(400_000)?;
        let after = resident()?;
        println!("{kind}: {before} KiB, then {after} KiB");
        if after > before + 8 * 1024 {
            return Err(format!("{kind}: {before} KiB, then {after} KiB").into());
        }
    }
    Ok(())
}
