//! The program that the kernel is given: how a call is found by its number, and how its arguments
//! are looked at. It is of the older kind of BPF (kernel: Documentation/networking/filter.rst), and
//! what it loads is `struct seccomp_data` of seccomp(2).

use seccompiler::{SeccompAction, sock_filter};
use smallvec::SmallVec;

/// What becomes of all calls from this number on, up to the next interval.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) first: u32,
    pub(super) program: Program,
}

/// What becomes of a call: for most, one answer.
pub(super) type Program = SmallVec<[sock_filter; 2]>;

/// What is asked of a call's arguments: all of these. The kernel reads a pointer whole, and of
/// numbers the lower half, but for those that are `long`, whose upper half is zero in all that is
/// meant here.
pub(super) type ArgumentRule = SmallVec<[Condition; 4]>;

/// A condition: which argument, and what of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) test: Test,
}

/// What is asked of an argument.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Is(u32),
    IsNot(u32),
    /// These bits of it are these.
    Bits {
        mask: u32,
        value: u32,
    },
    /// It is the pointer to nothing.
    IsNull,
}

pub(super) fn equal(argument: u8, value: u32) -> Condition {
    let test = Test::Is(value);
    Condition { argument, test }
}

pub(super) fn other(argument: u8, value: u32) -> Condition {
    let test = Test::IsNot(value);
    Condition { argument, test }
}

/// These bits of an argument are these.
pub(super) fn bits(argument: u8, mask: u32, value: u32) -> Condition {
    let test = Test::Bits { mask, value };
    Condition { argument, test }
}

/// It is the pointer to nothing.
pub(super) fn is_null(argument: u8) -> Condition {
    let test = Test::IsNull;
    Condition { argument, test }
}

/// Goes to the interval that the call's number is in. That has been loaded.
pub(super) fn branch(intervals: &[Interval], filter: &mut Vec<sock_filter>) {
    if let [one] = intervals {
        filter.extend(one.program.iter().cloned());
        return;
    }
    let (low, high) = intervals.split_at(intervals.len() / 2);
    let Some(above) = high.first() else { return };
    let at = filter.len();
    filter.push(step(AT_LEAST, 0, 0, above.first));
    branch(low, filter);
    // Over the lower half, now that its length is known. Jumps within that are relative.
    let over = filter.len() - at - 1;
    match u8::try_from(over) {
        Ok(near) => filter[at].jt = near,
        Err(_) => {
            filter[at].jf = 1;
            filter.insert(at + 1, step(JUMP, 0, 0, over as u32));
        }
    }
    branch(high, filter);
}

/// `AUDIT_ARCH_X86_64`, linux/audit.h.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_AARCH64`.
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_00b7;

pub(super) const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Where a call's number is, for `LOAD`: `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Where its architecture is.
const ARCHITECTURE_AT: u32 = 4;
/// Where the lower half of its first argument is, with the lower byte first; of each other, twice a
/// word further.
const ARGUMENTS: u32 = 16;
const _: () = assert!(cfg!(target_endian = "little"));

fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

pub(super) fn answer(action: &SeccompAction) -> sock_filter {
    step(RETURN, 0, 0, u32::from(action.clone()))
}

/// Gives this answer to calls whose arguments are as one of the rules says, and goes on behind that
/// with all others.
pub(super) fn look_at_arguments(
    rules: &[ArgumentRule],
    action: &SeccompAction,
    program: &mut Program,
) {
    // What has been loaded, on each way to the next rule.
    let mut loaded = None;
    for rule in rules {
        let begin = program.len();
        let mut at_failures: SmallVec<[Option<u32>; 4]> = SmallVec::new();
        for &Condition { argument, test } in rule {
            let lower = ARGUMENTS + 2 * WORD * u32::from(argument);
            let mut look = |at: u32, mask: Option<u32>, (if_equal, if_not), value: u32| {
                if loaded != Some(at) {
                    program.push(step(LOAD, 0, 0, at));
                    loaded = Some(at);
                }
                if let Some(mask) = mask {
                    program.push(step(AND, 0, 0, mask));
                    loaded = None;
                }
                program.push(step(EQUAL, if_equal, if_not, value));
                at_failures.push(loaded);
            };
            match test {
                Test::Is(value) => look(lower, None, (NEXT, FAILS), value),
                Test::IsNot(value) => look(lower, None, (FAILS, NEXT), value),
                Test::Bits { mask, value } => look(lower, Some(mask), (NEXT, FAILS), value),
                Test::IsNull => {
                    look(lower, None, (NEXT, FAILS), 0);
                    look(lower + WORD, None, (NEXT, FAILS), 0);
                }
            }
        }
        program.push(answer(action));
        // To behind the answer. A rule has a few conditions, of three steps each.
        let end = program.len();
        for (at, step) in program.iter_mut().enumerate().skip(begin) {
            let distance = (end - at - 1) as u8;
            for way in [&mut step.jt, &mut step.jf] {
                if step.code == EQUAL && *way == FAILS {
                    *way = distance;
                }
            }
        }
        let first = at_failures.first().copied().flatten();
        loaded = first.filter(|_| at_failures.iter().all(|at| *at == first));
    }
}

/// Bytes of what `LOAD` loads.
const WORD: u32 = 4;
/// To the next step.
const NEXT: u8 = 0;
/// To the next rule: it is not known yet how far that is.
const FAILS: u8 = u8::MAX;

/// Ends the process for calls of other architectures, and of another calling convention (x32), and
/// loads the call's number.
pub(super) fn before_numbers() -> Vec<sock_filter> {
    const X32: u32 = 0x4000_0000;
    let kill = || answer(&SeccompAction::KillProcess);
    vec![
        step(LOAD, 0, 0, ARCHITECTURE_AT),
        step(EQUAL, 1, 0, ARCHITECTURE),
        kill(),
        step(LOAD, 0, 0, NUMBER),
        step(AT_LEAST, 0, 1, X32),
        kill(),
    ]
}
