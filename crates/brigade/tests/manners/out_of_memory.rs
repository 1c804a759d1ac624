//! The kernel's OOM killer in a control group, wherever that group is seen from.

use std::process::Stdio;

use brigade::{Cause, JoinError, process};
use libtest_mimic::Trial;

use crate::groups::Group;
use crate::hosts::Host;
use crate::observe::{check, host};
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("out-of-memory", out_of_memory)];

const LIMIT: u64 = 200 << 20;

pub(crate) fn trials() -> Vec<Trial> {
    let places = [("a_group", false), ("a_namespace_under_an_old_mount", true)];
    let each = places.map(|(place, is_namespace)| {
        let test = format!("a_death_for_lack_of_memory_is_told_in_{place}");
        trial(&test, move || {
            let files = ["memory.limit_in_bytes", "memory.max"];
            let Some(group) = Group::new("memory", files, LIMIT) else {
                return;
            };
            let mut command = host("out-of-memory");
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            group.takes(&mut command, is_namespace);
            check(place, command.output().expect("starts"));
        })
    });
    each.into()
}

fn out_of_memory(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: no memory is involved. It ends a host that waits for ever, which fails the test.
    unsafe { libc::alarm(60) };
    brigade::init();
    match process::spawn(take, 2 * LIMIT as usize)?.join() {
        Err(JoinError::Crashed(crash)) if crash.cause() == &Cause::OutOfMemory => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn take(bytes: usize) -> u8 {
    let taken = vec![1_u8; bytes];
    taken[bytes / 2]
}
