//! The hosts: small programs, each with a trait that gives other libraries trouble.

use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};

use brigade::{Cause, JoinError, process};
use brigade_test_support::{procfs, signal, wait};

/// A host: what it is told on its command line, and what it prints for the test to read.
pub(crate) type Host = fn(&[String]) -> Result<(), Box<dyn std::error::Error>>;

const HOSTS: &[(&str, Host)] = &[
    ("never-inits", never_inits),
    ("inits-late", inits_late),
    ("ignores-sigchld", ignores_sigchld),
    ("reaps-everything", reaps_everything),
    ("counts-signals", counts_signals),
    ("huge-heap", huge_heap),
    ("async", in_an_async_runtime),
    ("replaced", replaced),
    ("family", family),
    ("idle", idle),
    ("prints", prints),
    ("quits-at-once", quits_at_once),
    ("panic-hook", panic_hook),
    ("forks", forks),
    ("copies-ends-that-talk", crate::copied_ends::talk),
    ("copies-ends-and-drops-them", crate::copied_ends::dropped),
    ("copies-locks", crate::copied_ends::locked),
    ("copies-locks-and-ends", crate::copied_ends::orphaned),
    ("copies-everything", crate::copies::of_everything),
    ("copies-in-a-task", crate::copies::in_a_task),
    ("loses-server", loses_server),
    ("nested", nested),
    ("few-descriptors", few_descriptors),
    ("closed-streams", closed_streams),
    ("small-files", small_files),
    ("adopts-orphans", adopts_orphans),
    ("keeps-handles", keeps_handles),
    ("waker-panics", waker_panics),
];

pub(crate) fn run(name: &str, args: &[String]) -> ExitCode {
    let all = HOSTS
        .iter()
        .chain(crate::pools::HOSTS)
        .chain(crate::bare::HOSTS)
        .chain(crate::denied_calls::HOSTS)
        .chain(crate::early_threads::HOSTS)
        .chain(crate::execs::HOSTS)
        .chain(crate::idle::HOSTS)
        .chain(crate::interpreters::HOSTS)
        .chain(crate::locals::HOSTS)
        .chain(crate::memory::HOSTS)
        .chain(crate::orphans::HOSTS)
        .chain(crate::out_of_memory::HOSTS)
        .chain(crate::outer_proc::HOSTS)
        .chain(crate::panics::HOSTS)
        .chain(crate::privileges::HOSTS)
        .chain(crate::secure::HOSTS)
        .chain(crate::small_limits::HOSTS)
        .chain(crate::streams::HOSTS)
        .chain(crate::users::HOSTS);
    let Some((_, host)) = all.into_iter().find(|(n, _)| *n == name) else {
        eprintln!("no host is called {name:?}");
        return ExitCode::from(2);
    };
    // What main does before `init` is done once: the test counts these lines.
    println!("main");
    match host(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{name}: {e}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn double(n: u32) -> u32 {
    n * 2
}

pub(crate) fn spawn_works() -> Result<(), Box<dyn std::error::Error>> {
    match process::spawn(double, 21)?.join()? {
        42 => Ok(()),
        other => Err(format!("21 doubled is {other}").into()),
    }
}

fn never_inits(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    println!("{:?}: {error}", error.kind());
    Ok(())
}

fn inits_late(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    println!("{error}");
    brigade::init();
    spawn_works()
}

fn ignores_sigchld(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    // SAFETY: ignores a signal.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    spawn_works()?;
    match process::spawn(|()| -> () { std::process::abort() }, ())?.join() {
        Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Abort => {}
        other => return Err(format!("{other:?}").into()),
    }
    // SAFETY: asks for the disposition.
    let now = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if now == libc::SIG_IGN {
        Ok(())
    } else {
        Err("the disposition was changed".into())
    }
}

/// A host that reaps whatever there is, in a loop, as an init process does; and whose loop must
/// find an end.
fn reaps_everything(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    spawn_works()?;
    let own = Command::new("/bin/false").spawn()?;
    let mut statuses = Vec::new();
    let mut status = 0;
    loop {
        // SAFETY: writes one integer.
        match unsafe { libc::waitpid(-1, &raw mut status, 0) } {
            -1 => break,
            pid => statuses.push((pid, status)),
        }
    }
    if statuses != [(own.id() as i32, 1 << 8)] {
        return Err(format!("children that are not the host's: {statuses:?}").into());
    }
    spawn_works()
}

fn counts_signals(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static SEEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler counts.
    unsafe { libc::signal(libc::SIGCHLD, count as extern "C" fn(i32) as usize) };
    brigade::init();
    for _ in 0..20 {
        spawn_works()?;
    }
    if SEEN.load(Ordering::Relaxed) != 0 {
        return Err("the host got a SIGCHLD that is none of its business".into());
    }
    // Its own still come, with the status.
    let status = Command::new("/bin/sh").args(["-c", "exit 7"]).status()?;
    if status.code() != Some(7) || SEEN.load(Ordering::Relaxed) == 0 {
        return Err(format!("the host's own child: {status}").into());
    }
    Ok(())
}

fn huge_heap(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let heap = std::hint::black_box(vec![1_u8; 1 << 30]);
    let threads: Vec<_> = (0..16)
        .map(|_| brigade::thread::spawn(|()| std::thread::park(), ()))
        .collect::<Result<_, _>>()?;
    spawn_works()?;
    let worker = process::spawn(
        |()| std::fs::read_to_string("/proc/self/statm").unwrap_or_default(),
        (),
    )?
    .join()?;
    let resident: usize = worker.split(' ').nth(1).ok_or("statm")?.parse()?;
    if resident * 4096 > heap.len() / 4 {
        return Err(format!("a worker has {resident} pages: it carries the host's heap").into());
    }
    drop(threads);
    Ok(())
}

/// A program whose main is a runtime's, which has threads already when `init` is called.
fn in_an_async_runtime(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    use std::sync::{Arc, mpsc};
    use std::task::{Context, Poll, Wake, Waker};
    struct Again(mpsc::Sender<()>);
    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let runtime = std::thread::spawn(|| -> Result<u32, String> {
        brigade::init();
        let (sender, again) = mpsc::channel();
        let waker = Waker::from(Arc::new(Again(sender)));
        let mut future = Box::pin(async {
            let mut sum = 0;
            for n in 0..10 {
                sum += process::spawn(double, n)
                    .map_err(|e| e.to_string())?
                    .await
                    .map_err(|e| e.to_string())?;
            }
            Ok(sum)
        });
        loop {
            if let Poll::Ready(sum) =
                Future::poll(future.as_mut(), &mut Context::from_waker(&waker))
            {
                return sum;
            }
            again.recv().map_err(|e| e.to_string())?;
        }
    });
    match runtime.join().map_err(|_| "the runtime panicked")?? {
        90 => Ok(()),
        other => Err(format!("the sum is {other}").into()),
    }
}

/// Its binary is replaced while it runs: by something that is no program at all.
fn replaced(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let path = args.first().ok_or("the path of this copy")?;
    if args.get(1).is_some() {
        // The fork server runs already; it is the next one that must still find its program.
        spawn_works()?;
    }
    let other = format!("{path}.new");
    std::fs::write(&other, "not a program")?;
    std::fs::rename(&other, path)?;
    for _ in 0..8 {
        spawn_works()?;
    }
    match process::spawn(|()| -> () { std::process::abort() }, ())?.join() {
        Err(JoinError::Crashed(crash))
            if crash.backtrace().is_some_and(|b| b.contains("replaced")) =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// A task: has children of every sort, prints their numbers, and waits for ever.
#[expect(
    clippy::zombie_processes,
    reason = "what becomes of children that nobody waits for is the question"
)]
pub(crate) fn parent(stdout: bool) -> u32 {
    let child = Command::new("/bin/sleep")
        .arg("1000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sleep starts");
    let daemon = Command::new("/bin/sh")
        .args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"])
        .output()
        .expect("sh starts");
    if stdout {
        print!(
            "pids {} {} {}",
            std::process::id(),
            child.id(),
            String::from_utf8_lossy(&daemon.stdout)
        );
        std::io::stdout().flush().expect("the test reads");
    }
    loop {
        std::thread::park();
    }
}

/// Has workers, and they have children, of every sort; prints their numbers, and waits to be
/// killed, or to be told to end.
fn family(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let _workers = [process::spawn(parent, true)?, process::spawn(parent, true)?];
    let mut line = String::new();
    std::io::stdin().read_to_string(&mut line)?;
    Ok(())
}

/// Starts nothing: what it has must be what every program has.
fn idle(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    let children =
        std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()))?;
    println!("threads {threads} children {:?}", children.trim());
    Ok(())
}

fn prints(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    process::spawn(
        |()| {
            print!("out without a newline");
            eprint!("err without a newline");
            // SAFETY: prints a constant string with C's own buffering.
            unsafe { libc::printf(c" and from C".as_ptr()) };
        },
        (),
    )?
    .join()?;
    Ok(())
}

/// Ends while its worker writes: what was written before the join is not lost.
fn quits_at_once(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    process::spawn(
        |()| {
            for n in 0..1000 {
                eprintln!("line {n}");
            }
        },
        (),
    )?
    .join()?;
    Ok(())
}

fn panic_hook(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    std::panic::set_hook(Box::new(|info| {
        eprintln!(
            "the host's hook: {}",
            info.payload().downcast_ref().unwrap_or(&"?")
        )
    }));
    match brigade::thread::spawn(|()| -> () { panic!("in a thread") }, ())?.join() {
        Err(JoinError::Panicked(panic)) if panic.location().is_some() => {}
        other => return Err(format!("{other:?}").into()),
    }
    // Replacing the hook afterwards costs the location, and nothing else.
    std::panic::set_hook(Box::new(|_| eprintln!("another hook")));
    match brigade::thread::spawn(|()| -> () { panic!("again") }, ())?.join() {
        Err(JoinError::Panicked(panic)) if panic.message() == "again" => {}
        other => return Err(format!("{other:?}").into()),
    }
    Ok(())
}

/// A host that forks itself: the copy must not use the original's fork server.
fn forks(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    spawn_works()?;
    // SAFETY: the copy does only what the test asks, and leaves by _exit; glibc makes its allocator
    // usable after a fork.
    match unsafe { libc::fork() } {
        0 => {
            let status = i32::from(spawn_works().is_err());
            // SAFETY: ends the copy.
            unsafe { libc::_exit(status) }
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
    spawn_works()
}

/// Its fork server is killed: who waits hears of it, and the next process comes from a new one.
fn loses_server(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    for _ in 0..10 {
        let handle = process::spawn(
            |()| -> u32 {
                loop {
                    std::thread::park();
                }
            },
            (),
        )?;
        let worker = handle.pid().ok_or("a process has a number")?;
        signal::kill(procfs::parent(worker)?);
        // At once, whether or not anybody has noticed: a task may be lost with the server, but a
        // process is always had.
        for n in 0..6 {
            match process::spawn(double, n)?.join() {
                Ok(doubled) if doubled == n * 2 => {}
                Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        match handle.join() {
            Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    spawn_works()
}

/// A task that starts processes of its own.
fn nested(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let handle = process::spawn(
        |depth: u32| {
            fn deeper(depth: u32) -> u32 {
                if depth == 0 {
                    return 0;
                }
                process::spawn(deeper, depth - 1)
                    .expect("starts")
                    .join()
                    .expect("returns")
                    + 1
            }
            deeper(depth)
        },
        3,
    )?;
    match handle.join()? {
        3 => Ok(()),
        other => Err(format!("{other} levels").into()),
    }
}

pub(crate) fn limit(
    resource: rustix::process::Resource,
    current: u64,
) -> Result<rustix::process::Rlimit, rustix::io::Errno> {
    let before = rustix::process::getrlimit(resource);
    rustix::process::setrlimit(
        resource,
        rustix::process::Rlimit {
            current: Some(current),
            maximum: before.maximum,
        },
    )?;
    Ok(before)
}

/// Has as many descriptors open as it may when new workers arrive: an error for who asks, and
/// nothing for who runs already.
fn few_descriptors(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    use rustix::process::Resource::Nofile;
    brigade::init();
    let running: Vec<_> = (0..2)
        .map(|_| {
            process::spawn(
                |()| -> u32 {
                    loop {
                        std::thread::park();
                    }
                },
                (),
            )
        })
        .collect::<Result<_, _>>()?;
    let before = limit(Nofile, 0)?;
    let mut failed = 0;
    for _ in 0..12 {
        match process::spawn(double, 21) {
            Ok(handle) => drop(handle.join()?),
            Err(e) if e.to_string().contains("Too many open files") => failed += 1,
            Err(e) => return Err(e.into()),
        }
        // Neither may a value that needs a descriptor be lost in silence.
        match process::spawn(|text: String| text, "x".repeat(1 << 20)) {
            Ok(handle) => match handle.join() {
                Ok(text) if text.len() == 1 << 20 => {}
                Err(JoinError::Undeliverable(_)) => failed += 1,
                other => return Err(format!("{other:?}").into()),
            },
            Err(_) => failed += 1,
        }
    }
    rustix::process::setrlimit(Nofile, before)?;
    if failed == 0 || running.iter().any(brigade::JoinHandle::is_finished) {
        return Err(format!("{failed} failed; {running:?}").into());
    }
    for handle in running {
        handle.cancel();
        match handle.join() {
            Err(JoinError::Cancelled) => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    spawn_works()
}

/// Closes its standard streams before the first process; what its tasks print goes nowhere, and
/// into nothing.
fn closed_streams(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    // SAFETY: nobody owns these numbers; what std writes to them later is an error that it ignores.
    unsafe {
        libc::close(0);
        libc::close(1);
    }
    for _ in 0..8 {
        let handle = process::spawn(
            |n: u32| {
                println!("into nothing");
                n
            },
            7,
        )?;
        match handle.join() {
            Ok(7) => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}

/// A limit of file sizes: an error, not the SIGXFSZ that the kernel would send.
fn small_files(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let before = limit(rustix::process::Resource::Fsize, 1 << 20)?;
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    let told = brigade::SystemError::of(&error).ok_or("no system call's")?;
    let limit = told.limit().unwrap_or_default();
    if told.raw_os_error() != libc::EFBIG || !limit.starts_with("RLIMIT_FSIZE is 1048576") {
        return Err(error.into());
    }
    rustix::process::setrlimit(rustix::process::Resource::Fsize, before)?;
    spawn_works()
}

/// A subreaper, as an init process is: a fork server that was killed becomes its child, and so do
/// the workers; none must stay as a zombie, nor what a task started. One of the workers was just
/// made, and nobody has been told of it.
fn adopts_orphans(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: no memory is involved.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    brigade::init();
    let handle = process::spawn(
        |()| -> u32 {
            // Leaves the worker's group: only its session says whose it is.
            let mut sleeper = Command::new("/bin/sleep");
            std::os::unix::process::CommandExt::process_group(&mut sleeper, 0);
            sleeper.arg("1000").status().expect("sleep starts");
            0
        },
        (),
    )?;
    let server = procfs::children(std::process::id())?
        .first()
        .copied()
        .ok_or("the fork server is our child here")?;
    until(
        || Ok(procfs::children(server)?.len() == 5),
        "the worker and four spares",
    )?;
    signal::kill(server);
    match handle.join() {
        Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Lost => {}
        other => return Err(format!("{other:?}").into()),
    }
    until(
        || Ok(procfs::children(std::process::id())?.is_empty()),
        "nobody left",
    )
}

/// Looks again and again until `seen` says so.
pub(crate) fn until(
    mut seen: impl FnMut() -> Result<bool, Box<dyn std::error::Error>>,
    what: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let seen = wait::until_found(what, || match seen() {
        Ok(seen) => Ok(seen.then_some(())),
        Err(e) => Err(io::Error::other(e.to_string())),
    });
    Ok(seen?)
}

/// Joins nothing until everything is started: more handles than the usual limit of descriptors.
fn keeps_handles(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    limit(rustix::process::Resource::Nofile, 256)?;
    let handles: Vec<_> = (0..600)
        .map(|n| process::spawn(double, n))
        .collect::<Result<_, _>>()?;
    for (n, handle) in (0..).zip(handles) {
        if handle.join()? != n * 2 {
            return Err("a wrong result".into());
        }
    }
    Ok(())
}

/// A future whose waker panics: that is the executor's affair, and everything else goes on.
fn waker_panics(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    use std::task::{Context, Wake, Waker};
    struct Bad;
    impl Wake for Bad {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a bad waker");
        }
    }
    brigade::init();
    let mut handle = process::spawn(
        |()| -> u32 {
            loop {
                std::thread::park();
            }
        },
        (),
    )?;
    let waker = Waker::from(std::sync::Arc::new(Bad));
    let pending = std::pin::Pin::new(&mut handle)
        .poll(&mut Context::from_waker(&waker))
        .is_pending();
    handle.cancel();
    if !pending || !matches!(handle.join(), Err(JoinError::Cancelled)) {
        return Err("it did not wait".into());
    }
    for _ in 0..12 {
        spawn_works()?;
    }
    Ok(())
}
