//! Tasks with bad manners: what they start and leave, what they close, what they write over.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use brigade::channel::{self, Receiver};
use brigade::{Cause, JoinError, Kind, Pool};
use rustix::pipe::PipeFlags;

use crate::{Count, crash_of, double, exists, join, pool, processes, until, works};

/// Ignores all that can be ignored.
fn deaf() {
    for signal in 1..32 {
        // SAFETY: ignores a signal; two cannot be ignored, which is no error here.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Starts a child, and a grandchild that has left its parent, its session and its group. Both wait
/// for ever. Gives their numbers.
fn multiply() -> [u32; 2] {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let (mut read, write) = (File::from(read), File::from(write));
    let tell = |mut write: File| {
        let own = std::process::id().to_ne_bytes();
        write.write_all(&own).expect("written");
    };
    let wait = || -> ! {
        deaf();
        loop {
            // SAFETY: waits.
            unsafe { libc::pause() };
        }
    };
    // SAFETY: a worker has one thread, so its forks are whole. The copies do no more than what is
    // here.
    unsafe {
        match libc::fork() {
            0 => {
                tell(write);
                wait()
            }
            -1 => panic!("no child"),
            _ => {}
        }
        match libc::fork() {
            0 => {
                libc::setsid();
                if libc::fork() == 0 {
                    tell(write);
                    wait()
                }
                libc::_exit(0)
            }
            -1 => panic!("no child"),
            child => libc::waitpid(child, std::ptr::null_mut(), 0),
        }
    };
    let mut number = || {
        let mut bytes = [0; 4];
        read.read_exact(&mut bytes).expect("it tells");
        u32::from_ne_bytes(bytes)
    };
    [number(), number()]
}

/// Has children, tells who they are, ignores SIGTERM, and spins.
fn spin_with_children((tell, begun): (brigade::channel::Sender<[u32; 2]>, Count)) -> u32 {
    deaf();
    tell.send(multiply()).expect("received");
    begun.add();
    loop {
        std::hint::spin_loop();
    }
}

fn all_gone(end: impl Fn(Pool, brigade::JoinHandle<u32>) -> Option<Pool>, timeout: Duration) {
    let pool = Pool::builder(Kind::Process).workers(1).timeout(timeout);
    let pool = pool.build().expect("a pool");
    let (tell, told) = brigade::channel::pipe(1).expect("a channel");
    let begun = Count::new();
    let handle = pool.submit(spin_with_children, (tell, begun.clone()));
    begun.wait_for(1);
    let [child, daemon] = told.recv().expect("it tells");
    let pids = [pool.pids()[0], child, daemon];
    assert!(timeout < crate::LIMIT || pids.iter().all(|&pid| exists(pid)));
    let pool = end(pool, handle);
    for pid in pids {
        assert!(
            !exists(pid),
            "{pid} of {pids:?} is gone when the caller hears of it"
        );
    }
    pool.iter().for_each(works);
}

#[test]
fn with_a_task_go_its_children() {
    processes(|| {
        // Its time is over.
        all_gone(
            |pool, handle| {
                assert!(matches!(join(handle), Err(JoinError::TimedOut(_))));
                Some(pool)
            },
            Duration::from_millis(500),
        );
        // It is cancelled.
        all_gone(
            |pool, handle| {
                handle.cancel();
                assert!(matches!(join(handle), Err(JoinError::Cancelled)));
                Some(pool)
            },
            Duration::MAX,
        );
        // Its worker is killed.
        all_gone(
            |pool, handle| {
                crate::kill(handle.pid().expect("a process"));
                assert_eq!(
                    crash_of(join(handle)).cause(),
                    &Cause::Killed(libc::SIGKILL)
                );
                Some(pool)
            },
            Duration::MAX,
        );
        // The pool is aborted.
        all_gone(
            |pool, handle| {
                pool.abort();
                assert!(handle.is_finished());
                assert!(matches!(join(handle), Err(JoinError::Cancelled)));
                None
            },
            Duration::MAX,
        );
    });
}

#[test]
fn with_a_pool_go_the_children_of_tasks_that_returned() {
    processes(|| {
        let pool = pool(Kind::Process, 2);
        let mut children = Vec::new();
        for _ in 0..4 {
            children.extend(join(pool.submit(|()| multiply(), ())).expect("returns"));
        }
        drop(pool);
        for pid in children {
            until("it is gone", || !exists(pid));
        }
    });
}

#[test]
fn a_task_that_closes_everything() {
    fn close(_: u32) -> u32 {
        // SAFETY: the misbehaviour in question: descriptors that are not the task's.
        unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
        3
    }
    fn close_and_use(_: u32) -> usize {
        close(0);
        // Their numbers are somebody else's now.
        let files: Vec<_> = (0..20)
            .map(|_| std::fs::File::open("/dev/null").expect("opens"))
            .collect();
        let files = std::mem::ManuallyDrop::new(files);
        files.len()
    }
    processes(|| {
        let pool = pool(Kind::Process, 2);
        for turn in 0..10 {
            let closing = pool.submit(close, 0);
            let using = pool.submit(close_and_use, 0);
            let innocent: Vec<_> = (0..50).map(|n| pool.submit(double, n)).collect();
            let returned_or_died = |why: JoinError| {
                assert!(matches!(why, JoinError::Crashed(_)), "{why}");
            };
            join(closing).map_or_else(returned_or_died, |n| assert_eq!(n, 3));
            join(using).map_or_else(returned_or_died, |n| assert_eq!(n, 20));
            for (n, handle) in (0..).zip(innocent) {
                assert_eq!(
                    join(handle).expect("it closed nothing"),
                    n * 2,
                    "turn {turn}"
                );
            }
            // Those who get descriptors, large values, or give them.
            works(&pool);
            let large = pool.submit(|v: Vec<u8>| v, vec![8; 1 << 20]);
            assert_eq!(join(large).expect("returns").len(), 1 << 20);
        }
    });
}

#[test]
fn a_task_that_forks_and_returns_twice() {
    fn fork(dies: bool) -> u32 {
        // SAFETY: a worker has one thread; the child returns from the task too, or dies.
        match unsafe { libc::fork() } {
            0 if dies => std::process::abort(),
            0 => 1,
            child => {
                let mut status = 0;
                // SAFETY: writes one integer.
                unsafe { libc::waitpid(child, &raw mut status, 0) };
                2
            }
        }
    }
    fn fork_and_go_on(_: u32) -> u32 {
        // SAFETY: as above; both return, at the same time.
        match unsafe { libc::fork() } {
            0 => 1,
            _ => 2,
        }
    }
    processes(|| {
        let pool = pool(Kind::Process, 2);
        for turn in 0..20 {
            let forks = [
                pool.submit(fork, false),
                pool.submit(fork, true),
                pool.submit(fork_and_go_on, 0),
            ];
            let innocent: Vec<_> = (0..50).map(|n| pool.submit(double, n)).collect();
            for handle in forks {
                assert_eq!(join(handle).expect("it returns"), 2, "turn {turn}");
            }
            for (n, handle) in (0..).zip(innocent) {
                assert_eq!(join(handle).expect("returns"), n * 2, "turn {turn}");
            }
        }
        works(&pool);
    });
}

/// This worker's writable mappings of the library's own memory.
fn own_memory() -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines()
        .filter(|l| l.contains("memfd:brigade-mailbox") && l.contains(" rw"))
        .map(|line| {
            let range = line.split(' ').next().expect("a range");
            let (low, high) = range.split_once('-').expect("two ends");
            let hex = |digits| usize::from_str_radix(digits, 16).expect("hex");
            (hex(low), hex(high))
        })
        .collect()
}

fn scribble((byte, then): (u8, u8)) -> u32 {
    let found = own_memory();
    assert!(!found.is_empty(), "nothing to write over");
    for (low, high) in found {
        // SAFETY: none: it is mapped and writable, and not ours to write.
        unsafe { std::ptr::write_bytes(low as *mut u8, byte, high - low) };
    }
    match then {
        0 => 6,
        1 => std::process::abort(),
        _ => loop {
            std::thread::park();
        },
    }
}

#[test]
fn a_task_that_writes_over_what_its_worker_shares_with_the_program() {
    processes(|| {
        let pool = Pool::builder(Kind::Process).workers(2);
        let pool = pool.timeout(Duration::from_secs(2)).build();
        let pool = pool.expect("a pool");
        for byte in [0x00, 0x01, 0x80, 0xff] {
            for then in [0, 1, 2] {
                let hostile = pool.submit(scribble, (byte, then));
                let innocent: Vec<_> = (0..200).map(|n| pool.submit(double, n)).collect();
                let what = format!("{byte:#x}, then {then}");
                match join(hostile) {
                    Ok(6) if then == 0 => {}
                    Err(JoinError::TimedOut(_)) if then == 2 => {}
                    Err(JoinError::Crashed(crash)) => assert!(
                        matches!(crash.cause(), Cause::Lost)
                            || then == 1 && *crash.cause() == Cause::Abort,
                        "{what}: {crash}"
                    ),
                    other => panic!("{what}: {other:?}"),
                }
                let mut lost = Vec::new();
                for (n, handle) in (0..).zip(innocent) {
                    match join(handle) {
                        Ok(doubled) => assert_eq!(doubled, n * 2, "{what}"),
                        // Its worker found nonsense where the input had been; or its result was
                        // there still, and was written over.
                        Err(JoinError::Crashed(crash)) => lost.push(format!("{n}: {crash}")),
                        Err(why) => panic!("{what}, {n}: {why}"),
                    }
                }
                // One for each time that such a task is believed not to have run.
                assert!(lost.len() <= 3, "{what}: lost are {lost:#?}");
            }
        }
        works(&pool);
    });
}

/// It is begun behind others in the same worker, and writes over what would tell which of them it
/// is.
#[test]
fn a_task_that_hides_that_it_was_begun_is_run_so_often_and_no_more() {
    // Not counted in shared memory: a task with descriptors has its worker for itself.
    fn hide((begun, byte, then): (String, u8, u8)) -> u32 {
        let mut begun = File::options().append(true).open(begun).expect("there");
        begun.write_all(b"+").expect("written");
        scribble((byte, then))
    }
    fn wait(go: Receiver<()>) {
        let _ = go.recv();
    }
    processes(|| {
        let count = std::env::temp_dir().join(format!("brigade-begun-{}", std::process::id()));
        for turn in 0..10 {
            for (byte, then) in [(0, 0), (0, 1), (1, 1), (0xff, 1)] {
                let what = format!("turn {turn}, {byte:#x}, then {then}");
                let pool = pool(Kind::Process, 1);
                // So that it gets many ahead.
                assert!(pool.map(double, 0..200).all(|ended| ended.is_ok()));
                let (end, go) = channel::pipe(1).expect("a channel");
                let first = pool.submit(wait, go);
                std::fs::write(&count, "").expect("written");
                let before: Vec<_> = (0..10).map(|n| pool.submit(double, n)).collect();
                let hostile = pool.submit(hide, (count.display().to_string(), byte, then));
                let behind: Vec<_> = (10..20).map(|n| pool.submit(double, n)).collect();
                drop(end);
                let _ = join(first);
                let _ = join(hostile);
                let others = before.into_iter().chain(behind);
                let lost = others
                    .zip(0..)
                    .filter_map(|(handle, n)| match join(handle) {
                        Ok(doubled) => {
                            assert_eq!(doubled, n * 2, "{what}");
                            None
                        }
                        Err(why) => Some(format!("{n}: {why}")),
                    })
                    .collect::<Vec<_>>();
                // Once with the others, and then alone: twice because it is believed, and once
                // more.
                let begun = std::fs::read(&count).expect("there").len();
                assert!(
                    (1..=4).contains(&begun),
                    "{what}: it was begun {begun} times"
                );
                assert!(lost.len() <= 1, "{what}: lost are {lost:#?}");
                works(&pool);
            }
        }
        std::fs::remove_file(count).expect("removed");
    });
}

#[test]
fn a_task_that_leaves_its_group_and_its_limits() {
    fn leave(begun: Count) -> u32 {
        deaf();
        let none = rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        // SAFETY: leaves the process group, or is its leader already.
        unsafe { libc::setsid() };
        let _ = std::env::set_current_dir("/proc");
        rustix::process::setrlimit(rustix::process::Resource::Nofile, none).expect("limited");
        begun.add();
        loop {
            std::hint::spin_loop();
        }
    }
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let begun = Count::new();
        let handle = pool.submit(leave, begun.clone());
        begun.wait_for(1);
        let pid = handle.pid().expect("a process");
        handle.cancel();
        assert!(matches!(join(handle), Err(JoinError::Cancelled)));
        assert!(!exists(pid));
        works(&pool);
    });
}

#[test]
fn a_worker_without_descriptors_left_still_runs_what_needs_none() {
    fn use_up(_: u32) -> usize {
        let mut files = Vec::new();
        let limit = rustix::process::Rlimit {
            current: Some(64),
            maximum: Some(64),
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("limited");
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(std::mem::ManuallyDrop::new(file));
        }
        files.len()
    }
    processes(|| {
        let pool = pool(Kind::Process, 1);
        assert!(join(pool.submit(use_up, 0)).expect("returns") > 10);
        for n in 0..20 {
            assert_eq!(join(pool.submit(double, n)).expect("it needs none"), n * 2);
        }
        // What needs one ends, in whatever way, and what comes after it too.
        for _ in 0..3 {
            let large = join(pool.submit(|v: Vec<u8>| v.len(), vec![0; 1 << 20]));
            assert!(large.as_ref().is_ok_and(|len| *len == 1 << 20) || large.is_err());
            let shared = join(pool.submit(|c: Count| c.get(), Count::new()));
            assert!(shared.is_ok() || matches!(shared, Err(JoinError::Undeliverable(_))));
            assert_eq!(join(pool.submit(double, 3)).expect("it needs none"), 6);
        }
    });
}
