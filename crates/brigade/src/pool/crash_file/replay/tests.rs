//! Crash files of tasks of this very test program, replayed by it. No worker is started: other
//! tests here have the liveness table to themselves.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::super::CrashFile;
use super::super::tests::{Scratch, crash};
use super::*;
use crate::task::codec;
use crate::worker::process::ipc::protocol::Setup;
use crate::{Crash, Message};

/// Where tasks look for what a replay differs in.
const SEEN: &str = "BRIGADE_TEST_SEEN";

/// What a task that has run says, in what it writes to stderr.
fn told(what: &str) {
    let _ = io::stderr().write_all(format!("told: {what}\n").as_bytes());
}

fn faults(address: usize) -> u8 {
    told("about to fault");
    peek(address)
}

#[expect(unsafe_code, reason = "a task that faults")]
fn peek(address: usize) -> u8 {
    // SAFETY: none. This is the mistake.
    unsafe { std::ptr::read_volatile(address as *const u8) }
}

struct Kept<'a> {
    crash: Crash,
    descriptors: usize,
    initializer: Option<fn()>,
    setup: Option<&'a Setup>,
}

impl Kept<'_> {
    fn new() -> Kept<'static> {
        Kept {
            crash: crash("its last words"),
            descriptors: 0,
            initializer: None,
            setup: None,
        }
    }

    fn write<A: Message, R: Message>(&self, to: &Scratch, task: fn(A) -> R, input: A) -> PathBuf {
        let mut bytes = Vec::new();
        codec::encode(&input, &mut bytes).expect("is encoded");
        self.write_bytes(to, Plan::of(task).expect("code of this program"), &bytes)
    }

    fn write_bytes(&self, to: &Scratch, plan: Plan, input: &[u8]) -> PathBuf {
        let offset = |f: fn()| {
            let function = crate::task::identity::Function::at(f as usize);
            function.expect("code of this program").0
        };
        CrashFile {
            plan,
            input,
            descriptors: self.descriptors,
            context: None,
            uses_state: false,
            attempt: 1,
            initializer: self.initializer.map(offset),
            setup: self.setup,
        }
        .write(&self.crash, &to.0)
        .expect("is written")
    }
}

/// Starts this test program again, with the variable, for this test only; a core file would be left
/// behind.
fn replay_in(test: &str, file: &Path) -> (Output, String) {
    let ended = Command::new("/bin/sh")
        .args(["-c", "ulimit -c 0; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("has a path"))
        .args([
            &format!("pool::crash_file::replay::tests::{test}"),
            "--exact",
        ])
        .env(ENV_VAR, file)
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended, stderr)
}

#[test]
fn a_fault_faults_again() {
    crate::init();
    let scratch = Scratch::new("fault");
    let file = Kept::new().write(&scratch, faults, 0x10);
    let (ended, stderr) = replay_in("a_fault_faults_again", &file);
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV), "{stderr}");
    assert!(
        stderr.contains("replaying task `brigade::pool::crash_file::tests::hungry (cook)`"),
        "{stderr}"
    );
    assert!(
        stderr.contains("died of a segmentation fault (SIGSEGV) while running, 20"),
        "{stderr}"
    );
    assert!(
        stderr.contains("\nbrigade: in a debugger: BRIGADE_REPLAY=/"),
        "{stderr}"
    );
    assert!(stderr.ends_with("told: about to fault\n"), "{stderr}");
}

#[test]
fn a_task_that_ends_well_this_time_says_so() {
    crate::init();
    let scratch = Scratch::new("well");
    fn add((a, b): (u32, u32)) -> u32 {
        told(&format!("{}", a + b));
        a + b
    }
    let file = Kept::new().write(&scratch, add, (2, 3));
    let (ended, stderr) = replay_in("a_task_that_ends_well_this_time_says_so", &file);
    assert_eq!(ended.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("told: 5\n"), "{stderr}");
    assert!(
        stderr.contains("returned this time; its result takes 2 B"),
        "{stderr}"
    );
}

#[test]
fn each_other_end_has_its_status() {
    crate::init();
    let scratch = Scratch::new("ends");
    let kept = Kept::new();
    let replayed = |file: &Path| replay_in("each_other_end_has_its_status", file);

    let (ended, stderr) =
        replayed(&kept.write(&scratch, |n: u32| -> () { panic!("burnt: {n}") }, 7));
    assert_eq!(ended.status.code(), Some(101), "{stderr}");
    assert!(stderr.contains("replay/tests.rs:"), "{stderr}");
    assert!(stderr.contains(": burnt: 7\n"), "{stderr}");

    let (ended, stderr) = replayed(&kept.write(
        &scratch,
        |()| -> () { crate::sys::process::exit_now(44) },
        (),
    ));
    assert_eq!(ended.status.code(), Some(44), "{stderr}");

    let (ended, stderr) = replayed(&kept.write(&scratch, |()| -> () { std::process::abort() }, ()));
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{stderr}");

    let plan = Plan::of(|_: String| {}).expect("code of this program");
    let (ended, stderr) = replayed(&kept.write_bytes(&scratch, plan, b"\x05nono"));
    assert_eq!(ended.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("its input could not be decoded"),
        "{stderr}"
    );
}

#[test]
fn it_is_set_up_as_its_worker_was() {
    crate::init();
    let scratch = Scratch::new("set-up");
    fn look((): ()) {
        let mut input = String::new();
        let len = io::Read::read_to_string(&mut io::stdin(), &mut input);
        let here = std::env::current_dir().expect("somewhere");
        told(&format!(
            "in {}, stdin {}, seen {}, replay {}",
            here.display(),
            len.expect("is empty"),
            std::env::var(SEEN).unwrap_or_default(),
            // What it starts is no replay.
            std::env::var_os(ENV_VAR).is_none(),
        ));
    }
    fn initializer() {
        told("initialized");
    }
    let setup = Setup {
        env: vec![(SEEN.into(), b"yes".to_vec())],
        current_dir: Some(b"/proc".to_vec()),
        ..Setup::default()
    };
    let kept = Kept {
        setup: Some(&setup),
        initializer: Some(initializer),
        ..Kept::new()
    };
    let file = kept.write(&scratch, look, ());
    let (ended, stderr) = replay_in("it_is_set_up_as_its_worker_was", &file);
    assert_eq!(ended.status.code(), Some(0), "{stderr}");
    assert!(
        stderr.contains("told: initialized\ntold: in /proc, stdin 0, seen yes, replay true\n"),
        "{stderr}"
    );
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    crate::init();
    let scratch = Scratch::new("refused");
    fn never((): ()) {
        told("it ran");
    }
    let refused = |file: &Path, why: &str| {
        let (ended, stderr) = replay_in("what_cannot_be_replayed_is_refused", file);
        assert_eq!(ended.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
        assert!(!stderr.contains("it ran"), "{stderr}");
    };
    let mut kept = Kept::new();
    kept.descriptors = 2;
    refused(
        &kept.write(&scratch, never, ()),
        "descriptors came with its input (2:",
    );

    kept.descriptors = 0;
    let file = kept.write(&scratch, never, ());
    let text = std::fs::read_to_string(&file).expect("is text");
    let build = build_id().expect("is known");
    std::fs::write(&file, text.replace(build, "0123")).expect("is written");
    refused(&file, "its checksum does not match");
    std::fs::write(&file, &text[..text.len() / 2]).expect("is written");
    refused(&file, "it is cut off");
    refused(Path::new("/nowhere/at/all"), "it cannot be opened");
    refused(Path::new("/proc"), "it cannot be read");
}

#[test]
fn another_build_is_refused_with_both_ids() {
    let record = CrashRecord {
        program: "/usr/bin/other".to_owned(),
        spec: ReplaySpec {
            build: "0123abcd".to_owned(),
            ..ReplaySpec::default()
        },
        ..CrashRecord::default()
    };
    let why = check(&record).expect_err("another build");
    assert!(why.contains("0123abcd (/usr/bin/other)"), "{why}");
    assert!(why.contains(build_id().expect("is known")), "{why}");
}
