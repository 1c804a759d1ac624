//! Kills the pool's workers at random, as a machine that is short of memory does, or an operator.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use brigade::Pool;
use rustix::process::{Pid, Signal, kill_process};

/// Kills a worker process every so often, on average, until `over` is hung up. Gives how many.
pub(crate) fn kill_workers(pool: &Pool, mean: Duration, over: &Receiver<()>) -> u32 {
    let mut killed = 0;
    while let Err(RecvTimeoutError::Timeout) =
        over.recv_timeout(mean.mul_f64(2.0 * fastrand::f64()))
    {
        let pids = pool.pids();
        let chosen = fastrand::choice(&pids).and_then(|&pid| Pid::from_raw(pid.cast_signed()));
        // It may have ended by itself.
        if chosen.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()) {
            killed += 1;
        }
    }
    killed
}
