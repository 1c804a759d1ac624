//! Hosts that become another program, while a process that they forked by themselves has all their
//! descriptors; and such that fork, and go on.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use brigade::{Pool, process};
use brigade_test_support::procfs;
use libtest_mimic::{Failed, Trial};
use rustix::process::PidfdFlags;

use crate::hosts::{Host, double, until};
use crate::observe::{Guard, HANG, Watched, host, well_behaved};
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("execs", execs), ("forks-and-goes-on", forks)];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("all_ends_when_the_host_becomes_another_program", || {
            ends_when_executed("main")
        }),
        Trial::test("all_ends_when_a_thread_becomes_another_program", || {
            ends_when_executed("thread")
        }),
        trial("nothing_ends_where_a_fork_becomes_another_program", || {
            well_behaved("forks-and-goes-on", &[]);
        }),
    ]
}

fn ends_when_executed(by: &str) -> Result<(), Failed> {
    let of_thread = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);
    if rustix::process::pidfd_open(rustix::thread::gettid(), of_thread).is_err() {
        eprintln!("skipped, because this kernel has no pidfd of a thread (Linux 6.9)");
        return Ok(());
    }
    let mut host = host("execs");
    host.arg(by).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut host = Guard(host.spawn()?);
    let mut out = BufReader::new(host.0.stdout.take().expect("a pipe"));
    let mut helper = None;
    let mut family = Vec::new();
    loop {
        let mut line = String::new();
        out.read_line(&mut line)?;
        match line.trim().split_once(' ') {
            Some(("helper", pid)) => helper = Some(Watched::new(pid.parse()?)?),
            Some(("member", pid)) => family.push(Watched::new(pid.parse()?)?),
            _ if line == "main\n" => {}
            _ => break,
        }
    }
    let helper = helper.ok_or("it has forked")?;
    assert!(family.len() >= 4, "{family:?}");
    assert!(family.iter().all(Watched::lives));
    drop(host.0.stdin.take());
    for member in &family {
        assert!(member.ends_within(HANG), "{} lives", member.pid);
    }
    // Otherwise it would have been their end that was heard.
    assert!(helper.lives(), "the helper");
    assert_eq!(host.0.try_wait()?, None);
    let pid = rustix::process::Pid::from_raw(helper.pid as i32).ok_or("a number")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    // Its threads end before it is another program.
    let name = format!("/proc/{}/comm", host.0.id());
    until(
        || Ok(std::fs::read_to_string(&name)? == "sleep\n"),
        "it is another program",
    )
    .map_err(|e| e.to_string())?;
    Ok(())
}

/// Prints who there is, and waits for the end of its input.
fn execs(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let pool = Pool::processes(2)?;
    assert_eq!(pool.submit(double, 21).join()?, 42);
    let task = process::spawn(
        |()| -> u32 {
            loop {
                std::thread::park();
            }
        },
        (),
    )?;
    let server = procfs::parent(task.pid().ok_or("it has a process")?)?;
    // SAFETY: the child does nothing but sleep.
    let helper = unsafe { libc::fork() };
    if helper == 0 {
        // SAFETY: as above. If the test does not end it, the alarm does.
        unsafe {
            libc::alarm(60);
            loop {
                libc::pause();
            }
        }
    }
    println!("helper {helper}\nmember {server}");
    for worker in procfs::children(server)? {
        println!("member {worker}");
    }
    println!("all");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let become_another = || Command::new("/bin/sleep").arg("1000").exec();
    Err(match args {
        [by] if by == "thread" => std::thread::spawn(become_another)
            .join()
            .map_err(|_| "it panicked")?,
        _ => become_another(),
    }
    .into())
}

fn forks(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let pool = Pool::processes(2)?;
    let ask = || {
        pool.submit(|()| std::os::unix::process::parent_id(), ())
            .join()
    };
    let (server, workers) = (ask()?, pool.pids());
    for become_another in [false, true] {
        // SAFETY: the child makes system calls only.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above; the vectors end with a null pointer.
            unsafe {
                if become_another {
                    let arguments = [c"/bin/true".as_ptr(), std::ptr::null()];
                    libc::execv(arguments[0], arguments.as_ptr());
                }
                libc::_exit(0)
            }
        }
        let mut status = 0;
        // SAFETY: writes one integer.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert!(Command::new("/bin/true").status()?.success());
        std::thread::spawn(|| ())
            .join()
            .map_err(|_| "it panicked")?;
        // What there was to hear of these is heard when this is answered.
        assert_eq!((ask()?, pool.pids()), (server, workers.clone()));
        let spawned = process::spawn(|()| std::os::unix::process::parent_id(), ())?;
        assert_eq!(spawned.join()?, server);
    }
    until(
        || Ok(procfs::children(server)?.len() >= workers.len()),
        "its workers",
    )
}
