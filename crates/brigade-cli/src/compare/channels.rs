//! The library's channels, as a task of the user's has them: the far end is a worker of either
//! kind.

use std::sync::mpsc;
use std::time::Instant;

use brigade::Kind;
use brigade::channel::{self, Receiver, Sender, Transport};

use super::stats::Summary;
use crate::cores::Pinned;
use crate::fail::{Failure, OrFail as _};
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
            let message = from.recv_timeout(PATIENCE).or_fail("receiving")?;
            if plan.job == Job::Echo {
                to.send_timeout(message, PATIENCE).or_fail("sending")?;
            }
        }
        if plan.job == Job::Sink {
            to.send_timeout(vec![1], PATIENCE).or_fail("sending")?;
        }
    }
    Ok(())
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
        |message| to_far.send_timeout(message, PATIENCE).or_fail("sending"),
        || from_far.recv_timeout(PATIENCE).or_fail("receiving"),
    );
    // With its sender the far end loses its reason to wait.
    drop((to_far, from_far));
    collect_checked(far, WHAT)?;
    driven
}

/// The same with the channels of the standard library, which reach no other process.
pub(super) fn measure_std(plan: Plan) -> Result<Summary, Failure> {
    let (to_far, from_near) = mpsc::sync_channel::<Vec<u8>>(CAPACITY);
    let (to_near, from_far) = mpsc::sync_channel::<Vec<u8>>(CAPACITY);
    // A task's input can be sent to a process, and these ends cannot: so this is a thread of the
    // standard library's too.
    std::thread::scope(|scope| {
        let far = scope.spawn(move || {
            let _stay = Pinned::to(plan.cores[1])?;
            for message in from_near {
                to_near.send(message).or_fail("sending")?;
            }
            Ok(())
        });
        let driven = drive(
            plan,
            |message| to_far.send(message).or_fail("sending"),
            || from_far.recv_timeout(PATIENCE).or_fail("receiving"),
        );
        drop((to_far, from_far));
        far.join()
            .unwrap_or_else(|_| Err(Failure::new(format!("{WHAT} panicked"))))?;
        driven
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
