//! The program that `r4` kills: it has workers, and its workers have children.

use std::convert::Infallible;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use brigade::process;
use brigade_test_support::doorbell::{self, Doorbell};
use brigade_test_support::wait;

/// A variable in its environment, and so in everybody's who comes from it: how they are found.
pub(crate) const MARK: &str = "BRIGADE_CHAOS_HOST";

/// How many processes each worker is: itself, its child, its daemon.
pub(crate) const FAMILY: usize = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    workers: usize,
    /// Go on spawning until killed.
    #[arg(long)]
    busy: bool,
}

/// Starts the workers, says who they are in one line, and waits to be killed.
pub(crate) fn run(options: &Options) -> io::Result<Infallible> {
    let bell = Doorbell::new()?;
    let mut handles = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..options.workers {
        handles.push(process::spawn(family, bell.name())?);
    }
    for _ in 0..options.workers {
        pids.extend(bell.await_ring()?);
    }
    let line: Vec<String> = pids.iter().map(u32::to_string).collect();
    println!("{}", line.join(" "));
    io::stdout().flush()?;
    if !options.busy {
        wait::for_ever()
    }
    for turn in 0_u64.. {
        let handle = process::spawn(brief, turn)?;
        if turn.is_multiple_of(3) {
            drop(handle);
        } else {
            // However it ended: this program is here to be killed in the middle of something.
            let _ = handle.join();
        }
    }
    unreachable!("nobody counts that far")
}

fn brief(turn: u64) {
    if turn.is_multiple_of(2) {
        std::process::abort();
    }
}

/// A task: has a child, and a daemon that has left its parent, its session and its group and
/// ignores what can be ignored.
#[expect(
    clippy::zombie_processes,
    reason = "whoever kills the program has to end the child too"
)]
fn family(door: String) {
    let child = Command::new("/proc/self/exe")
        .arg("idle")
        .stdin(Stdio::null())
        .spawn()
        .expect("a child starts");
    let daemon = daemon().expect("a daemon starts");
    doorbell::ring(&door, &[std::process::id(), child.id(), daemon]).expect("the program listens");
    wait::for_ever()
}

/// As daemon(7) has it: forks, leaves the session, forks again.
pub(crate) fn daemon() -> io::Result<u32> {
    let (read, write) = rustix::pipe::pipe()?;
    // SAFETY: a worker has one thread, so its forks are whole. The first child makes system calls
    // and forks, the second ends in a wait for ever.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                libc::setsid();
                match libc::fork() {
                    0 => {
                        // From 1 to 31: the real-time ones end nobody who is not asked. Two cannot
                        // be ignored, which is no error here.
                        for signal in 1..32 {
                            libc::signal(signal, libc::SIG_IGN);
                        }
                        let own = std::process::id().to_ne_bytes();
                        let _ = rustix::io::write(&write, &own);
                        wait::for_ever()
                    }
                    _ => libc::_exit(0),
                }
            }
            child => {
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
    }
    // If there is none, the read has an end.
    drop(write);
    let mut own = [0; 4];
    match rustix::io::read(&read, &mut own)? {
        4 => Ok(u32::from_ne_bytes(own)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
