//! Hosts without some of their standard streams: no number below 3 is ever taken.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use brigade::channel::{Sender, Transport, channel};
use brigade::shm::Shared;
use brigade::{Cause, Descriptor, JoinError, Kind, Pool};
use libtest_mimic::Trial;
use rustix::pipe::PipeFlags;

use crate::hosts::{Host, spawn_works, until};
use crate::observe::well_behaved;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("streams-of-host", of_host),
    ("streams-of-task", of_task),
    ("streams-while-printing", while_printing),
];

type Ended = Result<(), Box<dyn std::error::Error>>;

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = Vec::new();
    for (test, host) in [
        ("a_host_without_streams", "streams-of-host"),
        ("a_task_that_closes_streams", "streams-of-task"),
        (
            "a_host_that_prints_into_closed_streams",
            "streams-while-printing",
        ),
    ] {
        for closed in 1..8 {
            all.push(trial(&format!("{test}: {}", names(closed)), move || {
                drop(well_behaved(host, &[&closed.to_string()]))
            }));
        }
    }
    all
}

fn names(closed: u32) -> String {
    let names = ["stdin", "stdout", "stderr"];
    let listed = (0..3).filter(|n| closed & 1 << n != 0);
    listed.map(|n| names[n]).collect::<Vec<_>>().join(", ")
}

/// Does something without some of the streams. An error is told through a copy of stderr.
fn without(args: &[String], run: impl FnOnce(u32) -> Ended) -> Ended {
    let closed = args.first().ok_or("which ones")?.parse()?;
    let stderr = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 100)?;
    std::io::stdout().flush()?;
    close(closed);
    run(closed).inspect_err(|e| {
        let _ = rustix::io::write(&stderr, e.to_string().as_bytes());
    })
}

/// Closes the streams that are named by bits.
fn close(closed: u32) {
    for number in (0..3).filter(|n| closed & 1 << n != 0) {
        // SAFETY: nobody owns these numbers; what std reads or writes there later is an error that
        // it ignores.
        unsafe { libc::close(number) };
    }
}

/// They still are closed, but for the moments in which the library keeps them taken by `/dev/null`;
/// what is printed goes nowhere.
fn check(closed: u32, after: &str) -> Ended {
    for number in (0..3).filter(|n| closed & 1 << n != 0) {
        // SAFETY: a constant, to a number that nobody owns.
        unsafe { libc::write(number, c"printed".as_ptr().cast(), 7) };
        // SAFETY: asks for a flag.
        let is_closed = || Ok(unsafe { libc::fcntl(number, libc::F_GETFD) } == -1);
        until(is_closed, "a stream that stays closed").map_err(|e| {
            let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
            format!("after {after}, number {number} is {link:?}: {e}")
        })?;
    }
    Ok(())
}

/// All that makes or takes descriptors, here and in a worker of each kind.
fn everything(closed: u32) -> Result<(), Box<dyn std::error::Error>> {
    fn receive(
        (sender, Descriptor(mut file)): (Sender<String>, Descriptor<File>),
    ) -> (String, i32) {
        let mut text = String::new();
        file.read_to_string(&mut text).expect("reads");
        sender.send(text.clone()).expect("somebody receives");
        (text, file.as_raw_fd())
    }
    fn give((): ()) -> (Descriptor<File>, String) {
        let file = File::open("/proc/self/status").expect("opens");
        (Descriptor(file), "y".repeat(1 << 20))
    }
    for kind in Kind::ALL {
        let pool = Pool::new(kind, 2)?;
        for over in Transport::ALL {
            let (sender, receiver) = channel::<String>(over, 4)?;
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            File::from(write).write_all(b"through a pipe")?;
            let file = Descriptor(File::from(read));
            // The user's own pipe may have been opened there: it is gone by now, or moves.
            let (text, number) = pool.submit(receive, (sender, file)).join()?;
            if text != "through a pipe" || receiver.recv()? != text {
                return Err(format!("{kind} over {over:?}: {text:?}").into());
            }
            if kind == Kind::Process && number < 3 {
                return Err(format!("a descriptor came as number {number}").into());
            }
            drop(receiver);
            check(closed, "a channel")?;
        }
        let (Descriptor(file), large) = pool.submit(give, ()).join()?;
        if large.len() != 1 << 20 || kind == Kind::Process && file.as_raw_fd() < 3 {
            return Err("a result that is not the one that was sent".into());
        }
        drop(file);
        check(closed, "a result with a descriptor")?;
        let shared = Shared::<[u64]>::from_slice(&[1, 2, 3])?;
        let sum = pool.submit(|s: Shared<[u64]>| s.iter().sum::<u64>(), shared);
        if sum.join()? != 6 {
            return Err("a wrong sum".into());
        }
        check(closed, "a region")?;
        let results = pool
            .map(|n: u32| n + 1, 0..1000)
            .collect::<Result<Vec<_>, _>>()?;
        if results.len() != 1000 {
            return Err("a result too few".into());
        }
    }
    for n in 0..8 {
        spawn_works()?;
        check(closed, &format!("process {n}"))?;
    }
    match Kind::Process
        .spawn(|()| -> () { std::process::abort() }, ())?
        .join()
    {
        Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::Abort => {}
        other => return Err(format!("{other:?}").into()),
    }
    check(closed, "everything")?;
    Ok(())
}

fn of_host(args: &[String]) -> Ended {
    brigade::init();
    without(args, everything)
}

fn of_task(args: &[String]) -> Ended {
    brigade::init();
    let closed: u32 = args.first().ok_or("which ones")?.parse()?;
    let task = |closed: u32| -> Result<(), String> {
        close(closed);
        everything(closed).map_err(|e| e.to_string())
    };
    Ok(brigade::process::spawn(task, closed)?.join()??)
}

/// Another thread prints all the time, so also at the moment in which a descriptor is made.
fn while_printing(args: &[String]) -> Ended {
    brigade::init();
    without(args, print_and_work)
}

fn print_and_work(closed: u32) -> Ended {
    use std::sync::atomic::{AtomicBool, Ordering};
    static DONE: AtomicBool = AtomicBool::new(false);
    let printing = std::thread::spawn(move || {
        while !DONE.load(Ordering::Relaxed) {
            for number in (0..3).filter(|n| closed & 1 << n != 0) {
                // SAFETY: a constant, to a number that nobody owns.
                unsafe { libc::write(number, [0_u8; 11].as_ptr().cast(), 11) };
            }
        }
    });
    let ended = (0..20).try_for_each(|_| {
        for over in Transport::ALL {
            let (sender, receiver) = channel::<u64>(over, 4)?;
            let (back, returned) = channel::<u64>(over, 4)?;
            let task = |(receiver, back): (brigade::channel::Receiver<u64>, Sender<u64>)| {
                back.send(receiver.recv().expect("a number"))
                    .expect("somebody receives");
            };
            let handle = Kind::Process.spawn(task, (receiver, back))?;
            sender.send(7)?;
            let got = returned.recv()?;
            handle.join()?;
            if got != 7 {
                return Err(format!("{over:?}: {got}").into());
            }
        }
        Ok(())
    });
    DONE.store(true, Ordering::Relaxed);
    printing.join().map_err(|_| "the printer panicked")?;
    ended
}
