//! It returns, it panics, it is cancelled, its handle is dropped.

use std::path::PathBuf;
use std::time::Duration;

use brigade::{JoinError, Kind, Message};
use brigade_test_support::signal::exists;
use brigade_test_support::wait;

use crate::{Fifo, each_way};

fn panicking<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> brigade::Panic {
    match ended {
        Err(JoinError::Panicked(panic)) => panic,
        other => panic!("expected a panic, got {other:?}"),
    }
}

#[test]
fn it_returns() {
    each_way(|starter| {
        let sum = starter.start(|v: Vec<u64>| v.into_iter().sum::<u64>(), vec![1, 2, 3]);
        assert_eq!(sum.kind(), starter.kind());
        assert_eq!(sum.join().expect("returns"), 6);
    });
}

#[test]
fn it_panics() {
    each_way(|starter| {
        let panicked = starter.start(|n: i32| -> i32 { panic!("no {n}") }, 3);
        let panic = panicking(panicked.join());
        assert_eq!(panic.message(), "no 3");
        assert!(
            panic.location().is_some_and(|l| l.contains("ends.rs:")),
            "{:?}",
            panic.location()
        );
        assert!(
            // In optimized programs a task that is inlined has its place only.
            (panic.backtrace()).is_some_and(|b| b.contains("it_panics") || b.contains("ends.rs")),
            "{:?}",
            panic.backtrace()
        );
        let told = JoinError::Panicked(panic).to_string();
        assert!(
            told.contains("no 3") && told.contains("closure") && told.contains("ends"),
            "{told}"
        );
    });
}

#[test]
fn it_panics_with_something_that_is_no_text() {
    each_way(|starter| {
        let panicked = starter.start(|()| -> () { std::panic::panic_any(7_u8) }, ());
        let panic = panicking(panicked.join());
        assert_eq!(panic.message(), "Box<dyn Any>");
    });
}

#[test]
fn a_long_panic_message_arrives_or_is_cut_at_a_character() {
    each_way(|starter| {
        let panicked = starter.start(|()| -> () { panic!("{}", "ä".repeat(100_000)) }, ());
        let panic = panicking(panicked.join());
        assert!(
            panic.message().chars().count() > 1000 && panic.message().chars().all(|c| c == 'ä')
        );
    });
}

fn say_and_wait((said, go): (PathBuf, PathBuf)) -> String {
    std::fs::write(said, "running").expect("the test reads");
    std::fs::read_to_string(go).expect("the test writes")
}

#[test]
fn it_is_cancelled_while_it_runs() {
    each_way(|starter| {
        let (said, go) = (Fifo::new(), Fifo::new());
        let handle = starter.start(say_and_wait, (said.path(), go.path()));
        said.hear();
        assert!(!handle.is_finished());
        let pid = handle.pid();
        handle.cancel();
        handle.cancel();
        assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
        match starter.kind() {
            // Let go: it still runs, and ends when it likes.
            Kind::Thread => go.tell("end"),
            Kind::Process => assert!(
                !exists(pid.expect("a process")),
                "it is gone when the caller hears of it"
            ),
        }
    });
}

#[test]
fn cancelling_what_has_ended_changes_nothing() {
    each_way(|starter| {
        let handle = starter.start(|n: u8| n, 9);
        wait_until_finished(&handle);
        handle.cancel();
        assert_eq!(handle.join().expect("it had ended"), 9);
        let next = starter.start(|n: u8| n, 3);
        assert_eq!(next.join().expect("it was not meant"), 3);
    });
}

#[test]
fn its_handle_is_dropped_and_it_runs_on() {
    each_way(|starter| {
        let (said, go, done) = (Fifo::new(), Fifo::new(), Fifo::new());
        let handle = starter.start(
            |(said, go, done): (PathBuf, PathBuf, PathBuf)| {
                let word = say_and_wait((said, go));
                std::fs::write(done, word).expect("the test reads");
            },
            (said.path(), go.path(), done.path()),
        );
        said.hear();
        drop(handle);
        go.tell("detached");
        assert_eq!(done.hear(), "detached");
    });
}

#[test]
fn a_process_takes_its_children_along() {
    brigade::init();
    /// Starts a child, and a grandchild that leaves the session and the group, and tells their
    /// numbers.
    #[expect(
        clippy::zombie_processes,
        reason = "what becomes of children that nobody waits for is the question"
    )]
    fn multiply((said, go): (PathBuf, PathBuf)) {
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", "echo up; exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let child = child.expect("sh starts");
        let daemon = std::process::Command::new("/bin/sh")
            .args([
                "-c",
                "setsid sh -c 'echo $$; trap \"\" TERM HUP; read never < \"$0\"' \"$0\" &",
            ])
            .arg(&go)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut number = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(daemon.stdout.expect("piped")),
            &mut number,
        )
        .expect("it tells");
        std::fs::write(said, format!("{} {}", child.id(), number.trim())).expect("the test reads");
        std::fs::read_to_string(go).expect("never written");
    }
    let (said, go) = (Fifo::new(), Fifo::new());
    let handle = brigade::process::spawn(multiply, (said.path(), go.path())).expect("starts");
    let pids: Vec<u32> = said
        .hear()
        .split(' ')
        .map(|p| p.parse().expect("a number"))
        .collect();
    assert!(pids.iter().all(|&p| exists(p)), "{pids:?} are alive");
    handle.cancel();
    assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
    for pid in pids {
        assert!(!exists(pid), "{pid} is gone when the caller hears of it");
    }
}

#[test]
fn grace_lets_a_process_end_by_itself() {
    brigade::init();
    fn ends_well((said, done): (PathBuf, PathBuf)) {
        static TERMINATED: std::sync::atomic::AtomicBool =
            std::sync::atomic::AtomicBool::new(false);
        extern "C" fn note(_: i32) {
            TERMINATED.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        // SAFETY: the handler stores a flag.
        unsafe { libc::signal(libc::SIGTERM, note as extern "C" fn(i32) as usize) };
        std::fs::write(said, "running").expect("the test reads");
        while !TERMINATED.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        std::fs::write(done, "ended well").expect("the test reads");
    }
    let (said, done) = (Fifo::new(), Fifo::new());
    let builder = brigade::process::Builder::new().grace(wait::LIMIT);
    let handle = builder
        .spawn(ends_well, (said.path(), done.path()))
        .expect("starts");
    said.hear();
    handle.cancel();
    assert_eq!(done.hear(), "ended well");
    assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
}

#[test]
fn grace_ends() {
    brigade::init();
    fn deaf(said: PathBuf) {
        // SAFETY: ignores a signal.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        std::fs::write(said, "running").expect("the test reads");
        loop {
            std::hint::spin_loop();
        }
    }
    let said = Fifo::new();
    let handle = brigade::process::Builder::new()
        .grace(Duration::from_millis(30))
        .spawn(deaf, said.path())
        .expect("starts");
    said.hear();
    handle.cancel();
    assert!(matches!(handle.join(), Err(JoinError::Cancelled)));
}

pub(crate) fn wait_until_finished<R: Message>(handle: &brigade::JoinHandle<R>) {
    wait::until("it ends", || handle.is_finished());
}
