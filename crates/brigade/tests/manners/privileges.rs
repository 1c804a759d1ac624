//! Hosts that change what they may do, and where they are: workers have what the host has when it
//! asks.

use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;

use brigade::{Kind, Pool, process};
use brigade_test_support::{procfs, signal};
use libtest_mimic::Trial;
use rustix::pipe::PipeFlags;
use rustix::process::{geteuid, getpid};

use crate::hosts::{Host, double, spawn_works, until};
use crate::observe::{check, host, well_behaved};
use crate::secure::{NOBODY, skip};
use crate::trials::trial;

type Ended = Result<(), Box<dyn std::error::Error>>;

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("changes", changes),
    ("pool-before-drop", pool_before_drop),
    ("pool-replaces-less", pool_replaces_less),
    ("server-retires", server_retires),
    ("two-users", two_users),
    ("keeps-unbound", keeps_unbound),
    ("children-elsewhere", children_elsewhere),
    ("one-thread-drops", one_thread_drops),
    ("no-proc", no_proc),
];

/// A name, and what changes something of the program.
type Change = (&'static str, fn() -> Ended);

/// What is changed between two workers, and needs root.
const CHANGES: &[Change] = &[
    ("user", || done(become_nobody())),
    ("group", || {
        // SAFETY: no memory is involved.
        done(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) } == 0)
    }),
    ("supplementary groups", || {
        let groups = [7, 8, 9];
        // SAFETY: reads three numbers.
        done(unsafe { libc::setgroups(3, groups.as_ptr()) } == 0)
    }),
    ("permitted capabilities", || {
        keep_capabilities(1 << 7 | 1 << 21, 0)
    }),
    ("effective capabilities", || {
        let sets = rustix::thread::capabilities(None)?;
        let mut fewer = sets;
        fewer.effective = rustix::thread::CapabilitySet::CHOWN;
        Ok(rustix::thread::set_capabilities(None, fewer)?)
    }),
    ("inheritable and ambient capabilities", || {
        keep_capabilities(1 << 10 | 1 << 7, 1 << 10)
    }),
    ("capabilities of an ordinary user", || {
        // SAFETY: no memory is involved.
        done(unsafe {
            libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
                && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0
        })?;
        keep_capabilities(1 << 10, 0)
    }),
    ("bounding set", || {
        drop_bound()?;
        let sets = rustix::thread::capabilities(None)?;
        keep_capabilities(sets.permitted.bits() & !(1 << BOUND), 0)
    }),
    ("securebits", || {
        // SECBIT_NOROOT. SAFETY: no memory is involved.
        done(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, 1, 0, 0, 0) } == 0)
    }),
    ("no_new_privs", no_new_privs),
    ("seccomp", || {
        no_new_privs()?;
        // One filter that allows everything.
        let allow = [libc::sock_filter {
            code: 6,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        }];
        let program = libc::sock_fprog {
            len: 1,
            filter: allow.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel reads the program, which lives across the call.
        done(unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) } == 0)
    }),
    ("umask", || {
        // SAFETY: no memory is involved.
        unsafe { libc::umask(0o137) };
        Ok(())
    }),
    ("root directory", other_root),
    ("mounts", || unshare(libc::CLONE_NEWNS)),
    ("network", || unshare(libc::CLONE_NEWNET)),
    ("host name", || unshare(libc::CLONE_NEWUTS)),
    ("IPC", || unshare(libc::CLONE_NEWIPC)),
    ("control groups", || unshare(libc::CLONE_NEWCGROUP)),
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut all: Vec<Trial> = CHANGES
        .iter()
        .map(|&(name, _)| {
            trial(&format!("a_worker_has_the_hosts: {name}"), move || {
                if name == "umask" || is_root() {
                    well_behaved("changes", &[name]);
                }
            })
        })
        .collect();
    for (test, name) in [
        (
            "a_pool_keeps_what_it_was_built_with_and_gets_no_more",
            "pool-before-drop",
        ),
        ("a_pool_of_less_is_refilled", "pool-replaces-less"),
        ("a_fork_server_ends_when_nobody_uses_it", "server-retires"),
        ("a_host_of_two_users_gets_no_processes", "two-users"),
        (
            "a_capability_that_no_start_could_have_is_no_reason_for_less",
            "keeps-unbound",
        ),
        (
            "nor_does_one_with_children_in_another_pid_namespace",
            "children-elsewhere",
        ),
        (
            "a_thread_that_drops_alone_gets_what_it_has",
            "one-thread-drops",
        ),
        ("a_host_that_loses_sight_of_proc_is_refused", "no-proc"),
    ] {
        all.push(trial(test, move || {
            if is_root() {
                well_behaved(name, &[]);
            }
        }));
    }
    all.push(trial("an_ordinary_users_umask", || {
        if is_root() {
            let mut command = host("changes");
            command.arg("umask").uid(NOBODY).gid(NOBODY);
            check("changes", command.output().expect("starts"));
        }
    }));
    all
}

fn is_root() -> bool {
    if !geteuid().is_root() {
        skip("it takes root to give something up");
    }
    geteuid().is_root()
}

fn done(done: bool) -> Ended {
    match done {
        true => Ok(()),
        false => Err(std::io::Error::last_os_error().into()),
    }
}

fn become_nobody() -> bool {
    // SAFETY: no memory is involved.
    unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(NOBODY, NOBODY, NOBODY) == 0
            && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0
    }
}

/// A capability that is taken out of the bounding set.
const BOUND: u32 = 23;

fn drop_bound() -> Ended {
    // SAFETY: no memory is involved.
    done(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, BOUND, 0, 0, 0) } == 0)
}

fn no_new_privs() -> Ended {
    // SAFETY: no memory is involved.
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0)
}

/// Of this thread; the others of this program have none that matter here.
fn keep_capabilities(permitted: u64, ambient: u64) -> Ended {
    let bits = rustix::thread::CapabilitySet::from_bits_retain;
    rustix::thread::set_capabilities(
        None,
        rustix::thread::CapabilitySets {
            effective: bits(permitted),
            permitted: bits(permitted),
            inheritable: bits(ambient),
        },
    )?;
    for capability in (0..64).filter(|bit| ambient & 1 << bit != 0) {
        // SAFETY: no memory is involved.
        let raised = unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_RAISE,
                capability,
                0,
                0,
            )
        };
        done(raised == 0)?;
    }
    Ok(())
}

fn unshare(what: i32) -> Ended {
    // SAFETY: no memory is involved.
    done(unsafe { libc::unshare(what) } == 0)
}

/// The same files under another root: one that has all of the mounts below it, so that the program
/// and /proc are still found.
fn other_root() -> Ended {
    unshare(libc::CLONE_NEWNS)?;
    let at = std::env::temp_dir().join(format!("brigade-root-{}", getpid().as_raw_pid()));
    std::fs::create_dir(&at)?;
    let path = std::ffi::CString::new(at.to_str().ok_or("a path")?)?;
    // SAFETY: C strings that live across the calls.
    unsafe {
        let (none, root) = (std::ptr::null(), c"/".as_ptr());
        done(
            libc::mount(
                none,
                root,
                none,
                libc::MS_REC | libc::MS_PRIVATE,
                none.cast(),
            ) == 0,
        )?;
        // So that it is the root directory alone that changes from here on.
        spawn_works()?;
        done(
            libc::mount(
                root,
                path.as_ptr(),
                none,
                libc::MS_BIND | libc::MS_REC,
                none.cast(),
            ) == 0,
        )?;
        done(libc::chroot(path.as_ptr()) == 0)
    }
}

/// What a process says of itself, as far as it must be the same in host and worker.
fn portrait(_: ()) -> Vec<String> {
    const LINES: [&str; 12] = [
        "Umask:",
        "Uid:",
        "Gid:",
        "Groups:",
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
        "Seccomp_filters:",
    ];
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("is readable");
    let mut all: Vec<String> = status
        .lines()
        .filter(|line| LINES.iter().any(|name| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    // SAFETY: no memory is involved.
    all.push(format!("securebits {}", unsafe {
        libc::prctl(libc::PR_GET_SECUREBITS, 0, 0, 0, 0)
    }));
    const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    all.extend(NAMESPACES.iter().map(|name| {
        let link = std::fs::read_link(format!("/proc/thread-self/ns/{name}"));
        link.expect("is readable").to_string_lossy().into_owned()
    }));
    let flags = rustix::fs::StatxFlags::MNT_ID | rustix::fs::StatxFlags::INO;
    let root = rustix::fs::statx(rustix::fs::CWD, "/", rustix::fs::AtFlags::empty(), flags);
    let root = root.expect("there is one");
    all.push(format!("root {} {}", root.stx_mnt_id, root.stx_ino));
    all
}

/// Workers of every sort look like this thread.
fn look_alike() -> Ended {
    let ours = portrait(());
    let same = |theirs: Vec<String>, what: &str| -> Ended {
        if theirs == ours {
            return Ok(());
        }
        let differ = ours.iter().zip(&theirs).filter(|(a, b)| a != b);
        Err(format!("{what}: {:?}", differ.collect::<Vec<_>>()).into())
    };
    // More than there are spares.
    for n in 0..6 {
        same(
            process::spawn(portrait, ())?.join()?,
            &format!("process {n}"),
        )?;
    }
    let named = process::Builder::new().name("named").spawn(portrait, ())?;
    same(named.join()?, "a process that is prepared")?;
    let large = process::spawn(
        |text: String| (text.len(), portrait(())),
        "x".repeat(1 << 20),
    )?;
    same(large.join()?.1, "a process with a large input")?;
    let pool = Pool::processes(2)?;
    for n in 0..4 {
        same(pool.submit(portrait, ()).join()?, "a pool's worker")?;
        if n == 1 {
            for pid in pool.pids() {
                signal::kill(pid);
            }
        }
    }
    Ok(())
}

/// At once after it has changed, and once more when all has settled.
fn changes(args: &[String]) -> Ended {
    brigade::init();
    look_alike()?;
    let name = args.first().ok_or("what is changed")?;
    let change = CHANGES.iter().find(|(n, _)| n == name);
    change.ok_or("there is no such change")?.1()?;
    // What has to be read from /proc is not read each time: PLATFORM.md says how long that may
    // take. What a worker may do is compared each time.
    look_alike().map_err(|e| format!("after the change: {e}"))?;
    look_alike().map_err(|e| format!("after the change, later: {e}").into())
}

/// A pool of root's: its workers are what they were, and it gets no others once the program is
/// somebody else.
fn pool_before_drop(_: &[String]) -> Ended {
    fn user((): ()) -> u32 {
        geteuid().as_raw()
    }
    brigade::init();
    let pool = Pool::processes(2)?;
    let before = pool.pids();
    done(become_nobody())?;
    // The pool is used on.
    for _ in 0..10 {
        if pool.submit(user, ()).join()? != 0 {
            return Err("the pool's workers are not what they were".into());
        }
    }
    if process::spawn(user, ())?.join()? != NOBODY {
        return Err("a new worker has more than the program".into());
    }
    let newer = Pool::processes(2)?;
    if newer.submit(user, ()).join()? != NOBODY {
        return Err("a new pool has more than the program".into());
    }
    // Its workers leave: this user may not kill root's.
    for _ in 0..2 {
        drop(pool.submit(|()| -> () { std::process::abort() }, ()).join());
    }
    let error = match pool.submit(user, ()).join() {
        Ok(user) => return Err(format!("a worker of user {user} in place of root's").into()),
        Err(e) => e.to_string(),
    };
    if !error.contains("other privileges than when this pool was built (users") {
        return Err(error.into());
    }
    if pool.pids().iter().any(|pid| !before.contains(pid)) {
        return Err("it has workers that it did not have".into());
    }
    drop(pool);
    match newer.map(double, 0..100).filter(Result::is_ok).count() {
        100 => Ok(()),
        n => Err(format!("{n} of 100 results").into()),
    }
}

/// A pool that was built by a thread with less: the program may have more now, its workers do not.
fn pool_replaces_less(_: &[String]) -> Ended {
    fn bounded((): ()) -> bool {
        portrait(()).contains(&"NoNewPrivs:\t1".to_owned())
    }
    brigade::init();
    spawn_works()?;
    let pool = std::thread::spawn(|| -> Result<Pool, String> {
        no_new_privs().map_err(|e| e.to_string())?;
        Pool::processes(2).map_err(|e| e.to_string())
    });
    let pool = pool.join().map_err(|_| "it panicked")??;
    for _ in 0..4 {
        for pid in pool.pids() {
            signal::kill(pid);
        }
        let kept = (0..4)
            .map(|_| pool.submit(bounded, ()))
            .all(|h| h.join().unwrap_or(true));
        if !kept || process::spawn(bounded, ())?.join()? {
            return Err("a worker is not what it should be".into());
        }
    }
    Ok(())
}

/// Fork servers of another time end: at once, with the last task, or with the last pool.
fn server_retires(_: &[String]) -> Ended {
    brigade::init();
    let server_of = |pid: Option<u32>| {
        let pid = pid.ok_or_else(|| std::io::Error::other("a process has a number"))?;
        procfs::parent(pid)
    };
    let (wait, go) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let wait = brigade::Descriptor(wait);
    let task = process::spawn(
        |brigade::Descriptor(wait): brigade::Descriptor| {
            let mut byte = [0];
            let _ = rustix::io::read(&wait, &mut byte);
            "x".repeat(1 << 20)
        },
        wait,
    )?;
    let pool = Pool::processes(1)?;
    let servers: Vec<u32> = [task.pid(), pool.pids().first().copied()]
        .into_iter()
        .map(server_of)
        .collect::<Result<_, _>>()?;
    if servers[0] != servers[1] {
        return Err("one fork server serves all that has the same privileges".into());
    }
    let mask = |mask| -> Ended {
        // SAFETY: no memory is involved.
        unsafe { libc::umask(mask) };
        spawn_works()
    };
    mask(0o77)?;
    // The spares are gone; the task and the pool are not.
    let old = servers[0];
    until(
        || Ok(procfs::children(old)?.len() == 2),
        "the spares are gone",
    )?;
    if pool.submit(double, 21).join()? != 42 {
        return Err("a wrong result".into());
    }
    drop(pool);
    until(
        || Ok(procfs::children(old)?.len() == 1),
        "the pool's worker is gone",
    )?;
    drop(go);
    // Its result is still to be had.
    until(|| Ok(task.is_finished()), "the task ends")?;
    if task.join()?.len() != 1 << 20 {
        return Err("a wrong result".into());
    }
    // Reaped, or about to be by whoever does that here.
    let gone = |pid: u32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_or(true, |stat| stat.contains(") Z "))
    };
    until(|| Ok(gone(old)), "the fork server ends")?;
    // One with spares only ends at once; and however often that happens, nothing of it stays.
    let descriptors = || std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    let threads = || std::fs::read_dir("/proc/self/task").map(Iterator::count);
    let held = (descriptors()?, threads()?);
    for n in 0..10 {
        mask(n)?;
        let handle = process::spawn(double, n)?;
        let server = server_of(handle.pid());
        handle.join()?;
        mask(0o77)?;
        spawn_works()?;
        if let Ok(server) = server {
            until(|| Ok(gone(server)), "the fork server ends")?;
        }
    }
    until(
        || Ok(descriptors()? <= held.0 && threads()? <= held.1),
        "nothing of them stays",
    )
}

/// What daemons do who mean to be root again later: real and effective user differ.
fn two_users(_: &[String]) -> Ended {
    brigade::init();
    spawn_works()?;
    // SAFETY: no memory is involved.
    let user = |effective| done(unsafe { libc::seteuid(effective) } == 0);
    user(NOBODY)?;
    for _ in 0..2 {
        let error = process::spawn(double, 1).err().ok_or("it worked")?;
        if error.kind() != std::io::ErrorKind::Unsupported
            || !error.to_string().contains("of the program differ")
        {
            return Err(error.into());
        }
        Pool::processes(1).err().ok_or("it worked")?;
        if Kind::Thread.spawn(double, 1)?.join()? != 2 {
            return Err("a wrong result".into());
        }
    }
    user(0)?;
    spawn_works()
}

/// It has a capability that nothing which it starts can have: it hears of that, before it gets a
/// worker that has less.
fn keeps_unbound(_: &[String]) -> Ended {
    brigade::init();
    spawn_works()?;
    drop_bound()?;
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    match error.to_string().contains("other capabilities") {
        true => Ok(()),
        false => Err(error.into()),
    }
}

fn children_elsewhere(_: &[String]) -> Ended {
    brigade::init();
    spawn_works()?;
    unshare(libc::CLONE_NEWPID)?;
    // Workers of the fork server that there is are where the program is.
    spawn_works()?;
    // Another would not be.
    no_new_privs()?;
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    match error.to_string().contains("pid namespace") {
        true => Ok(()),
        false => Err(error.into()),
    }
}

/// By system calls of its own, past the C library: the other threads are root still.
fn one_thread_drops(_: &[String]) -> Ended {
    brigade::init();
    look_alike()?;
    let dropped = std::thread::spawn(|| -> Result<(), String> {
        // SAFETY: no memory is involved.
        let user = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
        done(user == 0)
            .and_then(|()| look_alike())
            .map_err(|e| e.to_string())
    });
    dropped.join().map_err(|_| "it panicked")??;
    look_alike()
}

/// A root directory without /proc: nothing can be compared, and so nothing is had.
fn no_proc(_: &[String]) -> Ended {
    brigade::init();
    spawn_works()?;
    let back = std::fs::File::open("/")?;
    let at = std::env::temp_dir().join(format!("brigade-empty-{}", getpid().as_raw_pid()));
    std::fs::create_dir(&at)?;
    rustix::process::chroot(&at)?;
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    let pool = Pool::processes(1).err().ok_or("it worked")?;
    // SAFETY: C strings.
    done(unsafe { libc::fchdir(back.as_raw_fd()) == 0 && libc::chroot(c".".as_ptr()) == 0 })?;
    std::fs::remove_dir(&at)?;
    for error in [error, pool] {
        if !error.to_string().contains("/proc") {
            return Err(error.into());
        }
    }
    spawn_works()
}
