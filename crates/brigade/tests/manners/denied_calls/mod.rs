//! A program that may not make some system call, as under a strict seccomp(2) filter: each thing
//! that it asks for either works or gives one error, which names the call and what it is needed
//! for. Nobody waits.
//!
//! The call is denied to the program and all that it starts; or to the fork server and its workers
//! alone; or to the workers alone.

use std::process::Stdio;
use std::time::{Duration, Instant};

use brigade_test_support::{DeniedCall, deny};
use libtest_mimic::Trial;

use crate::hosts::Host;
use crate::observe::{check, host};
use crate::steps;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("denied-call", denied_call),
    ("closes-nothing", closes_nothing),
];

/// A call: what an error calls it, and, if the first process must fail without it, what that error
/// says that it is needed for.
struct Call {
    which: DeniedCall,
    name: &'static str,
    needed_to: Option<&'static str>,
    errnos: &'static [i32],
}

const DENIED: &[i32] = &[libc::EPERM, libc::ENOSYS];
/// As where there are too many descriptors, or too little memory.
const LACKING: &[i32] = &[libc::EPERM, libc::ENOSYS, libc::EMFILE, libc::ENOMEM];
const TASKS: &[i32] = &[libc::EPERM, libc::ENOSYS, libc::EAGAIN, libc::ENOMEM];

const fn call(number: libc::c_long, name: &'static str) -> Call {
    Call {
        which: DeniedCall {
            number,
            argument: None,
        },
        name,
        needed_to: None,
        errnos: DENIED,
    }
}

impl Call {
    const fn with(mut self, index: u32, value: libc::c_int) -> Call {
        self.which.argument = Some((index, value));
        self
    }

    const fn needed_to(mut self, purpose: &'static str) -> Call {
        self.needed_to = Some(purpose);
        self
    }

    fn makes_queues(&self) -> bool {
        self.name.starts_with("mq_")
    }

    const fn failing(mut self, errnos: &'static [i32]) -> Call {
        self.errnos = errnos;
        self
    }
}

const ADD_SEALS: libc::c_int = 1033;
const CALLS: &[Call] = &[
    call(libc::SYS_waitid, "waitid(2)").needed_to("hear of workers' ends"),
    call(libc::SYS_wait4, "waitpid(2)").needed_to("reap"),
    call(libc::SYS_kill, "kill(2)").needed_to("end workers"),
    call(libc::SYS_setsid, "setsid(2)").needed_to("terminal"),
    call(libc::SYS_setpgid, "setpgid(2)").needed_to("end a worker"),
    call(libc::SYS_signalfd4, "signalfd(2)")
        .needed_to("hear of workers' ends")
        .failing(LACKING),
    call(libc::SYS_pidfd_send_signal, "pidfd_send_signal(2)").needed_to("end the fork server"),
    call(libc::SYS_timerfd_settime, "timerfd_settime(2)").needed_to("limits of time"),
    call(libc::SYS_prctl, "prctl(PR_SET_CHILD_SUBREAPER)")
        .with(0, libc::PR_SET_CHILD_SUBREAPER)
        .needed_to("leave behind"),
    call(libc::SYS_prctl, "prctl(PR_SET_PDEATHSIG)")
        .with(0, libc::PR_SET_PDEATHSIG)
        .needed_to("end workers with"),
    call(libc::SYS_memfd_create, "memfd_create(2)").failing(LACKING),
    call(libc::SYS_pidfd_open, "pidfd_open(2)").failing(LACKING),
    call(libc::SYS_eventfd2, "eventfd(2)").failing(LACKING),
    call(libc::SYS_timerfd_create, "timerfd_create(2)").failing(LACKING),
    call(libc::SYS_clone3, "clone3(2)").failing(TASKS),
    call(libc::SYS_clone, "clone").failing(TASKS),
    call(libc::SYS_execve, "execve(2)").failing(TASKS),
    call(libc::SYS_ppoll, "ppoll(2)"),
    call(libc::SYS_fstat, "fstat(2)"),
    call(libc::SYS_statx, "statx(2)"),
    call(libc::SYS_fcntl, "fcntl(F_ADD_SEALS)").with(1, ADD_SEALS),
    call(libc::SYS_fcntl, "fcntl(F_DUPFD_CLOEXEC)").with(1, libc::F_DUPFD_CLOEXEC),
    call(libc::SYS_ftruncate, "ftruncate(2)"),
    call(libc::SYS_socketpair, "socketpair(2)").failing(LACKING),
    call(libc::SYS_fallocate, "fallocate(2)"),
    call(libc::SYS_getppid, "getppid(2)"),
    call(libc::SYS_dup3, "dup3(2)"),
    call(libc::SYS_prlimit64, "prlimit(2)"),
    call(libc::SYS_epoll_create1, "epoll_create1(2)").failing(LACKING),
    call(libc::SYS_epoll_ctl, "epoll_ctl(2)"),
    call(libc::SYS_epoll_pwait, "epoll_wait(2)"),
    call(libc::SYS_sigaltstack, "sigaltstack(2)"),
    call(libc::SYS_madvise, "madvise(2)"),
    call(libc::SYS_sendto, "sendto(2)"),
    call(libc::SYS_sendmsg, "sendmsg(2)"),
    call(libc::SYS_recvfrom, "recvfrom(2)"),
    call(libc::SYS_recvmsg, "recvmsg(2)"),
    call(libc::SYS_getsockopt, "getsockopt(2)"),
    call(libc::SYS_mq_open, "mq_open(3)"),
    call(libc::SYS_mq_unlink, "mq_unlink(3)"),
    call(libc::SYS_mq_timedsend, "mq_timedsend(3)"),
    call(libc::SYS_pipe2, "pipe2(2)").failing(LACKING),
    call(libc::SYS_close_range, "close_range(2)"),
    call(libc::SYS_openat, "open(2)").failing(LACKING),
    call(libc::SYS_rt_sigaction, "sigaction(2)"),
    call(libc::SYS_rt_sigprocmask, "sigprocmask(2)"),
    call(libc::SYS_readlinkat, "readlink(2)"),
    call(libc::SYS_pread64, "pread(2)"),
    call(libc::SYS_ioctl, "ioctl"),
    call(libc::SYS_mq_timedreceive, "mq_timedreceive(3)"),
    call(libc::SYS_lseek, "lseek(2)"),
    call(libc::SYS_sysinfo, "sysinfo(2)"),
    call(libc::SYS_fstatfs, "fstatfs(2)"),
    call(libc::SYS_pwrite64, "pwrite(2)"),
    call(libc::SYS_getsid, "getsid(2)"),
    call(libc::SYS_gettid, "gettid(2)"),
    call(libc::SYS_geteuid, "geteuid(2)"),
    call(libc::SYS_setrlimit, "setrlimit(2)"),
    call(libc::SYS_set_robust_list, "set_robust_list(2)"),
];

/// Where a call is denied.
const PLACES: [&str; 3] = ["host", "fork-server", "worker"];

/// Where filters are not those of the host, which is refused.
const OTHER_FILTERS: &str = "it has other no_new_privs, seccomp filters";

/// What is to be denied in the processes that the host starts: `call:error:place`.
const VARIABLE: &str = "BRIGADE_TEST_DENY";

pub(crate) fn trials() -> Vec<Trial> {
    let each = CALLS.iter().enumerate().map(|(i, call)| {
        let name = call.name.replace(['(', ')'], "_");
        trial(&format!("a_host_that_may_not_call_{name}"), move || {
            let runs = call.errnos.iter().flat_map(|errno| {
                PLACES.map(|place| {
                    let mut command = host("denied-call");
                    command.args([&i.to_string(), &errno.to_string(), place]);
                    command.stdout(Stdio::piped()).stderr(Stdio::piped());
                    (errno, place, command)
                })
            });
            let mut started = runs.map(|(errno, place, mut command)| {
                let what = format!("{} denied to the {place} with error {errno}", call.name);
                (what, place, command.spawn().expect("starts"))
            });
            // All at once, but for those that make queues, of which a user may have some ten.
            let at_once = if call.makes_queues() { 1 } else { PLACES.len() };
            loop {
                let some: Vec<_> = started.by_ref().take(at_once).collect();
                if some.is_empty() {
                    break;
                }
                for (what, place, child) in some {
                    let output = child.wait_with_output().expect("waited for");
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    check(&what, output);
                    judge(&what, call, place, &text);
                }
            }
        })
    });
    each.chain([trial("a_host_that_may_not_close_is_told_at_once", || {
        for errno in DENIED {
            let output = host("closes-nothing").arg(errno.to_string()).output();
            check("close(2) denied", output.expect("starts"));
        }
    })])
    .collect()
}

/// The loader cannot do without close(2), so there is no fork server. Its end is heard of though
/// this process still has its end of their socket open: it cannot close that either.
fn closes_nothing(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: no memory is involved. It ends a host that waits for ever, which fails the test.
    unsafe { libc::alarm(60) };
    brigade::init();
    deny(&[libc::SYS_close.into()], args[0].parse()?)?;
    let began = Instant::now();
    let Err(why) = brigade::process::spawn(|()| (), ()) else {
        return Err("a process was started without close(2)".into());
    };
    let took = began.elapsed();
    let why = why.to_string();
    if !why.contains("ended before it was ready") || took > Duration::from_secs(15) {
        return Err(format!("after {took:?}: {why}").into());
    }
    Ok(())
}

fn judge(what: &str, call: &Call, place: &str, text: &str) {
    let told = steps::told(text);
    let steps: Vec<&str> = told.iter().map(|(step, _)| *step).collect();
    let expected = steps::names(call.makes_queues());
    assert_eq!(steps, expected, "{what}:\n{text}");
    for (step, end) in told {
        if end == "ok" {
            continue;
        }
        if place == "fork-server" && end.contains(OTHER_FILTERS) {
            // It could begin, and was found to have other filters than the host.
            continue;
        }
        let named = end.contains(call.name) && end.contains(", which is needed to ");
        assert!(named, "{what}, {step}: {end}");
        assert!(!end.starts_with("untyped"), "{what}, {step}: {end}");
    }
    if let (Some(purpose), "host") = (call.needed_to, place) {
        let first = text.lines().find(|line| line.starts_with("step spawn: "));
        let is_told = first.is_some_and(|line| line.contains(purpose));
        assert!(is_told, "{what}: {first:?}");
    }
    if std::env::var_os("BRIGADE_TABLE").is_some() {
        eprintln!("{what}:\n{text}");
    }
}

fn denied_call(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [call, errno, place] = args else {
        return Err("which call, which error, and where?".into());
    };
    // SAFETY: no memory is involved. It ends a host that waits for ever, which fails the test.
    unsafe { libc::alarm(60) };
    brigade::init();
    let which = CALLS.get(call.parse::<usize>()?).ok_or("no such call")?;
    if place == "host" {
        deny(&[which.which], errno.parse()?)?;
    } else {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var(VARIABLE, format!("{call}:{errno}:{place}")) };
    }
    steps::all(which.makes_queues());
    Ok(())
}

// SAFETY: a function of the type that the loader calls the entries of this section with. The number
// sorts it before the library's own, which has none.
#[used]
#[unsafe(link_section = ".init_array.00150")]
static EARLY: extern "C" fn() = deny_in_fork_server;

/// In each start of this program: denies what the variable says, if this is a fork server.
extern "C" fn deny_in_fork_server() {
    let is_server = std::env::vars_os()
        .any(|(name, _)| name.as_encoded_bytes().starts_with(b"BRIGADE_FORK_SERVER_"));
    match ordered() {
        Some((_, _, place)) if is_server && place == "worker" => {
            // SAFETY: the handler makes system calls, and allocates, in a process that had one
            // thread.
            unsafe { libc::pthread_atfork(None, None, Some(deny_here)) };
        }
        Some(_) if is_server => deny_here(),
        _ => {}
    }
}

fn ordered() -> Option<(usize, u32, String)> {
    let order = std::env::var(VARIABLE).ok()?;
    let mut parts = order.split(':');
    let (call, errno) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((call, errno, parts.next()?.to_owned()))
}

extern "C" fn deny_here() {
    let Some((call, errno, _)) = ordered() else {
        return;
    };
    let denied = CALLS
        .get(call)
        .map(|call| deny(&[call.which], errno as i32));
    if let Some(Err(e)) = denied {
        eprintln!("a filter could not be set: {e}");
        std::process::abort();
    }
}
