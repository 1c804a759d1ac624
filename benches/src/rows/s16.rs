//! S16, a worker in a sandbox: (a) a process of its own, one after another; (b) a pool's, per task;
//! (c) a pool in which each task has a worker that nothing ran in before.

use std::io;
use std::process::{Command, Stdio};

use brigade::{Kind, Pool, Sandbox, process};

use crate::pooled;
use crate::report::{Goal, Row};
use crate::rounds::{Contender, each, take_turns};
use crate::rows;

const WORKERS: usize = 2;
/// For what takes about a microsecond.
const MANY: u32 = 20_000;
/// For what takes hundreds.
const FEW: u32 = 50;

const PLAIN: &str = "a worker without a sandbox";
const PLAIN_SETUP: &str = "the same, with a name of its own";
const BUBBLEWRAP: &str = "bubblewrap, nothing shared, /bin/true";

pub(super) fn measure(quick: bool) -> io::Result<Vec<Row>> {
    Ok(vec![
        fresh(if quick { 6 } else { 40 })?,
        pooled(if quick { 10 } else { 50 })?,
        per_task(if quick { 6 } else { 40 })?,
    ])
}

fn shut_in() -> process::Builder {
    process::Builder::new().sandbox(Sandbox::deny_all())
}

fn spawned(builder: &process::Builder) -> io::Result<()> {
    let worker = builder.spawn(|()| (), ())?;
    worker.join().map_err(io::Error::other)
}

/// `None`: there is none here.
fn bubblewrap() -> Option<()> {
    let status = Command::new("bwrap")
        .args([
            "--unshare-all",
            "--die-with-parent",
            "--ro-bind",
            "/",
            "/",
            "/bin/true",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success()).then_some(())
}

fn fresh(rounds: usize) -> io::Result<Row> {
    let (plain, named) = (process::Builder::new(), process::Builder::new().name("x"));
    let shut_in = shut_in();
    let mut contenders = vec![
        Contender::new("brigade, Sandbox::deny_all", || {
            each(FEW, || spawned(&shut_in))
        }),
        Contender::new(PLAIN, || each(FEW, || spawned(&plain))),
        Contender::new(PLAIN_SETUP, || each(FEW, || spawned(&named))),
    ];
    let has_bubblewrap = bubblewrap().is_some();
    if has_bubblewrap {
        contenders.push(Contender::new(BUBBLEWRAP, || {
            each(FEW / 10, || bubblewrap().ok_or_else(rows::empty))
        }));
    }
    let all = take_turns(rounds, contenders)?;
    let what = "a process in a sandbox: spawn + join, one after another";
    let goals = [(BUBBLEWRAP, Goal::AtMost(0.2))];
    let mut row = Row::new("S16a", what, "µs", &all, &goals).ok_or_else(rows::empty)?;
    row.goal = Some(Goal::AtMost(1000.0));
    let missing = "bubblewrap is not installed, or may not make namespaces: not compared";
    Ok(row.notes((!has_bubblewrap).then(|| missing.to_owned())))
}

fn pooled(rounds: usize) -> io::Result<Row> {
    let pool = |builder| {
        Pool::builder(Kind::Process)
            .workers(WORKERS)
            .process(builder)
            .build()
    };
    let (ours, plain) = (pool(shut_in())?, pool(process::Builder::new())?);
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade, Sandbox::deny_all", || {
                pooled::one_at_a_time(&ours, MANY)
            }),
            Contender::new(PLAIN, || pooled::one_at_a_time(&plain, MANY)),
        ],
    )?;
    let what = "a pool of 2 in a sandbox: submit + join of a null task, one at a time";
    let goals = [(PLAIN, Goal::AtMost(1.05))];
    Row::new("S16b", what, "µs", &all, &goals).ok_or_else(rows::empty)
}

fn per_task(rounds: usize) -> io::Result<Row> {
    let pool = |builder| {
        Pool::builder(Kind::Process)
            .workers(WORKERS)
            .fresh_per_task(true)
            .process(builder)
            .build()
    };
    let (ours, open) = (pool(shut_in())?, pool(process::Builder::new())?);
    let plain = process::Builder::new();
    const OPEN: &str = "the same without a sandbox";
    let all = take_turns(
        rounds,
        vec![
            Contender::new("brigade, Sandbox::deny_all", || {
                pooled::one_at_a_time(&ours, FEW)
            }),
            Contender::new(OPEN, || pooled::one_at_a_time(&open, FEW)),
            Contender::new(PLAIN, || each(FEW, || spawned(&plain))),
        ],
    )?;
    let what = "a pool of 2 with a fresh worker for each task, in a sandbox";
    let goals = [(PLAIN, Goal::AtMost(2.0))];
    Row::new("S16c", what, "µs", &all, &goals).ok_or_else(rows::empty)
}
