//! The running task's worker dies: it costs that task, and no other.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use brigade::channel::{self, Sender};
use brigade::sync::Mutex;
use brigade::{Cause, JoinError, Kind, Phase, Pool, Shared};
use serde::{Deserialize, Serialize};

use crate::{
    Count, LIMIT, crash_of, double, exists, join, pool, processes, quiet_pool, until, works,
};

fn read(address: usize) -> u32 {
    // SAFETY: none; reading there is the point.
    unsafe { std::ptr::read_volatile(address as *const u32) }
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: usize) -> u32 {
    let frame = std::hint::black_box([depth as u32; 64]);
    recurse(depth + 1) + frame[3]
}

fn abort(_: usize) -> u32 {
    std::process::abort()
}

fn leave(status: usize) -> u32 {
    // SAFETY: ends the process; `exit` runs the handlers that were registered in it.
    unsafe { libc::exit(status as i32) }
}

fn leave_at_once(status: usize) -> u32 {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(status as i32) }
}

fn raise(signal: usize) -> u32 {
    // SAFETY: sends a signal to this thread.
    unsafe { libc::raise(signal as i32) };
    0
}

fn exec(_: usize) -> u32 {
    use std::os::unix::process::CommandExt;
    panic!("{}", std::process::Command::new("/bin/false").exec())
}

fn too_much(bytes: usize) -> u32 {
    let limit = rustix::process::Rlimit {
        current: Some(1 << 30),
        maximum: Some(1 << 30),
    };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).expect("limited");
    std::hint::black_box(vec![1_u8; bytes]).len() as u32
}

#[test]
fn every_death_has_its_name_and_the_next_task_succeeds() {
    type Death = (fn(usize) -> u32, usize, Cause, &'static str);
    let deaths: [Death; 11] = [
        (read, 0x40, Cause::Signal(libc::SIGSEGV), "read"),
        (recurse, 0, Cause::StackOverflow, "recurse"),
        (abort, 0, Cause::Abort, "abort"),
        (leave, 0, Cause::Exit(0), "leave"),
        (leave, 42, Cause::Exit(42), "leave"),
        (leave_at_once, 0, Cause::Exit(0), "leave_at_once"),
        (
            raise,
            libc::SIGFPE as usize,
            Cause::Signal(libc::SIGFPE),
            "raise",
        ),
        (
            raise,
            libc::SIGKILL as usize,
            Cause::Killed(libc::SIGKILL),
            "raise",
        ),
        (exec, 0, Cause::Exit(1), "exec"),
        (too_much, 1 << 34, Cause::OutOfMemory, "too_much"),
        (abort, 1, Cause::Abort, "abort"),
    ];
    processes(|| {
        for workers in [1, 3] {
            let pool = pool(Kind::Process, workers);
            for (death, input, cause, name) in &deaths {
                let crash = crash_of(join(pool.submit(*death, *input)));
                assert_eq!(
                    (crash.cause(), crash.phase()),
                    (cause, Phase::Running),
                    "{crash}"
                );
                assert!(crash.task().contains(name), "{crash}");
                assert!(!crash.to_string().contains('\n'), "{crash}");
                assert!(
                    !exists(crash.pid()),
                    "it is gone when the caller hears of it"
                );
                assert!(!pool.pids().contains(&crash.pid()));
                assert_eq!(join(pool.submit(double, 2)).expect("the next succeeds"), 4);
            }
            let stats = pool.stats();
            assert_eq!(
                stats.crashed.iter().map(|(_, n)| n).sum::<u64>(),
                11,
                "{stats:?}"
            );
            assert_eq!(stats.restarts, 11, "{stats:?}");
            works(&pool);
        }
    });
}

fn talk_and_die(n: u32) -> u32 {
    eprintln!("these are the last words of {n}");
    std::process::abort()
}

#[test]
fn all_that_is_known_is_told() {
    processes(|| {
        let pool = Pool::builder(Kind::Process)
            .workers(1)
            .name("sous-chef")
            .build();
        let pool = pool.expect("a pool");
        for n in 0..5 {
            let pid = join(pool.submit(|()| std::process::id(), ())).expect("returns");
            let crash = crash_of(join(pool.submit(talk_and_die, n)));
            assert_eq!(crash.pid(), pid);
            let words = format!("these are the last words of {n}\n");
            assert_eq!(crash.stderr(), words);
            let backtrace = crash.backtrace().expect("the calls were noted");
            assert!(backtrace.contains("talk_and_die"), "{backtrace}");
            let told = crash.to_string();
            assert!(
                told.contains("sous-chef") && told.contains("talk_and_die"),
                "{told}"
            );
            assert!(
                told.contains(&pid.to_string()) && told.contains("abort"),
                "{told}"
            );
        }
    });
}

#[derive(Serialize, Deserialize)]
enum Step {
    Double(u32),
    Die,
}

fn step(step: Step) -> u32 {
    match step {
        Step::Double(n) => n * 2,
        Step::Die => std::process::abort(),
    }
}

/// Each way to give a pool tasks; what became of each.
fn run_all(
    pool: &Pool,
    way: u32,
    inputs: impl Iterator<Item = Step>,
) -> Vec<Result<u32, JoinError>> {
    match way {
        0 => {
            let handles: Vec<_> = inputs.map(|input| pool.submit(step, input)).collect();
            handles.into_iter().map(join).collect()
        }
        1 => pool.map(step, inputs).collect(),
        _ => {
            let mut all: Vec<_> = pool.map_unordered(step, inputs).collect();
            all.sort_by_key(|(n, _)| *n);
            assert!(all.iter().enumerate().all(|(at, (n, _))| at == *n));
            all.into_iter().map(|(_, ended)| ended).collect()
        }
    }
}

fn exactly_those_fail(workers: usize, count: u32, dies: fn(u32) -> bool) {
    let pool = quiet_pool(Kind::Process, workers);
    for way in 0..3 {
        let inputs = (0..count).map(|n| if dies(n) { Step::Die } else { Step::Double(n) });
        let ended = run_all(&pool, way, inputs);
        assert_eq!(ended.len(), count as usize);
        for (n, ended) in (0..).zip(ended) {
            match ended {
                Ok(doubled) => assert!(!dies(n) && doubled == n * 2, "{n}: {doubled}"),
                Err(JoinError::Crashed(crash)) => {
                    assert!(dies(n), "way {way}, {n} of {count}: {crash}");
                    assert_eq!(
                        (crash.cause(), crash.phase()),
                        (&Cause::Abort, Phase::Running)
                    );
                }
                Err(other) => panic!("{n}: {other}"),
            }
        }
    }
    works(&pool);
}

#[test]
fn one_death_costs_one_task() {
    processes(|| {
        for workers in [1, 2] {
            exactly_those_fail(workers, 3000, |n| n == 1234);
            exactly_those_fail(workers, 300, |n| n == 0);
            exactly_those_fail(workers, 300, |n| n == 299);
            exactly_those_fail(workers, 300, |n| n == 150 || n == 151);
        }
    });
}

#[test]
fn a_storm_of_deaths_costs_those_that_died() {
    processes(|| {
        for workers in [1, 2, 5] {
            exactly_those_fail(workers, 334, |n| n % 2 == 1);
        }
    });
}

#[test]
fn a_pool_survives_when_everything_dies() {
    processes(|| exactly_those_fail(3, 100, |_| true));
}

fn count_and_die(runs: Count) {
    runs.add();
    std::process::abort();
}

fn die_until((runs, last): (Count, u32)) -> u32 {
    if runs.add() + 1 < last {
        std::process::abort();
    }
    last
}

#[test]
fn after_a_death_it_is_run_again() {
    processes(|| {
        let pool = Pool::builder(Kind::Process).workers(2).retries(2).build();
        let pool = pool.expect("a pool");
        for _ in 0..5 {
            let runs = Count::new();
            let crash = crash_of(join(pool.submit(count_and_die, runs.clone())));
            assert_eq!((crash.cause(), runs.get()), (&Cause::Abort, 3));
        }
        assert_eq!(pool.stats().retried, 10);
        for last in 1..=3 {
            let runs = Count::new();
            let ended = join(pool.submit(die_until, (runs.clone(), last)));
            assert_eq!(
                (ended.expect("it had another try"), runs.get()),
                (last, last)
            );
        }
        let runs: Vec<Count> = (0..50).map(|_| Count::new()).collect();
        let inputs = (0..50).map(|n| (runs[n].clone(), 1 + n as u32 % 3));
        for (n, ended) in (0..).zip(pool.map(die_until, inputs)) {
            let last = 1 + n as u32 % 3;
            assert_eq!(
                (ended.expect("it had other tries"), runs[n].get()),
                (last, last)
            );
        }
        let stats = pool.stats();
        assert_eq!((stats.retried, stats.done), (10 + 3 + 49, 53), "{stats:?}");
        assert_eq!(stats.crashed, [(Cause::Abort, 5)]);
    });
}

#[test]
fn large_inputs_and_results_die_with_their_task_only() {
    fn grow(n: u32) -> Vec<u8> {
        if n % 5 == 2 {
            std::process::abort();
        }
        vec![n as u8; 1 << 20]
    }
    fn shrink(bytes: Vec<u8>) -> u8 {
        if bytes[0] % 5 == 2 {
            std::process::abort();
        }
        bytes[0]
    }
    processes(|| {
        let pool = pool(Kind::Process, 2);
        for (n, ended) in (0..60).zip(pool.map(grow, 0..60)) {
            match ended {
                Ok(bytes) => assert!(n % 5 != 2 && bytes == vec![n as u8; 1 << 20]),
                Err(why) => assert!(n % 5 == 2, "{n}: {why}"),
            }
        }
        let handles: Vec<_> = (0..60)
            .map(|n| pool.submit(shrink, vec![n; 1 << 20]))
            .collect();
        for (n, handle) in (0..).zip(handles) {
            match join(handle) {
                Ok(first) => assert!(n % 5 != 2 && first == n),
                Err(why) => assert!(n % 5 == 2, "{n}: {why}"),
            }
        }
    });
}

#[test]
fn what_it_held_open_is_closed() {
    fn die_with(to: Sender<u32>) {
        to.send(1).expect("there is room");
        std::process::abort();
    }
    processes(|| {
        let pool = pool(Kind::Process, 2);
        for _ in 0..20 {
            let (to, from) = channel::socket(4).expect("a channel");
            crash_of(join(pool.submit(die_with, to)));
            assert_eq!(from.recv_timeout(LIMIT), Ok(1));
            let after = from.recv_timeout(LIMIT);
            assert_eq!(after, Err(channel::RecvTimeoutError::Disconnected));
        }
    });
}

#[test]
fn who_dies_with_a_lock_keeps_it_from_nobody() {
    fn die_with(mutex: Shared<Mutex<u64>>) {
        *mutex.lock().expect("in order") += 1;
        let guard = mutex.lock_timeout(LIMIT).expect("nobody has it");
        std::hint::black_box(&guard);
        std::process::abort();
    }
    fn take(mutex: Shared<Mutex<u64>>) -> bool {
        match mutex.lock_timeout(LIMIT) {
            Ok(_) => false,
            Err(std::sync::TryLockError::Poisoned(_)) => true,
            Err(std::sync::TryLockError::WouldBlock) => panic!("nobody said that it died"),
        }
    }
    processes(|| {
        let pool = pool(Kind::Process, 3);
        for _ in 0..10 {
            let mutex = Shared::new(Mutex::new(0)).expect("a region");
            let dying = pool.submit(die_with, mutex.clone());
            crash_of(join(dying));
            let takers: Vec<_> = (0..3).map(|_| pool.submit(take, mutex.clone())).collect();
            for taker in takers {
                assert!(join(taker).expect("returns"), "it is poisoned");
            }
        }
    });
}

#[test]
fn a_worker_may_die_of_what_an_earlier_task_has_started() {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    fn start_a_bomb(n: u32) -> u32 {
        STARTED.fetch_add(1, SeqCst);
        std::thread::spawn(move || {
            for _ in 0..n * 300 {
                std::hint::spin_loop();
            }
            std::process::abort()
        });
        n
    }
    processes(|| {
        let pool = pool(Kind::Process, 2);
        for n in 0..100 {
            // Whom it meets cannot be known. Each ends once.
            let handles = [
                pool.submit(start_a_bomb, n),
                pool.submit(double, n),
                pool.submit(double, n),
            ];
            for (handle, expected) in handles.into_iter().zip([n, n * 2, n * 2]) {
                match join(handle) {
                    Ok(returned) => assert_eq!(returned, expected),
                    Err(JoinError::Crashed(crash)) => assert_eq!(crash.cause(), &Cause::Abort),
                    Err(other) => panic!("{other}"),
                }
            }
        }
        until("none of them is left", || {
            join(pool.submit(double, 1)).is_ok()
        });
        let stats = pool.stats();
        assert_eq!(stats.submitted, stats.done + stats.failed(), "{stats:?}");
    });
}
