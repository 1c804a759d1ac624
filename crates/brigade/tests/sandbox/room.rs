//! Every escape of the example, without a sandbox and within several.

use brigade::{Cause, JoinError, JoinHandle, Kind, Pool, Sandbox, process};

use crate::conditions::Condition;
use crate::escapes::{self, Escape};
use crate::grants::{as_can_be_had, files_in_memory_are_programs};
use crate::outside::Around;

/// Tries all of them; tells what is not as it should be.
pub(crate) fn try_all(condition: Condition) -> Vec<String> {
    if condition.no_kill {
        // A worker of another user could not be ended.
        crate::works::a_task_is_timed_out_and_its_worker_replaced();
        let other = process::Builder::new().sandbox(Sandbox::deny_all().user(1234, 1234));
        let why = other
            .spawn(|()| (), ())
            .map(drop)
            .map_err(|e| e.to_string());
        let is_refused = why.as_ref().is_err_and(|why| why.contains("CAP_KILL"));
        return (!is_refused)
            .then(|| format!("another user: {why:?}"))
            .into_iter()
            .collect();
    }
    if condition.no_seccomp {
        return without_seccomp();
    }
    let around = Around::new().expect("what is outside");
    let mut faults = Vec::new();
    let report = Sandbox::deny_all().report();
    if !report.is_complete() {
        faults.push(format!("an effect is not had:\n{report}"));
    }
    // Other things are granted than those that are tried for.
    let mut granting = Sandbox::deny_all().read("/usr/share").write("/usr/share");
    if crate::landlock() >= 4 || condition.no_landlock {
        granting = granting.connect(1).listen(1);
    }
    let plain = process::Builder::new();
    let mut rooms = vec![
        (
            "alone",
            process::Builder::new().sandbox(Sandbox::deny_all()),
        ),
        (
            DEADLY,
            process::Builder::new().sandbox(Sandbox::deny_all().kill_on_violation()),
        ),
    ];
    let with_grants = process::Builder::new().sandbox(granting.clone());
    if condition.no_landlock || crate::landlock() == 0 {
        let started = with_grants.spawn(|()| (), ());
        let said = started.map(drop).map_err(|e| e.to_string());
        let is_named = |e: &String| e.contains("Landlock");
        if !said.as_ref().is_err_and(is_named) {
            faults.push(format!("grants without Landlock: {said:?}"));
        }
    } else {
        rooms.push((OTHER, with_grants));
        let deadly = process::Builder::new().sandbox(granting.kill_on_violation());
        rooms.push(("granted other things, deadly", deadly));
        let programs = as_can_be_had(Sandbox::deny_all().execute("/usr/share"));
        rooms.push((PROGRAMS, process::Builder::new().sandbox(programs)));
    }
    let pools: Vec<(&str, Pool)> = rooms
        .iter()
        .map(|(room, builder)| {
            let pool = Pool::builder(Kind::Process).workers(2);
            (
                *room,
                pool.process(builder.clone()).build().expect("a pool"),
            )
        })
        .collect();
    for escape in escapes::all() {
        let name = escape.name;
        let input = || (name.to_owned(), around.outside.clone());
        let control = ended(plain.spawn(escapes::attempt, input()).expect("a process"));
        let should = escape.succeeds_outside && !is_refused_outside(&escape, condition);
        if should && control != End::Succeeded {
            faults.push(format!("{name}: without a sandbox: {control:?}"));
        }
        let alone = rooms.iter().map(|(room, builder)| {
            let worker = builder.spawn(escapes::attempt, input()).expect("a process");
            (*room, "alone", ended(worker))
        });
        let pooled = pools.iter().map(|(room, pool)| {
            let worker = pool.submit(escapes::attempt, input());
            (*room, "in a pool", ended(worker))
        });
        for (room, how, within) in alone.chain(pooled) {
            let is_granted = room == PROGRAMS && is_granted_with_programs(name)
                || room.starts_with(OTHER) && GRANTED_WITH_PORTS.contains(&name);
            if !is_granted && !within.is_refusal(&escape, room) {
                faults.push(format!(
                    "{}, {name}: {room}, {how}: {within:?}",
                    escape.effect
                ));
            }
        }
    }
    faults
}

const PROGRAMS: &str = "granted programs";
const DEADLY: &str = "deadly";
const OTHER: &str = "granted other things";

/// What is required is refused, what is preferred starts, and the report tells which it is.
fn without_seccomp() -> Vec<String> {
    let mut faults = Vec::new();
    let shut_in = |sandbox| process::Builder::new().sandbox(sandbox);
    let required = shut_in(Sandbox::deny_all()).spawn(|()| (), ());
    let why = required.map(drop).map_err(|e| e.to_string());
    if !why.as_ref().is_err_and(|why| why.contains("seccomp")) {
        faults.push(format!("required: {why:?}"));
    }
    let preferred = shut_in(Sandbox::deny_all().prefer()).spawn(|n: u32| n + 1, 1);
    if preferred.map(|worker| worker.join().ok()).ok() != Some(Some(2)) {
        faults.push("preferred: no result".to_owned());
    }
    let report = Sandbox::deny_all().report();
    if report.is_complete() || !report.to_string().contains("seccomp") {
        faults.push(format!("reported:\n{report}"));
    }
    faults
}

/// Landlock judges bind(2), which is not called.
const GRANTED_WITH_PORTS: [&str; 2] = [
    "listen over TCP where the kernel likes",
    // TCP's is one.
    "a socket of any family",
];

/// What comes with programs: metadata, processes, and signals among those.
const GRANTED_WITH_PROGRAMS: [&str; 15] = [
    "a file in memory that is not to be executed, mapped as code",
    "open a file as a path, and ask for its metadata",
    "enter a directory",
    "metadata",
    "metadata of a link",
    "metadata by stat(2)",
    "metadata by a path with AT_EMPTY_PATH",
    "what a link points to",
    "whether a file is there",
    "read an attribute",
    "the file system's metadata",
    "fork",
    "fork by fork(2)",
    "a signal to its process group",
    "a signal to everybody",
];

fn is_granted_with_programs(name: &str) -> bool {
    GRANTED_WITH_PROGRAMS.contains(&name)
        || name == "a file in memory, mapped as code" && files_in_memory_are_programs()
}

/// Whether this machine refuses it to a worker without a sandbox as well.
fn is_refused_outside(escape: &Escape, condition: Condition) -> bool {
    condition.no_namespaces && escape.name.contains("clone3")
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Succeeded,
    Refused(String),
    Sandbox(String),
    Other(String),
}

impl End {
    fn is_refusal(&self, escape: &Escape, room: &str) -> bool {
        match self {
            End::Succeeded | End::Other(_) => false,
            End::Refused(why) => !escape.always_kills && is_refused_with(why, room),
            End::Sandbox(_) => true,
        }
    }
}

/// Whether it is the sandbox that says so.
fn is_refused_with(why: &str, room: &str) -> bool {
    let errno = why
        .strip_prefix("errno ")
        .and_then(|number| number.parse::<i32>().ok());
    match errno {
        // The kernel has looked at what was asked for, so that something else might be had.
        Some(libc::EINVAL | libc::ENOTTY | libc::EBADF | libc::EFAULT) => false,
        // What libraries ask for.
        Some(libc::ENOSYS) => true,
        // A violation.
        Some(_) => room != DEADLY,
        // It was not even tried.
        None => true,
    }
}

fn ended(worker: JoinHandle<Result<(), String>>) -> End {
    match worker.join() {
        Ok(Ok(())) => End::Succeeded,
        Ok(Err(why)) => End::Refused(why),
        Err(JoinError::Crashed(crash)) => match crash.cause() {
            Cause::Sandbox(what) => End::Sandbox(what.clone()),
            // It became another program, which has ended.
            Cause::Exit(0) => End::Succeeded,
            cause => End::Other(cause.to_string()),
        },
        Err(other) => End::Other(other.to_string()),
    }
}
