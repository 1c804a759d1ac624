//! S14, memory of an idle process worker: what would not be there without it. And a thousand of
//! them at once.

use std::io;
use std::time::Instant;

use brigade::{JoinError, process};
use brigade_test_support::doorbell::{self, Doorbell};
use brigade_test_support::wait;
use rustix::process::{Resource, Rlimit};

use crate::crew::Crew;
use crate::footprint::Memory;
use crate::helper::{Helper, Role};
use crate::report::{Goal, Row, figure};
use crate::rounds::{Contender, take_turns};
use crate::rows;
use crate::stats::Summary;

const LIMIT: f64 = 200.0;
const CROWD: usize = 1000;
/// What a login usually gets: a soft limit of the descriptors of one process.
const USUAL_DESCRIPTORS: u64 = 1024;

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    Ok(vec![
        memory(if quick { 3 } else { 20 })?,
        crowd("S14b", "1,000 process workers at once", None)?,
        crowd(
            "S14c",
            "the same, where a process may have 1,024 descriptors",
            Some(USUAL_DESCRIPTORS),
        )?,
    ])
}

fn memory(rounds: usize) -> io::Result<Row> {
    let crew = Crew::muster()?;
    let mut parent = Helper::start(Role::Parent.command())?;
    let (mut parts, mut bare_tables) = (Vec::new(), Vec::new());
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade", || {
                let spares = crew.await_spares()?;
                let memory = Memory::of(spares[0])?;
                parts.push(memory);
                // New spares for the next round.
                for _ in 0..crew.spares {
                    process::spawn(|()| (), ())?
                        .join()
                        .map_err(io::Error::other)?;
                }
                Ok(memory.private + memory.mailbox)
            }),
            Contender::new("a worker whose task waits", || {
                let bell = Doorbell::new()?;
                let handle = process::spawn(doorbell::ring_and_wait, bell.name())?;
                bell.await_ring()?;
                let memory = Memory::of(handle.pid().ok_or_else(rows::empty)?)?;
                handle.cancel();
                let _ = handle.join();
                Ok(memory.private + memory.mailbox)
            }),
            Contender::new("a bare forked child", || {
                let pid = u32::from_ne_bytes(parent.hear()?);
                let memory = Memory::of(pid)?;
                bare_tables.push(memory.tables);
                // SAFETY: no memory is involved. The child waits until it is killed, so the number
                // is its own.
                unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
                parent.tell(&[1])?;
                Ok(memory.private)
            }),
            Contender::new("an idle thread", idle_thread),
        ],
    )?;
    let mut row = Row::new("S14a", "memory of an idle process worker", "KiB", &all, &[])
        .ok_or_else(rows::empty)?;
    row.goal = Some(Goal::AtMost(LIMIT));
    let middle =
        |part: fn(&Memory) -> f64| Summary::of(parts.iter().map(part)).map_or(0.0, |s| s.median);
    let bare = Summary::of(bare_tables).map_or(0.0, |s| s.median);
    let (private, mailbox, tables) = (
        middle(|m| m.private),
        middle(|m| m.mailbox),
        middle(|m| m.tables),
    );
    let row = row.note(format!(
        "of it, private pages {} KiB, all pages of the mailbox {} KiB",
        figure(private),
        figure(mailbox)
    ));
    Ok(row.note(format!(
        "not in it, page tables: {} KiB (a bare forked child: {} KiB); together {} KiB; and, as for every thread, a kernel stack of 16 KiB",
        figure(tables),
        figure(bare),
        figure(private + mailbox + tables)
    )))
}

/// What one more thread adds to this process, from what many add.
fn idle_thread() -> io::Result<f64> {
    const MANY: usize = 64;
    let own = || Ok::<f64, io::Error>(Memory::of(std::process::id())?.private);
    let before = own()?;
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(MANY + 1));
    let threads: Vec<_> = (0..MANY)
        .map(|_| {
            let barrier = std::sync::Arc::clone(&barrier);
            std::thread::spawn(move || {
                barrier.wait();
                barrier.wait();
            })
        })
        .collect();
    barrier.wait();
    let after = own()?;
    barrier.wait();
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("a thread panicked"))?;
    }
    Ok((after - before) / MANY as f64)
}

/// A crowd of workers in a program of its own, which has that limit of descriptors from its start.
fn crowd(id: &'static str, what: &'static str, descriptors: Option<u64>) -> io::Result<Row> {
    let mut command = Role::Crowd.command();
    if let Some(limit) = descriptors {
        command.env(LIMIT_VARIABLE, limit.to_string());
    }
    let mut helper = Helper::start(command)?;
    let told = helper.hear_line()?;
    let mut words = told.splitn(3, ' ');
    let mut number = || {
        words
            .next()
            .and_then(|word| word.parse::<f64>().ok())
            .ok_or_else(|| io::Error::other(told.clone()))
    };
    let (running, milliseconds) = (number()?, number()?);
    let why = words.next().unwrap_or_default().to_owned();
    let ours = Summary::of([running]).ok_or_else(rows::empty)?;
    let goal = Some(Goal::AtLeast(CROWD as f64));
    let row = Row {
        id,
        what,
        unit: "run",
        name: "brigade",
        ours,
        goal,
        anchors: Vec::new(),
        notes: Vec::new(),
    };
    let row = row.note(format!(
        "all that started ran at the same time, {} ms after the first was asked for",
        figure(milliseconds)
    ));
    Ok(if why.is_empty() { row } else { row.note(why) })
}

const LIMIT_VARIABLE: &str = "BRIGADE_BENCHES_DESCRIPTORS";

/// In the program of its own: starts the crowd, and says in a line how many ran, how long it took,
/// and what was wrong.
pub(crate) fn play_crowd() -> io::Result<()> {
    if let Some(soft) = std::env::var(LIMIT_VARIABLE)
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
    {
        let now = rustix::process::getrlimit(Resource::Nofile);
        rustix::process::setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(soft),
                maximum: now.maximum,
            },
        )?;
    }
    let bell = Doorbell::new()?;
    let start = Instant::now();
    let mut handles = Vec::new();
    let mut why = String::new();
    let mut running = std::collections::HashSet::new();
    for _ in 0..CROWD {
        match process::spawn(doorbell::ring_and_wait, bell.name()) {
            Ok(handle) => handles.push(handle),
            Err(e) => {
                why = format!("the next one: {e}");
                break;
            }
        }
    }
    for _ in 0..handles.len() {
        running.extend(bell.await_ring()?);
    }
    let taken = start.elapsed();
    // They rang, and none has ended since: all are there at once.
    let there = handles
        .iter()
        .filter(|h| !h.is_finished() && h.pid().is_some_and(|pid| running.contains(&pid)))
        .count();
    handles.iter().for_each(brigade::JoinHandle::cancel);
    let odd = handles
        .into_iter()
        .map(brigade::JoinHandle::join)
        .filter(|end| !matches!(end, Err(JoinError::Cancelled)))
        .count();
    if odd > 0 {
        why = format!("{odd} were cancelled and ended otherwise; {why}");
    }
    println!("{there} {:.1} {why}", taken.as_secs_f64() * 1e3);
    // Until whoever asked has read it.
    wait::for_ever()
}
