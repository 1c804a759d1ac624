//! Channels between threads: what they cost where nothing has to leave the process.

use std::io;
use std::sync::mpsc;
use std::thread;

use crate::traffic::{SMALL, arrivals, in_all, round_trips};

pub(crate) const CROSSBEAM: &str = "crossbeam bounded (threads)";
pub(crate) const MPSC: &str = "std mpsc (threads)";

fn join<T>(thread: thread::JoinHandle<T>) -> io::Result<T> {
    thread
        .join()
        .map_err(|_| io::Error::other("a thread panicked"))
}

/// Microseconds for 64 bytes there and back.
pub(crate) fn crossbeam_there_and_back(count: u32) -> io::Result<f64> {
    let (to, from) = crossbeam_channel::bounded(16);
    let (answers, back) = crossbeam_channel::bounded(16);
    let thread = thread::spawn(move || from.iter().all(|message| answers.send(message).is_ok()));
    let figure = round_trips(count, || {
        to.send(SMALL).map_err(io::Error::other)?;
        back.recv().map(drop).map_err(io::Error::other)
    })?;
    drop(to);
    join(thread)?;
    Ok(figure)
}

/// Microseconds for 64 bytes there and back.
pub(crate) fn mpsc_there_and_back(count: u32) -> io::Result<f64> {
    let (to, from) = mpsc::channel();
    let (answers, back) = mpsc::channel();
    let thread = thread::spawn(move || from.iter().all(|message| answers.send(message).is_ok()));
    let figure = round_trips(count, || {
        to.send(SMALL).map_err(io::Error::other)?;
        back.recv().map(drop).map_err(io::Error::other)
    })?;
    drop(to);
    join(thread)?;
    Ok(figure)
}

/// Millions of messages of 64 bytes a second from so many threads.
pub(crate) fn crossbeam_one_way(capacity: usize, senders: u32, count: u32) -> io::Result<f64> {
    let (to, from) = crossbeam_channel::bounded(capacity);
    let threads: Vec<_> = (0..senders)
        .map(|_| {
            let to = to.clone();
            thread::spawn(move || (0..in_all(count)).all(|_| to.send(SMALL).is_ok()))
        })
        .collect();
    let figure = arrivals(count, || from.recv().map(drop).map_err(io::Error::other))?;
    drop(from);
    for thread in threads {
        join(thread)?;
    }
    Ok(figure)
}
