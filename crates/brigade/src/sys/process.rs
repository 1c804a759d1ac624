//! Making processes and ending them: clone(2), fork(2), execve(2), waitid(2), kill(2), prctl(2).

mod stat;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit};

use super::error::{self, Call};
use super::{fds, futex, numbers};

pub(crate) use self::stat::{is_child, is_stopped, is_zombie, main_thread_ended, state_in_proc};

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Fork {
    Parent(u32),
    Child,
}

/// fork(2), in a process that has one thread; refused in any other, for there the child's memory
/// would not be whole.
pub(crate) fn fork_single_threaded() -> io::Result<Fork> {
    if !one_thread() {
        return Err(io::Error::other(
            "a process with several threads cannot be forked",
        ));
    }
    // What a thread has held that ended here is held in the child, whose clocks begin anew.
    may_have_threads();
    fork_for_calls()
}

/// fork(2), also in a process with threads: the child makes system calls and nothing else, for any
/// lock may be one that is never let go of. signal-safety(7)
pub(crate) fn fork_for_calls() -> io::Result<Fork> {
    // SAFETY: the child is in memory of its own. Either that was whole, as there was one thread, so
    // that nothing is locked or half-written by another (`fork_single_threaded` has looked); or the
    // child uses it in no way that depends on another thread, which is the caller's word.
    match unsafe { libc::fork() } {
        -1 => Err(error::last("fork(2)")),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as u32)),
    }
}

/// Whether this process has one thread, in which no code runs that starts others. A constructor of
/// another library may have started one before we came, and that may have ended since.
pub(crate) fn one_thread() -> bool {
    static ONE: AtomicBool = AtomicBool::new(false);
    if !ONE.load(Ordering::Relaxed) {
        ONE.store(is_alone(), Ordering::Relaxed);
    }
    ONE.load(Ordering::Relaxed)
}

/// The user that the program is when it opens files: geteuid(2). Where that is denied, a number
/// that no user has: rustix's own function takes for granted that it may be asked for.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { libc::geteuid() }
}

/// The effective group: getegid(2).
pub(crate) fn effective_group() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { libc::getegid() }
}

/// The calling thread's number. Rustix's own function takes for granted that it may be asked for:
/// gettid(2).
pub(crate) fn thread_id() -> io::Result<Pid> {
    // SAFETY: no memory is involved.
    let number = unsafe { libc::syscall(libc::SYS_gettid) };
    match i32::try_from(number) {
        Ok(number @ 1..) => Pid::from_raw(number).ok_or_else(|| error::last("gettid(2)")),
        _ => Err(error::last("gettid(2)")),
    }
}

/// This thread's number; 0 where that cannot be asked for.
pub(crate) fn thread_number() -> u32 {
    thread_id().map_or(0, |id| id.as_raw_nonzero().get().unsigned_abs())
}

/// The names of this process's other threads.
pub(crate) fn other_threads() -> Vec<String> {
    // One to which that is denied asks in its first thread, which has the process's number.
    let own = thread_id().map_or_else(
        |_| std::process::id(),
        |own| own.as_raw_nonzero().get() as u32,
    );
    let own = own.to_string();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .flatten()
        .filter(|task| *task.file_name() != *own)
        .filter_map(|task| std::fs::read(task.path().join("comm")).ok())
        .map(|name| String::from_utf8_lossy(&name).trim_end().to_owned())
        .collect()
}

/// The C library's flag, if it has one.
static SINGLE_THREADED: std::sync::OnceLock<Option<&'static AtomicU8>> = std::sync::OnceLock::new();

/// Whether this process has, or once had, more than one thread, or may have. The C library's word,
/// where it has one (`__libc_single_threaded`, glibc 2.32): costs a look at two places in memory.
pub(crate) fn has_had_threads() -> bool {
    let flag = SINGLE_THREADED.get_or_init(|| {
        // SAFETY: the name is a C string; the symbol, where there is one, is a `char` of the C
        // library, which cannot be unloaded, and which writes it only while there is one thread.
        unsafe {
            let at = libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr());
            (!at.is_null()).then(|| AtomicU8::from_ptr(at.cast()))
        }
    });
    flag.is_none_or(|single| single.load(Ordering::Relaxed) == 0)
}

/// Whether another thread of this process may hold something: one that lives, or one that ended
/// while it held it. As [`has_had_threads`]; where the C library does not say (musl's, and a static
/// glibc, whose symbols cannot be looked up), by the processor time that others have used, which
/// costs a few system calls.
pub(crate) fn may_have_threads() -> bool {
    if !has_had_threads() {
        return false;
    }
    SINGLE_THREADED.get().is_some_and(Option::is_some) || others_have_run()
}

/// Whether other threads of this process have run, or of one that it was forked from
/// ([`fork_single_threaded`]), and be it one that has ended. Where the clocks cannot be read, they
/// may have.
fn others_have_run() -> bool {
    static FOUND: AtomicBool = AtomicBool::new(false);
    if !FOUND.load(Ordering::Relaxed) && others_have_used_time() {
        FOUND.store(true, Ordering::Relaxed);
    }
    FOUND.load(Ordering::Relaxed)
}

/// The process's time is that of all its threads, those that have ended among them, and this one's
/// own is less than that if others have run: clock_gettime(2), `CLOCK_PROCESS_CPUTIME_ID`.
fn others_have_used_time() -> bool {
    /// The most between the two looks at this thread's clock. A thread takes longer than this to
    /// start and to end, so that none is overlooked.
    const SURE: Duration = Duration::from_micros(4);
    for _ in 0..8 {
        let (before, all, after) = (
            processor_time(libc::CLOCK_THREAD_CPUTIME_ID),
            processor_time(libc::CLOCK_PROCESS_CPUTIME_ID),
            processor_time(libc::CLOCK_THREAD_CPUTIME_ID),
        );
        let (Some(before), Some(all), Some(after)) = (before, all, after) else {
            return true;
        };
        if all > after {
            return true;
        }
        if after.saturating_sub(before) < SURE {
            return false;
        }
    }
    true
}

/// What one of the clocks of processor time says: clock_gettime(2).
fn processor_time(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to that one.
    let got = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let (seconds, nanoseconds) = (time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?);
    (got == 0).then(|| Duration::new(seconds, nanoseconds))
}

/// Whether this process has no other thread now. Where /proc does not say, it may have.
pub(crate) fn is_alone() -> bool {
    // Two for the directory itself, and one for each thread: proc(5).
    rustix::fs::stat("/proc/self/task").is_ok_and(|tasks| tasks.st_nlink == 3)
}

/// Whether this process has no other thread, but for threads that are at their end: a thread that
/// joins one goes on before the kernel has let go of it. Asked for 50 ms.
pub(crate) fn is_alone_soon() -> bool {
    const ASKED: u32 = 50;
    let is_alone_then = |_| {
        let is_alone = is_alone();
        if !is_alone {
            futex::rest(Duration::from_millis(1));
        }
        is_alone
    };
    (0..ASKED).any(is_alone_then)
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled(i32),
}

/// Asks the kernel for what a fork server needs, and what cannot fail but where it is denied
/// altogether (seccomp(2), a security module); of that nothing would be seen later, for these calls
/// also fail where there is simply no such process. A filter that a process did not begin with it
/// gets from itself only. In a process without children.
pub(crate) fn try_calls() -> io::Result<()> {
    let own = std::process::id() as i32;
    let nobody = |result: i64| result != -1 || is_last(libc::ECHILD);
    // SAFETY: no memory is involved, but for what the kernel writes into `info` and `status`.
    // Signal 0 is none: kill(2); 0 clears what was not set: PR_SET_PDEATHSIG(2const).
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut status = 0;
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
        if !nobody(libc::waitid(libc::P_ALL, 0, &raw mut info, flags).into()) {
            return Err(error::last("waitid(2)")).needed_to("hear of workers' ends");
        }
        let flags = libc::WNOHANG | libc::__WALL;
        if !nobody(libc::waitpid(-1, &raw mut status, flags).into()) {
            return Err(error::last("waitpid(2)")).needed_to("reap workers");
        }
        if libc::kill(own, 0) == -1 {
            return Err(error::last("kill(2)")).needed_to("end workers");
        }
        if libc::prctl(libc::PR_SET_PDEATHSIG, 0) == -1 {
            return Err(error::last("prctl(PR_SET_PDEATHSIG)"))
                .needed_to("end workers with the fork server");
        }
    }
    parent()?;
    fds::poll_until(&mut [], Some(Instant::now())).map(drop)
}

/// The parent's number: getppid(2), which fails only where it is denied.
pub(crate) fn parent() -> io::Result<u32> {
    // The C library's own function takes it that the call cannot fail.
    // SAFETY: no memory is involved.
    match unsafe { libc::syscall(libc::SYS_getppid) } {
        -1 => Err(error::last("getppid(2)")).needed_to("see whether the fork server lives"),
        parent => Ok(parent as u32),
    }
}

/// A limit of this process. `None`: prlimit(2) is denied.
pub(crate) fn limit(of: Resource) -> Option<Rlimit> {
    let number = match of {
        Resource::As => libc::RLIMIT_AS,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Memlock => libc::RLIMIT_MEMLOCK,
        Resource::Msgqueue => libc::RLIMIT_MSGQUEUE,
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::Stack => libc::RLIMIT_STACK,
        _ => return None,
    };
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let finite = |n: libc::rlim64_t| (n != libc::RLIM64_INFINITY).then_some(n);
    // SAFETY: writes the two numbers.
    (unsafe { libc::getrlimit64(number, &raw mut limit) } == 0).then(|| Rlimit {
        current: finite(limit.rlim_cur),
        maximum: finite(limit.rlim_max),
    })
}

fn is_last(errno: i32) -> bool {
    io::Error::last_os_error().raw_os_error() == Some(errno)
}

/// Whether a signal may be sent through a pidfd.
pub(crate) fn try_signal_through(process: impl AsFd) -> io::Result<()> {
    let process = process.as_fd().as_raw_fd();
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: numbers only, and signal 0 is none. pidfd_send_signal(2)
    if unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, 0, none, 0) } == -1 {
        return Err(error::last("pidfd_send_signal(2)")).needed_to("end the fork server");
    }
    Ok(())
}

/// A child that has ended, and is not reaped yet. An error is that there are no children: see
/// [`try_calls`].
pub(crate) fn peek_ended() -> Option<u32> {
    loop {
        // SAFETY: `info` is written by the kernel, and its process id is 0 where there is no such
        // child: waitid(2).
        let (pid, code, status) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
            if libc::waitid(libc::P_ALL, 0, &raw mut info, flags) == -1 || info.si_pid() == 0 {
                return None;
            }
            (info.si_pid(), info.si_code, info.si_status())
        };
        if matches!(code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED) {
            return Some(pid as u32);
        }
        // A stop of one that is traced is told to its tracer whatever that waits for.
        stop_tracing(pid, status & 0x7f);
    }
}

/// A child that was stopped since this was asked last (`true`), or has gone on. Each is reported
/// once; one that was stopped and has gone on already is reported as that alone.
pub(crate) fn stopped_child() -> Option<(u32, bool)> {
    loop {
        // SAFETY: `info` is written by the kernel, and its process id is 0 where there is no such
        // child: waitid(2).
        let (pid, code, status) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG | libc::__WALL;
            if libc::waitid(libc::P_ALL, 0, &raw mut info, flags) == -1 || info.si_pid() == 0 {
                return None;
            }
            (info.si_pid(), info.si_code, info.si_status())
        };
        if code != libc::CLD_TRAPPED {
            return Some((pid as u32, code != libc::CLD_CONTINUED));
        }
        stop_tracing(pid, status & 0x7f);
    }
}

/// A child has made this process its tracer (PTRACE_TRACEME: some programs do so to keep debuggers
/// away), and has got a signal, which waits for its tracer. It gets it, and is traced no more.
fn stop_tracing(child: i32, signal: i32) {
    // SAFETY: `info` is written by the kernel; else numbers only: ptrace(2). If it fails, the child
    // has been killed meanwhile.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let told = libc::ptrace(libc::PTRACE_GETSIGINFO, child, 0, &raw mut info) == 0;
        // That the process has begun another program, its tracer learns by a signal that is none.
        let is_exec = told && signal == libc::SIGTRAP && info.si_code == libc::SI_USER;
        let signal = if is_exec { 0 } else { signal };
        libc::ptrace(libc::PTRACE_DETACH, child, 0, signal as usize);
    }
}

/// Takes the status of this child, if it has ended. An error is that it is no child: see
/// [`try_calls`].
pub(crate) fn reap(pid: u32) -> Option<Ended> {
    let mut status = 0;
    loop {
        // SAFETY: writes one integer.
        let reaped =
            unsafe { libc::waitpid(pid as i32, &raw mut status, libc::WNOHANG | libc::__WALL) };
        if reaped == -1 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
            continue;
        }
        if reaped <= 0 {
            return None;
        }
        return Some(ended(status));
    }
}

/// What a wait status says.
fn ended(status: i32) -> Ended {
    if libc::WIFSIGNALED(status) {
        Ended::Signaled(libc::WTERMSIG(status))
    } else {
        Ended::Exited(libc::WEXITSTATUS(status))
    }
}

/// Whether the number of a process that is held by a pidfd may be another's.
fn is_reaped(process: impl AsFd) -> bool {
    try_signal_through(process).is_err()
}

/// How a process that is held by a pidfd ended, whichever process is its parent. `None`: it has
/// not, or the kernel does not say: /proc/[pid]/stat before it is reaped; PIDFD_GET_INFO (Linux
/// 6.15) once it is.
pub(crate) fn how_it_ended(process: impl AsFd, pid: u32) -> Option<Ended> {
    /// `struct pidfd_info`, in its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        numbers: [u32; 11],
        exit_code: i32,
    }
    const GET_INFO: libc::c_ulong = 0xc040_ff0b;
    const EXIT: u64 = 1 << 3;
    // The parent that reaps it may take a moment.
    const TRIES: u32 = 20;
    let _ = fds::wait_readable(&process, Duration::from_millis(100));
    for _ in 0..TRIES {
        let mut info = Info {
            mask: EXIT,
            ..Info::default()
        };
        let number = process.as_fd().as_raw_fd();
        // SAFETY: the request says how long the struct is that the kernel reads and writes.
        if unsafe { libc::ioctl(number, GET_INFO as _, &raw mut info) } == -1
            && !is_last(libc::ESRCH)
        {
            return None;
        }
        if info.mask & EXIT != 0 {
            return Some(ended(info.exit_code));
        }
        // If it is not reaped now, it was not when it was looked at.
        let status = numbers::in_proc(pid).and_then(stat::zombies_status_of);
        if let Some(status) = status.filter(|_| !is_reaped(&process)) {
            return Some(ended(status));
        }
        futex::rest(Duration::from_millis(5));
    }
    None
}

/// Sends a signal to a process. One that has ended already is no error; one that has become another
/// user's is left to processes that may: it is missed when its end does not come. See
/// [`try_calls`].
pub(crate) fn kill(pid: u32, signal: i32) {
    debug_assert!(pid > 1, "0, 1 and their negatives mean many processes");
    // SAFETY: no memory is involved.
    unsafe { libc::kill(pid as i32, signal) };
}

/// Sends a signal to every member of a process group, as [`kill`].
pub(crate) fn kill_group(leader: u32, signal: i32) {
    debug_assert!(leader > 1, "0, 1 and their negatives mean many processes");
    // SAFETY: no memory is involved.
    unsafe { libc::kill(-(leader as i32), signal) };
}

/// Sends a signal to a process that is held by a pidfd, and to the group that it leads. `pid` is
/// its number, and not another's for as long as it is not reaped, which the caller has seen to:
/// Linux before 6.9 cannot find the group by the descriptor.
pub(crate) fn kill_through(process: impl AsFd, pid: u32, signal: i32) {
    const PROCESS_GROUP: libc::c_uint = 1 << 2;
    let send = |flags: libc::c_uint| {
        let process = process.as_fd().as_raw_fd();
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: numbers only; without a siginfo the kernel makes one as kill(2) does.
        // pidfd_send_signal(2)
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, signal, none, flags) }
    };
    if send(PROCESS_GROUP) == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
    {
        kill_group(pid, signal);
    }
    // It may have left the group.
    send(0);
}

/// Whether there is a process of this number: another user's, and one that has ended and was not
/// reaped, too. kill(2).
pub(crate) fn is_there(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Bytes of memory that the machine has. sysinfo(2). `None`: it is denied.
pub(crate) fn memory_of_machine() -> Option<u64> {
    // SAFETY: numbers, for which zeroes are valid.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: writes to `info`.
    let is_told = unsafe { libc::sysinfo(&raw mut info) } == 0;
    is_told.then(|| info.totalram.saturating_mul(u64::from(info.mem_unit)))
}

/// The most pages that this process ever had resident. getrusage(2); takes no descriptor.
pub(crate) fn most_resident_pages() -> u64 {
    // SAFETY: numbers, for which zeroes are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: writes to `usage`. It fails for no argument but another.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    // Of 1024 bytes each.
    usage.ru_maxrss as u64 * 1024 / rustix::param::page_size() as u64
}

/// Ends this process, now: no destructor, no `atexit`, no flush.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: it takes a number. No code of this process runs after it; what it skips (destructors,
    // guards of locks in shared memory) is what a kill skips too, and no peer relies on it.
    unsafe { libc::_exit(code) }
}

/// This process is killed when its parent *thread* ends. Cleared by fork and by a change of uid.
/// PR_SET_PDEATHSIG(2const); it does not fail in a child of a process that may call it
/// ([`try_calls`]).
pub(crate) fn die_with_parent() {
    let _ = prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize);
}

/// Orphans among this process's descendants become its children, not those of init.
/// PR_SET_CHILD_SUBREAPER(2const).
pub(crate) fn adopt_orphans() -> io::Result<()> {
    if !prctl(libc::PR_SET_CHILD_SUBREAPER, 1) {
        return Err(error::last("prctl(PR_SET_CHILD_SUBREAPER)"))
            .needed_to("end what tasks leave behind");
    }
    Ok(())
}

/// What `ps` and `top` show; the kernel keeps 15 bytes.
pub(crate) fn set_name(name: &CStr) {
    let _ = prctl(libc::PR_SET_NAME, name.as_ptr().expose_provenance());
}

/// prctl(2), of a number or of the address of what the kernel reads, which lives across the call.
/// By the bare call: in a process that was just forked each page of the C library that is used is a
/// fault, and what makes bare calls is used anyway. `false`: an error.
fn prctl(option: i32, argument: usize) -> bool {
    // SAFETY: the kernel reads no more than a short string, which `set_name` has; this process's
    // memory is not written.
    unsafe { libc::syscall(libc::SYS_prctl, option, argument, 0, 0, 0) != -1 }
}

/// Memory of a process that is of no file, and resident, in bytes: the second number of
/// /proc/PID/statm without the third, proc_pid_statm(5). `None`: it cannot be read.
pub(crate) fn anonymous_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut numbers = text.split_ascii_whitespace().skip(1);
    let mut pages = || numbers.next()?.parse::<u64>().ok();
    let (all, of_files) = (pages()?, pages()?);
    Some(all.saturating_sub(of_files) * rustix::param::page_size() as u64)
}

/// Whether this process has privileges that the user who started it does not have (setuid, file
/// capabilities). AT_SECURE: getauxval(3).
pub(crate) fn is_privileged() -> bool {
    // SAFETY: no memory of ours is involved.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// Without a thread, after one that has ended, and in a fork after that.
    fn found(_: ()) -> [bool; 4] {
        let before = others_have_run();
        std::thread::spawn(|| {}).join().expect("no panic");
        let alone = is_alone_soon();
        let after = others_have_run();
        let forked = match fork_single_threaded().expect("one thread") {
            Fork::Child => exit_now(others_have_run().into()),
            Fork::Parent(pid) => pid,
        };
        let forked = Pid::from_raw(forked as i32);
        let ended = rustix::process::waitpid(forked, rustix::process::WaitOptions::empty());
        let ended = ended.expect("it is ours").expect("it has ended").1;
        [before, alone, after, ended.exit_status() == Some(1)]
    }

    #[test]
    fn threads_that_have_ended_are_known_by_their_time() {
        crate::init();
        let mut without = 0;
        for _ in 0..100 {
            let worker = crate::process::spawn(found, ()).expect("a worker");
            let [before, rest @ ..] = worker.join().expect("it returned");
            assert_eq!(rest, [true; 3]);
            without += u32::from(!before);
        }
        // Where its clock is slow to read a process cannot be sure, and takes the longer way.
        assert!(without > 0, "none was ever found to have had one thread");
    }
}
