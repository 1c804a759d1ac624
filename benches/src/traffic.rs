//! What passes through channels: who sends, who answers, and what is timed.

use std::io;

use brigade::channel::{self, Receiver, Sender, Transport};
use brigade::{JoinHandle, Message, process};

use crate::rounds::each;

/// 64 bytes that serde carries as 64 bytes: it writes a float whole, and other numbers as long as
/// they are large.
pub(crate) type Small = [f64; 8];

pub(crate) const SMALL: Small = [1.5; 8];

/// The part of the messages that comes before the clock is started: a fifth.
const fn warm_up(count: u32) -> u32 {
    count.div_ceil(5)
}

/// How many messages pass where `count` are timed.
pub(crate) const fn in_all(count: u32) -> u32 {
    count + warm_up(count)
}

/// Microseconds for one there and back.
pub(crate) fn round_trips(count: u32, mut once: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    each(warm_up(count), &mut once)?;
    each(count, once)
}

/// Millions of messages a second, as they arrive.
pub(crate) fn arrivals(count: u32, mut receive: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    each(warm_up(count), &mut receive)?;
    Ok(1.0 / each(count, receive)?)
}

/// GB/s, of messages of so many bytes, of which so many millions arrive in a second.
pub(crate) fn gigabytes(millions: f64, len: usize) -> f64 {
    millions * len as f64 / 1e3
}

/// The peer has ended before its time.
pub(crate) fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

pub(crate) fn join<T: Message>(worker: JoinHandle<T>) -> io::Result<T> {
    worker.join().map_err(io::Error::other)
}

/// A task: sends back what comes.
pub(crate) fn echo<T: Message>((from, to): (Receiver<T>, Sender<T>)) {
    for message in from {
        if message.is_ok_and(|message| to.send(message).is_err()) {
            return;
        }
    }
}

/// A task: sends the same again and again, until nobody receives.
fn flood<T: Message + Clone>((to, message): (Sender<T>, T)) {
    while to.send(message.clone()).is_ok() {}
}

/// A task: sends copies of the same, which it keeps.
fn lend<T: Message + Clone>((to, message): (Sender<T>, T)) {
    while to.send_ref(&message).is_ok() {}
}

/// Ours: microseconds for a message to a worker process and back.
pub(crate) fn there_and_back<T: Message + Clone>(
    over: Transport,
    capacity: usize,
    message: &T,
    count: u32,
) -> io::Result<f64> {
    let (to, from) = channel::channel(over, capacity)?;
    let (answers, back) = channel::channel(over, capacity)?;
    let worker = process::spawn(echo::<T>, (from, answers))?;
    let figure = round_trips(count, || {
        to.send(message.clone()).map_err(|_| ended())?;
        back.recv().map(drop).map_err(io::Error::other)
    })?;
    drop(to);
    join(worker)?;
    Ok(figure)
}

/// Ours: millions of messages a second from so many worker processes to this one.
pub(crate) fn one_way<T: Message + Clone>(
    over: Transport,
    capacity: usize,
    senders: usize,
    message: &T,
    count: u32,
) -> io::Result<f64> {
    one_way_by(flood::<T>, over, capacity, senders, message, count)
}

/// The same, where a sender keeps its message, as who writes into a pipe does.
pub(crate) fn one_way_lent<T: Message + Clone>(
    over: Transport,
    capacity: usize,
    message: &T,
    count: u32,
) -> io::Result<f64> {
    one_way_by(lend::<T>, over, capacity, 1, message, count)
}

fn one_way_by<T: Message + Clone>(
    task: fn((Sender<T>, T)),
    over: Transport,
    capacity: usize,
    senders: usize,
    message: &T,
    count: u32,
) -> io::Result<f64> {
    let (to, from) = channel::channel(over, capacity)?;
    let workers = (0..senders)
        .map(|_| process::spawn(task, (to.clone(), message.clone())))
        .collect::<Result<Vec<_>, _>>()?;
    drop(to);
    let figure = arrivals(count, || from.recv().map(drop).map_err(io::Error::other))?;
    drop(from);
    workers.into_iter().try_for_each(join)?;
    Ok(figure)
}
