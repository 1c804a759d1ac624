//! A program with three workers, one of which comes to a bad end. It writes down what it lives to
//! see.
//!
//! Each event is a line of JSON on standard output, written as it happens: who observes from
//! outside sees how far the program came.

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use brigade::{Cause, JoinError, JoinHandle, Sandbox, process};
use clap::ValueEnum;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::board::{self, Board};
use crate::fail::{Failure, OrFail as _};
use crate::procfs;
use crate::waiters;
use crate::workers::{PATIENCE, Place, collect_checked};

/// The bad ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// A write to memory that allows none.
    Segfault,
    /// `abort()`.
    Abort,
    /// Recursion without end.
    StackOverflow,
    /// `exit(3)` in the middle of the task.
    Exit,
    /// An allocation that fails, under a limit that the task set itself.
    OutOfMemory,
    /// A panic.
    Panic,
}

impl Fault {
    /// In the order in which they are shown.
    pub(crate) const ALL: [Self; 6] = [
        Self::Segfault,
        Self::Abort,
        Self::StackOverflow,
        Self::Exit,
        Self::OutOfMemory,
        Self::Panic,
    ];

    /// The name on the command line and in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Segfault => "segfault",
            Self::Abort => "abort",
            Self::StackOverflow => "stack-overflow",
            Self::Exit => "exit",
            Self::OutOfMemory => "out-of-memory",
            Self::Panic => "panic",
        }
    }
}

/// What the program lived to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    /// Two other workers run. Their process ids, where they have one.
    Others { pids: Vec<u32> },
    /// The library's word on the one: `panicked`, `crashed`, … and of what.
    Victim {
        ending: String,
        cause: Option<String>,
        text: String,
    },
    /// How many of the two others finished their task.
    Finished { others: usize },
}

const MIB: usize = 1024 * 1024;

/// The workers beside the victim.
pub(crate) const OTHERS: usize = 2;

pub(crate) fn run(place: Place, fault: Fault) -> Result<(), Failure> {
    // No core file for a death that is wanted.
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .or_fail("forbidding core files")?;
    let board = Board::new(waiters::GATE_CELLS)?;
    let others = (0..OTHERS)
        .map(|_| {
            // Without a sandbox, which would not let them to the gate.
            outside(place)
                .spawn(waiters::at_gate, board.ticket())
                .or_fail("starting a worker")
        })
        .collect::<Result<Vec<_>, _>>()?;
    board::await_at_least(board.mapping().word(waiters::CAME), OTHERS as u32, PATIENCE)?;
    say(&Event::Others {
        pids: others.iter().filter_map(JoinHandle::pid).collect(),
    })?;

    let victim = victim(place, fault).or_fail("starting a worker")?;
    let ending = match victim.join_timeout(PATIENCE) {
        Ok(Ok(_)) => Event::Victim {
            ending: "returned".into(),
            cause: None,
            text: "it returned".into(),
        },
        Ok(Err(error)) => describe(&error),
        Err(_) => return Err(Failure::new("the worker neither ended nor failed")),
    };
    say(&ending)?;

    board::arrive(board.mapping().word(waiters::OPEN));
    let finished = others
        .into_iter()
        .filter_map(|other| collect_checked(other, "another worker").ok())
        .count();
    say(&Event::Finished { others: finished })
}

/// Starts the one that comes to a bad end.
fn victim(place: Place, fault: Fault) -> io::Result<JoinHandle<u64>> {
    match (place, fault) {
        // In a sandbox a task may not set itself a limit: its program sets it.
        (Place::Sandbox, Fault::OutOfMemory) => process::Builder::new()
            .sandbox(Sandbox::deny_all())
            .memory_limit(128 * MIB as u64)
            .spawn(eat, 1024 * MIB),
        _ => place.spawn(meet, fault),
    }
}

/// The place without the sandbox.
fn outside(place: Place) -> Place {
    match place {
        Place::Sandbox => Place::Process,
        other => other,
    }
}

fn say(event: &Event) -> Result<(), Failure> {
    let line = serde_json::to_string(event).or_fail("writing an event")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .or_fail("writing an event")
}

fn describe(error: &JoinError) -> Event {
    let (ending, cause) = match error {
        JoinError::Panicked(panic) => ("panicked", Some(panic.message().to_owned())),
        JoinError::Crashed(crash) => ("crashed", Some(cause(crash.cause()))),
        _ => ("failed", None),
    };
    Event::Victim {
        ending: ending.to_owned(),
        cause,
        text: error.to_string(),
    }
}

/// The library's cause in the words of the table.
fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Signal(number) => crate::signals::name(*number),
        Cause::StackOverflow => "stack overflow".to_owned(),
        Cause::Abort => "abort".to_owned(),
        Cause::OutOfMemory => "out of memory".to_owned(),
        Cause::CpuLimit => "CPU limit".to_owned(),
        Cause::Exit(code) => format!("exit({code})"),
        Cause::Sandbox(what) => format!("sandbox: {what}"),
        Cause::Killed(number) => format!("killed by {}", crate::signals::name(*number)),
        Cause::Lost => "lost".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The task that ends badly. It returns only if the bad end did not come.
fn meet(fault: Fault) -> u64 {
    match fault {
        Fault::Segfault => write_where_none_may(),
        Fault::Abort => std::process::abort(),
        Fault::StackOverflow => descend(0),
        Fault::Exit => leave(),
        Fault::OutOfMemory => eat_memory(),
        Fault::Panic => panic!("a task that panics, on purpose"),
    }
}

fn write_where_none_may() -> u64 {
    // SAFETY: a fresh anonymous mapping at a place of the kernel's choice; it replaces nothing.
    let page = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            4096,
            ProtFlags::empty(),
            MapFlags::PRIVATE,
        )
    };
    let Ok(page) = page else { return 0 };
    // SAFETY: none, on purpose: the page is ours and nobody else's, but allows no access, so the
    // kernel answers with SIGSEGV. Volatile, so that the compiler leaves the write in.
    unsafe { page.cast::<u8>().write_volatile(1) };
    1
}

#[expect(
    clippy::disallowed_methods,
    reason = "the experiment is about a task that does just this"
)]
fn leave() -> u64 {
    std::process::exit(3)
}

fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if frame[0] == u64::MAX {
        return depth;
    }
    // Not a tail call: the frame is needed after it.
    descend(depth + 1) ^ black_box(frame)[1]
}

fn eat_memory() -> u64 {
    let Ok(now) = procfs::address_space() else {
        return 0;
    };
    let before = getrlimit(Resource::As);
    let limit = Rlimit {
        current: Some(now + 64 * MIB as u64),
        maximum: before.maximum,
    };
    if setrlimit(Resource::As, limit).is_err() {
        return 0;
    }
    eat(usize::MAX)
}

/// A task: takes more and more memory, up to `most` bytes and for 20 s at the most. It returns
/// only if there was no limit.
fn eat(most: usize) -> u64 {
    const PIECE: usize = 8 * MIB;
    let mut eaten = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end && eaten.len() < most / PIECE {
        eaten.push(black_box(vec![1_u8; PIECE]));
    }
    eaten.len() as u64
}
