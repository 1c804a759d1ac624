//! Row 9: what can a worker do to its host?

use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, Resource, getrlimit, test_kill_process};
use serde::{Deserialize, Serialize};

use super::row::{Figure, Measured, Value, Views};
use super::{Context, Experiment, verdict};
use crate::board::Board;
use crate::fail::{Failure, OrFail as _};
use crate::workers::{Place, collect};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "isolation",
    title: "Isolation",
    claim: "A process is isolated from its host: it cannot read the host's secrets, signal it, or close its files. A thread can.",
    needs: &[],
    run,
};

const SECRET: usize = 32;

/// What the worker is set on. The worker knows where everything is: isolation must not rest on not
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

/// For each of [`NAMES`], whether it could be done, or why not.
type Tries = [Result<(), String>; 5];

/// What a worker could do: five times yes, or why not.
fn try_all(place: Place) -> Result<Tries, Failure> {
    let secret = secret()?;
    // Only to be opened by the other: any descriptor does.
    let wanted = Board::new(1)?;
    let victim = high_descriptor()?;
    let target = Target {
        host: std::process::id(),
        address: secret.as_ptr() as usize,
        wanted: wanted.descriptor().as_raw_fd(),
    };
    let what = format!("a worker ({}) that tries what it can", place.name());
    let attacker = place.spawn(attack, target).or_fail(&what)?;
    let tried = collect(attacker, &what)?;

    // Nobody but the worker and the check below touches the descriptor from here on.
    let number = victim.into_raw_fd();
    let attacker = place.spawn(close, number).or_fail(&what)?;
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
    let [thread, process, sandbox] = Place::ALL.map(try_all);
    let (thread, process) = (thread?, process?);
    // The claim: a process can do none of it. (A thread can do all of it; where it cannot, the test
    // itself is void.)
    let expectations: Vec<bool> = thread
        .iter()
        .zip(&process)
        .map(|(thread, process)| thread.is_ok() && process.is_err())
        .collect();
    let figures = NAMES
        .iter()
        .enumerate()
        .map(|(index, (id, label))| {
            let shut_in = match &sandbox {
                Ok(tried) => value(&tried[index]),
                Err(why) => Value::Missing(why.clone()),
            };
            Figure::facts(*id, *label, value(&thread[index]), value(&process[index]))
                .in_sandbox(shut_in)
        })
        .collect();
    let all = NAMES.len();
    let done = |tried: &Tries| tried.iter().filter(|tried| tried.is_ok()).count();
    let shut_in = match &sandbox {
        Ok(tried) => format!("in a sandbox, in {} of {all}", done(tried)),
        Err(why) => format!("a sandbox cannot be had here ({why})"),
    };
    Ok(Measured {
        done: "A worker is told where the host's secret and files are and tries to get at them: by pointer, through the \
               kernel, by /proc; to signal the host; to close one of its descriptors. The sandbox is `Sandbox::deny_all()`."
            .to_owned(),
        figures,
        views: Some(Views {
            thread: format!(
                "it succeeds in {} of {all}: it is inside the host, and may do what the host may do.",
                done(&thread)
            ),
            process: format!("it succeeds in {} of {all}; {shut_in}.", done(&process)),
        }),
        verdict: verdict::of_facts(&expectations, "what is tried"),
        notes: vec![note(done(&process))],
    })
}

fn value(tried: &Result<(), String>) -> Value {
    match tried {
        Ok(()) => Value::yes_no(true),
        Err(why) => Value::Fact {
            text: format!("no ({why})"),
            data: Some(false.into()),
        },
    }
}

fn note(reachable: usize) -> String {
    if reachable == 0 {
        return "Here even a process without a sandbox reaches nothing of its host.".to_owned();
    }
    "The kernel lets a process read, signal and open what belongs to the same user. Memory of its own keeps \
     accidents in; against malice it takes a sandbox."
        .to_owned()
}
