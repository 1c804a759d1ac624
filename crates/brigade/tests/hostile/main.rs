//! A worker that writes whatever it likes over all memory that it shares with its host, while the
//! host uses it: the host does not panic, does not hang, and is not made to ask for more memory
//! than a message may have.
//!
//! What it receives may be anything. The same for the same seed, but for when the two meet.

mod files;
mod holding;
mod wake_socket;
mod wakeups;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use brigade::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, Transport, channel};
use brigade::sync::{Barrier, Condvar, Mutex, Once, RwLock, Semaphore};
use brigade::{JoinHandle, Shared, ShmSafe, process};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the host waits for each message, lock, or room.
const PATIENCE: Duration = Duration::from_millis(2);
/// So often the host tries, with each worker.
const TRIES: usize = 100;
/// What one message may ask for: the library's own limit.
const CAP: usize = 1 << 31;

/// A few; as many as this variable says, for `scripts/r6`.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let count = std::env::var("BRIGADE_HOSTILE_SEEDS").map_or(3, |n| n.parse().expect("a number"));
    1..=count
}

/// Runs this with each transport and each seed.
fn each(row: fn(Transport, u64)) {
    brigade::init();
    for over in Transport::ALL {
        for seed in seeds() {
            within_limit(&format!("{over}, seed {seed}"), move || row(over, seed));
        }
    }
}

/// The system's, and the most that was ever asked for at once.
struct Asked;

static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's own, called as we were called.
unsafe impl GlobalAlloc for Asked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        MOST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Asked = Asked;

/// Numbers that are the same for the same seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n
    }
}

/// This process's writable mappings of memory files of that name.
fn mappings(name: &str) -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let writable = maps
        .lines()
        .filter(|l| l.contains(&format!("memfd:{name}")) && l.contains(" rw"));
    writable
        .map(|line| {
            let (low, high) = line
                .split_once(' ')
                .and_then(|(range, _)| range.split_once('-'))
                .expect("a range");
            let hex = |digits| usize::from_str_radix(digits, 16).expect("hex");
            (hex(low), hex(high))
        })
        .collect()
}

/// Writes over what it finds, a burst at a time: words that are changed in one bit, small numbers,
/// large ones, and whole lines; in the first page more than elsewhere, for there are the counts.
/// Then a moment in which the host goes on.
fn scribble(name: &str, numbers: &mut Numbers, mut between: impl FnMut(&mut Numbers)) -> ! {
    let found = mappings(name);
    assert!(!found.is_empty(), "there is no mapping of {name}");
    loop {
        for _ in 0..=numbers.below(16) {
            let (low, high) = found[numbers.below(found.len())];
            let reach = match numbers.below(4) {
                0 => high - low,
                1 => 256,
                _ => 4096.min(high - low),
            };
            let word = (low + numbers.below(reach / 8) * 8) as *const AtomicU64;
            // SAFETY: in a mapping that is ours to write as far as the kernel is concerned;
            // aligned. That others rely on it is the point.
            let word = unsafe { &*word };
            let value = match numbers.below(5) {
                0 => word.load(Ordering::Relaxed) ^ 1 << numbers.below(64),
                1 => numbers.next() & 0xff,
                2 => u64::MAX - (numbers.next() & 0xff),
                3 => word
                    .load(Ordering::Relaxed)
                    .wrapping_add(numbers.next() & 0xfff),
                _ => numbers.next(),
            };
            word.store(value, Ordering::SeqCst);
        }
        between(numbers);
        for _ in 0..numbers.below(2000) {
            std::hint::spin_loop();
        }
    }
}

/// Each of its ends, for the worker that lies at it. Bytes and texts: one has rules, the other
/// none.
type Parcel = (u64, String, Vec<u8>);

fn parcel(numbers: &mut Numbers) -> Parcel {
    let len = match numbers.below(8) {
        0 => 70_000,
        1 => 5_000,
        _ => numbers.below(200),
    };
    (numbers.next(), "x".repeat(len / 2), vec![7; len])
}

fn send_and_scribble((to, seed): (Sender<Parcel>, u64)) {
    let mut numbers = Numbers(seed);
    let _ = to.try_send(parcel(&mut numbers));
    scribble("brigade-channel", &mut numbers, |numbers| {
        let _ = to.try_send(parcel(numbers));
    })
}

fn receive_and_scribble((from, seed): (Receiver<Parcel>, u64)) {
    let mut numbers = Numbers(seed);
    let _ = from.try_recv();
    scribble("brigade-channel", &mut numbers, |_| {
        let _ = from.try_recv();
    })
}

/// Runs the host's part in a thread of its own, and is not patient for ever.
fn within_limit(what: &str, host: impl FnOnce() + Send + 'static) {
    let (say, said) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        host();
        let _ = say.send(());
    });
    match said.recv_timeout(LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: the host hangs"),
        _ => thread
            .join()
            .unwrap_or_else(|_| panic!("{what}: the host panicked")),
    }
    let most = MOST.load(Ordering::Relaxed);
    eprintln!("{what}: no more than {most} bytes were asked for at once");
    assert!(most <= CAP, "{what}: {most} bytes were asked for at once");
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

fn end<R>(worker: JoinHandle<R>) {
    worker.cancel();
    let _ = worker.join();
}

#[test]
fn a_receiver_survives_its_sender() {
    each(|over, seed| {
        let (to, from) = channel::<Parcel>(over, 8).expect("a channel");
        let worker = process::spawn(send_and_scribble, (to, seed)).expect("a process starts");
        let mut came = 0;
        for _ in 0..TRIES {
            match from.recv_timeout(PATIENCE) {
                Ok(_) => came += 1,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Undeliverable(_)) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let _ = (from.len(), from.is_empty(), format!("{from:?}"));
        }
        eprintln!("{over}, seed {seed}: {came} came, {:?}", from.fault());
        // With its receiver, and then without.
        if seed % 2 == 0 {
            end(worker);
            drop(from);
        } else {
            drop(from);
            end(worker);
        }
    });
}

#[test]
fn a_sender_survives_its_receiver() {
    each(|over, seed| {
        let (to, from) = channel::<Parcel>(over, 8).expect("a channel");
        let worker = process::spawn(receive_and_scribble, (from, seed)).expect("a process starts");
        let mut numbers = Numbers(seed);
        let mut went = 0;
        for _ in 0..TRIES {
            match to.send_timeout(parcel(&mut numbers), PATIENCE) {
                Ok(()) => went += 1,
                Err(SendTimeoutError::Timeout(_)) => {}
                Err(SendTimeoutError::Disconnected(_)) => break,
            }
            let _ = (to.len(), to.clone().is_empty(), format!("{to:?}"));
        }
        eprintln!("{over}, seed {seed}: {went} went, {:?}", to.fault());
        if seed % 2 == 0 {
            end(worker);
            drop(to);
        } else {
            drop(to);
            end(worker);
        }
    });
}

/// One of each lock.
#[derive(ShmSafe)]
#[repr(C)]
struct Locks {
    mutex: Mutex<u64>,
    rwlock: RwLock<[u64; 4]>,
    condvar: Condvar,
    barrier: Barrier,
    once: Once,
    semaphore: Semaphore,
}

fn scribble_over_locks((_locks, seed): (Shared<Locks>, u64)) {
    scribble("brigade-shared", &mut Numbers(seed), |_| {})
}

/// Everything that has an end of its own accord.
fn use_locks(locks: &Locks) {
    if let Ok(mut guard) = locks.mutex.lock_timeout(PATIENCE) {
        *guard = guard.wrapping_add(1);
    }
    // With a mutex of our own: its time over, it waits for the mutex without a limit, which a
    // worker may say that we have.
    let own = Mutex::new(());
    let guard = own.lock().expect("nobody else has it");
    let _ = locks.condvar.wait_timeout(guard, PATIENCE);
    let _ = locks.mutex.try_lock().map(drop);
    locks.mutex.clear_poison();
    locks.condvar.notify_one();
    locks.condvar.notify_all();
    if let Ok(mut guard) = locks.rwlock.write_timeout(PATIENCE) {
        guard[1] = guard[0].wrapping_add(1);
    }
    let _ = locks.rwlock.read_timeout(PATIENCE).map(drop);
    let _ = locks.rwlock.try_read().map(drop);
    let _ = locks.barrier.wait_timeout(PATIENCE);
    let _ = locks.barrier.is_broken();
    let _ = std::panic::catch_unwind(|| locks.once.call_once_timeout(PATIENCE, || {}));
    let _ = std::panic::catch_unwind(|| locks.once.wait_timeout(PATIENCE));
}

/// Panics that are a lock's way to say that it is poisoned are no news.
fn keep_quiet_of_poison() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        let said = text
            .map(String::as_str)
            .or(info.payload().downcast_ref().copied());
        if !said.is_some_and(|said| said.starts_with("the Once is poisoned")) {
            usual(info);
        }
    }));
}

#[test]
fn locks_that_have_limits_keep_them() {
    brigade::init();
    keep_quiet_of_poison();
    for seed in seeds() {
        within_limit(&format!("locks, seed {seed}"), move || {
            let locks = Shared::new(Locks {
                mutex: Mutex::new(0),
                rwlock: RwLock::new([0; 4]),
                condvar: Condvar::new(),
                barrier: Barrier::new(2),
                once: Once::new(),
                semaphore: Semaphore::new(2),
            })
            .expect("a region");
            let worker = process::spawn(scribble_over_locks, (locks.clone(), seed))
                .expect("a process starts");
            let begin = Instant::now();
            let mut times = 0;
            while begin.elapsed() < PATIENCE * TRIES as u32 {
                use_locks(&locks);
                drop(locks.semaphore.acquire_timeout(PATIENCE));
                times += 1;
            }
            eprintln!("locks, seed {seed}: used {times} times");
            end(worker);
        });
    }
}
