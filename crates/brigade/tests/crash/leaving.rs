//! Tasks that leave instead of returning.

use brigade::{Cause, Kind, Phase, Pool, process};
use brigade_test_support::doorbell::{self, Doorbell};
use brigade_test_support::procfs;
use brigade_test_support::wait::LIMIT;

use crate::{crash_of, into_crash, next_task_succeeds};

#[test]
fn abort() {
    let crash = crash_of(|()| -> () { std::process::abort() }, ());
    assert_eq!(crash.cause(), &Cause::Abort);
    assert_eq!(crash.phase(), Phase::Running);
    assert!(crash.backtrace().is_some());
}

#[test]
fn exit_with_a_status() {
    for status in [0, 1, 42, 255] {
        let crash = crash_of(
            |status: i32| -> () {
                // SAFETY: ends the process; `exit` runs the handlers that were registered in it.
                unsafe { libc::exit(status) };
            },
            status,
        );
        assert_eq!(crash.cause(), &Cause::Exit(status));
    }
}

#[test]
fn exit_without_a_word() {
    let crash = crash_of(
        |()| -> () {
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(0) };
        },
        (),
    );
    assert_eq!(crash.cause(), &Cause::Exit(0));
    assert_eq!(crash.phase(), Phase::Running);
}

#[test]
fn exec_of_another_program() {
    let crash = crash_of(
        |()| {
            use std::os::unix::process::CommandExt;
            std::process::Command::new("/bin/false").exec().to_string()
        },
        (),
    );
    assert_eq!(crash.cause(), &Cause::Exit(1));
}

/// Has a thread that outlives the one that runs the task, and a child.
fn leave_others_behind(door: &str) {
    let (begun, has_begun) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        begun.send(()).expect("it is waited for");
        loop {
            std::thread::park();
        }
    });
    has_begun.recv().expect("it runs");
    // SAFETY: the child makes system calls only.
    let child = match unsafe { libc::fork() } {
        0 => loop {
            // SAFETY: no memory is involved.
            unsafe { libc::pause() };
        },
        child => child.unsigned_abs(),
    };
    doorbell::ring(door, &[std::process::id(), child]).expect("the test listens");
}

/// Ends the thread that runs the task, while another one lives: to waitid(2) and to a pidfd, the
/// process has not ended then.
fn ends_its_thread((how, door): (String, String)) {
    leave_others_behind(&door);
    // SAFETY: the thread ends, and no code runs in it that could look at what it leaves.
    unsafe {
        match how.as_str() {
            "exit" => libc::syscall(libc::SYS_exit, 7),
            "seccomp" => {
                kill_this_thread_at(libc::SYS_getppid);
                libc::syscall(libc::SYS_getppid)
            }
            how => panic!("{how}"),
        };
    }
    unreachable!("the thread has ended");
}

/// The kernel ends the thread that makes this call: seccomp(2), SECCOMP_RET_KILL_THREAD.
fn kill_this_thread_at(call: libc::c_long) {
    let filter = |code: u32, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let mut filters = [
        // The number of the call comes first.
        filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call as u32),
        filter(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_KILL_THREAD,
        ),
        filter(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filters.len() as u16,
        filter: filters.as_mut_ptr(),
    };
    // SAFETY: the program lives across the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program);
        assert_eq!(set, 0);
    }
}

#[test]
fn a_task_whose_thread_ends_alone_ends() {
    brigade::init();
    let pool = Pool::new(Kind::Process, 1).expect("a pool");
    for (how, cause) in [
        ("exit", Cause::Exit(7)),
        ("seccomp", Cause::Signal(libc::SIGSYS)),
    ] {
        for pooled in [true, false] {
            let bell = Doorbell::new().expect("a bell");
            let input = (how.to_owned(), bell.name());
            let handle = match pooled {
                true => pool.submit(ends_its_thread, input),
                false => process::spawn(ends_its_thread, input).expect("a process starts"),
            };
            // It had not begun that.
            let behind = pool.submit(|n: u32| n + 1, 1);
            let pids = bell.await_ring().expect("it runs");
            let ended = handle.join_timeout(LIMIT);
            let crash = into_crash(ended.expect("it is noticed"));
            assert_eq!(crash.cause(), &cause, "{how}: {crash}");
            assert_eq!((crash.pid(), crash.phase()), (pids[0], Phase::Running));
            assert!(pids.into_iter().all(procfs::has_ended), "{how}");
            assert_eq!(behind.join().expect("it succeeds"), 2);
            next_task_succeeds();
        }
    }
}

/// The C library unwinds the whole stack then, as far as Rust lets it, and a worker's does not
/// begin where it looks for the beginning.
#[test]
fn a_thread_that_is_ended_by_the_c_library_crashes() {
    let exit: fn(String) = |door| {
        leave_others_behind(&door);
        // SAFETY: the process ends.
        unsafe { libc::pthread_exit(std::ptr::null_mut()) }
    };
    let bell = Doorbell::new().expect("a bell");
    let crash = crash_of(exit, bell.name());
    assert!(
        matches!(crash.cause(), Cause::Abort | Cause::Signal(libc::SIGSEGV)),
        "{crash}"
    );
    let pids = bell.await_ring().expect("it ran");
    assert!(pids.into_iter().all(procfs::has_ended));
}

/// Its end is heard of as any other's: the thread that runs the task is gone, and the process is
/// another program, for which it is waited.
#[test]
fn exec_from_another_thread() {
    let exec: fn(u32) = |_| {
        use std::os::unix::process::CommandExt;
        let other = std::thread::spawn(|| std::process::Command::new("/bin/false").exec());
        panic!("{:?}", other.join());
    };
    let crash = crash_of(exec, 1);
    assert_eq!(crash.cause(), &Cause::Exit(1));
}

/// Before its first task.
#[test]
fn an_initializer_whose_thread_ends_alone_is_told() {
    brigade::init();
    let ends: fn() = || {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_exit, 7) };
    };
    let (told, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let builder = Pool::builder(Kind::Process).workers(1).initializer(ends);
        told.send(builder.build().map(drop))
            .expect("the test waits");
    });
    let built = ended.recv_timeout(LIMIT).expect("it is noticed");
    let why = built.expect_err("there is no worker").to_string();
    assert!(why.contains("exit") && why.contains('7'), "{why}");
}

/// Makes its parent, the fork server, its tracer.
fn be_traced() {
    // SAFETY: no memory is involved.
    let traced = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
    assert_eq!(traced, 0, "{}", std::io::Error::last_os_error());
}

fn raise(signal: i32) {
    // SAFETY: it has no handler, or one that nothing depends on.
    unsafe { libc::raise(signal) };
}

fn goes_on_traced(signal: i32) -> i32 {
    be_traced();
    raise(signal);
    signal
}

/// Each signal waits for the tracer, who does not know of it.
#[test]
fn a_task_that_asks_to_be_traced_goes_on_or_dies_of_its_own() {
    let abort: fn(u32) = |_| {
        be_traced();
        std::process::abort();
    };
    assert_eq!(crash_of(abort, 1).cause(), &Cause::Abort);
    let signal: fn(i32) = |signal| {
        be_traced();
        raise(signal);
    };
    let of_its_own = crash_of(signal, libc::SIGUSR2);
    assert!(
        matches!(
            of_its_own.cause(),
            Cause::Signal(libc::SIGUSR2) | Cause::Killed(libc::SIGUSR2)
        ),
        "{of_its_own}"
    );
    let pool = Pool::new(Kind::Process, 1).expect("a pool");
    // A stop may come at each step of the fork server's look at its children.
    for _ in 0..300 {
        let ended = process::spawn(goes_on_traced, libc::SIGWINCH).expect("a process starts");
        assert_eq!(ended.join().expect("it returns"), libc::SIGWINCH);
        let ended = pool.submit(goes_on_traced, libc::SIGWINCH);
        assert_eq!(ended.join().expect("it returns"), libc::SIGWINCH);
    }
    let exec: fn(u32) = |_| {
        use std::os::unix::process::CommandExt;
        be_traced();
        let why = std::process::Command::new("/bin/false").exec();
        panic!("{why}");
    };
    assert_eq!(crash_of(exec, 1).cause(), &Cause::Exit(1));
    next_task_succeeds();
}
