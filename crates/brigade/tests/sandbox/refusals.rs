//! Starts that are refused, and what is said then; and as whom workers run.

use brigade::{Cause, JoinError, Kind, Pool, Sandbox, process};
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    crate::trials![
        workers_of_root_are_nobody,
        another_user_is_had_by_root_only,
        a_thread_that_is_left_running_is_refused_by_name,
        a_thread_that_has_ended_is_none,
        a_violation_says_what_was_tried,
        a_violation_with_blocked_signals_is_one_too,
        a_signal_of_that_number_is_no_violation,
        every_effect_is_reported,
    ]
}

fn is_root() -> bool {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() == 0 }
}

fn ids(_: ()) -> [u32; 4] {
    // SAFETY: asks for numbers.
    unsafe {
        [
            libc::getuid(),
            libc::geteuid(),
            libc::getgid(),
            libc::getegid(),
        ]
    }
}

fn workers_of_root_are_nobody() {
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let seen = shut_in
        .spawn(ids, ())
        .expect("a worker")
        .join()
        .expect("ok");
    assert_eq!(seen, if is_root() { [65534; 4] } else { ids(()) });
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .process(shut_in)
        .build();
    assert_eq!(
        pool.expect("a pool").submit(ids, ()).join().expect("ok"),
        seen
    );
}

fn another_user_is_had_by_root_only() {
    let other = process::Builder::new().sandbox(Sandbox::deny_all().user(1234, 4321));
    let started = other.spawn(ids, ()).map(|w| w.join().expect("ok"));
    if is_root() {
        assert_eq!(started.expect("a worker"), [1234, 1234, 4321, 4321]);
    } else {
        let why = started.expect_err("not root").to_string();
        assert!(why.contains("only a program that is root"), "{why}");
    }
}

/// An initializer may use threads.
fn a_thread_that_has_ended_is_none() {
    fn use_one() {
        let thread = std::thread::spawn(|| println!("from the initializer's thread"));
        thread.join().expect("it ends");
    }
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .initializer(use_one)
        .process(shut_in)
        .build();
    let pool = pool.expect("a pool");
    assert_eq!(pool.submit(|n: u32| n + 1, 1).join().expect("ok"), 2);
}

fn a_thread_that_is_left_running_is_refused_by_name() {
    fn leave() {
        std::thread::Builder::new()
            .name("left-behind".to_owned())
            .spawn(|| {
                loop {
                    std::thread::park();
                }
            })
            .expect("a thread");
    }
    let shut_in = process::Builder::new().sandbox(Sandbox::deny_all());
    let pool = Pool::builder(Kind::Process)
        .workers(1)
        .initializer(leave)
        .process(shut_in);
    let why = pool
        .build()
        .map(drop)
        .expect_err("a thread is left")
        .to_string();
    assert!(why.contains("left-behind"), "{why}");
}

fn cause<A: brigade::Message, R: brigade::Message>(task: fn(A) -> R, input: A) -> Cause {
    let deadly = process::Builder::new().sandbox(Sandbox::deny_all().kill_on_violation());
    match deadly.spawn(task, input).expect("a worker").join() {
        Err(JoinError::Crashed(crash)) => crash.cause().clone(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was let"),
    }
}

fn a_violation_says_what_was_tried() {
    let read = |path: String| std::fs::read(path).is_ok();
    let path = "/etc/passwd".to_owned();
    assert_eq!(
        cause(read, path),
        Cause::Sandbox("openat /etc/passwd".to_owned())
    );
    let long = format!("/{}", "x".repeat(1_000));
    match cause(read, long) {
        Cause::Sandbox(what) => assert!(what.starts_with("openat /xxx") && what.len() == 240),
        other => panic!("{other}"),
    }
    // What would change a terminal that shows it is cut off.
    match cause(read, "/a\u{1b}[2J".to_owned()) {
        Cause::Sandbox(what) => assert_eq!(what, "openat /a"),
        other => panic!("{other}"),
    }
    let socket = |()| std::net::UdpSocket::bind("127.0.0.1:0").is_ok();
    match cause(socket, ()) {
        Cause::Sandbox(what) => assert!(what.starts_with("socket of family 2"), "{what}"),
        other => panic!("{other}"),
    }
}

fn a_violation_with_blocked_signals_is_one_too() {
    fn blocked(_: ()) -> bool {
        // SAFETY: a set of this function's, filled before it is read.
        unsafe {
            let mut all = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        }
        std::fs::read("/etc/passwd").is_ok()
    }
    assert_eq!(
        cause(blocked, ()),
        Cause::Sandbox("a system call".to_owned())
    );
}

fn a_signal_of_that_number_is_no_violation() {
    let plain = process::Builder::new();
    let raised = |()| {
        // SAFETY: a signal to itself.
        unsafe { libc::raise(libc::SIGSYS) };
    };
    match plain.spawn(raised, ()).expect("a worker").join() {
        Err(JoinError::Crashed(crash)) => {
            assert_eq!(*crash.cause(), Cause::Signal(libc::SIGSYS));
        }
        other => panic!("{other:?}"),
    }
}

fn every_effect_is_reported() {
    let report = Sandbox::deny_all().report();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.iter().count(), brigade::sandbox::Effect::ALL.len());
    assert!(report.steps().count() > 3);
    let refused = Sandbox::deny_all().read("/no/such/path").report();
    assert!(!refused.is_complete() && refused.to_string().contains("/no/such/path"));
}
