//! Every escape of the example, without a sandbox and within several.

use brigade::{Cause, JoinError, JoinHandle, Kind, Pool, Sandbox, process};

use crate::conditions::Condition;
use crate::escapes::{self, Escape};
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
            "deadly",
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
        rooms.push(("granted other things", with_grants));
        let deadly = process::Builder::new().sandbox(granting.kill_on_violation());
        rooms.push(("granted other things, deadly", deadly));
        let programs = Sandbox::deny_all().execute("/usr/share");
        rooms.push((PROGRAMS, process::Builder::new().sandbox(programs)));
    }
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .process(process::Builder::new().sandbox(Sandbox::deny_all()))
        .build()
        .expect("a pool");
    for escape in escapes::all() {
        let name = escape.name;
        let input = || (name.to_owned(), around.outside.clone());
        let control = ended(plain.spawn(escapes::attempt, input()).expect("a process"));
        let should = escape.succeeds_outside && !is_refused_outside(&escape, condition);
        if should && control != End::Succeeded {
            faults.push(format!("{name}: without a sandbox: {control:?}"));
        }
        for (room, builder) in &rooms {
            let within = ended(builder.spawn(escapes::attempt, input()).expect("a process"));
            let is_granted = *room == PROGRAMS && GRANTED_WITH_PROGRAMS.contains(&name);
            if !is_granted && !within.is_refusal(&escape) {
                faults.push(format!("{}, {name}: {room}: {within:?}", escape.effect));
            }
        }
        let within = ended(pool.submit(escapes::attempt, input()));
        if !within.is_refusal(&escape) {
            faults.push(format!("{name}: in a pool: {within:?}"));
        }
    }
    faults
}

const PROGRAMS: &str = "granted programs";

/// What comes with programs: metadata, processes, and signals among those.
const GRANTED_WITH_PROGRAMS: [&str; 13] = [
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
    "a signal to its process group",
    "a signal to everybody",
];

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
    fn is_refusal(&self, escape: &Escape) -> bool {
        match self {
            End::Succeeded | End::Other(_) => false,
            End::Refused(_) => !escape.always_kills,
            End::Sandbox(_) => true,
        }
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
