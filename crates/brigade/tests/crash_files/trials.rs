//! The tests.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use brigade::pool::Context;
use brigade::{Crash, Descriptor, JoinError, Kind, Message, Pool, PoolBuilder, process};
use libtest_mimic::{Failed, Trial};

use crate::tasks;

pub(crate) fn all() -> Vec<Trial> {
    let mut all = vec![
        trial(
            "each_way_to_die_dies_so_again",
            each_way_to_die_dies_so_again,
        ),
        trial(
            "the_command_in_the_file_works",
            the_command_in_the_file_works,
        ),
        trial("the_setup_is_made_again", the_setup_is_made_again),
        trial(
            "a_large_input_comes_back_whole",
            a_large_input_comes_back_whole,
        ),
        trial("a_context_is_kept_once", a_context_is_kept_once),
        trial(
            "descriptors_are_told_of_and_refused",
            descriptors_are_told_of_and_refused,
        ),
        trial(
            "each_crash_of_many_has_its_file",
            each_crash_of_many_has_its_file,
        ),
        trial("each_attempt_has_its_file", each_attempt_has_its_file),
        trial(
            "a_dropped_handle_loses_no_file",
            a_dropped_handle_loses_no_file,
        ),
        trial("only_crashes_are_kept", only_crashes_are_kept),
        trial(
            "a_timeout_is_kept_and_hangs_again",
            a_timeout_is_kept_and_hangs_again,
        ),
        trial("nobody_asked_nothing_is_kept", nobody_asked_nothing_is_kept),
        trial(
            "a_directory_that_cannot_be_is_told_at_once",
            a_directory_that_cannot_be,
        ),
        trial(
            "a_file_that_cannot_be_is_told_by_the_crash",
            a_file_that_cannot_be,
        ),
        trial("a_worker_replays_nothing", a_worker_replays_nothing),
        trial("threads_keep_nothing", threads_keep_nothing),
    ];
    all.extend(crate::not_text::trials());
    if debugger_works() {
        all.push(trial(
            "a_debugger_stops_at_the_fault",
            a_debugger_stops_at_the_fault,
        ));
    } else {
        eprintln!("a_debugger_stops_at_the_fault: skipped, because there is no gdb that may trace");
    }
    all
}

pub(crate) fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        std::panic::catch_unwind(test).map_err(|_| Failed::without_message())
    })
}

/// A directory of this test's own, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("brigade-crash-files-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        Scratch(dir)
    }

    /// A pool of processes that keeps its crashes here.
    fn pool(&self) -> PoolBuilder {
        Pool::builder(Kind::Process)
            .workers(2)
            .keep_crashes(&self.0)
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("is there");
        entries.map(|e| e.expect("is read").path()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn crash_in<A: Message, R: Message + std::fmt::Debug>(
    pool: &Pool,
    task: fn(A) -> R,
    input: A,
) -> Crash {
    match pool.submit(task, input).join() {
        Err(JoinError::Crashed(crash)) => crash,
        other => panic!("expected a crash, got {other:?}"),
    }
}

fn file_of(crash: &Crash) -> PathBuf {
    let file = crash.file();
    let file = file.unwrap_or_else(|| panic!("no file: {:?}", crash.file_error()));
    file.to_owned()
}

fn replay(file: &Path) -> (Output, String) {
    let program = std::env::current_exe().expect("has a path");
    shell(&format!(
        "BRIGADE_REPLAY='{}' '{}'",
        file.display(),
        program.display()
    ))
}

/// Without core files, which would be left behind.
fn shell(command: &str) -> (Output, String) {
    let ended = Command::new("/bin/sh")
        .args(["-c", &format!("ulimit -c 0; exec env {command}")])
        .output()
        .expect("a shell starts");
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended, stderr)
}

fn each_way_to_die_dies_so_again() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    let crash = crash_in(&pool, tasks::fault, 0x10);
    // Not std's own function, which did what it was told.
    let told = crash.to_string();
    assert!(
        told.contains(", in crash_files::tasks::fault at "),
        "{told}"
    );
    let file = file_of(&crash);
    let text = fs::read_to_string(&file).expect("is text");
    assert!(text.contains("\naddress: 0x10\n"), "{text}");
    assert!(text.contains("\nphase: running\n"), "{text}");
    assert!(text.contains(": crash_files::tasks::fault\n"), "{text}");
    assert!(
        text.contains("\nstderr:\n    about to read from 0x10\n"),
        "{text}"
    );
    let (ended, stderr) = replay(&file);
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{stderr}");
    assert!(stderr.contains("tasks::fault"), "{stderr}");
    assert!(stderr.ends_with("about to read from 0x10\n"), "{stderr}");

    let (ended, stderr) = replay(&file_of(&crash_in(&pool, tasks::abort, ())));
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{stderr}");

    let (ended, stderr) = replay(&file_of(&crash_in(&pool, tasks::exit, 77)));
    assert_eq!(ended.status.code(), Some(77), "{stderr}");

    // In a program, Rust's own handler says so and aborts.
    let (ended, stderr) = replay(&file_of(&crash_in(&pool, tasks::overflow, 0)));
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{stderr}");
    assert!(stderr.contains("overflowed its stack"), "{stderr}");
}

fn the_command_in_the_file_works() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    let file = file_of(&crash_in(&pool, tasks::exit, 55));
    let text = fs::read_to_string(file).expect("is text");
    let mut lines = text.lines().skip_while(|&l| l != "to run this task again:");
    let (ended, stderr) = shell(lines.nth(1).expect("a command"));
    assert_eq!(ended.status.code(), Some(55), "{stderr}");
}

fn the_setup_is_made_again() {
    let scratch = Scratch::new();
    let worker = process::Builder::new()
        .env_clear()
        .env(tasks::VARIABLE, "a b=c\n")
        .current_dir("/proc");
    let pool = scratch
        .pool()
        .process(worker)
        .initializer(tasks::initialize);
    let pool = pool.build().expect("starts");
    let crash = crash_in(&pool, tasks::look_around, "/proc".to_owned());
    assert_eq!(
        *crash.cause(),
        brigade::Cause::Exit(47),
        "{}",
        crash.stderr()
    );
    let (ended, stderr) = replay(&file_of(&crash));
    assert_eq!(ended.status.code(), Some(47), "{stderr}");
}

fn a_large_input_comes_back_whole() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    let mut input: Vec<u8> = (0..3_000_001_u32).map(|n| ((n * 31) >> 5) as u8).collect();
    let sum: u64 = input.iter().map(|&b| u64::from(b)).sum();
    // What is missing to 0 modulo 1000, and then the last byte.
    let mut missing = (1000 - sum % 1000) % 1000;
    while missing > 0 {
        let byte = missing.min(200) as u8;
        input.push(byte);
        missing -= u64::from(byte);
    }
    input.push(0xff);
    let (ended, stderr) = replay(&file_of(&crash_in(&pool, tasks::picky, input)));
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{stderr}");
}

fn a_context_is_kept_once() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    let addresses = Context::new(tasks::Addresses((0x1000..0x9000).collect()));
    let crashes: Vec<_> = [0x10, 0x20]
        .map(|at| pool.submit_with(&addresses, tasks::fault_at, at))
        .map(|handle| match handle.join() {
            Err(JoinError::Crashed(crash)) => file_of(&crash),
            other => panic!("{other:?}"),
        })
        .to_vec();
    let mut contexts = scratch.files();
    contexts.retain(|file| !crashes.contains(file));
    assert_eq!(contexts.len(), 1, "{contexts:?}");
    for (file, address) in crashes.iter().zip(["0x1010", "0x1020"]) {
        let text = fs::read_to_string(file).expect("is text");
        assert!(text.contains("\ncontext: context-"), "{text}");
        let (ended, stderr) = replay(file);
        assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{stderr}");
        assert!(stderr.contains(&format!("from {address}")), "{stderr}");
    }
    // Not with another.
    let mut bytes = fs::read(&contexts[0]).expect("is there");
    bytes[1000] ^= 1;
    fs::write(&contexts[0], bytes).expect("written");
    let (ended, stderr) = replay(&crashes[0]);
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("its context"), "{stderr}");
    fs::remove_file(&contexts[0]).expect("removed");
    let (ended, stderr) = replay(&crashes[0]);
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("its context"), "{stderr}");
}

fn descriptors_are_told_of_and_refused() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    let null = Descriptor(File::open("/dev/null").expect("is there"));
    let file = file_of(&crash_in(&pool, tasks::with_a_file, null));
    let text = fs::read_to_string(&file).expect("is text");
    assert!(text.contains("\ndescriptors: 1\n"), "{text}");
    let (ended, stderr) = replay(&file);
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("descriptors came with its input (1:"),
        "{stderr}"
    );
}

fn each_crash_of_many_has_its_file() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    let mut files = Vec::new();
    for (number, ended) in pool.map_unordered(tasks::third, 0..60) {
        match ended {
            Ok(n) => assert_eq!(n as usize, number),
            Err(JoinError::Crashed(crash)) if number % 3 == 0 => {
                let text = fs::read_to_string(file_of(&crash)).expect("is there");
                assert!(
                    text.contains(&format!("\nprocess: {}\n", crash.pid())),
                    "{text}"
                );
                files.push(file_of(&crash));
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    let mut there = scratch.files();
    there.sort();
    files.sort();
    assert_eq!(files.len(), 20);
    assert_eq!(there, files);
}

fn each_attempt_has_its_file() {
    let scratch = Scratch::new();
    let pool = scratch.pool().retries(2).build().expect("starts");
    let last = file_of(&crash_in(&pool, tasks::abort, ()));
    // Those before it are written while it runs.
    pool.shutdown();
    let attempt = |file: &Path| {
        let text = fs::read_to_string(file).expect("is there");
        let line = text.lines().find_map(|l| l.strip_prefix("attempt: "));
        line.expect("a number").to_owned()
    };
    assert_eq!(attempt(&last), "3");
    let mut attempts: Vec<_> = scratch.files().iter().map(|f| attempt(f)).collect();
    attempts.sort();
    assert_eq!(attempts, ["1", "2", "3"]);
}

fn a_dropped_handle_loses_no_file() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    drop(pool.submit(tasks::abort, ()));
    pool.shutdown();
    assert_eq!(scratch.files().len(), 1);
}

fn only_crashes_are_kept() {
    let scratch = Scratch::new();
    let pool = scratch.pool().timeout(Duration::from_secs(60));
    let pool = pool.build().expect("starts");
    let ended = pool.submit(tasks::panics, ()).join();
    assert!(matches!(ended, Err(JoinError::Panicked(_))), "{ended:?}");
    let handle = pool.submit(tasks::hangs, ());
    handle.cancel();
    assert!(handle.join().is_err());
    pool.shutdown();
    assert_eq!(scratch.files(), Vec::<PathBuf>::new());
}

fn a_timeout_is_kept_and_hangs_again() {
    let scratch = Scratch::new();
    let pool = scratch.pool().timeout(Duration::from_secs(1)).retries(1);
    let pool = pool.build().expect("starts");
    let Err(JoinError::TimedOut(timeout)) = pool.submit(tasks::hangs, ()).join() else {
        panic!("it has no end");
    };
    let file = timeout.file().expect("it was kept").to_owned();
    assert_eq!(timeout.file_error(), None);
    drop(pool);
    assert_eq!(scratch.files().len(), 2, "one for each attempt");
    let text = fs::read_to_string(&file).expect("is text");
    assert!(
        text.contains("\ncause: the end of its time, after 1s\n"),
        "{text}"
    );
    assert!(text.contains("\nattempt: 2\n"), "{text}");
    if timeout.backtrace().is_some() {
        assert!(
            text.contains("\nbacktrace:\n") && text.contains("tasks::hangs"),
            "{text}"
        );
    }
    // It hangs again: that is what is to be looked at.
    let program = std::env::current_exe().expect("has a path");
    let mut again = Command::new("/usr/bin/timeout")
        .args(["-s", "KILL", "2"])
        .arg(program)
        .env("BRIGADE_REPLAY", &file)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    let ended = again.wait().expect("ends");
    assert_eq!(ended.signal(), Some(9), "{ended:?}");
}

fn nobody_asked_nothing_is_kept() {
    let pool = Pool::processes(1).expect("starts");
    let crash = crash_in(&pool, tasks::abort, ());
    assert_eq!((crash.file(), crash.file_error()), (None, None));
}

fn a_directory_that_cannot_be() {
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .keep_crashes("/dev/null");
    let error = pool.build().expect_err("is no directory");
    assert!(error.to_string().contains("/dev/null"), "{error}");
}

fn a_file_that_cannot_be() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    fs::remove_dir(&scratch.0).expect("is empty");
    fs::write(&scratch.0, "no directory").expect("is written");
    let crash = crash_in(&pool, tasks::abort, ());
    fs::remove_file(&scratch.0).expect("is there");
    assert_eq!(crash.file(), None);
    let why = crash.file_error().expect("is told");
    assert!(why.contains(&*scratch.0.to_string_lossy()), "{why}");
    // One that is only missing is made again.
    assert!(file_of(&crash_in(&pool, tasks::abort, ())).is_file());
}

fn a_worker_replays_nothing() {
    let worker = process::Builder::new().env("BRIGADE_REPLAY", "/nowhere/at/all");
    let handle = worker.spawn(tasks::calls_init, ()).expect("starts");
    assert!(handle.join().expect("returns"));
}

fn threads_keep_nothing() {
    let scratch = Scratch::new();
    let pool = Pool::builder(Kind::Thread)
        .workers(1)
        .keep_crashes(&scratch.0);
    let pool = pool.build().expect("starts");
    assert_eq!(pool.submit(tasks::third, 1).join().expect("returns"), 1);
    pool.shutdown();
    assert!(!scratch.0.exists());
}

const DEBUGGER: &str = "gdb -nx -batch -ex 'set startup-with-shell off' -ex run";

fn debugger_works() -> bool {
    let (_, said) = shell(&format!("{DEBUGGER} --args /bin/true >&2"));
    said.contains("exited normally")
}

fn a_debugger_stops_at_the_fault() {
    let scratch = Scratch::new();
    let pool = scratch.pool().build().expect("starts");
    let file = file_of(&crash_in(&pool, tasks::fault, 0x10));
    let program = std::env::current_exe().expect("has a path");
    let (_, said) = shell(&format!(
        "BRIGADE_REPLAY='{}' {DEBUGGER} -ex backtrace --args '{}' >&2",
        file.display(),
        program.display()
    ));
    assert!(said.contains("received signal SIGSEGV"), "{said}");
    assert!(said.contains("crash_files::tasks::fault"), "{said}");
    assert!(!said.contains("in a debugger"), "it is in one: {said}");
}
