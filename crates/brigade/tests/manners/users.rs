//! Tasks that become another user. The kernel does not end such a process with its parent any more
//! (PR_SET_PDEATHSIG(2const)).

use std::io::Read;

use brigade::process;
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::hosts::{Host, parent};
use crate::observe::HANG;
use crate::secure::{NOBODY, skip};
use crate::trials::{Family, family_ends, trial};

pub(crate) const HOSTS: &[(&str, Host)] = &[("family-of-another-user", family)];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_task_of_another_user_ends_when_the_host_is_killed",
            || {
                if is_root() {
                    family_ends("family-of-another-user", |host| {
                        host.0.kill().expect("killed");
                    });
                }
            },
        ),
        trial("a_task_of_another_user_ends_when_the_host_returns", || {
            if is_root() {
                family_ends("family-of-another-user", |host| drop(host.0.stdin.take()));
            }
        }),
        trial("a_task_of_another_user_ends_with_the_fork_server", || {
            if is_root() {
                ends_with_the_fork_server();
            }
        }),
    ]
}

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skip("only root can become another user");
    }
    is_root
}

/// The host ends what stayed in the workers' groups.
fn ends_with_the_fork_server() {
    let family = Family::new("family-of-another-user");
    kill(family.server.pid);
    let (children, daemons): (Vec<_>, Vec<_>) =
        (family.children.iter().enumerate()).partition(|(i, _)| i % 2 == 0);
    for process in family
        .workers
        .iter()
        .chain(children.iter().map(|&(_, c)| c))
    {
        assert!(process.ends_within(HANG), "{} is alive", process.pid);
    }
    for (_, daemon) in daemons {
        kill(daemon.pid);
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid as i32).expect("a number");
    kill_process(pid, Signal::KILL).expect("it lives");
}

fn family(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    fn as_another(stdout: bool) -> u32 {
        // SAFETY: no memory is involved.
        unsafe {
            assert_eq!(libc::setresgid(NOBODY, NOBODY, NOBODY), 0);
            assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
        }
        parent(stdout)
    }
    let _workers = [
        process::spawn(as_another, true)?,
        process::spawn(as_another, true)?,
    ];
    std::io::stdin().read_to_string(&mut String::new())?;
    Ok(())
}
