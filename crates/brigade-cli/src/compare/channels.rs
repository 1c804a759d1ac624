//! The library's channels, as a task of the user's has them: the far end is a worker of either
//! kind.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use brigade::Kind;
use brigade::channel::{self, Receiver, Sender, Transport};

use super::stats::Summary;
use crate::cores::Pinned;
use crate::fail::{Failure, OrFail as _, first_cause};
use crate::raw::{Job, Plan};
use crate::workers::{PATIENCE, collect_checked};

/// How many messages may be on their way: what every message queue has room for.
const CAPACITY: usize = 8;

const WHAT: &str = "the far end of a channel";

/// A task, the far end: receives, and sends back what the plan says.
fn serve((from, to, plan): (Receiver<Vec<u8>>, Sender<Vec<u8>>, Plan)) -> Result<(), Failure> {
    let _stay = Pinned::to(plan.cores[1])?;
    for _ in 0..=plan.batches {
        for _ in 0..plan.rounds {
            let message = receive(&from)?;
            if plan.job == Job::Echo {
                send(&to, message)?;
            }
        }
        if plan.job == Job::Sink {
            send(&to, vec![1])?;
        }
    }
    Ok(())
}

fn send(to: &Sender<Vec<u8>>, message: Vec<u8>) -> Result<(), Failure> {
    to.send_timeout(message, PATIENCE).map_err(|error| {
        let gone = error.is_disconnected();
        failed("sending", gone, &error)
    })
}

fn receive(from: &Receiver<Vec<u8>>) -> Result<Vec<u8>, Failure> {
    from.recv_timeout(PATIENCE)
        .map_err(|error| failed("receiving", error.is_disconnected(), &error))
}

fn failed(what: &str, is_disconnected: bool, error: &dyn std::error::Error) -> Failure {
    let reason = format!("{what}: {error}");
    if is_disconnected {
        Failure::by_other_side(reason)
    } else {
        Failure::new(reason)
    }
}

/// Nanoseconds per message.
pub(super) fn measure(over: Transport, kind: Kind, plan: Plan) -> Result<Summary, Failure> {
    let (to_far, from_near) = channel::channel(over, CAPACITY).or_fail("making a channel")?;
    let (to_near, from_far) = channel::channel(over, CAPACITY).or_fail("making a channel")?;
    let far = kind
        .spawn(serve, (from_near, to_near, plan))
        .or_fail("starting the far end")?;
    let driven = drive(
        plan,
        |message| send(&to_far, message),
        || receive(&from_far),
    );
    // With its sender the far end loses its reason to wait.
    drop((to_far, from_far));
    first_cause(driven, collect_checked(far, WHAT))
}

/// As above with the channels of the standard library, which reach no other process.
pub(super) fn measure_std(plan: Plan) -> Result<Summary, Failure> {
    let (to_far, from_near) = mpsc::sync_channel::<Vec<u8>>(CAPACITY);
    let (to_near, from_far) = mpsc::sync_channel::<Vec<u8>>(CAPACITY);
    // A task's input can be sent to a process, and these ends cannot: so this is a thread of the
    // standard library's too.
    std::thread::scope(|scope| {
        let far = scope.spawn(move || {
            let _stay = Pinned::to(plan.cores[1])?;
            for message in from_near {
                let sent = to_near.send(message);
                sent.map_err(|error| failed("sending", true, &error))?;
            }
            Ok(())
        });
        let driven = drive(
            plan,
            |message| {
                let sent = to_far.send(message);
                sent.map_err(|error| failed("sending", true, &error))
            },
            || {
                let received = from_far.recv_timeout(PATIENCE);
                received.map_err(|error| {
                    failed("receiving", error == RecvTimeoutError::Disconnected, &error)
                })
            },
        );
        drop((to_far, from_far));
        let far = far
            .join()
            .unwrap_or_else(|_| Err(Failure::new(format!("{WHAT} panicked"))));
        first_cause(driven, far)
    })
}

/// The near end. The first batch warms up.
fn drive(
    plan: Plan,
    send: impl Fn(Vec<u8>) -> Result<(), Failure>,
    receive: impl Fn() -> Result<Vec<u8>, Failure>,
) -> Result<Summary, Failure> {
    let _stay = Pinned::to(plan.cores[0])?;
    let message: Vec<u8> = (0..plan.size).map(|index| (index % 251) as u8).collect();
    let mut back = Vec::new();
    let mut figures = Vec::with_capacity(plan.batches);
    for batch in 0..=plan.batches {
        let start = Instant::now();
        for _ in 0..plan.rounds {
            send(message.clone())?;
            if plan.job == Job::Echo {
                back = receive()?;
            }
        }
        if plan.job == Job::Sink {
            receive()?;
        }
        if batch > 0 {
            figures.push(start.elapsed().as_nanos() as f64 / plan.rounds as f64);
        }
    }
    if plan.job == Job::Echo && back != message {
        return Err(Failure::new("the far end sent other bytes back"));
    }
    Summary::of(&figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core that no machine has: the end that is to stay there fails, and by itself.
    const NO_CORE: usize = rustix::thread::CpuSet::MAX_CPU - 1;

    #[test]
    fn the_end_that_failed_by_itself_is_told_of() {
        brigade::init();
        let [near, far] = crate::cores::pair();
        for over in [Transport::SharedMemory, Transport::Pipe, Transport::Socket] {
            for kind in crate::workers::KINDS {
                for (cores, is_near) in [([NO_CORE, far], true), ([near, NO_CORE], false)] {
                    let plan = Plan {
                        job: Job::Sink,
                        size: 64,
                        rounds: 4_000,
                        batches: 1,
                        cores,
                    };
                    let reason = measure(over, kind, plan).unwrap_err().to_string();
                    assert!(
                        reason.contains("staying on core"),
                        "{over} {kind}: {reason}"
                    );
                    assert_ne!(reason.contains(WHAT), is_near, "{over} {kind}: {reason}");
                }
            }
        }
    }

    #[test]
    fn both_jobs_run_to_their_end_over_every_transport() {
        for over in Transport::ALL {
            for job in [Job::Echo, Job::Sink] {
                let plan = Plan {
                    job,
                    size: 300_000,
                    rounds: 2,
                    batches: 3,
                    cores: crate::cores::pair(),
                };
                match measure(over, Kind::Thread, plan) {
                    Ok(figure) => assert_eq!(figure.samples, 3, "{over} {job:?}"),
                    Err(reason) if over == Transport::Queue => {
                        eprintln!("skipped, because: {reason}");
                    }
                    Err(reason) => panic!("{over} {job:?}: {reason}"),
                }
                if job == Job::Echo {
                    assert!(measure_std(plan).is_ok());
                }
            }
        }
    }
}
