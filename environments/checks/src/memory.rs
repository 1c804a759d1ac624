//! A program of 40 MiB, and a task that takes more memory than the control group has left.

use brigade::{Cause, JoinError, process};

use crate::Outcome;
use crate::contract::double;

const HOST: usize = 40 << 20;
const TASK: usize = 200 << 20;

/// The task is killed, and named so; the program lives, and its next task runs.
pub(crate) fn outgrow() -> Outcome {
    let held = touched(HOST);
    let task = process::spawn(take, TASK).map_err(|e| format!("not started: {e}"))?;
    match task.join() {
        Err(JoinError::Crashed(crash)) if *crash.cause() == Cause::OutOfMemory => {}
        other => return Err(format!("instead of being out of memory: {other:?}")),
    }
    let next = process::spawn(double, 21).map_err(|e| format!("the next: {e}"))?;
    let ended = next.join().map_err(|e| format!("the next: {e}"))?;
    // The program's memory was in use all the while.
    (ended == 42 && held.len() == HOST)
        .then_some(())
        .ok_or_else(|| format!("21 doubled is {ended}"))
}

fn take(bytes: usize) -> usize {
    std::hint::black_box(touched(bytes)).len()
}

/// Memory of so many bytes that is really there.
fn touched(bytes: usize) -> Vec<u8> {
    std::hint::black_box(vec![1; bytes])
}
