//! The filter of system calls: seccomp(2). It cannot be taken off again.
//!
//! A part says what becomes of some calls, and leaves the others to the next part. The last one
//! allows what is in its list, and refuses the rest; among that is seccomp(2) itself.
//!
//! The kernel translates each program that it is given, and tries it with every call there is; both
//! take longer than all else that a sandbox is made of. So there is one program, and it goes to the
//! parts that are about calls of a few numbers only, the call's own among them.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use rustix::fs::MemfdFlags;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};

use super::calls::{
    self, ABSENT, ALLOWED, ALLOWED_OLD, ASKING, CHANGING, HANDLED, LOOKING, NEVER, OPENING,
};
use super::refused;
use crate::sandbox::Rules;
use crate::worker::process::child::this_worker;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

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
pub(super) fn of(rules: &Rules, landlock: u8) -> io::Result<Vec<sock_filter>> {
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
    let mut trapped = CallRules::new();
    if rules.execute.is_empty() {
        paths.push(LOOKING);
        trapped.extend(all_of(&[ASKING]));
        if !rules.has_paths() && !rules.kill {
            // Only of what is open: a thread that has blocked the handler's signal is ended by it,
            // and gets an error so.
            let empty = bits(3, libc::AT_EMPTY_PATH as u64, libc::AT_EMPTY_PATH as u64);
            trapped.clear();
            only_if(&mut trapped, libc::SYS_newfstatat, &[&[empty]])?;
            paths.push(ASKING);
        }
        if rules.kill && rules.has_paths() {
            trapped.extend(all_of(&[OPENING]));
            // But not as the handler does it.
            let by_handler = u64::from(HANDLED);
            only_if(&mut trapped, libc::SYS_openat, &[&[bits(2, by_handler, 0)]])?;
        }
    }
    let sockets: &[c_long] = if rules.has_ports() {
        &[]
    } else {
        &[libc::SYS_socket]
    };
    let parts = [
        (trapped, SeccompAction::Trap),
        (all_of(&[ABSENT]), errno(libc::ENOSYS)),
        (all_of(&paths), refuse(libc::EACCES)),
        (all_of(&[sockets]), refuse(libc::EAFNOSUPPORT)),
    ];
    let allowed = allowed(rules, landlock)?;
    let otherwise = refuse(libc::EPERM);

    let mut filter = by_number_alone();
    for first in (0..calls::UNKNOWN).step_by(RANGE) {
        let range = c_long::from(first)..c_long::from(first) + RANGE as c_long;
        let within = |calls: &CallRules| -> CallRules {
            let calls = calls.range(range.clone());
            calls.map(|(call, rules)| (*call, rules.clone())).collect()
        };
        let mut program = Vec::new();
        for (calls, action) in &parts {
            let calls = within(calls);
            if !calls.is_empty() {
                let part = compile(calls, SeccompAction::Allow, action.clone())?;
                program.extend(open_ended(part));
            }
        }
        let last = compile(within(&allowed), otherwise.clone(), SeccompAction::Allow)?;
        program.extend(last);
        filter.push(step(LOAD, 0, 0, NUMBER));
        filter.push(step(AT_LEAST, 0, 1, range.end as u32));
        filter.push(step(JUMP, 0, 0, program.len() as u32));
        filter.extend(program);
    }
    // No call comes here: those that are above all ranges are unknown.
    filter.push(step(RETURN, 0, 0, otherwise.into()));
    Ok(filter)
}

/// Calls that are looked for one after the other.
const RANGE: usize = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Where a call's number is, for `LOAD`: `struct seccomp_data`.
const NUMBER: u32 = 0;

fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What a part allows is decided by what is behind it.
fn open_ended(mut part: Vec<sock_filter>) -> Vec<sock_filter> {
    let allow = u32::from(SeccompAction::Allow);
    let len = part.len();
    for (at, step) in part.iter_mut().enumerate() {
        if step.code == RETURN && step.k == allow {
            *step = self::step(JUMP, 0, 0, (len - at - 1) as u32);
        }
    }
    part
}

type CallRules = BTreeMap<c_long, Vec<SeccompRule>>;

fn compile(
    calls: CallRules,
    otherwise: SeccompAction,
    these: SeccompAction,
) -> io::Result<Vec<sock_filter>> {
    SeccompFilter::new(calls, otherwise, these, ARCHITECTURE)
        .and_then(TryInto::try_into)
        .map_err(io::Error::other)
}

fn all_of(lists: &[&[c_long]]) -> CallRules {
    let calls = lists.iter().flat_map(|list| list.iter());
    calls.map(|&call| (call, Vec::new())).collect()
}

/// What may be done; of some calls, with which arguments.
fn allowed(rules: &Rules, landlock: u8) -> io::Result<CallRules> {
    let mut calls = all_of(&[ALLOWED, ALLOWED_OLD]);
    if !rules.write.is_empty() {
        calls.extend(all_of(&[CHANGING]));
    }
    let own = u64::from(std::process::id());
    let may_execute = !rules.execute.is_empty();

    memory(&mut calls, may_execute)?;
    files(&mut calls, rules, landlock)?;
    sockets(&mut calls, rules)?;
    processes(&mut calls, may_execute)?;

    // Signals to itself; where there may be others of the same sandbox, Landlock keeps them there.
    const KEEPS_SIGNALS: u8 = 6;
    if may_execute && landlock >= KEEPS_SIGNALS {
        calls.extend(all_of(&[&[libc::SYS_kill, libc::SYS_tgkill]]));
    } else {
        only_if(&mut calls, libc::SYS_kill, &[&[equal(0, own)]])?;
        only_if(&mut calls, libc::SYS_tgkill, &[&[equal(0, own)]])?;
    }
    // The handler of what is refused stays.
    let sigsys = libc::SIGSYS as u64;
    only_if(
        &mut calls,
        libc::SYS_rt_sigaction,
        &[&[(0, SeccompCmpOp::Ne, sigsys)]],
    )?;
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
        .map(|option| option as u64),
    )?;
    any_of(&mut calls, libc::SYS_prlimit64, 0, &[0, own])?;
    // Asks, and changes nothing.
    only_if(
        &mut calls,
        libc::SYS_personality,
        &[&[equal(0, u64::from(u32::MAX))]],
    )?;
    Ok(calls)
}

/// No memory becomes code, but what a program is loaded from.
fn memory(calls: &mut CallRules, may_execute: bool) -> io::Result<()> {
    const BOTH: u64 = (libc::PROT_WRITE | libc::PROT_EXEC) as u64;
    const EXEC: u64 = libc::PROT_EXEC as u64;
    let never = bits(2, EXEC, 0);
    for call in [libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
        only_if(calls, call, &[std::slice::from_ref(&never)])?;
    }
    if may_execute {
        // As code, of a file, and not to write to.
        let anonymous = libc::MAP_ANONYMOUS as u64;
        let code: &[_] = &[bits(2, BOTH, EXEC), bits(3, anonymous, 0)];
        return only_if(calls, libc::SYS_mmap, &[&[never], code]);
    }
    only_if(calls, libc::SYS_mmap, &[&[never]])
}

/// What Landlock judges, where it is to; and what is done with open files.
fn files(calls: &mut CallRules, rules: &Rules, landlock: u8) -> io::Result<()> {
    let creates = !rules.write.is_empty();
    opening(calls, libc::SYS_openat, 2, creates)?;
    #[cfg(target_arch = "x86_64")]
    {
        opening(calls, libc::SYS_open, 1, creates)?;
        only_if(calls, libc::SYS_creat, &[&[no_others_identity(1)]])?;
    }
    const JUDGES_LENGTHS: u8 = 3;
    if landlock >= JUDGES_LENGTHS && !rules.write.is_empty() {
        calls.insert(libc::SYS_truncate, Vec::new());
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
        .map(|command| command as u64),
    )?;
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
        .map(|request| u64::from(request as u32)),
    )
}

/// Opens files for what Landlock judges. It has no say in those that are opened as mere paths, or
/// in the fourth mode, which is neither for reading nor for writing: fstat(2) tells of them all the
/// same. And to open for reading and truncate is judged as reading, before Linux 6.2.
///
/// `creates`: files may be made, whose permissions are the argument behind the flags. Otherwise
/// that is any number.
fn opening(calls: &mut CallRules, call: c_long, flags: u8, creates: bool) -> io::Result<()> {
    const NEITHER: u64 = (libc::O_PATH | libc::O_TRUNC) as u64;
    let mode = |mode: i32| bits(flags, libc::O_ACCMODE as u64 & 3, mode as u64);
    let (no_path, not_emptied) = (bits(flags, libc::O_PATH as u64, 0), bits(flags, NEITHER, 0));
    let modes = [
        [mode(libc::O_RDONLY), not_emptied],
        [mode(libc::O_WRONLY), no_path.clone()],
        [mode(libc::O_RDWR), no_path],
    ];
    let any = [None];
    let either = [
        Some(bits(flags, calls::MAKES as u64, 0)),
        Some(no_others_identity(flags + 1)),
    ];
    let beside: &[Option<Condition>] = if creates { &either } else { &any };
    let rules: Vec<Vec<Condition>> = modes
        .iter()
        .flat_map(|mode| {
            beside
                .iter()
                .map(|beside| mode.iter().chain(beside).cloned().collect())
        })
        .collect();
    let rules: Vec<&[Condition]> = rules.iter().map(Vec::as_slice).collect();
    only_if(calls, call, &rules)
}

/// The permissions of a file that is made have no bit by which others run it as its owner: they
/// would lend this worker's code what they may do, or take what its user may.
fn no_others_identity(permissions: u8) -> Condition {
    bits(permissions, u64::from(libc::S_ISUID | libc::S_ISGID), 0)
}

/// Sockets that lead nowhere; and, where ports are granted, those of TCP.
fn sockets(calls: &mut CallRules, rules: &Rules) -> io::Result<()> {
    let (unix, kind) = (libc::AF_UNIX as u64, 0xf);
    let pair = |of: i32| [equal(0, unix), bits(1, kind, of as u64)];
    // Not of datagrams: their ends send to other addresses too.
    let (stream, packets) = (pair(libc::SOCK_STREAM), pair(libc::SOCK_SEQPACKET));
    only_if(calls, libc::SYS_socketpair, &[&stream, &packets])?;
    // A connection that is made by sending is made without connect(2), which Landlock judges.
    let fast_open = libc::MSG_FASTOPEN as u64;
    only_if(calls, libc::SYS_sendmsg, &[&[bits(2, fast_open, 0)]])?;
    only_if(calls, libc::SYS_sendmmsg, &[&[bits(3, fast_open, 0)]])?;
    // Another protocol in the place of TCP is one that Landlock does not know.
    let tcp = libc::IPPROTO_TCP as u64;
    let other_level = (1, SeccompCmpOp::Ne, tcp);
    let other_option = (2, SeccompCmpOp::Ne, libc::TCP_ULP as u64);
    only_if(
        calls,
        libc::SYS_setsockopt,
        &[&[other_level], &[other_option]],
    )?;
    // Without an address.
    let nowhere = (4, SeccompCmpOp::Eq, 0);
    only_if(
        calls,
        libc::SYS_sendto,
        &[&[bits(3, fast_open, 0), nowhere]],
    )?;
    if !rules.has_ports() {
        return Ok(());
    }
    let mut tcp = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [0, libc::IPPROTO_TCP] {
            tcp.push([
                equal(0, family as u64),
                bits(1, kind, libc::SOCK_STREAM as u64),
                equal(2, protocol as u64),
            ]);
        }
    }
    let tcp: Vec<&[_]> = tcp.iter().map(|rule| rule.as_slice()).collect();
    only_if(calls, libc::SYS_socket, &tcp)?;
    if !rules.connect.is_empty() {
        calls.insert(libc::SYS_connect, Vec::new());
    }
    if !rules.listen.is_empty() {
        calls.insert(libc::SYS_bind, Vec::new());
        calls.insert(libc::SYS_listen, Vec::new());
    }
    Ok(())
}

/// Threads; and, where programs are granted, processes. In no other namespaces.
fn processes(calls: &mut CallRules, may_execute: bool) -> io::Result<()> {
    const NAMESPACES: i32 = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    let namespaces = NAMESPACES as u32 as u64;
    if !may_execute {
        let thread = libc::CLONE_THREAD as u64;
        return only_if(
            calls,
            libc::SYS_clone,
            &[&[bits(0, namespaces | thread, thread)]],
        );
    }
    only_if(calls, libc::SYS_clone, &[&[bits(0, namespaces, 0)]])?;
    calls.extend(all_of(&[ASKING, LOOKING]));
    calls.insert(libc::SYS_execve, Vec::new());
    calls.insert(libc::SYS_setpgid, Vec::new());
    #[cfg(target_arch = "x86_64")]
    {
        calls.insert(libc::SYS_fork, Vec::new());
        calls.insert(libc::SYS_vfork, Vec::new());
    }
    // A file in memory is on no path, so that Landlock has no say in whether it is executed. Where
    // the kernel cannot make one that is not to be, that is reported.
    if can_make_plain_files() {
        let plain = u64::from(NOEXEC);
        only_if(calls, libc::SYS_memfd_create, &[&[bits(1, plain, plain)]])?;
    }
    Ok(())
}

/// `MFD_NOEXEC_SEAL`: memfd_create(2), since Linux 6.3.
const NOEXEC: u32 = 0x8;

/// Whether the kernel makes files in memory that cannot be executed.
pub(super) fn can_make_plain_files() -> bool {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::from_bits_retain(NOEXEC);
    rustix::fs::memfd_create("brigade-probe", flags).is_ok()
}

/// A condition: which argument, and what of it.
type Condition = (u8, SeccompCmpOp, u64);

fn equal(argument: u8, value: u64) -> Condition {
    (argument, SeccompCmpOp::Eq, value)
}

/// These bits of an argument are these.
fn bits(argument: u8, mask: u64, value: u64) -> Condition {
    (argument, SeccompCmpOp::MaskedEq(mask), value)
}

/// Allows a call where all conditions of one of these hold.
fn only_if(calls: &mut CallRules, call: c_long, rules: &[&[Condition]]) -> io::Result<()> {
    let compiled: Result<Vec<_>, _> = rules
        .iter()
        .map(|conditions| {
            let conditions: Result<Vec<_>, _> = conditions
                .iter()
                .map(|(argument, operator, value)| {
                    // The kernel reads a pointer whole, and of numbers the lower half, but for
                    // those that are `long`, whose upper half is zero in all that is meant here.
                    let len = if call == libc::SYS_sendto && *argument == 4 {
                        SeccompCmpArgLen::Qword
                    } else {
                        SeccompCmpArgLen::Dword
                    };
                    SeccompCondition::new(*argument, len, operator.clone(), *value)
                })
                .collect();
            conditions.and_then(SeccompRule::new)
        })
        .collect();
    calls.insert(call, compiled.map_err(io::Error::other)?);
    Ok(())
}

/// Allows a call where an argument is one of these.
fn any_of(calls: &mut CallRules, call: c_long, argument: u8, values: &[u64]) -> io::Result<()> {
    let conditions: Vec<_> = values.iter().map(|&v| [equal(argument, v)]).collect();
    let rules: Vec<&[_]> = conditions.iter().map(|rule| rule.as_slice()).collect();
    only_if(calls, call, &rules)
}

/// By a call's number alone: those of another calling convention (x32) end the process, and those
/// that are newer than this list are unknown.
fn by_number_alone() -> Vec<sock_filter> {
    const X32: u32 = 0x4000_0000;
    let answer = |action: SeccompAction| step(RETURN, 0, 0, action.into());
    vec![
        step(LOAD, 0, 0, NUMBER),
        step(AT_LEAST, 0, 1, X32),
        answer(SeccompAction::KillProcess),
        step(AT_LEAST, 0, 1, calls::UNKNOWN),
        answer(SeccompAction::Errno(libc::ENOSYS as u32)),
    ]
}
