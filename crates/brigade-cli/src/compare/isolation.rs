//! Row 9: what can a worker do to its host?

use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};

use brigade::{JoinHandle, Kind, Sandbox, process};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, Resource, getrlimit, test_kill_process};
use serde::{Deserialize, Serialize};

use super::row::{Figure, Measured, Value};
use super::{Context, Experiment, verdict};
use crate::board::Board;
use crate::fail::{Failure, OrFail as _};
use crate::workers::{KINDS, collect};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "isolation",
    title: "Isolation",
    claim: "A process is kept apart from its host: it cannot read its secrets, signal it, or close its files. A thread can.",
    needs: &[],
    run,
};

const SECRET: usize = 32;

/// What the worker is set on. It is told where everything is: isolation must not rest on not
/// knowing.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Target {
    host: u32,
    /// Where the host has its secret.
    address: usize,
    /// One that it tries to open for itself.
    wanted: i32,
}

/// What it could do, or the system's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Tried {
    /// What it read at the secret's address in its own memory.
    pointer: Result<Vec<u8>, String>,
    /// What it read there in the host's memory, through the kernel.
    kernel: Result<Vec<u8>, String>,
    signal: Result<(), String>,
    open: Result<(), String>,
}

/// A task: tries everything but closing.
fn attack(target: Target) -> Tried {
    let path = format!("/proc/{}/fd/{}", target.host, target.wanted);
    let host = i32::try_from(target.host).ok().and_then(Pid::from_raw);
    Tried {
        pointer: read(std::process::id(), target.address),
        kernel: read(target.host, target.address),
        signal: host.map_or_else(
            || Err("no such process".to_owned()),
            |host| test_kill_process(host).map_err(short),
        ),
        open: std::fs::File::open(path).map(drop).map_err(short),
    }
}

/// A task: closes a descriptor of that number.
fn close(descriptor: i32) -> Result<(), String> {
    // SAFETY: in a thread this is the host's descriptor, which the host gave up with `into_raw_fd`
    // for just this. In a process there is none of that number: it is far above those that a worker
    // has, and the system says so.
    match unsafe { libc::close(descriptor) } {
        0 => Ok(()),
        _ => Err(short(std::io::Error::last_os_error())),
    }
}

/// Reads memory of a process by asking the kernel, which checks the address: a wrong one is an
/// error and no crash.
///
/// For this process itself it gives what a load through a pointer would give.
fn read(pid: u32, address: usize) -> Result<Vec<u8>, String> {
    let mut found = vec![0_u8; SECRET];
    let local = libc::iovec {
        iov_base: found.as_mut_ptr().cast(),
        iov_len: SECRET,
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: SECRET,
    };
    // SAFETY: `local` is a buffer of ours of that length; `remote` is checked by the kernel against
    // the other's memory and only read. Both vectors have one element.
    let got = unsafe {
        libc::process_vm_readv(
            pid.cast_signed(),
            &raw const local,
            1,
            &raw const remote,
            1,
            0,
        )
    };
    match usize::try_from(got) {
        Ok(SECRET) => Ok(found),
        Ok(part) => Err(format!("only {part} bytes")),
        Err(_) => Err(short(std::io::Error::last_os_error())),
    }
}

/// `EFAULT` rather than a sentence: it has to fit a cell.
fn short(error: impl Into<std::io::Error>) -> String {
    let error: std::io::Error = error.into();
    match error.raw_os_error() {
        Some(libc::EPERM) => "EPERM".to_owned(),
        Some(libc::EACCES) => "EACCES".to_owned(),
        Some(libc::EFAULT) => "EFAULT".to_owned(),
        Some(libc::EBADF) => "EBADF".to_owned(),
        Some(libc::ESRCH) => "ESRCH".to_owned(),
        Some(libc::ENOSYS) => "ENOSYS".to_owned(),
        _ => error.to_string(),
    }
}

/// How an attacker is started.
type Start<'a> = &'a dyn Fn(Attack) -> std::io::Result<Attacker>;

/// What it is to try.
enum Attack {
    All(Target),
    Close(i32),
}

/// Its handle.
enum Attacker {
    All(JoinHandle<Tried>),
    Close(JoinHandle<Result<(), String>>),
}

fn start_in(kind: Kind, attack_with: Attack) -> std::io::Result<Attacker> {
    Ok(match attack_with {
        Attack::All(target) => Attacker::All(kind.spawn(attack, target)?),
        Attack::Close(number) => Attacker::Close(kind.spawn(close, number)?),
    })
}

fn start_in_sandbox(attack_with: Attack) -> std::io::Result<Attacker> {
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    Ok(match attack_with {
        Attack::All(target) => Attacker::All(shut_in.spawn(attack, target)?),
        Attack::Close(number) => Attacker::Close(shut_in.spawn(close, number)?),
    })
}

/// What one kind of worker could do: five times yes, or why not.
fn try_all(kind: &str, start: Start<'_>) -> Result<[Result<(), String>; 5], Failure> {
    let secret = secret()?;
    // Only to be opened by the other: any descriptor does.
    let wanted = Board::new(1)?;
    let victim = high_descriptor()?;
    let target = Target {
        host: std::process::id(),
        address: secret.as_ptr() as usize,
        wanted: wanted.descriptor().as_raw_fd(),
    };
    let what = format!("a {kind} that tries what it can");
    let Attacker::All(attacker) = start(Attack::All(target)).or_fail(&what)? else {
        unreachable!("it was asked to try all");
    };
    let tried = collect(attacker, &what)?;

    // Nobody but the worker and the check below touches the descriptor from here on.
    let number = victim.into_raw_fd();
    let Attacker::Close(attacker) = start(Attack::Close(number)).or_fail(&what)? else {
        unreachable!("it was asked to close");
    };
    let closed = collect(attacker, &what);
    // SAFETY: asks about a number, which need not be open: then the answer is EBADF.
    let still_open = unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
    if still_open {
        // SAFETY: it is open, it is ours, and the worker that was to close it has ended.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    let closed = match (still_open, closed?) {
        (false, _) => Ok(()),
        (true, Err(why)) => Err(why),
        (true, Ok(())) => Err("it closed one of its own".to_owned()),
    };
    let found = |read: Result<Vec<u8>, String>| match read {
        Ok(bytes) if bytes == secret => Ok(()),
        Ok(_) => Err("other bytes".to_owned()),
        Err(why) => Err(why),
    };
    Ok([
        found(tried.pointer),
        found(tried.kernel),
        tried.signal,
        tried.open,
        closed,
    ])
}

/// Bytes that nobody has seen before.
fn secret() -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = vec![0; SECRET];
    let file = std::fs::File::open("/dev/urandom");
    file.and_then(|mut file| file.read_exact(&mut bytes))
        .or_fail("/dev/urandom")?;
    Ok(bytes)
}

/// A descriptor with a number that no worker has: as high as the limit allows, up to 900.
fn high_descriptor() -> Result<OwnedFd, Failure> {
    let file = std::fs::File::open("/dev/null").or_fail("/dev/null")?;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let number = limit.saturating_sub(8).min(900) as i32;
    fcntl_dupfd_cloexec(&file, number).or_fail(&format!("copying a descriptor to number {number}"))
}

const NAMES: [(&str, &str); 5] = [
    ("read-pointer", "reads a secret at its address"),
    ("read-kernel", "reads it by process_vm_readv"),
    ("signal", "may signal the host"),
    ("open", "opens the host's files by /proc"),
    ("close", "closes a file of the host"),
];

fn run(_: &Context<'_>) -> Result<Measured, Failure> {
    let [thread, process] =
        KINDS.map(|kind| try_all(&kind.to_string(), &|attack| start_in(kind, attack)));
    let (thread, process) = (thread?, process?);
    let shut_in = try_all("process in a sandbox", &start_in_sandbox);
    // The claim: a process can do none of it. (A thread can do all of it; where it cannot, the test
    // itself is void.)
    let expectations: Vec<bool> = thread
        .iter()
        .zip(&process)
        .map(|(thread, process)| thread.is_ok() && process.is_err())
        .collect();
    let value = |tried: &Result<(), String>| match tried {
        Ok(()) => Value::yes_no(true),
        Err(why) => Value::Fact {
            text: format!("no ({why})"),
            data: Some(false.into()),
        },
    };
    let figures = NAMES
        .iter()
        .zip(thread.iter().zip(&process))
        .map(|((id, label), (thread, process))| {
            Figure::facts(id, *label, value(thread), value(process))
        })
        .collect();
    let reachable = process.iter().filter(|tried| tried.is_ok()).count();
    let note = if reachable == 0 {
        "Here even a process without a sandbox reaches nothing of its host.".to_owned()
    } else {
        format!(
            "A process that runs as the same user is no stranger to the kernel: {reachable} of {} doors stay open. Memory apart \
             keeps accidents in; against malice it takes a sandbox.",
            NAMES.len()
        )
    };
    let sandbox = match shut_in {
        Ok(tried) => {
            let open: Vec<_> = NAMES
                .iter()
                .zip(&tried)
                .filter(|(_, tried)| tried.is_ok())
                .map(|((_, label), _)| *label)
                .collect();
            if open.is_empty() {
                format!(
                    "A process with `Sandbox::deny_all()`: none of the {} doors stays open.",
                    NAMES.len()
                )
            } else {
                format!(
                    "A process with `Sandbox::deny_all()` still {}.",
                    open.join(", ")
                )
            }
        }
        Err(why) => format!("A sandbox cannot be had here: {why}"),
    };
    Ok(Measured {
        done: "A worker is told where the host's secret and files are and tries to get at them: by pointer, through the \
               kernel, by /proc; to signal the host; to close one of its descriptors."
            .to_owned(),
        figures,
        verdict: verdict::of_facts(&expectations, "what is tried"),
        notes: vec![note, sandbox],
    })
}
