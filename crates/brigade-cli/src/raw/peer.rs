//! The two roles of a measurement over a line, and the three ways to get a far end: in a thread, in
//! a helper program, or as that helper program.

use std::io;
use std::os::fd::{AsFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use brigade::{JoinHandle, Kind, thread};
use serde::{Deserialize, Serialize};

use super::page::{self, Page};
use super::queue::{self, Queue};
use super::stream::{self, Stream};
use super::{Job, Line, Over, Plan};
use crate::board::{Board, Mapping, Ticket};
use crate::cores::Pinned;
use crate::fail::{Failure, OrFail as _, first_cause};
use crate::helper::launch::Running;
use crate::workers::collect_checked;

/// The far end's work.
fn serve(line: &mut dyn Line, plan: Plan) -> io::Result<()> {
    let _stay = stay(plan.cores[1])?;
    let mut message = vec![0; plan.size];
    for _ in 0..=plan.batches {
        for _ in 0..plan.rounds {
            line.receive(&mut message)?;
            if plan.job == Job::Echo {
                line.send(&message)?;
            }
        }
        if plan.job == Job::Sink {
            line.send(&[1])?;
        }
    }
    Ok(())
}

fn stay(core: usize) -> io::Result<Pinned> {
    Pinned::to(core).map_err(|reason| io::Error::other(reason.to_string()))
}

/// The near end's: nanoseconds per message, one figure a batch.
fn drive(line: &mut dyn Line, plan: Plan) -> io::Result<Vec<f64>> {
    let _stay = stay(plan.cores[0])?;
    let message: Vec<u8> = (0..plan.size).map(|index| (index % 251) as u8).collect();
    let mut back = vec![0; plan.size];
    let mut figures = Vec::with_capacity(plan.batches);
    for batch in 0..=plan.batches {
        let start = Instant::now();
        for _ in 0..plan.rounds {
            line.send(&message)?;
            if plan.job == Job::Echo {
                line.receive(&mut back)?;
            }
        }
        if plan.job == Job::Sink {
            line.receive(&mut back[..1])?;
        }
        if batch > 0 {
            figures.push(start.elapsed().as_nanos() as f64 / plan.rounds as f64);
        }
    }
    // What came back is what was sent, or the figure is of something else.
    if plan.job == Job::Echo && back != message {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the peer sent other bytes back",
        ));
    }
    Ok(figures)
}

/// Nanoseconds per message over this mechanism, with the far end in a thread or in a process.
pub(crate) fn measure(over: Over, kind: Kind, plan: Plan) -> Result<Vec<f64>, Failure> {
    let ends = match over {
        Over::Pipe => stream::pipes().or_fail("making pipes")?,
        Over::Socket => stream::sockets().or_fail("making a pair of sockets")?,
        Over::Queue => queue::ends(queue_limits()?).or_fail("making message queues")?,
        Over::Page => return measure_page(kind, plan),
    };
    let [(near_in, near_out), far] = ends;
    let mut near: Box<dyn Line> = match over {
        Over::Queue => Box::new(Queue::new(near_in, near_out, queue_limits()?)),
        _ => Box::new(Stream::new(near_in, near_out)),
    };
    match kind {
        Kind::Thread => {
            let far = FarEnd::Descriptors {
                over,
                input: far.0.into_raw_fd(),
                output: far.1.into_raw_fd(),
                plan,
            };
            let handle = thread::spawn(serve_far_end, far).or_fail("starting a thread")?;
            let figures = drive(&mut *near, plan);
            drop(near);
            finish_thread(figures, handle)
        }
        Kind::Process => {
            let helper = Running::start(
                &arguments(over, plan),
                Stdio::from(far.0),
                Stdio::from(far.1),
            )?;
            let figures = drive(&mut *near, plan);
            drop(near);
            first_cause(told(figures), helper.finish_well())
        }
    }
}

fn measure_page(kind: Kind, plan: Plan) -> Result<Vec<f64>, Failure> {
    let board = Board::with_len(page::BYTES)?;
    let mut near = Page::new(Arc::clone(board.mapping()), 0, plan.is_apart());
    match kind {
        Kind::Thread => {
            let far = FarEnd::Memory {
                ticket: board.ticket(),
                plan,
            };
            let handle = thread::spawn(serve_far_end, far).or_fail("starting a thread")?;
            finish_thread(drive(&mut near, plan), handle)
        }
        Kind::Process => {
            let memory = board
                .descriptor()
                .try_clone()
                .or_fail("copying a descriptor")?;
            let helper = Running::start(
                &arguments(Over::Page, plan),
                Stdio::from(memory),
                Stdio::null(),
            )?;
            let figures = drive(&mut near, plan);
            first_cause(told(figures), helper.finish_well())
        }
    }
}

fn finish_thread(
    figures: io::Result<Vec<f64>>,
    handle: JoinHandle<Result<(), Failure>>,
) -> Result<Vec<f64>, Failure> {
    first_cause(told(figures), collect_checked(handle, "the far end"))
}

/// What the near end says.
fn told(figures: io::Result<Vec<f64>>) -> Result<Vec<f64>, Failure> {
    figures.map_err(|error| Failure::of_line("the raw mechanism", &error))
}

fn queue_limits() -> Result<queue::Limits, Failure> {
    queue::Limits::read().or_fail("message queues")
}

/// What a thread needs to be the far end.
#[derive(Debug, Serialize, Deserialize)]
enum FarEnd {
    Descriptors {
        over: Over,
        input: i32,
        output: i32,
        plan: Plan,
    },
    Memory {
        ticket: Ticket,
        plan: Plan,
    },
}

fn serve_far_end(far: FarEnd) -> Result<(), Failure> {
    match far {
        FarEnd::Descriptors {
            over,
            input,
            output,
            plan,
        } => {
            // SAFETY: `measure` gave these two up with `into_raw_fd` for this task, which is
            // started once and always as a thread of the same process; so they are open and nobody
            // else's.
            let (input, output) =
                unsafe { (OwnedFd::from_raw_fd(input), OwnedFd::from_raw_fd(output)) };
            serve_descriptors(over, input, output, plan)
        }
        FarEnd::Memory { ticket, plan } => {
            serve(&mut Page::new(ticket.open()?, 1, plan.is_apart()), plan)
                .map_err(|error| Failure::of_line("shared memory", &error))
        }
    }
}

fn serve_descriptors(
    over: Over,
    input: OwnedFd,
    output: OwnedFd,
    plan: Plan,
) -> Result<(), Failure> {
    let served = match over {
        Over::Queue => serve(&mut Queue::new(input, output, queue_limits()?), plan),
        _ => serve(&mut Stream::new(input, output), plan),
    };
    served.map_err(|error| Failure::of_line("the far end", &error))
}

/// The command line that [`as_helper`] gets.
fn arguments(over: Over, plan: Plan) -> Vec<String> {
    let over = match over {
        Over::Pipe => "pipe",
        Over::Socket => "socket",
        Over::Queue => "queue",
        Over::Page => "page",
    };
    let job = match plan.job {
        Job::Echo => "echo",
        Job::Sink => "sink",
    };
    let numbers = [
        plan.size,
        plan.rounds,
        plan.batches,
        plan.cores[0],
        plan.cores[1],
    ]
    .map(|number| number.to_string());
    ["peer", over, job]
        .into_iter()
        .map(str::to_owned)
        .chain(numbers)
        .collect()
}

/// The helper program: its standard input and output are the far end.
pub(crate) fn as_helper(over: Over, plan: Plan) -> Result<(), Failure> {
    let input = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .or_fail("standard input")?;
    if over == Over::Page {
        let memory = Arc::new(Mapping::of(input.as_fd(), page::BYTES)?);
        return serve(&mut Page::new(memory, 1, plan.is_apart()), plan).or_fail("shared memory");
    }
    let output = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .or_fail("standard output")?;
    serve_descriptors(over, input, output, plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_that_failed_by_itself_is_told_of() {
        const NO_CORE: usize = rustix::thread::CpuSet::MAX_CPU - 1;
        let [near, far] = crate::cores::pair();
        for over in [Over::Pipe, Over::Socket] {
            for (cores, is_near) in [([NO_CORE, far], true), ([near, NO_CORE], false)] {
                let plan = Plan {
                    job: Job::Echo,
                    size: 64,
                    rounds: 2,
                    batches: 1,
                    cores,
                };
                let reason = measure(over, Kind::Thread, plan).unwrap_err().to_string();
                assert!(reason.contains("staying on core"), "{over:?}: {reason}");
                assert_ne!(
                    reason.contains("the far end"),
                    is_near,
                    "{over:?}: {reason}"
                );
            }
        }
    }

    #[test]
    fn both_jobs_run_to_their_end_over_every_mechanism() {
        for over in [Over::Pipe, Over::Socket, Over::Queue, Over::Page] {
            for job in [Job::Echo, Job::Sink] {
                let plan = Plan {
                    job,
                    size: 300_000,
                    rounds: 2,
                    batches: 3,
                    cores: crate::cores::pair(),
                };
                match measure(over, Kind::Thread, plan) {
                    Ok(figures) => assert_eq!(figures.len(), 3, "{over:?} {job:?}"),
                    Err(reason) if over == Over::Queue => eprintln!("skipped, because: {reason}"),
                    Err(reason) => panic!("{over:?} {job:?}: {reason}"),
                }
            }
        }
    }
}
