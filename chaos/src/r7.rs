//! R7: fourteen causes of death, each so often: each is named right, with how far the worker had
//! come, and the next task succeeds.

mod codec;
mod inside;
mod outside;

use std::io;
use std::time::Instant;

use brigade::{Cause, Crash, JoinError, JoinHandle, Message, Phase, process};

use crate::Verdict;
use crate::table::{Table, grouped};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// A way to die.
struct Death {
    name: &'static str,
    /// What it is to be called, the nth time.
    cause: fn(u64) -> Cause,
    phase: Phase,
    /// Has a worker die so, the nth time.
    happen: fn(u64) -> io::Result<Told>,
}

/// What was told of a death: the crash, or what else.
type Told = Result<Crash, String>;

fn told<R>(handle: JoinHandle<R>) -> Told {
    match handle.join() {
        Err(JoinError::Crashed(crash)) => Ok(crash),
        Err(other) => Err(other.to_string()),
        Ok(_) => Err("it returned".to_owned()),
    }
}

/// Runs a task that dies by itself.
fn die<A: Message, R: Message>(task: fn(A) -> R, input: A) -> io::Result<Told> {
    Ok(told(process::spawn(task, input)?))
}

const DEATHS: [Death; 14] = [
    Death {
        name: "segmentation fault",
        cause: |_| Cause::Signal(libc::SIGSEGV),
        phase: Phase::Running,
        happen: |_| die(inside::read_nowhere, 0x40),
    },
    Death {
        name: "bus error",
        cause: |_| Cause::Signal(libc::SIGBUS),
        phase: Phase::Running,
        happen: |_| die(inside::read_past_the_end, ()),
    },
    Death {
        name: "illegal instruction",
        cause: |_| Cause::Signal(libc::SIGILL),
        phase: Phase::Running,
        happen: |_| die(inside::illegal_instruction, ()),
    },
    Death {
        name: "floating point",
        cause: |_| Cause::Signal(libc::SIGFPE),
        phase: Phase::Running,
        happen: |_| die(inside::divide_by_zero, ()),
    },
    Death {
        name: "stack overflow",
        cause: |_| Cause::StackOverflow,
        phase: Phase::Running,
        happen: |_| die(inside::recurse, 0),
    },
    Death {
        name: "abort",
        cause: |_| Cause::Abort,
        phase: Phase::Running,
        happen: |_| die(inside::abort, ()),
    },
    Death {
        name: "exit(n)",
        cause: |turn| Cause::Exit(inside::status(turn)),
        phase: Phase::Running,
        happen: |turn| die(inside::leave, inside::status(turn)),
    },
    Death {
        name: "_exit(0)",
        cause: |_| Cause::Exit(0),
        phase: Phase::Running,
        happen: |_| die(inside::leave_at_once, ()),
    },
    Death {
        name: "SIGKILL from outside",
        cause: |_| Cause::Killed(libc::SIGKILL),
        phase: Phase::Running,
        happen: |_| outside::killed_by(libc::SIGKILL),
    },
    Death {
        name: "SIGTERM from outside",
        cause: |_| Cause::Killed(libc::SIGTERM),
        phase: Phase::Running,
        happen: |_| outside::killed_by(libc::SIGTERM),
    },
    Death {
        name: "while decoding",
        cause: |_| Cause::Abort,
        phase: Phase::Decoding,
        happen: |_| die(|_: codec::AbortsDecoding| (), codec::AbortsDecoding),
    },
    Death {
        name: "while encoding",
        cause: |_| Cause::Abort,
        phase: Phase::Encoding,
        happen: |_| die(|()| codec::AbortsEncoding, ()),
    },
    Death {
        name: "before it started",
        cause: |_| Cause::Killed(libc::SIGKILL),
        phase: Phase::Starting,
        happen: |_| outside::before_it_started(),
    },
    Death {
        name: "lost",
        cause: |_| Cause::Lost,
        phase: Phase::Running,
        happen: |_| outside::lost(),
    },
];

/// Whether the next task succeeds.
fn next_succeeds() -> Result<(), String> {
    let next = process::spawn(|n: u64| n + 1, 41)
        .map_err(|e| format!("the next task did not start: {e}"))?;
    match next.join() {
        Ok(42) => Ok(()),
        other => Err(format!("the next task did not succeed: {other:?}")),
    }
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    let start = Instant::now();
    let mut table = Table::new(&["cause", "expected", "phase", "right", "of"]);
    let mut wrong = Vec::new();
    for death in &DEATHS {
        let mut right = 0;
        for turn in 0..options.count {
            let (cause, phase) = ((death.cause)(turn), death.phase);
            let seen = match (death.happen)(turn)? {
                Ok(crash) if *crash.cause() == cause && crash.phase() == phase => next_succeeds(),
                Ok(crash) => Err(format!(
                    "{:?}, {:?} instead of {cause:?}, {phase:?}: {crash}",
                    crash.cause(),
                    crash.phase()
                )),
                Err(what) => Err(what),
            };
            match seen {
                Ok(()) => right += 1,
                Err(what) => wrong.push(format!("{}, turn {turn}: {what}", death.name)),
            }
        }
        let expected = format!("{:?}", (death.cause)(0));
        table.line([
            death.name.to_owned(),
            expected,
            format!("{:?}", death.phase),
            grouped(right),
            grouped(options.count),
        ]);
    }
    println!(
        "R7: {} causes of death, {} times each, in {:.1} s",
        DEATHS.len(),
        grouped(options.count),
        start.elapsed().as_secs_f64()
    );
    table.print();
    println!("  named wrong: {} (goal 0)", wrong.len());
    for example in wrong.iter().take(10) {
        println!("    {example}");
    }
    Ok(Verdict::print(wrong.is_empty()))
}
