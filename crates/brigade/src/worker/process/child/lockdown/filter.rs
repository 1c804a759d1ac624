//! The filter of system calls: seccomp(2). It cannot be taken off again.
//!
//! A part says what becomes of some calls, and leaves the others to the next part. The last one
//! allows what is in its list, and refuses the rest; among that is seccomp(2) itself.
//!
//! The kernel translates each program that it is given, and tries it with every call there is, of
//! each architecture that it has; both take longer than all else that a sandbox is made of. So there
//! is one program, and it is short: first it ends calls of other architectures, then it
//! [searches](branch) for the call's number, as often as a list of intervals can be halved.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use rustix::fs::MemfdFlags;
use seccompiler::{SeccompAction, apply_filter, sock_filter};
use smallvec::{SmallVec, smallvec};

use program::{
    ArgumentRule, Condition, Interval, Program, answer, before_numbers, bits, branch, equal,
    is_null, look_at_arguments, other,
};

use super::calls::{
    self, ABSENT, ALLOWED, ALLOWED_OLD, ASKING, CHANGING, HANDLED, LOOKING, NEVER, OPENING,
};
use super::refused;
use crate::sandbox::Rules;
use crate::worker::process::child::this_worker;

mod program;
#[cfg(test)]
mod tests;

/// Puts a filter in force for this process's only thread.
pub(super) fn install(rules: &Rules, filter: &[sock_filter]) -> io::Result<()> {
    refused::handle(refused::Handling {
        opens: rules.has_paths(),
        kills: rules.kill,
        note: this_worker::note_refused,
    })?;
    apply_filter(filter).map_err(io::Error::other)?;
    this_worker::note_sandbox();
    Ok(())
}

/// The filter of a sandbox.
pub(super) fn of(rules: &Rules, landlock: u8) -> Vec<sock_filter> {
    let mut filter = before_numbers();
    branch(&policy(rules, landlock).intervals(), &mut filter);
    filter
}

/// What a sandbox does with which calls.
fn policy(rules: &Rules, landlock: u8) -> Policy {
    let refuse = |errno: i32| {
        if rules.kill {
            SeccompAction::Trap
        } else {
            SeccompAction::Errno(errno as u32)
        }
    };
    let errno = |errno: i32| SeccompAction::Errno(errno as u32);
    // Refused as a file is that may not be opened.
    let mut paths = vec![NEVER];
    if rules.write.is_empty() {
        paths.push(CHANGING);
    }
    if !rules.has_paths() {
        paths.push(OPENING);
    }
    // A program that is granted has no handler, and asks for metadata as for all else.
    let mut trapped = Calls::default();
    if rules.execute.is_empty() {
        paths.push(LOOKING);
        trapped.add(&[ASKING]);
        if !rules.has_paths() && !rules.kill {
            // Only of what is open: a thread that has blocked the handler's signal is ended by it,
            // and gets an error so.
            let empty = bits(3, libc::AT_EMPTY_PATH as u32, libc::AT_EMPTY_PATH as u32);
            trapped = Calls::default();
            only_if(&mut trapped, libc::SYS_newfstatat, &[&[empty]]);
            paths.push(ASKING);
        }
        if rules.kill && rules.has_paths() {
            trapped.add(&[OPENING]);
            // But not as the handler does it.
            only_if(&mut trapped, libc::SYS_openat, &[&[bits(2, HANDLED, 0)]]);
        }
    }
    let sockets: &[c_long] = if rules.has_ports() {
        &[]
    } else {
        &[libc::SYS_socket]
    };
    let parts = [
        (trapped, SeccompAction::Trap),
        (Calls::new(&[ABSENT]), errno(libc::ENOSYS)),
        (Calls::new(&paths), refuse(libc::EACCES)),
        (Calls::new(&[sockets]), refuse(libc::EAFNOSUPPORT)),
    ];
    Policy {
        parts,
        allowed: allowed(rules, landlock),
        otherwise: refuse(libc::EPERM),
    }
}

/// Some calls. Of each, what was said last counts.
#[derive(Default)]
struct Calls {
    /// A bit for each number: whatever the arguments are.
    always: [u64; calls::UNKNOWN.div_ceil(u64::BITS) as usize],
    /// Where the arguments are as one of these rules says.
    by_arguments: BTreeMap<c_long, Vec<ArgumentRule>>,
}

/// Whether some calls have one among them.
enum Found<'c> {
    Never,
    Always,
    ByArguments(&'c [ArgumentRule]),
}

impl Calls {
    fn new(lists: &[&[c_long]]) -> Calls {
        let mut calls = Calls::default();
        calls.add(lists);
        calls
    }

    fn add(&mut self, lists: &[&[c_long]]) {
        for &call in lists.iter().copied().flatten() {
            self.by_arguments.remove(&call);
            let (word, bit) = Calls::place(call);
            self.always[word] |= bit;
        }
    }

    fn add_by_arguments(&mut self, call: c_long, rules: Vec<ArgumentRule>) {
        let (word, bit) = Calls::place(call);
        self.always[word] &= !bit;
        self.by_arguments.insert(call, rules);
    }

    fn find(&self, call: c_long) -> Found<'_> {
        let (word, bit) = Calls::place(call);
        if self.always[word] & bit != 0 {
            return Found::Always;
        }
        match self.by_arguments.get(&call) {
            Some(rules) => Found::ByArguments(rules),
            None => Found::Never,
        }
    }

    /// The word and the bit of a call, all of which are below [`calls::UNKNOWN`].
    fn place(call: c_long) -> (usize, u64) {
        let bits = c_long::from(u64::BITS as i32);
        ((call / bits) as usize, 1 << (call % bits))
    }
}

/// What becomes of which calls.
struct Policy {
    /// The first that has the call decides, if one of its rules holds.
    parts: [(Calls, SeccompAction); 4],
    /// Allowed, of what no part decides.
    allowed: Calls,
    /// What becomes of the rest.
    otherwise: SeccompAction,
}

impl Policy {
    /// All numbers that are known, and those above them, which no call has.
    fn intervals(&self) -> Vec<Interval> {
        let mut intervals: Vec<Interval> = Vec::with_capacity(calls::UNKNOWN as usize / 2);
        for first in 0..calls::UNKNOWN {
            let program = match self.answer_to(first.into()) {
                Some(action) => smallvec![answer(action)],
                None => self.program_of(first.into()),
            };
            if intervals.last().is_some_and(|last| last.program == program) {
                continue;
            }
            intervals.push(Interval { first, program });
        }
        intervals.push(Interval {
            first: calls::UNKNOWN,
            program: smallvec![answer(&SeccompAction::Errno(libc::ENOSYS as u32))],
        });
        intervals
    }

    /// What becomes of a call, if that does not depend on its arguments.
    fn answer_to(&self, call: c_long) -> Option<&SeccompAction> {
        for (calls, action) in &self.parts {
            match calls.find(call) {
                Found::Never => {}
                Found::Always => return Some(action),
                Found::ByArguments(_) => return None,
            }
        }
        match self.allowed.find(call) {
            Found::Never => Some(&self.otherwise),
            Found::Always => Some(&SeccompAction::Allow),
            Found::ByArguments(_) => None,
        }
    }

    /// What becomes of a call. It ends with an answer whatever the arguments are.
    fn program_of(&self, call: c_long) -> Program {
        let mut program = Program::new();
        let allowed = (&self.allowed, &SeccompAction::Allow);
        let parts = self.parts.iter().map(|(calls, action)| (calls, action));
        for (calls, action) in parts.chain([allowed]) {
            match calls.find(call) {
                Found::Never => {}
                Found::Always => {
                    program.push(answer(action));
                    return program;
                }
                Found::ByArguments(rules) => look_at_arguments(rules, action, &mut program),
            }
        }
        program.push(answer(&self.otherwise));
        program
    }
}

/// What may be done; of some calls, with which arguments.
fn allowed(rules: &Rules, landlock: u8) -> Calls {
    let mut calls = Calls::new(&[ALLOWED, ALLOWED_OLD]);
    if !rules.write.is_empty() {
        calls.add(&[CHANGING]);
    }
    let own = std::process::id();
    let may_execute = !rules.execute.is_empty();

    memory(&mut calls, may_execute);
    files(&mut calls, rules, landlock);
    sockets(&mut calls, rules);
    processes(&mut calls, may_execute);

    // Signals to itself; where there may be others of the same sandbox, Landlock keeps them there.
    const KEEPS_SIGNALS: u8 = 6;
    if may_execute && landlock >= KEEPS_SIGNALS {
        calls.add(&[&[libc::SYS_kill, libc::SYS_tgkill]]);
    } else {
        only_if(&mut calls, libc::SYS_kill, &[&[equal(0, own)]]);
        only_if(&mut calls, libc::SYS_tgkill, &[&[equal(0, own)]]);
    }
    // The handler of what is refused stays.
    only_if(
        &mut calls,
        libc::SYS_rt_sigaction,
        &[&[other(0, libc::SIGSYS as u32)]],
    );
    any_of(
        &mut calls,
        libc::SYS_prctl,
        0,
        &[
            libc::PR_SET_NAME,
            libc::PR_GET_NAME,
            libc::PR_CAPBSET_READ,
            libc::PR_GET_DUMPABLE,
            libc::PR_GET_NO_NEW_PRIVS,
            libc::PR_GET_SECCOMP,
            libc::PR_GET_TIMERSLACK,
            libc::PR_SET_VMA,
        ]
        .map(|option| option as u32),
    );
    any_of(&mut calls, libc::SYS_prlimit64, 0, &[0, own]);
    // Asks, and changes nothing.
    only_if(&mut calls, libc::SYS_personality, &[&[equal(0, u32::MAX)]]);
    calls
}

/// No memory becomes code, but what a program is loaded from.
fn memory(calls: &mut Calls, may_execute: bool) {
    const BOTH: u32 = (libc::PROT_WRITE | libc::PROT_EXEC) as u32;
    const EXEC: u32 = libc::PROT_EXEC as u32;
    let never = bits(2, EXEC, 0);
    for call in [libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        only_if(calls, call, &[std::slice::from_ref(&never)]);
    }
    if may_execute {
        // As code, of a file, and not to write to.
        let anonymous = libc::MAP_ANONYMOUS as u32;
        let code: &[_] = &[bits(2, BOTH, EXEC), bits(3, anonymous, 0)];
        return only_if(calls, libc::SYS_mmap, &[&[never], code]);
    }
    only_if(calls, libc::SYS_mmap, &[&[never]])
}

/// What Landlock judges, where it is to; and what is done with open files.
fn files(calls: &mut Calls, rules: &Rules, landlock: u8) {
    let creates = !rules.write.is_empty();
    opening(calls, libc::SYS_openat, 2, creates);
    #[cfg(target_arch = "x86_64")]
    {
        opening(calls, libc::SYS_open, 1, creates);
        only_if(calls, libc::SYS_creat, &[&[no_others_identity(1)]]);
    }
    const JUDGES_LENGTHS: u8 = 3;
    if landlock >= JUDGES_LENGTHS && !rules.write.is_empty() {
        calls.add(&[&[libc::SYS_truncate]]);
    }
    any_of(
        calls,
        libc::SYS_fcntl,
        1,
        &[
            libc::F_DUPFD,
            libc::F_DUPFD_CLOEXEC,
            libc::F_GETFD,
            libc::F_SETFD,
            libc::F_GETFL,
            libc::F_SETFL,
            libc::F_GETLK,
            libc::F_SETLK,
            libc::F_SETLKW,
            libc::F_OFD_GETLK,
            libc::F_OFD_SETLK,
            libc::F_OFD_SETLKW,
            libc::F_GETPIPE_SZ,
            libc::F_SETPIPE_SZ,
            libc::F_ADD_SEALS,
            libc::F_GET_SEALS,
        ]
        .map(|command| command as u32),
    );
    const TCGETS2: libc::Ioctl = 0x802c_542a_u32 as libc::Ioctl;
    any_of(
        calls,
        libc::SYS_ioctl,
        1,
        // A request has 32 bits; the type of its number is another with musl.
        &[
            libc::FIOCLEX,
            libc::FIONCLEX,
            libc::FIONBIO,
            libc::FIONREAD,
            libc::TCGETS,
            libc::TIOCGWINSZ,
            TCGETS2,
        ]
        .map(|request| request as u32),
    )
}

/// Opens files for what Landlock judges. It has no say in those that are opened as mere paths, or
/// in the fourth mode, which is neither for reading nor for writing: fstat(2) tells of them all the
/// same. And to open for reading and truncate is judged as reading, before Linux 6.2.
///
/// `creates`: files may be made, whose permissions are the argument behind the flags. Otherwise
/// that is any number.
fn opening(calls: &mut Calls, call: c_long, flags: u8, creates: bool) {
    const NEITHER: u32 = (libc::O_PATH | libc::O_TRUNC) as u32;
    let mode = |mode: i32| bits(flags, libc::O_ACCMODE as u32 & 3, mode as u32);
    let (no_path, not_emptied) = (bits(flags, libc::O_PATH as u32, 0), bits(flags, NEITHER, 0));
    let modes = [
        [mode(libc::O_RDONLY), not_emptied],
        [mode(libc::O_WRONLY), no_path],
        [mode(libc::O_RDWR), no_path],
    ];
    let any = [None];
    let either = [
        Some(bits(flags, calls::MAKES as u32, 0)),
        Some(no_others_identity(flags + 1)),
    ];
    let beside: &[Option<Condition>] = if creates { &either } else { &any };
    let rules = modes.iter().flat_map(|mode| {
        let all = |beside| mode.iter().chain(beside).copied().collect();
        beside.iter().map(all)
    });
    calls.add_by_arguments(call, rules.collect());
}

/// The permissions of a file that is made have no bit by which others run it as its owner: they
/// would lend this worker's code what they may do, or take what its user may.
fn no_others_identity(permissions: u8) -> Condition {
    bits(permissions, libc::S_ISUID | libc::S_ISGID, 0)
}

/// Sockets that lead nowhere; and, where ports are granted, those of TCP.
fn sockets(calls: &mut Calls, rules: &Rules) {
    let (unix, kind) = (libc::AF_UNIX as u32, 0xf);
    let pair = |of: i32| [equal(0, unix), bits(1, kind, of as u32)];
    // Not of datagrams: their ends send to other addresses too.
    let (stream, packets) = (pair(libc::SOCK_STREAM), pair(libc::SOCK_SEQPACKET));
    only_if(calls, libc::SYS_socketpair, &[&stream, &packets]);
    // A connection that is made by sending is made without connect(2), which Landlock judges.
    let fast_open = libc::MSG_FASTOPEN as u32;
    only_if(calls, libc::SYS_sendmsg, &[&[bits(2, fast_open, 0)]]);
    only_if(calls, libc::SYS_sendmmsg, &[&[bits(3, fast_open, 0)]]);
    // Another protocol in the place of TCP is one that Landlock does not know.
    let other_level = other(1, libc::IPPROTO_TCP as u32);
    let other_option = other(2, libc::TCP_ULP as u32);
    only_if(
        calls,
        libc::SYS_setsockopt,
        &[&[other_level], &[other_option]],
    );
    // Without an address.
    let nowhere = is_null(4);
    only_if(
        calls,
        libc::SYS_sendto,
        &[&[bits(3, fast_open, 0), nowhere]],
    );
    if !rules.has_ports() {
        return;
    }
    let mut tcp = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [0, libc::IPPROTO_TCP] {
            tcp.push([
                equal(0, family as u32),
                bits(1, kind, libc::SOCK_STREAM as u32),
                equal(2, protocol as u32),
            ]);
        }
    }
    let tcp: Vec<&[_]> = tcp.iter().map(|rule| rule.as_slice()).collect();
    only_if(calls, libc::SYS_socket, &tcp);
    if !rules.connect.is_empty() {
        calls.add(&[&[libc::SYS_connect]]);
    }
    if !rules.listen.is_empty() {
        calls.add(&[&[libc::SYS_bind]]);
        calls.add(&[&[libc::SYS_listen]]);
    }
}

/// Threads; and, where programs are granted, processes. In no other namespaces.
fn processes(calls: &mut Calls, may_execute: bool) {
    const NAMESPACES: i32 = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    let namespaces = NAMESPACES as u32;
    if !may_execute {
        let thread = libc::CLONE_THREAD as u32;
        return only_if(
            calls,
            libc::SYS_clone,
            &[&[bits(0, namespaces | thread, thread)]],
        );
    }
    only_if(calls, libc::SYS_clone, &[&[bits(0, namespaces, 0)]]);
    calls.add(&[ASKING, LOOKING]);
    calls.add(&[&[libc::SYS_execve]]);
    calls.add(&[&[libc::SYS_setpgid]]);
    #[cfg(target_arch = "x86_64")]
    {
        calls.add(&[&[libc::SYS_fork]]);
        calls.add(&[&[libc::SYS_vfork]]);
    }
    // A file in memory is on no path, so that Landlock has no say in whether it is executed. Where
    // the kernel cannot make one that is not to be, that is reported.
    if can_make_plain_files() {
        only_if(calls, libc::SYS_memfd_create, &[&[bits(1, NOEXEC, NOEXEC)]]);
    }
}

/// `MFD_NOEXEC_SEAL`: memfd_create(2), since Linux 6.3.
const NOEXEC: u32 = 0x8;

/// Whether the kernel makes files in memory that cannot be executed.
pub(super) fn can_make_plain_files() -> bool {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::from_bits_retain(NOEXEC);
    rustix::fs::memfd_create("brigade-probe", flags).is_ok()
}

/// Allows a call where all conditions of one of these hold.
fn only_if(calls: &mut Calls, call: c_long, rules: &[&[Condition]]) {
    let rules = rules.iter().map(|rule| SmallVec::from_slice(rule));
    calls.add_by_arguments(call, rules.collect());
}

/// Allows a call where an argument is one of these.
fn any_of(calls: &mut Calls, call: c_long, argument: u8, values: &[u32]) {
    let rules = values
        .iter()
        .map(|&v| SmallVec::from_slice(&[equal(argument, v)]));
    calls.add_by_arguments(call, rules.collect());
}
