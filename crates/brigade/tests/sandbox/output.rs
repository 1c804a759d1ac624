//! What a worker in a sandbox writes to stdout comes to the program's, and it has no other hold on
//! that: whatever that is, a file, a pipe or a terminal.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::{Kind, Pool, Sandbox, process};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    crate::trials![
        a_plain_worker_has_the_programs_own,
        stdout_may_be_a_file,
        stdout_may_be_a_pipe,
        stdout_may_be_a_terminal,
        the_reader_of_stdout_may_be_gone
    ]
}

const ASKED: &str = "--prints";
const ASKED_PLAIN: &str = "--misuses";
const BEFORE: &str = "printed by the program";
const TASKS: usize = 40;
/// Longer than what a pipe takes at once.
const LONG: usize = 5_000;

/// If this is the program whose workers print, has them do it, and ends.
pub(crate) fn if_asked() {
    let is_asked = |for_what: &str| std::env::args().any(|a| a == for_what);
    if is_asked(ASKED_PLAIN) {
        let worker = process::spawn(misuse_stdout, ()).expect("a worker");
        eprintln!("{:?}", worker.join().expect("ok"));
    } else if is_asked(ASKED) {
        print_in_a_sandbox();
    } else {
        return;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this start of the program is at its end"
    )]
    std::process::exit(0);
}

fn print_in_a_sandbox() {
    println!("{BEFORE}");
    let flags = flags_of_stdout();
    for builder in [
        process::Builder::new().sandbox(Sandbox::deny_all()),
        process::Builder::new().sandbox(Sandbox::deny_all().read("/proc").write("/dev")),
    ] {
        let Ok(misused) = builder
            .spawn(misuse_stdout, ())
            .map(|w| w.join().expect("ok"))
        else {
            // Paths are not to be had here.
            continue;
        };
        assert_eq!(misused, Vec::<String>::new());
    }
    let flags_now = flags_of_stdout();
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let pool = Pool::builder(Kind::Process)
        .workers(3)
        .process(shut_in)
        .build();
    let pool = pool.expect("a pool");
    for printed in pool.map(print_line, 0..TASKS) {
        printed.expect("printed");
    }
    pool.shutdown();
    eprintln!("changed {}", flags != flags_now);
}

fn print_line(n: usize) {
    println!("{n} {}", "x".repeat(LONG));
}

fn flags_of_stdout() -> i32 {
    // SAFETY: asks for a number.
    unsafe { libc::fcntl(1, libc::F_GETFL) }
}

/// Tells what it could do to the program's stdout. Also what it would do to a copy.
fn misuse_stdout(_: ()) -> Vec<String> {
    let mut done = Vec::new();
    let mut bytes = [0_u8; 64];
    // SAFETY: system calls with memory of this function.
    unsafe {
        if libc::isatty(1) == 1 {
            done.push("it is a terminal".to_owned());
        }
        if libc::read(1, bytes.as_mut_ptr().cast(), bytes.len()) >= 0 {
            done.push("read".to_owned());
        }
        if libc::ftruncate(1, 0) == 0 {
            done.push("cut short".to_owned());
        }
        if libc::pwrite(1, bytes.as_ptr().cast(), bytes.len(), 0) >= 0 {
            done.push("written over".to_owned());
        }
        // Of its own pipe it may.
        libc::fcntl(1, libc::F_SETFL, libc::O_NONBLOCK | libc::O_ASYNC);
    }
    for number in 3..64 {
        // SAFETY: asks what there is.
        if unsafe { libc::isatty(number) } == 1 {
            done.push(format!("a terminal is descriptor {number}"));
        }
    }
    done
}

fn program(asked: &str, stdout: impl Into<Stdio>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg(asked).stdout(stdout).stderr(Stdio::piped());
    command
}

/// Runs the program to its end.
fn run(mut command: Command) {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "changed false\n");
}

/// Every line is there, and whole.
fn check(printed: &str) {
    let mut lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.remove(0), BEFORE);
    lines.sort_unstable_by_key(|line| line.split(' ').next().and_then(|n| n.parse::<usize>().ok()));
    let expected: Vec<String> = (0..TASKS)
        .map(|n| format!("{n} {}", "x".repeat(LONG)))
        .collect();
    assert!(lines == expected, "{} lines: {lines:.20?}", lines.len());
}

/// The control: without a sandbox it has a hold on all of them.
fn a_plain_worker_has_the_programs_own() {
    let misused = |stdout: Stdio| {
        let output = program(ASKED_PLAIN, stdout).output().expect("it runs");
        String::from_utf8(output.stderr).expect("text")
    };
    let on_file = misused(file().into());
    assert!(on_file.contains("cut short") && on_file.contains("written over"));
    let (ours, theirs) = terminal();
    File::from(ours.try_clone().expect("a copy"))
        .write_all(b"a password\n")
        .expect("typed");
    let on_terminal = misused(theirs.into());
    assert!(on_terminal.contains("it is a terminal") && on_terminal.contains("read"));
}

fn file() -> File {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("brigade-printed-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let made = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path);
    fs::remove_file(&path).expect("there");
    made.expect("made")
}

fn stdout_may_be_a_file() {
    let mut file = file();
    run(program(ASKED, file.try_clone().expect("a copy")));
    let mut printed = String::new();
    file.rewind().expect("a file");
    file.read_to_string(&mut printed).expect("text");
    check(&printed);
}

fn pipe() -> (File, File) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    (read.into(), write.into())
}

fn stdout_may_be_a_pipe() {
    let (mut read, write) = pipe();
    let reader = std::thread::spawn(move || {
        let mut printed = String::new();
        read.read_to_string(&mut printed).expect("text");
        printed
    });
    run(program(ASKED, write));
    check(&reader.join().expect("read"));
}

/// A terminal's two ends.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: two numbers are written; what may be null is.
    let made = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(made, 0, "{}", io::Error::last_os_error());
    for end in [ours, theirs] {
        // SAFETY: a system call.
        unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: both were just made, for us.
    unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

fn stdout_may_be_a_terminal() {
    let (ours, theirs) = terminal();
    let mut typing = File::from(ours.try_clone().expect("a copy"));
    let reader = std::thread::spawn(move || {
        let (mut ours, mut printed) = (File::from(ours), Vec::new());
        // At its end it is an error.
        let _ = ours.read_to_end(&mut printed);
        printed
    });
    // For whoever reads it: the worker may not.
    typing.write_all(b"a password\n").expect("typed");
    assert!(theirs.as_raw_fd() > 2);
    run(program(ASKED, theirs));
    drop(typing);
    let printed = String::from_utf8(reader.join().expect("read")).expect("text");
    let printed = printed.replace("\r\n", "\n");
    // The terminal shows what is typed.
    check(printed.strip_prefix("a password\n").unwrap_or(&printed));
}

fn the_reader_of_stdout_may_be_gone() {
    let (read, write) = pipe();
    let mut command = program(ASKED, write);
    let mut running = command.spawn().expect("started");
    drop(command);
    let mut first = vec![0; BEFORE.len() + 1];
    (&read).read_exact(&mut first).expect("it prints");
    drop(read);
    // What is printed then is lost, and nobody waits.
    assert!(running.wait().expect("it ends").success());
}
