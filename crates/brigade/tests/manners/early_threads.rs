//! A program in which something starts a thread before `main`, as the constructors of some C
//! libraries do (OpenBLAS, jemalloc). Its fork server has that thread too, and so cannot fork.

use std::collections::BTreeSet;
use std::time::Duration;

use brigade::channel::{Sender, Transport, channel};
use brigade::process::{Builder, StartMethod, start_method};
use brigade::sync::Mutex;
use brigade::{Cause, JoinError, Kind, Pool, Shared, process};
use libtest_mimic::Trial;

use crate::hosts::{Host, double};
use crate::observe::{check, host};
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("early-thread", everything)];

/// Set: this program is one.
const ASKED: &str = "BRIGADE_TEST_EARLY_THREAD";
const NAME: &str = "early";

type Done = Result<(), Box<dyn std::error::Error>>;

// SAFETY: a function of the type that the loader calls the entries of this section with; the static
// is only ever read by the loader.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    if std::env::var_os(ASKED).is_none() {
        return;
    }
    let (begun, begins) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name(NAME.to_owned());
    let forever = move || {
        begun.send(()).expect("it is waited for");
        loop {
            std::thread::park();
        }
    };
    thread.spawn(forever).expect("a thread");
    // It has its name by then.
    begins.recv().expect("it runs");
}

pub(crate) fn trials() -> Vec<Trial> {
    // Those of others in which much depends on how workers are made.
    let all = [
        "early-thread",
        "nested",
        "prints",
        "few-descriptors",
        "closed-streams",
        "small-files",
        "adopts-orphans",
        "loses-server",
        "keeps-handles",
    ];
    all.map(|name| {
        trial(&format!("a_thread_before_main: {name}"), move || {
            let output = host(name).env(ASKED, "1").output();
            check(name, output.expect("starts"));
        })
    })
    .into()
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Done {
    if is == should {
        return Ok(());
    }
    Err(format!("{what}: {is:?}, not {should:?}").into())
}

fn everything(_: &[String]) -> Done {
    brigade::init();
    let method = start_method()?;
    let StartMethod::Exec { threads, .. } = &method else {
        return Err(format!("{method}").into());
    };
    expect("its threads", threads.clone(), vec![NAME.to_owned()])?;
    if !method.to_string().contains("(early)") {
        return Err(format!("says nothing of the thread: {method}").into());
    }
    single_processes()?;
    pools()?;
    channels_and_locks()
}

#[inline(never)]
fn faulty(address: usize) -> u8 {
    // SAFETY: none: it is to fault.
    unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() }
}

#[inline(never)]
fn panics(n: u32) -> u32 {
    assert!(n > 100, "{n} is too little");
    n
}

fn leaves(status: i32) {
    // SAFETY: does not return.
    unsafe { libc::_exit(status) }
}

fn single_processes() -> Done {
    expect("a task", process::spawn(double, 21)?.join()?, 42)?;
    let large = process::spawn(|v: Vec<u8>| v, vec![7; 1 << 20])?.join()?;
    expect("a large value", large.len(), 1 << 20)?;

    let set = Builder::new()
        .name("named")
        .env("BRIGADE_TEST_VALUE", "set")
        .current_dir("/proc")
        .spawn(
            |()| {
                let there = std::env::current_dir().unwrap_or_default();
                let name = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
                (std::env::var("BRIGADE_TEST_VALUE").ok(), there, name)
            },
            (),
        )?
        .join()?;
    let (value, there, name) = set;
    expect("a variable", value.as_deref(), Some("set"))?;
    expect("a directory", there, "/proc".into())?;
    expect("a name", name.trim(), "named")?;
    let cleared = Builder::new().env_clear().env("ONLY", "this");
    let only = cleared.spawn(|()| std::env::vars().collect::<Vec<_>>(), ())?;
    expect(
        "an environment",
        only.join()?,
        vec![("ONLY".to_owned(), "this".to_owned())],
    )?;

    match process::spawn(faulty, 0x10)?.join() {
        Err(JoinError::Crashed(crash)) => {
            expect(
                "a fault's cause",
                crash.cause(),
                &Cause::Signal(libc::SIGSEGV),
            )?;
            // The worker's memory is laid out as no other process's.
            let calls = crash.backtrace().unwrap_or_default();
            if !calls.contains("early_threads::faulty") {
                return Err(format!("the fault is nowhere in {calls}").into());
            }
        }
        other => return Err(format!("a fault: {other:?}").into()),
    }
    match process::spawn(panics, 3)?.join() {
        Err(JoinError::Panicked(panic)) => {
            expect("a panic", panic.message(), "3 is too little")?;
            let calls = panic.backtrace().unwrap_or_default();
            if !calls.contains("early_threads::panics") {
                return Err(format!("the panic is nowhere in {calls}").into());
            }
        }
        other => return Err(format!("a panic: {other:?}").into()),
    }
    match process::spawn(leaves, 3)?.join() {
        Err(JoinError::Crashed(crash)) => {
            expect::<&Cause>("an exit", crash.cause(), &Cause::Exit(3))?;
        }
        Ok(()) => return Err("it returned".into()),
        other => return Err(format!("an exit: {other:?}").into()),
    }
    Ok(())
}

fn pools() -> Done {
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .timeout(Duration::from_secs(1))
        .build()?;
    for (n, doubled) in (0..).zip(pool.map(double, 0..1000)) {
        expect("of a map", doubled?, 2 * n)?;
    }
    let mut pids = BTreeSet::new();
    for n in 0..20 {
        match pool
            .submit(|n: u32| if n < 4 { std::process::abort() } else { n }, n)
            .join()
        {
            Ok(m) if n >= 4 => expect("of a pool", m, n)?,
            Err(JoinError::Crashed(crash)) if n < 4 => {
                expect("an abort", crash.cause(), &Cause::Abort)?;
                pids.insert(crash.pid());
            }
            other => return Err(format!("task {n}: {other:?}").into()),
        }
    }
    expect("workers that aborted", pids.len(), 4)?;
    match pool
        .submit(
            |()| loop {
                std::hint::spin_loop()
            },
            (),
        )
        .join()
    {
        Err::<(), _>(JoinError::TimedOut(_)) => {}
        other => return Err(format!("a timeout: {other:?}").into()),
    }
    expect("after all that", pool.submit(double, 4).join()?, 8)
}

fn channels_and_locks() -> Done {
    for transport in Transport::ALL {
        let (sender, receiver) = channel::<u32>(transport, 4)?;
        let sending = process::spawn(
            |to: Sender<u32>| (0..100).all(|n| to.send(n).is_ok()),
            sender,
        )?;
        let received = receiver.iter().collect::<Result<Vec<_>, _>>()?;
        expect("a channel", received, (0..100).collect())?;
        expect("its sender", sending.join()?, true)?;
    }
    let counter = Shared::new(Mutex::new(0_u64))?;
    let holder = process::spawn(
        |counter: Shared<Mutex<u64>>| -> () {
            let _guard = counter.lock();
            std::process::abort()
        },
        counter.clone(),
    )?;
    if holder.join().is_ok() {
        return Err("who held the lock lives".into());
    }
    match counter.lock() {
        Err(_) => Ok(()),
        Ok(_) => Err("its holder died, and it is not poisoned".into()),
    }
}
