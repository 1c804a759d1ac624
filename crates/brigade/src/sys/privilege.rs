//! What a thread may do, and where it is: its users and groups, capabilities and what else bounds
//! it, its umask, its root directory and its namespaces.
//!
//! credentials(7), capabilities(7), namespaces(7). All but the last three of them are in one file,
//! /proc/thread-self/status, proc_pid_status(5): there is no call that says that something has
//! changed, and the umask cannot be asked for in another way without changing it. To the kernel
//! they belong to the thread; the C library's `setuid` and its kin change all threads. What
//! compares is the thread that asks for a worker.

mod thread;

use std::fmt::Write as _;
use std::io;

use rustix::fs::{AtFlags, StatxFlags};
use serde::{Deserialize, Serialize};

use self::thread::{KeptThread, NAMESPACES, ProcThread};
use super::error::Call;

const CAP_SETGID: u64 = 1 << 6;
const CAP_SETUID: u64 = 1 << 7;
/// Root by number has no capabilities for that: capabilities(7).
const SECBIT_NOROOT: u32 = 1;

/// What a thread may do, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Privilege {
    /// Real, effective, saved, and for files.
    users: [u32; 4],
    groups: [u32; 4],
    supplementary: Vec<u32>,
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
    securebits: u32,
    no_new_privs: bool,
    /// The mode, and how many filters: seccomp(2).
    seccomp: [u32; 2],
    umask: u32,
    /// The mount, the device and the number of `/`.
    root: (u64, (u32, u32), u64),
    namespaces: [u64; NAMESPACES.len()],
}

impl Privilege {
    /// This thread's, now.
    pub(crate) fn of_this_thread() -> io::Result<Privilege> {
        Privilege::of(&ProcThread::this()?)
    }

    fn of(thread: &ProcThread) -> io::Result<Privilege> {
        let mut now = Privilege::from_status(thread)?;
        (now.root, now.namespaces) = (root()?, thread.namespaces(now.is_settled())?);
        Ok(now)
    }

    /// Whether a process that has this can never enter another of [`NAMESPACES`]: that takes
    /// CAP_SYS_ADMIN, setns(2), unshare(2), which a process with no capability and no user that is
    /// root does not get but by another program. A new user namespace has all capabilities in it,
    /// and is no way for a thread of several.
    fn is_settled(&self) -> bool {
        self.permitted == 0 && !self.users.contains(&0)
    }

    /// Whether this thread's is the same now. `Err` with that, if not.
    pub(crate) fn is_still_here(&self) -> io::Result<Result<(), Privilege>> {
        let now = Privilege::of_this_thread()?;
        Ok(if now == *self { Ok(()) } else { Err(now) })
    }

    /// Whether this thread's is the same now, as is asked for each process: the thread keeps what
    /// it looks at open.
    pub(crate) fn is_that_of_this_thread(&self) -> io::Result<bool> {
        // A program that was down to one thread may have been elsewhere since it was settled.
        Ok(KeptThread::look(Privilege::of)? == *self || Privilege::of_this_thread()? == *self)
    }

    /// Whether a process that has `now` could give this to itself.
    pub(crate) fn is_within(&self, now: &Privilege) -> bool {
        let has = |capability| now.effective & capability != 0;
        let groups =
            self.groups == now.groups && self.supplementary == now.supplementary || has(CAP_SETGID);
        let users = self.users == now.users || has(CAP_SETUID);
        let capabilities = [
            self.permitted,
            self.effective,
            self.inheritable,
            self.ambient,
        ]
        .iter()
        .all(|set| set & !now.permitted == 0)
            && self.bounding & !now.bounding == 0;
        users
            && groups
            && capabilities
            && self.securebits == now.securebits
            && (self.no_new_privs || !now.no_new_privs)
            && self.seccomp == now.seccomp
            && (self.root, self.namespaces) == (now.root, now.namespaces)
    }

    /// Why a new start of the program cannot have the same, if it cannot.
    pub(crate) fn why_not_inherited(&self) -> Option<String> {
        let one = |ids: [u32; 4]| ids.iter().all(|&id| id == ids[0]);
        for (ids, what) in [(self.users, "users"), (self.groups, "groups")] {
            if !one(ids) {
                let [real, effective, saved, files] = ids;
                return Some(format!(
                    "the real, effective, saved and file-system {what} of the program differ ({real}, {effective}, {saved}, {files}); a process would not have the same"
                ));
            }
        }
        let thread = match ProcThread::this() {
            Ok(thread) => thread,
            Err(e) => return Some(e.to_string()),
        };
        for (name, own, children) in [
            ("pid", c"ns/pid", c"ns/pid_for_children"),
            ("time", c"ns/time", c"ns/time_for_children"),
        ] {
            match (thread.namespace(own), thread.namespace(children)) {
                (Ok(own), Ok(children)) if own == children => {}
                (Ok(_), Ok(_)) => {
                    return Some(format!(
                        "the program makes its children in another {name} namespace than its own (unshare, setns), and a process would not be where the program is"
                    ));
                }
                (Err(e), _) | (_, Err(e)) => return Some(e.to_string()),
            }
        }
        None
    }

    /// In what the two differ, in a few words.
    pub(crate) fn difference(&self, other: &Privilege) -> String {
        let mut all = String::new();
        let mut differ = |differs: bool, what: &str| {
            if differs {
                let _ = write!(all, "{}{what}", if all.is_empty() { "" } else { ", " });
            }
        };
        let (a, b) = (self, other);
        differ(a.users != b.users, "users");
        differ(
            a.groups != b.groups || a.supplementary != b.supplementary,
            "groups",
        );
        differ(
            [
                a.inheritable,
                a.permitted,
                a.effective,
                a.bounding,
                a.ambient,
            ] != [
                b.inheritable,
                b.permitted,
                b.effective,
                b.bounding,
                b.ambient,
            ],
            "capabilities",
        );
        differ(a.securebits != b.securebits, "securebits");
        differ(a.no_new_privs != b.no_new_privs, "no_new_privs");
        differ(a.seccomp != b.seccomp, "seccomp filters");
        differ(a.umask != b.umask, "umask");
        differ(a.root != b.root, "root directory");
        differ(a.namespaces != b.namespaces, "namespaces");
        all
    }

    /// Capabilities that an execve(2) would take away, and that are to be made ambient for it.
    pub(crate) fn to_carry_over(&self) -> u64 {
        let root = self.users[1] == 0 && self.securebits & SECBIT_NOROOT == 0;
        if root { 0 } else { self.permitted }
    }

    /// In a process that one with this has just started: gives up what it has got beyond that,
    /// and takes what it could not keep on the way.
    ///
    /// A failure leaves it with something else, which a comparison shows.
    pub(crate) fn assume(&self) {
        let set = |effective: u64, permitted: u64, inheritable: u64| {
            let bits = rustix::thread::CapabilitySet::from_bits_retain;
            rustix::thread::set_capabilities(
                None,
                rustix::thread::CapabilitySets {
                    effective: bits(effective),
                    permitted: bits(permitted),
                    inheritable: bits(inheritable),
                },
            )
        };
        let own = rustix::thread::capabilities(None).map_or(0, |own| own.permitted.bits());
        let permitted = self.permitted & own;
        let _ = set(
            self.effective & permitted,
            permitted,
            self.inheritable | self.ambient & permitted,
        );
        // SAFETY: numbers only.
        unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_CLEAR_ALL,
                0,
                0,
                0,
            );
            for capability in bits(self.ambient & permitted) {
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE,
                    capability,
                    0,
                    0,
                );
            }
            libc::umask(self.umask);
        }
        // execve clears one of them, SECBIT_KEEP_CAPS.
        let _ = rustix::thread::set_keep_capabilities(self.securebits & (1 << 4) != 0);
    }

    fn from_status(thread: &ProcThread) -> io::Result<Privilege> {
        let mut privilege = thread.own_status(parse)?;
        // SAFETY: numbers only.
        privilege.securebits = unsafe { libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0) } as u32;
        Ok(privilege)
    }
}

/// The numbers of the bits in a set.
pub(crate) fn bits(set: u64) -> impl Iterator<Item = libc::c_ulong> {
    (0..64).filter(move |bit| set & 1 << bit != 0)
}

/// Which directory `/` is: another mount namespace has mounts of other numbers. statx(2).
fn root() -> io::Result<(u64, (u32, u32), u64)> {
    let flags = StatxFlags::INO | StatxFlags::MNT_ID;
    let stat =
        rustix::fs::statx(rustix::fs::CWD, c"/", AtFlags::empty(), flags).call("statx(2)")?;
    Ok((
        stat.stx_mnt_id,
        (stat.stx_dev_major, stat.stx_dev_minor),
        stat.stx_ino,
    ))
}

/// What is read of `status`, in the order of its lines. Those of seccomp came later than the
/// others, and a kernel without it has none of them.
const LINES: [&[u8]; 13] = [
    b"Umask:",
    b"Pid:",
    b"Uid:",
    b"Gid:",
    b"Groups:",
    b"CapInh:",
    b"CapPrm:",
    b"CapEff:",
    b"CapBnd:",
    b"CapAmb:",
    b"NoNewPrivs:",
    b"Seccomp:",
    b"Seccomp_filters:",
];
const NEEDED: usize = 11;

/// The number of the thread, and what it may do.
fn parse(status: &[u8]) -> Option<(u64, Privilege)> {
    let mut values = [&b"0"[..]; LINES.len()];
    let mut found = 0;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', status) {
        let line = &status[std::mem::replace(&mut start, end + 1)..end];
        if let Some(value) = LINES.get(found).and_then(|name| line.strip_prefix(*name)) {
            values[found] = value;
            found += 1;
        }
    }
    if found < NEEDED {
        return None;
    }
    let [
        umask,
        number,
        users,
        groups,
        others,
        inh,
        prm,
        eff,
        bnd,
        amb,
        no_new,
        mode,
        filters,
    ] = values;
    let set = |value| numbers(value, 16).next();
    let one = |value| numbers(value, 10).next();
    let privilege = Privilege {
        users: four(users)?,
        groups: four(groups)?,
        supplementary: numbers(others, 10).map(|n| n as u32).collect(),
        inheritable: set(inh)?,
        permitted: set(prm)?,
        effective: set(eff)?,
        bounding: set(bnd)?,
        ambient: set(amb)?,
        securebits: 0,
        no_new_privs: one(no_new)? != 0,
        seccomp: [one(mode)? as u32, one(filters)? as u32],
        umask: numbers(umask, 8).next()? as u32,
        root: (0, (0, 0), 0),
        namespaces: [0; NAMESPACES.len()],
    };
    Some((one(number)?, privilege))
}

fn four(value: &[u8]) -> Option<[u32; 4]> {
    let mut all = [0; 4];
    let mut given = numbers(value, 10);
    for one in &mut all {
        *one = given.next()? as u32;
    }
    Some(all)
}

/// Numbers with blanks between them.
fn numbers(value: &[u8], base: u32) -> impl Iterator<Item = u64> {
    value
        .split(|b| b.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map_while(move |word| {
            word.iter().try_fold(0_u64, |number, &digit| {
                let digit = char::from(digit).to_digit(base)?;
                number.checked_mul(base.into())?.checked_add(digit.into())
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_what_it_was() {
        let before = Privilege::of_this_thread().expect("/proc is mounted");
        assert_eq!(before.is_still_here().expect("is readable"), Ok(()));
        assert!(before.is_within(&before));
        assert_eq!(before.difference(&before), "");
        assert!(before.namespaces.iter().any(|&n| n != 0));
    }

    #[test]
    fn what_is_more_is_told_from_what_is_less() {
        let root = Privilege {
            permitted: u64::MAX,
            effective: u64::MAX,
            ..Privilege::of_this_thread().expect("/proc is mounted")
        };
        let mut user = root.clone();
        user.users = [7; 4];
        (user.permitted, user.effective) = (0, 0);
        (user.ambient, user.inheritable) = (0, 0);
        assert!(user.is_within(&root) && !root.is_within(&user));
        let bounded = Privilege {
            no_new_privs: true,
            ..user.clone()
        };
        let unbounded = Privilege {
            no_new_privs: false,
            ..user
        };
        assert!(bounded.is_within(&unbounded) && !unbounded.is_within(&bounded));
    }

    #[test]
    fn a_status_that_lacks_something_is_refused() {
        let status = std::fs::read("/proc/thread-self/status").expect("is readable");
        assert!(parse(&status).is_some());
        for needed in [
            "Pid:",
            "Uid:",
            "Groups:",
            "Umask:",
            "CapEff:",
            "NoNewPrivs:",
        ] {
            let lines = status.split(|&b| b == b'\n');
            let left: Vec<u8> = lines
                .filter(|l| !l.starts_with(needed.as_bytes()))
                .flat_map(|l| [l, b"\n"].concat())
                .collect();
            assert!(parse(&left).is_none(), "{needed}");
        }
    }
}
