//! Everything countable that a program and its fork server hold.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

use brigade::process::Builder;
use brigade_test_support::{procfs, wait};

/// What one process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) children: usize,
    pub(crate) zombies: usize,
    pub(crate) regions: usize,
    /// Those of the regions that are a worker's mailbox.
    pub(crate) mailboxes: usize,
}

/// The names of [`Holdings`], in its order.
pub(crate) const NAMES: [&str; 6] = [
    "descriptors",
    "threads",
    "children",
    "zombies among them",
    "memory regions",
    "mailboxes among them",
];

impl Holdings {
    fn of(pid: u32) -> io::Result<Holdings> {
        let children = procfs::children(pid)?;
        let mut zombies = 0;
        for &child in &children {
            match procfs::state(child) {
                Ok('Z') => zombies += 1,
                Ok(_) => {}
                Err(e) if procfs::is_gone(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Holdings {
            descriptors: procfs::entries(&format!("/proc/{pid}/fd"))?,
            threads: procfs::entries(&format!("/proc/{pid}/task"))?,
            children: children.len(),
            zombies,
            regions: procfs::mappings(pid, "brigade")?,
            mailboxes: procfs::mappings(pid, "brigade-mailbox")?,
        })
    }

    pub(crate) fn counts(&self) -> [usize; 6] {
        [
            self.descriptors,
            self.threads,
            self.children,
            self.zombies,
            self.regions,
            self.mailboxes,
        ]
    }

    fn least(self, other: Holdings) -> Holdings {
        Holdings {
            descriptors: self.descriptors.min(other.descriptors),
            threads: self.threads.min(other.threads),
            children: self.children.min(other.children),
            zombies: self.zombies.min(other.zombies),
            regions: self.regions.min(other.regions),
            mailboxes: self.mailboxes.min(other.mailboxes),
        }
    }
}

/// This program and its fork server, at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) program: Holdings,
    pub(crate) server: Holdings,
}

impl Census {
    fn take(server: u32) -> io::Result<Census> {
        Ok(Census {
            program: Holdings::of(std::process::id())?,
            server: Holdings::of(server)?,
        })
    }

    /// Every child of the fork server is a spare worker whose mailbox this program has: nobody is
    /// on the way in or out. What belongs together cannot be read at one moment, so it is read
    /// twice.
    fn at_rest(server: u32) -> io::Result<Option<Census>> {
        let census = Census::take(server)?;
        let whole =
            census.server.children == census.program.mailboxes && census.server.zombies == 0;
        Ok((whole && Census::take(server)? == census).then_some(census))
    }

    /// Whether nothing is more than in `other`.
    pub(crate) fn is_within(&self, other: &Census) -> bool {
        let all = |c: &Census| c.program.counts().into_iter().chain(c.server.counts());
        all(self)
            .zip(all(other))
            .all(|(mine, theirs)| mine <= theirs)
    }
}

/// The spares go down as tasks take them and up again when they are refilled; after this many tasks
/// they have been full.
const CYCLE: usize = 16;

fn after_a_task(server: u32, worker: &Builder) -> io::Result<Census> {
    worker
        .spawn(|()| (), ())?
        .join()
        .map_err(io::Error::other)?;
    wait::until_found("workers to come and go", || Census::at_rest(server))
}

/// What there is when all spares are there, and nothing else is: the baseline.
pub(crate) fn baseline(server: u32, worker: &Builder) -> io::Result<Census> {
    let mut full = after_a_task(server, worker)?;
    for _ in 0..2 * CYCLE {
        let now = after_a_task(server, worker)?;
        if now.server.children > full.server.children {
            full = now;
        } else if now.server.children == full.server.children {
            // What belonged to a worker may be kept for a moment after it: that is not the
            // baseline's.
            full = Census {
                program: full.program.least(now.program),
                server: full.server.least(now.server),
            };
        }
    }
    Ok(full)
}

/// What there is at the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) census: Census,
    /// Whether it came to rest. Otherwise there is a worker that is no spare, or a mailbox whose
    /// worker is gone.
    pub(crate) at_rest: bool,
}

/// Comes to rest again with as many spares as in `baseline`: the first census that is within it,
/// or, if there is none, the last.
pub(crate) fn again(server: u32, worker: &Builder, baseline: &Census) -> io::Result<Last> {
    let mut last = None;
    for _ in 0..8 * CYCLE {
        let census = match after_a_task(server, worker) {
            Ok(census) => census,
            Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                return Ok(Last {
                    census: Census::take(server)?,
                    at_rest: false,
                });
            }
            Err(e) => return Err(e),
        };
        if census.server.children >= baseline.server.children {
            if census.is_within(baseline) {
                return Ok(Last {
                    census,
                    at_rest: true,
                });
            }
            last = Some(census);
        }
    }
    let at_rest = last.is_some();
    Ok(Last {
        census: last.map_or_else(|| Census::take(server), Ok)?,
        at_rest,
    })
}

/// What has a name on this machine and could be left behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    /// Names in /dev/shm.
    pub(crate) memory: BTreeSet<String>,
    /// Names of POSIX message queues; `None`: they cannot be seen here.
    pub(crate) queues: Option<BTreeSet<String>>,
    /// Paths of control groups below our own.
    pub(crate) groups: BTreeSet<String>,
}

impl Named {
    pub(crate) fn look() -> io::Result<Named> {
        let memory = names("/dev/shm").or_else(|e| {
            if procfs::is_gone(&e) {
                Ok(BTreeSet::new())
            } else {
                Err(e)
            }
        })?;
        Ok(Named {
            memory,
            queues: queues().ok(),
            groups: groups()?,
        })
    }
}

fn names(directory: &str) -> io::Result<BTreeSet<String>> {
    fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

/// The file system of message queues is not mounted everywhere, and the queues are there all the
/// same: then another start of this program mounts it where nobody else sees it. mq_overview(7).
fn queues() -> io::Result<BTreeSet<String>> {
    if fs::read_to_string("/proc/self/mounts")?
        .lines()
        .any(|line| line.split(' ').nth(1) == Some("/dev/mqueue"))
    {
        return names("/dev/mqueue");
    }
    let told = Command::new("/proc/self/exe")
        .arg("queues")
        .stderr(Stdio::null())
        .output()?;
    if !told.status.success() {
        return Err(io::Error::other(
            "the queues' file system could not be mounted",
        ));
    }
    Ok(String::from_utf8_lossy(&told.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// The hidden command: mounts the queues' file system over a directory, in a mount namespace that
/// ends with this process.
pub(crate) fn print_queues() -> io::Result<()> {
    const AT: &CStr = c"/proc";
    let result = |code: libc::c_int| {
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: C strings that live across the calls, and null where mount(2) allows it.
    unsafe {
        result(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        result(libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            private,
            std::ptr::null(),
        ))?;
        result(libc::mount(
            c"none".as_ptr(),
            AT.as_ptr(),
            c"mqueue".as_ptr(),
            0,
            std::ptr::null(),
        ))?;
    }
    for name in names(&AT.to_string_lossy())? {
        println!("{name}");
    }
    Ok(())
}

/// The control groups below the ones that we are in, in every hierarchy that is mounted where it
/// usually is.
fn groups() -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    // A line is `number:controllers:path`: cgroups(7).
    for line in fs::read_to_string("/proc/self/cgroup")?.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let roots: Vec<String> = match controllers.trim_start_matches("name=") {
            "" => vec![
                "/sys/fs/cgroup".to_owned(),
                "/sys/fs/cgroup/unified".to_owned(),
            ],
            other => vec![format!("/sys/fs/cgroup/{other}")],
        };
        for root in roots {
            below(&format!("{root}{path}"), &mut found);
        }
    }
    Ok(found)
}

/// Of the control groups that are there after a run, those that are left over: they were not there
/// before, and are named after no process that is there now, as those of spares and of other
/// programs are.
pub(crate) fn left_groups(before: &BTreeSet<String>, after: &BTreeSet<String>) -> BTreeSet<String> {
    // What is left of an old run stays out, also where its number was another process's before.
    let new = after.difference(before);
    new.filter(|path| !is_of_the_living(path))
        .cloned()
        .collect()
}

fn is_of_the_living(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let number = name.strip_prefix("brigade-").unwrap_or(name);
    number
        .parse::<u32>()
        .is_ok_and(|pid| fs::exists(format!("/proc/{pid}")).unwrap_or(true))
}

fn below(directory: &str, found: &mut BTreeSet<String>) {
    // Not mounted, or gone meanwhile: then there is nothing to find.
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
    {
        let path = entry.path().to_string_lossy().into_owned();
        below(&path, found);
        found.insert(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_left_if_it_is_new_and_its_process_is_not_there() {
        let living = format!("/group/brigade-{}", std::process::id());
        let dead = BTreeSet::from([format!("/group/brigade-{}", u32::MAX)]);
        let mut both = dead.clone();
        both.insert(living);
        assert_eq!(left_groups(&BTreeSet::new(), &both), dead);
        assert_eq!(left_groups(&dead, &both), BTreeSet::new());
    }

    #[test]
    fn more_of_anything_is_more() {
        let holdings = Holdings {
            descriptors: 9,
            threads: 2,
            children: 4,
            zombies: 0,
            regions: 5,
            mailboxes: 4,
        };
        let before = Census {
            program: holdings,
            server: holdings,
        };
        assert!(before.is_within(&before));
        let fewer = Census {
            program: Holdings {
                descriptors: 8,
                ..holdings
            },
            server: holdings,
        };
        assert!(fewer.is_within(&before));
        let more = Census {
            program: holdings,
            server: Holdings {
                zombies: 1,
                ..holdings
            },
        };
        assert!(!more.is_within(&before));
    }

    #[test]
    fn what_has_a_name_is_seen() {
        let seen = Named::look().expect("looked");
        assert!(!seen.memory.contains("no-such-name"));
    }
}
