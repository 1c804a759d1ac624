//! What there was before, and what there is more of afterwards.

use std::collections::BTreeSet;
use std::io;

use brigade::process::Builder;
use brigade_test_support::procfs;

use crate::census::{self, Census, Last, NAMES, Named};
use crate::fork_server;
use crate::table::{Table, grouped};

/// The program at rest, before it does anything.
#[derive(Debug)]
pub(crate) struct Before {
    worker: Builder,
    server: u32,
    census: Census,
    named: Named,
    memory: [u64; 2],
}

/// Resident memory of the program and of its fork server, in KiB.
fn memory(server: u32) -> io::Result<[u64; 2]> {
    Ok([
        procfs::resident(std::process::id())?,
        procfs::resident(server)?,
    ])
}

impl Before {
    /// After a warm-up: what grows once has grown.
    pub(crate) fn look() -> io::Result<Before> {
        Before::look_with(Builder::new())
    }

    /// The same, of a program all of whose workers are such.
    pub(crate) fn look_with(worker: Builder) -> io::Result<Before> {
        let server = fork_server::find_of(&worker)?;
        let census = census::baseline(server, &worker)?;
        Ok(Before {
            worker,
            server,
            census,
            named: Named::look()?,
            memory: memory(server)?,
        })
    }

    /// Prints both, and whether nothing is left over. `drift`: what memory may grow by, in KiB, if
    /// anything is to be said of it.
    pub(crate) fn compare(&self, drift: Option<i64>) -> io::Result<bool> {
        if procfs::name(self.server).ok().as_deref() != Some(fork_server::NAME) {
            println!(
                "  the fork server, process {}, is not there any more",
                self.server
            );
            return Ok(false);
        }
        let Last {
            census: after,
            at_rest,
        } = census::again(self.server, &self.worker, &self.census)?;
        let memory_after = memory(self.server)?;
        let named_after = Named::look()?;
        let growth = print_holdings(&self.census, &after, self.memory, memory_after, drift);
        if !at_rest {
            println!(
                "  it does not come to rest: a worker that is no spare is left, or a mailbox whose worker is gone"
            );
        }
        for (who, pid, more) in [
            (
                "program",
                std::process::id(),
                after.program.descriptors > self.census.program.descriptors,
            ),
            (
                "fork server",
                self.server,
                after.server.descriptors > self.census.server.descriptors,
            ),
        ] {
            if more {
                println!("  {who}: {}", procfs::descriptors(pid)?.join(", "));
            }
        }
        let left = print_named(&self.named, &named_after);
        Ok(at_rest
            && after.is_within(&self.census)
            && drift.is_none_or(|drift| growth.iter().all(|&more| more < drift))
            && left == 0)
    }
}

/// Gives how much each of the two has grown by, in KiB.
fn print_holdings(
    before: &Census,
    after: &Census,
    memory_before: [u64; 2],
    memory_after: [u64; 2],
    most: Option<i64>,
) -> [i64; 2] {
    let mut table = Table::new(&["", "before", "after", "more", "goal"]);
    let mut drift = [0; 2];
    let both = [
        ("program", before.program, after.program),
        ("fork server", before.server, after.server),
    ];
    for (at, (who, before, after)) in both.into_iter().enumerate() {
        for (what, (before, after)) in NAMES
            .iter()
            .zip(before.counts().into_iter().zip(after.counts()))
        {
            let more = after.cast_signed() - before.cast_signed();
            table.line([
                format!("{who}: {what}"),
                before.to_string(),
                after.to_string(),
                format!("{more:+}"),
                "0".to_owned(),
            ]);
        }
        drift[at] = memory_after[at].cast_signed() - memory_before[at].cast_signed();
        table.line([
            format!("{who}: resident KiB"),
            grouped(memory_before[at]),
            grouped(memory_after[at]),
            format!("{:+}", drift[at]),
            most.map_or("-".to_owned(), |most| {
                format!("< {}", grouped(most.cast_unsigned()))
            }),
        ]);
    }
    table.print();
    drift
}

/// Gives how many names of ours were left.
fn print_named(before: &Named, after: &Named) -> usize {
    let mut left = 0;
    let mut compare = |what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>| {
        let (ours, others): (Vec<&String>, Vec<&String>) = after
            .difference(before)
            .partition(|name| name.contains("brigade"));
        left += ours.len();
        print!("  {what}: {} more (goal 0)", ours.len());
        match others.len() {
            0 => println!(),
            n => println!("; and {n} of other programs"),
        }
        for name in ours {
            println!("    {name}");
        }
    };
    compare("names in /dev/shm", &before.memory, &after.memory);
    match (&before.queues, &after.queues) {
        (Some(before), Some(after)) => compare("POSIX message queues", before, after),
        _ => println!(
            "  POSIX message queues: not counted, because their file system is not mounted and we may not mount it"
        ),
    }
    let groups = census::left_groups(&before.groups, &after.groups);
    compare("control groups", &BTreeSet::new(), &groups);
    left
}
