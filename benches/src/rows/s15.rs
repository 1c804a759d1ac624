//! S15, large values: a `Vec<u8>` to a worker process and back, through a pool and through
//! channels, each way apart.
//!
//! The vector is there before the clock starts, at the end that gives it, and it is given away. The
//! clock stops when the other end has it: a worker says so in a result or a message of one word.
//! The floor is what any way over shared memory comes to, a copy in and a copy out, each into a
//! fresh buffer for which huge pages were asked.

use std::io;
use std::sync::Mutex;
use std::time::Instant;

use brigade::channel::{self, Receiver, Sender, Transport};
use brigade::{JoinHandle, Kind, Pool, process};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use crate::report::{Goal, Row};
use crate::rounds::{Contender, microseconds, take_turns};
use crate::rows;
use crate::traffic::{ended, join};

const FLOOR: &str = "floor: two copies into fresh memory";
const MIB: usize = 1 << 20;

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    let rounds = if quick { 7 } else { 15 };
    let mut all = sizes("16 MiB", 16 * MIB, rounds, ["S15a", "S15b"])?;
    all.extend(sizes("64 MiB", 64 * MIB, rounds, ["S15c", "S15d"])?);
    all.extend(sizes("1 GiB", 1024 * MIB, 3, ["S15e", "S15f"])?);
    Ok(all)
}

fn sizes(
    size: &'static str,
    len: usize,
    rounds: usize,
    [to, back]: [&'static str; 2],
) -> io::Result<Vec<Row>> {
    let pool = Pool::builder(Kind::Process).workers(1).build()?;
    let shm = Peer::new(Transport::SharedMemory)?;
    let pipe = Peer::new(Transport::Pipe)?;
    let goals = [(FLOOR, Goal::AtMost(1.4))];
    let there = take_turns(
        rounds,
        vec![
            Contender::new("brigade, a pool's input", || {
                let value = vec![7; len];
                timed(|| join(pool.submit(length, value)).map(drop))
            }),
            Contender::new(FLOOR, || floor(len)),
            Contender::new("ours, channel::shm", || shm.there(len)),
            Contender::new("ours, channel::pipe", || pipe.there(len)),
        ],
    )?;
    let back_again = take_turns(
        rounds,
        vec![
            Contender::new("brigade, a pool's result", || {
                join(pool.submit(make, len))?;
                let mut value = Vec::new();
                let figure = timed(|| {
                    value = join(pool.submit(give, ()))?;
                    Ok(())
                })?;
                check(value.len(), len)?;
                Ok(figure)
            }),
            Contender::new(FLOOR, || floor(len)),
            Contender::new("ours, channel::shm", || shm.back(len)),
            Contender::new("ours, channel::pipe", || pipe.back(len)),
        ],
    )?;
    let row = |id, what: String, series: &[_]| {
        Row::new(id, what.leak(), "ms", series, &goals).ok_or_else(rows::empty)
    };
    Ok(vec![
        row(to, format!("a `Vec<u8>` of {size} to a worker"), &there)?,
        row(back, format!("the same, {size} from a worker"), &back_again)?,
    ])
}

fn timed(work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(microseconds(start.elapsed()) / 1e3)
}

fn check(found: usize, expected: usize) -> io::Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!("{found} bytes of {expected}"))),
    }
}

fn length(value: Vec<u8>) -> usize {
    value.len()
}

/// What a worker has ready.
static READY: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn make(len: usize) {
    *READY.lock().unwrap_or_else(|e| e.into_inner()) = vec![7; len];
}

fn give((): ()) -> Vec<u8> {
    std::mem::take(&mut READY.lock().unwrap_or_else(|e| e.into_inner()))
}

/// What a worker is asked for: to take a value, or to give one. It is asked twice for one that it
/// gives: to make it, and to send it.
#[derive(serde::Serialize, serde::Deserialize)]
enum Wanted {
    Take,
    Make(usize),
}

/// A worker at the other end of two channels.
struct Peer {
    orders: Sender<Wanted>,
    to: Sender<Vec<u8>>,
    from: Receiver<Vec<u8>>,
    done: Receiver<usize>,
    _worker: JoinHandle<()>,
}

type Ends = (
    Receiver<Wanted>,
    Receiver<Vec<u8>>,
    Sender<Vec<u8>>,
    Sender<usize>,
);

fn serve((orders, from, to, done): Ends) {
    for order in orders.iter().flatten() {
        let sent = match order {
            Wanted::Take => from
                .recv()
                .is_ok_and(|value| done.send(value.len()).is_ok()),
            Wanted::Make(len) => {
                let value = vec![7; len];
                done.send(len).is_ok() && orders.recv().is_ok() && to.send(value).is_ok()
            }
        };
        if !sent {
            return;
        }
    }
}

impl Peer {
    fn new(over: Transport) -> io::Result<Peer> {
        let (orders, theirs) = channel::channel(Transport::SharedMemory, 4)?;
        let (to, from) = channel::channel(over, 4)?;
        let (answers, back) = channel::channel(over, 4)?;
        let (says, done) = channel::channel(Transport::SharedMemory, 4)?;
        let worker = process::spawn(serve, (theirs, from, answers, says))?;
        Ok(Peer {
            orders,
            to,
            from: back,
            done,
            _worker: worker,
        })
    }

    fn ask(&self, wanted: Wanted) -> io::Result<()> {
        self.orders.send(wanted).map_err(|_| ended())
    }

    fn there(&self, len: usize) -> io::Result<f64> {
        let value = vec![7; len];
        timed(|| {
            self.ask(Wanted::Take)?;
            self.to.send(value).map_err(|_| ended())?;
            check(self.done.recv().map_err(io::Error::other)?, len)
        })
    }

    fn back(&self, len: usize) -> io::Result<f64> {
        self.ask(Wanted::Make(len))?;
        check(self.done.recv().map_err(io::Error::other)?, len)?;
        let mut value = Vec::new();
        let figure = timed(|| {
            self.ask(Wanted::Take)?;
            value = self.from.recv().map_err(io::Error::other)?;
            Ok(())
        })?;
        check(value.len(), len)?;
        Ok(figure)
    }
}

fn floor(len: usize) -> io::Result<f64> {
    let source = vec![7_u8; len];
    let mut figure = 0.0;
    let first = Fresh::new(len)?;
    let second = Fresh::new(len)?;
    figure += timed(|| {
        // SAFETY: both are `len` bytes long, and new.
        unsafe {
            std::ptr::copy_nonoverlapping(source.as_ptr(), first.start(), len);
            std::ptr::copy_nonoverlapping(first.start(), second.start(), len);
        }
        Ok(())
    })?;
    Ok(figure)
}

/// New memory, whose pages the kernel has not given yet.
struct Fresh {
    at: *mut u8,
    len: usize,
}

const HUGE: usize = 2 * MIB;

impl Fresh {
    fn new(len: usize) -> io::Result<Fresh> {
        let len = len + HUGE;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        unsafe {
            let at = rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?;
            let _ = rustix::mm::madvise(at, len, Advice::LinuxHugepage);
            Ok(Fresh { at: at.cast(), len })
        }
    }

    /// Where a huge page can begin.
    fn start(&self) -> *mut u8 {
        self.at.wrapping_add(self.at.align_offset(HUGE))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // SAFETY: `new` mapped these bytes, and the pointers that `start` gave are not used after
        // this value is dropped: both are locals of `floor`, which outlives its copies.
        let _ = unsafe { rustix::mm::munmap(self.at.cast(), self.len) };
    }
}
