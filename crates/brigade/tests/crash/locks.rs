//! Whoever holds a lock dies, or waits for it and dies: the others are told, or go on; threads and
//! processes alike.

use std::process::Command;
use std::sync::TryLockError;
use std::time::{Duration, Instant};

use brigade::channel::{self, Sender};
use brigade::sync::{
    Barrier, BarrierTimeoutError, BrokenBarrier, Condvar, Mutex, Once, RwLock, Semaphore,
};
use brigade::{JoinError, JoinHandle, Kind, Message, Shared, ShmSafe, process};
use brigade_test_support::signal;

use crate::next_task_succeeds;

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(30);
/// So often each: every second death is by `cancel`, the others come from outside.
const DEATHS: u32 = 4;

/// Tells the test that it is there.
type Here = Sender<u32>;

fn here(here: &Here) {
    here.send(std::process::id()).expect("the test listens");
}

fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// A process that runs this task, which has said that it is there.
fn start<A: Message, R: Message>(task: fn((A, Here)) -> R, input: A) -> JoinHandle<R> {
    start_as(Kind::Process, task, input)
}

fn start_as<A: Message, R: Message>(
    kind: Kind,
    task: fn((A, Here)) -> R,
    input: A,
) -> JoinHandle<R> {
    let (say, said) = channel::pipe(1).expect("a pipe");
    let handle = kind.spawn(task, (input, say)).expect("a worker starts");
    said.recv_timeout(LIMIT).expect("it says that it is there");
    handle
}

/// A thread and a process that run this task, which has said that it is about to wait.
fn start_both<A: Message + Clone, R: Message>(
    task: fn((A, Here)) -> R,
    input: &A,
) -> [JoinHandle<R>; 2] {
    [Kind::Thread, Kind::Process].map(|kind| start_as(kind, task, input.clone()))
}

fn kill<R: std::fmt::Debug>(turn: u32, victim: JoinHandle<R>) {
    if turn % 2 == 0 {
        victim.cancel();
    } else {
        // It does not end by itself, so the number is still its own.
        let pid = victim.pid().expect("a process");
        assert!(signal::send(pid, libc::SIGKILL));
    }
    let ended = victim.join_timeout(LIMIT).expect("it is dead");
    assert!(
        matches!(ended, Err(JoinError::Cancelled | JoinError::Crashed(_))),
        "{ended:?}"
    );
}

fn ends<R: std::fmt::Debug>(waiter: JoinHandle<R>) -> R {
    waiter
        .join_timeout(LIMIT)
        .expect("nobody hangs")
        .expect("it returns")
}

/// A lock that is poisoned, or not; what is inside; and now mended.
fn poisoned_with<G: std::ops::DerefMut<Target = u64>>(
    locked: Result<G, TryLockError<G>>,
) -> Option<u64> {
    match locked {
        Err(TryLockError::Poisoned(e)) => Some(**e.get_ref()),
        Ok(_) => None,
        Err(TryLockError::WouldBlock) => panic!("nothing came within {LIMIT:?}"),
    }
}

fn hold_mutex((mutex, say): (Shared<Mutex<u64>>, Here)) {
    let mut guard = mutex.lock().expect("in order");
    *guard += 1;
    here(&say);
    for_ever()
}

fn await_mutex((mutex, say): (Shared<Mutex<u64>>, Here)) -> Option<u64> {
    here(&say);
    poisoned_with(mutex.lock_timeout(LIMIT))
}

fn await_mutex_without_limit((mutex, say): (Shared<Mutex<u64>>, Here)) -> Option<u64> {
    here(&say);
    poisoned_with(mutex.lock().map_err(TryLockError::from))
}

#[test]
fn a_mutex_whose_holder_dies_is_poisoned() {
    brigade::init();
    let mutex = Shared::new(Mutex::new(0)).expect("a region");
    for turn in 1..=DEATHS {
        let victim = start(hold_mutex, mutex.clone());
        let with = start_both(await_mutex, &mutex);
        let without = start_both(await_mutex_without_limit, &mutex);
        assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
        kill(turn, victim);
        for waiter in with.into_iter().chain(without) {
            assert_eq!(ends(waiter), Some(turn.into()));
        }
        assert!(mutex.is_poisoned());
        mutex.clear_poison();
        assert_eq!(poisoned_with(mutex.try_lock()), None);
    }
    next_task_succeeds();
}

#[test]
fn one_that_dies_waiting_for_a_mutex_keeps_it_from_nobody() {
    brigade::init();
    let mutex = Shared::new(Mutex::new(0)).expect("a region");
    for turn in 0..DEATHS {
        let guard = mutex.lock().expect("in order");
        let victim = start(await_mutex_without_limit, mutex.clone());
        let others = start_both(await_mutex_without_limit, &mutex);
        // Woken or not when it dies: by turns.
        if turn < DEATHS / 2 {
            kill(turn, victim);
            drop(guard);
        } else {
            drop(guard);
            // It may have come to its end meanwhile.
            victim.cancel();
            let _ = victim.join();
        }
        for waiter in others {
            let poisoned = ends(waiter);
            assert!(poisoned.is_none() || turn >= DEATHS / 2, "{poisoned:?}");
        }
        mutex.clear_poison();
    }
}

fn hold_to_write((lock, say): (Shared<RwLock<u64>>, Here)) {
    *lock.write().expect("in order") += 1;
    let mut guard = lock.write().expect("in order");
    *guard += 1;
    here(&say);
    for_ever()
}

fn hold_to_read((lock, say): (Shared<RwLock<u64>>, Here)) {
    let _guard = lock.read().expect("in order");
    let _again = lock.read().expect("in order");
    here(&say);
    for_ever()
}

fn await_to_write((lock, say): (Shared<RwLock<u64>>, Here)) -> Option<u64> {
    here(&say);
    poisoned_with(lock.write().map_err(TryLockError::from))
}

fn await_to_read((lock, say): (Shared<RwLock<u64>>, Here)) -> bool {
    here(&say);
    match lock.read_timeout(LIMIT) {
        Err(TryLockError::WouldBlock) => panic!("nothing came within {LIMIT:?}"),
        read => read.is_err(),
    }
}

#[test]
fn a_lock_whose_writer_dies_is_poisoned() {
    brigade::init();
    let lock = Shared::new(RwLock::new(0)).expect("a region");
    for turn in 1..=DEATHS {
        let victim = start(hold_to_write, lock.clone());
        let write = start_both(await_to_write, &lock);
        let read = start_both(await_to_read, &lock);
        kill(turn, victim);
        assert_eq!(write.map(ends), [Some(u64::from(turn) * 2); 2]);
        assert_eq!(read.map(ends), [true; 2]);
        lock.clear_poison();
        assert_eq!(poisoned_with(lock.try_write()), None);
    }
}

#[test]
fn a_lock_whose_reader_dies_is_free_and_whole() {
    brigade::init();
    let lock = Shared::new(RwLock::new(0)).expect("a region");
    for turn in 0..DEATHS {
        let victim = start(hold_to_read, lock.clone());
        let write = start_both(await_to_write, &lock);
        let read = start_both(await_to_read, &lock);
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
        kill(turn, victim);
        assert_eq!(write.map(ends), [None; 2]);
        assert_eq!(read.map(ends), [false; 2]);
        assert!(!lock.is_poisoned());
    }
}

/// A number that becomes more, and how that is told.
#[derive(ShmSafe)]
#[repr(C)]
struct Signal {
    number: Mutex<u64>,
    changed: Condvar,
}

fn new_signal() -> Shared<Signal> {
    let signal = Signal {
        number: Mutex::new(0),
        changed: Condvar::new(),
    };
    Shared::new(signal).expect("a region")
}

/// Takes what notifications it gets for itself.
fn wait_in_vain((signal, say): (Shared<Signal>, Here)) {
    let mut guard = signal.number.lock().expect("in order");
    here(&say);
    loop {
        guard = signal.changed.wait(guard).expect("in order");
    }
}

fn hold_and_not_notify((signal, say): (Shared<Signal>, Here)) {
    let _guard = signal.number.lock().expect("in order");
    here(&say);
    for_ever()
}

/// `None`: it became so. `Some`: the mutex is poisoned.
fn await_change((signal, say): (Shared<Signal>, Here)) -> Option<u64> {
    let guard = match signal.number.lock() {
        Ok(guard) => guard,
        Err(e) => panic!("too soon for {e}"),
    };
    here(&say);
    let waited = signal.changed.wait_while(guard, |number| *number == 0);
    poisoned_with(waited.map_err(TryLockError::from))
}

#[test]
fn who_waits_for_a_notification_of_one_that_dies_is_told() {
    brigade::init();
    for turn in 0..DEATHS {
        let signal = new_signal();
        let waiters = start_both(await_change, &signal);
        let victim = start(hold_and_not_notify, signal.clone());
        kill(turn, victim);
        assert_eq!(waiters.map(ends), [Some(0); 2]);
    }
}

#[test]
fn a_notification_does_not_die_with_who_got_it() {
    brigade::init();
    for turn in 0..DEATHS {
        let signal = new_signal();
        // First in the queue, so it gets the only notification.
        let victim = start(wait_in_vain, signal.clone());
        let waiters = start_both(await_change, &signal);
        *signal.number.lock().expect("nobody died") = 1;
        signal.changed.notify_one();
        kill(turn, victim);
        for waiter in waiters {
            // It may have died with the mutex, as it looked again.
            assert!(matches!(ends(waiter), None | Some(1)));
        }
    }
}

fn hold_permits((semaphore, say): (Shared<Semaphore>, Here)) {
    let _one = semaphore.acquire();
    let _two = semaphore.acquire_many(2);
    here(&say);
    for_ever()
}

fn await_permits((semaphore, say): (Shared<Semaphore>, Here)) {
    here(&say);
    let permits = semaphore.acquire_many_timeout(2, LIMIT);
    assert_eq!(permits.expect("nobody hangs").permits(), 2);
}

#[test]
fn permits_of_the_dead_come_back() {
    brigade::init();
    let semaphore = Shared::new(Semaphore::new(3)).expect("a region");
    for turn in 0..DEATHS {
        let victim = start(hold_permits, semaphore.clone());
        let waits = start(await_permits, semaphore.clone());
        let waiters = start_both(await_permits, &semaphore);
        assert!(semaphore.try_acquire().is_none());
        // One that has nothing yet leaves nothing.
        kill(turn + 1, waits);
        kill(turn, victim);
        waiters.into_iter().for_each(ends);
        assert_eq!(semaphore.available_permits(), 3);
    }
}

fn come((barrier, say): (Shared<Barrier>, Here)) -> Option<bool> {
    here(&say);
    match barrier.wait_timeout(LIMIT) {
        Ok(all) => Some(all.is_leader()),
        Err(BarrierTimeoutError::Broken) => None,
        Err(BarrierTimeoutError::TimedOut) => panic!("nobody came within {LIMIT:?}"),
    }
}

fn come_again((barrier, say): (Shared<Barrier>, Here)) {
    barrier.wait().expect("all come");
    here(&say);
    let _ = barrier.wait();
}

#[test]
fn a_barrier_at_which_one_dies_breaks() {
    brigade::init();
    let barrier = Shared::new(Barrier::new(5)).expect("a region");
    for turn in 0..DEATHS {
        // They have all been there: from then on a death is known whether or not it is at the
        // barrier.
        let victims = [(); 3].map(|()| {
            let (say, said) = channel::pipe(1).expect("a pipe");
            let victim = process::spawn(come_again, (barrier.clone(), say));
            (victim.expect("a process starts"), said)
        });
        let fourth = start_as(Kind::Thread, come, barrier.clone());
        barrier.wait_timeout(LIMIT).expect("all come");
        assert!(ends(fourth).is_some());
        let [(victim, said), others @ ..] = victims;
        said.recv_timeout(LIMIT).expect("it came");
        let waits = start_as(Kind::Thread, come, barrier.clone());
        kill(turn, victim);
        assert_eq!(ends(waits), None);
        others.into_iter().for_each(|(handle, _)| ends(handle));
        assert_eq!(barrier.wait(), Err(BrokenBarrier));
        barrier.reset();
    }
    let all = [(); 2].map(|()| start_both(come, &barrier));
    let led = all
        .into_iter()
        .flatten()
        .map(ends)
        .map(|led| led.expect("it is whole again"));
    let here = barrier.wait_timeout(LIMIT).expect("all come").is_leader();
    assert_eq!(led.filter(|&led| led).count() + usize::from(here), 1);
}

fn run_for_ever((once, say): (Shared<Once>, Here)) {
    once.call_once(|| {
        here(&say);
        for_ever()
    });
}

fn await_once((once, say): (Shared<Once>, Here)) {
    here(&say);
    once.wait();
}

fn run_too((once, say): (Shared<Once>, Here)) {
    here(&say);
    once.call_once(|| panic!("it does not run"));
}

fn mend((once, say): (Shared<Once>, Here)) -> bool {
    here(&say);
    let mut poisoned = false;
    once.call_once_force(|state| poisoned = state.is_poisoned());
    poisoned
}

#[test]
fn a_once_whose_runner_dies_is_poisoned() {
    brigade::init();
    for turn in 0..DEATHS {
        let once = Shared::new(Once::new()).expect("a region");
        let victim = start(run_for_ever, once.clone());
        let waiters = start_both(await_once, &once)
            .into_iter()
            .chain(start_both(run_too, &once));
        kill(turn, victim);
        for waiter in waiters {
            match waiter.join_timeout(LIMIT).expect("nobody hangs") {
                Err(JoinError::Panicked(p)) => {
                    assert!(p.message().contains("poisoned"), "{}", p.message());
                }
                other => panic!("expected a panic, got {other:?}"),
            }
        }
        let mended = start_both(mend, &once).map(ends);
        assert_eq!(mended.iter().filter(|&&told| told).count(), 1);
        once.wait();
    }
}

/// Has a worker of its own take the mutex, and kills it.
fn have_a_worker_die((mutex, say): (Shared<Mutex<u64>>, Here)) {
    let victim = start(hold_mutex, mutex);
    here(&say);
    kill(0, victim);
}

/// Has a worker of its own take the mutex, and waits.
fn have_a_worker_hold((mutex, say): (Shared<Mutex<u64>>, Here)) {
    let _holds = start(hold_mutex, mutex);
    here(&say);
    for_ever()
}

#[test]
fn a_worker_of_a_worker_dies_with_the_lock() {
    brigade::init();
    let mutex = Shared::new(Mutex::new(0)).expect("a region");
    let outer = start(have_a_worker_die, mutex.clone());
    assert_eq!(poisoned_with(mutex.lock_timeout(LIMIT)), Some(1));
    ends(outer);
    mutex.clear_poison();
    // It dies of its host's death.
    let outer = start(have_a_worker_hold, mutex.clone());
    let waiters = start_both(await_mutex_without_limit, &mutex);
    kill(0, outer);
    assert_eq!(waiters.map(ends), [Some(2); 2]);
}

fn parent(_: ()) -> u32 {
    std::os::unix::process::parent_id()
}

/// Not a test by itself: it kills the fork server of this program, and with it the workers of all
/// other tests.
#[test]
#[ignore = "run by the one below, alone in a program of its own"]
fn inside_a_program_that_loses_its_fork_server() {
    brigade::init();
    let server = ends(process::spawn(parent, ()).expect("a process starts"));
    let mutex = Shared::new(Mutex::new(0)).expect("a region");
    let lock = Shared::new(RwLock::new(0)).expect("a region");
    let semaphore = Shared::new(Semaphore::new(3)).expect("a region");
    let holders = [
        start(hold_mutex, mutex.clone()),
        start(hold_to_write, lock.clone()),
        start(hold_permits, semaphore.clone()),
    ];
    let waits = [
        start_as(Kind::Thread, await_mutex_without_limit, mutex.clone()),
        start_as(Kind::Thread, await_to_write, lock.clone()),
    ];
    let permits = start_as(Kind::Thread, await_permits, semaphore.clone());
    // It is the parent of our workers, which are alive.
    assert!(signal::send(server, libc::SIGKILL));
    assert_eq!(waits.map(ends), [Some(1), Some(2)]);
    ends(permits);
    assert_eq!(semaphore.available_permits(), 3);
    for holder in holders {
        let ended = holder.join_timeout(LIMIT).expect("it is dead");
        assert!(matches!(ended, Err(JoinError::Crashed(_))), "{ended:?}");
    }
    // Those of the next fork server are told apart from those of the last.
    mutex.clear_poison();
    let victim = start(hold_mutex, mutex.clone());
    let waiters = start_both(await_mutex, &mutex);
    kill(0, victim);
    assert_eq!(waiters.map(ends), [Some(2); 2]);
}

/// Has memory that takes the kernel a while to free; on a slow machine, which takes as long to give
/// it, as much as it gives in some seconds.
fn be_slow_to_die((megabytes, say): (usize, Here)) {
    let mut memory = vec![0_u8; megabytes << 20];
    let until = Instant::now() + Duration::from_secs(2);
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
        if Instant::now() > until {
            break;
        }
    }
    here(&say);
    std::hint::black_box(&memory);
    for_ever()
}

/// Not a test by itself, for the same reason.
#[test]
#[ignore = "run by the one below, alone in a program of its own"]
fn inside_a_program_whose_old_workers_die_slowly() {
    brigade::init();
    let server = ends(process::spawn(parent, ()).expect("a process starts"));
    let slow: Vec<_> = (0..3).map(|_| start(be_slow_to_die, 256)).collect();
    // It is the parent of our workers, which are alive.
    assert!(signal::send(server, libc::SIGKILL));
    // The next fork server is there before the last one's workers are gone.
    while process::spawn(parent, ())
        .ok()
        .and_then(|next| next.join().ok())
        .is_none_or(|next| next == server)
    {}
    let mutexes: Vec<_> = (0..12)
        .map(|_| Shared::new(Mutex::new(0)).expect("a region"))
        .collect();
    let holders: Vec<_> = mutexes
        .iter()
        .map(|mutex| start(hold_mutex, mutex.clone()))
        .collect();
    for old in slow {
        let ended = old.join_timeout(LIMIT).expect("it is dead");
        assert!(matches!(ended, Err(JoinError::Crashed(_))), "{ended:?}");
    }
    // The listener buries the old ones within this time.
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        for (i, mutex) in mutexes.iter().enumerate() {
            let taken = mutex.lock_timeout(Duration::from_millis(5));
            assert!(
                matches!(taken, Err(TryLockError::WouldBlock)),
                "the holder of mutex {i} lives: {taken:?}"
            );
        }
    }
    // And their deaths are told.
    for (mutex, holder) in mutexes.iter().zip(holders) {
        let waiters = start_both(await_mutex, mutex);
        kill(0, holder);
        assert_eq!(waiters.map(ends), [Some(1); 2]);
    }
}

#[test]
fn locks_are_freed_when_the_fork_server_is_killed() {
    alone("locks::inside_a_program_that_loses_its_fork_server");
}

#[test]
fn a_dead_fork_servers_workers_are_not_taken_for_the_next_ones() {
    alone("locks::inside_a_program_whose_old_workers_die_slowly");
}

/// Runs that test in a program of its own.
fn alone(test: &str) {
    let alone = Command::new(std::env::current_exe().expect("a program"))
        .args(["--exact", "--ignored", "--nocapture"])
        .arg(test)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(
        alone.status.success() && said.contains("1 passed"),
        "{}\n{said}\n{}",
        alone.status,
        String::from_utf8_lossy(&alone.stderr)
    );
}
