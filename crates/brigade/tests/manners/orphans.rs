//! What tasks leave behind, while others go on.

use std::process::Command;

use brigade::{JoinError, process};
use libtest_mimic::Trial;

use crate::hosts::{Host, children, parent_number, until};
use crate::observe::well_behaved;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("leaves-orphans", leaves_orphans)];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("orphans_end_with_their_worker_not_with_all", || {
        well_behaved("leaves-orphans", &[]);
    })]
}

/// Forks twice, again and again: some of those end at once, others never would. Gives its worker's
/// number.
fn fork_many(_: ()) -> u32 {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (true &); (setsid sleep 1000 &); done";
    let done = Command::new("/bin/sh").args(["-c", script]).status();
    assert!(done.expect("sh starts").success());
    std::process::id()
}

fn leaves_orphans(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let goes_on = process::spawn(
        |()| -> u32 {
            loop {
                std::thread::park();
            }
        },
        (),
    )?;
    let pid = goes_on.pid().ok_or("it has a process")?;
    let server = parent_number(pid)?;
    for _ in 0..5 {
        process::spawn(fork_many, ())?.join()?;
    }
    // Workers are all that is left there, and none of them has ended.
    let is_worker = |child: u32| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
        status.contains("Name:\tbrigade-worker") && !status.contains("State:\tZ")
    };
    until(
        || Ok(children(server)?.into_iter().all(is_worker)),
        "the orphans to be reaped",
    )?;
    if !children(server)?.contains(&pid) {
        return Err("the task that goes on has ended".into());
    }
    goes_on.cancel();
    match goes_on.join() {
        Err(JoinError::Cancelled) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
