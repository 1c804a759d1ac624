//! Readers of lines that are slow, gone or alone.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use brigade::process::{Builder, Output};
use brigade::{JoinError, Kind, Pool, Shared};
use brigade_test_support::procfs;
use brigade_test_support::signal::kill;
use brigade_test_support::wait::until;

use crate::{ROLE, again, read_all, write_numbers};

/// More than a pipe and a socket hold.
const MANY: u32 = 100_000;

#[test]
fn workers_do_not_wait_for_ever_and_what_is_lost_is_counted() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let worker = Builder::new().stdout(output).spawn(write_numbers, MANY);
    // Nobody reads until it has returned.
    assert_eq!(worker.expect("a worker").join().expect("it returns"), MANY);
    let (mut read, mut lost) = (0, 0);
    for line in lines {
        if line.lost() > 0 {
            lost += line.lost();
        }
        if line.is_whole() {
            assert_eq!(line.text(), format!("line {}", read + lost));
            read += 1;
        }
    }
    assert!(read > 0 && lost > 0, "{read} read, {lost} lost");
    assert_eq!(read + lost, u64::from(MANY));
}

#[test]
fn a_reader_that_comes_later_misses_nothing() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let worker = Builder::new().stdout(output).spawn(write_numbers, MANY);
    let worker = worker.expect("a worker");
    let pid = worker.pid().expect("it has begun");
    until("the worker sleeps, for it cannot write", || {
        procfs::state(pid).is_ok_and(|state| state == 'S')
    });
    let all = read_all(lines).join().expect("read");
    assert_eq!(worker.join().expect("it returns"), MANY);
    assert_eq!(all.len(), MANY as usize);
    assert!(all.iter().all(|line| line.lost() == 0 && line.is_whole()));
}

#[test]
fn nobody_reads_any_more() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let builder = Builder::new().stdout(output.clone()).stderr(output);
    let pool = Pool::builder(Kind::Process).workers(2).process(builder);
    let pool = pool.build().expect("a pool");
    drop(lines);
    let written: u32 = pool.map(write_numbers, vec![10_000; 4]).flatten().sum();
    assert_eq!(written, 40_000);
}

#[test]
fn a_worker_that_waits_for_a_reader_can_be_ended() {
    brigade::init();
    let (output, mut lines) = Output::lines().expect("lines");
    let worker = Builder::new().stdout(output).spawn(write_numbers, u32::MAX);
    let worker = worker.expect("a worker");
    let first = lines.next().expect("a line");
    assert_eq!(first.text(), "line 0");
    worker.cancel();
    assert!(matches!(worker.join(), Err(JoinError::Cancelled)));
    // What it had written comes in order, and then there is an end.
    let (mut expected, mut ended) = (1, false);
    for line in lines {
        expected += line.lost();
        if line.is_whole() {
            assert!(!ended);
            assert_eq!(line.text(), format!("line {expected}"));
            expected += 1;
        } else {
            ended = true;
        }
    }
}

/// It hears that the socket was hung up, at which it waits while it drops lines.
#[test]
fn the_fork_server_rests_when_a_reader_is_gone_that_never_read() {
    brigade::init();
    let (output, lines) = Output::lines().expect("lines");
    let worker = Builder::new()
        .stdout(output.clone())
        .spawn(write_numbers, u32::MAX);
    let worker = worker.expect("a worker");
    let pid = worker.pid().expect("it has begun");
    let server = procfs::parent(pid).expect("it is there");
    // More than there is room for anywhere.
    until("lines are dropped", || {
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).expect("it runs");
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        written.expect("proc(5)").parse::<u64>().expect("a number") > 4 << 20
    });
    drop(lines);
    until("the worker has gone on", || {
        procfs::state(pid).is_ok_and(|state| state == 'R')
    });
    worker.cancel();
    assert!(matches!(worker.join(), Err(JoinError::Cancelled)));
    until("the fork server sleeps", || {
        procfs::state(server).is_ok_and(|state| state == 'S')
    });
    drop(output);
}

#[test]
fn lines_end_with_the_fork_server() {
    brigade::init();
    if std::env::var_os(ROLE).is_none() {
        // Other tests need theirs.
        let ran = again("readers::lines_end_with_the_fork_server").output();
        let ran = ran.expect("it runs");
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && told.contains("1 passed"), "{ran:?}");
        return;
    }
    let (output, lines) = Output::lines().expect("lines");
    let lines = read_all(lines);
    let parent = |()| {
        println!("{}", std::os::unix::process::parent_id());
        loop {
            std::thread::park();
        }
    };
    let builder = Builder::new().stdout(output);
    let worker = builder.spawn(parent, ()).expect("a worker");
    drop(builder);
    let pid = worker.pid().expect("it has begun");
    let server = procfs::parent(pid).expect("it is there");
    kill(server);
    let result: Result<(), JoinError> = worker.join();
    assert!(matches!(result, Err(JoinError::Crashed(_))), "{result:?}");
    let lines = lines.join().expect("read");
    assert!(
        lines.iter().all(|line| line.text() == server.to_string()),
        "{lines:?}"
    );
    // Another one is made.
    let again = Builder::new().spawn(|n: u32| n, 1).expect("a worker");
    assert_eq!(again.join().expect("it returns"), 1);
}

/// The fork server's end closes the pipes of its workers some time before it kills them.
#[test]
fn a_task_that_prints_dies_with_the_fork_server_and_does_not_panic() {
    brigade::init();
    if std::env::var_os(ROLE).is_none() {
        // Other tests need theirs.
        let name = "readers::a_task_that_prints_dies_with_the_fork_server_and_does_not_panic";
        let ran = again(name).output().expect("it runs");
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && told.contains("1 passed"), "{ran:?}");
        return;
    }
    let print = |stderr: bool| -> u32 {
        loop {
            match stderr {
                true => eprintln!("."),
                false => println!("."),
            }
        }
    };
    for n in 0..20 {
        let builder = Builder::new().stdout(Output::null()).stderr(Output::null());
        let worker = builder.spawn(print, n % 2 == 0).expect("a worker");
        let pid = worker.pid().expect("it has begun");
        kill(procfs::parent(pid).expect("it is there"));
        let result = worker.join();
        assert!(
            matches!(result, Err(JoinError::Crashed(_))),
            "{n}: {result:?}"
        );
    }
}

/// What it makes of the broken pipe is no result: nobody could tell it from one.
#[test]
fn what_a_task_returns_for_the_end_of_its_fork_server_is_not_told() {
    brigade::init();
    if std::env::var_os(ROLE).is_none() {
        // Other tests need theirs.
        let name = "readers::what_a_task_returns_for_the_end_of_its_fork_server_is_not_told";
        let ran = again(name).output().expect("it runs");
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && told.contains("1 passed"), "{ran:?}");
        return;
    }
    let print = |(stderr, runs): (bool, Shared<AtomicU32>)| -> bool {
        runs.store(1, SeqCst);
        let print = || match stderr {
            true => writeln!(std::io::stderr(), "."),
            false => writeln!(std::io::stdout(), "."),
        };
        while print().is_ok() {}
        stderr
    };
    let builder = Builder::new().stdout(Output::null()).stderr(Output::null());
    for n in 0..40 {
        let stderr = n % 2 == 0;
        let runs = Shared::new(AtomicU32::new(0)).expect("a region");
        let (result, of) = if n % 4 < 2 {
            let worker = builder.spawn(print, (stderr, runs)).expect("a worker");
            kill(procfs::parent(worker.pid().expect("it has begun")).expect("it is there"));
            (worker.join(), "its own")
        } else {
            // Not one that has workers of the fork server before: those are about to die.
            let pool = Pool::builder(Kind::Process)
                .workers(1)
                .process(builder.clone());
            let pool = pool.build().expect("a pool");
            let handle = pool.submit(print, (stderr, runs.clone()));
            // One that is killed before it has its input runs again, under the next fork server.
            until("it runs", || runs.load(SeqCst) != 0);
            kill(procfs::parent(handle.pid().expect("it runs")).expect("it is there"));
            (handle.join(), "of a pool")
        };
        assert!(
            matches!(result, Err(JoinError::Crashed(_))),
            "{n}, in a worker {of}: {result:?}"
        );
    }
}

/// What a task has made of its own stdout is no sign of that.
#[test]
fn a_panic_for_a_broken_pipe_of_its_own_is_told() {
    brigade::init();
    let print = |()| {
        let (read, write) = std::io::pipe().expect("a pipe");
        rustix::stdio::dup2_stdout(&write).expect("its own");
        drop((read, write));
        println!("to nobody");
    };
    let worker = Builder::new().spawn(print, ()).expect("a worker");
    assert!(matches!(worker.join(), Err(JoinError::Panicked(_))));
}
