//! What there is on every system: within one program, threads share locks and memory and pass
//! ends, regions and files to each other. `scripts/portable` runs it as it is elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use brigade::channel::{self, Receiver, RecvTimeoutError, Select, Sender, Transport};
use brigade::shm::Buffer;
use brigade::sync::{Barrier, Condvar, Mutex, Once, RwLock, Semaphore};
use brigade::{Pool, Shared, thread};

/// Only a hang takes longer.
const LIMIT: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(20);

#[cfg(any(not(target_os = "linux"), brigade_portable))]
#[test]
fn processes_are_refused_in_one_sentence() {
    use brigade::{Kind, process};

    brigade::init();
    let refused = |e: std::io::Error| {
        assert_eq!(e.kind(), std::io::ErrorKind::Unsupported);
        let sentence = "processes need Linux (5.10 or later); threads work here";
        assert_eq!(e.to_string(), sentence);
    };
    refused(process::spawn(|()| (), ()).expect_err("refused"));
    refused(Kind::Process.spawn(|()| (), ()).expect_err("refused"));
    refused(
        process::Builder::new()
            .name("x")
            .env("A", "b")
            .current_dir("/")
            .spawn(|()| (), ())
            .expect_err("refused"),
    );
    refused(Pool::processes(2).expect_err("refused"));
    let crashes = std::env::temp_dir().join("brigade-portable-no-crashes");
    let pool = Pool::builder(Kind::Process).keep_crashes(&crashes);
    refused(pool.build().expect_err("refused"));
    assert!(!crashes.exists(), "nothing is made in vain");
    refused(process::start_method().expect_err("refused"));
}

fn add(total: &Shared<Mutex<u64>>) {
    *total.lock().expect("not poisoned") += 1;
}

#[test]
fn a_mutex_excludes_times_out_and_is_poisoned() {
    let total = Shared::new(Mutex::new(0)).expect("made");
    let pool = Pool::threads(4).expect("a pool");
    let added = pool.map(
        |total: Shared<Mutex<u64>>| (0..1000).for_each(|_| add(&total)),
        (0..40).map(|_| total.clone()),
    );
    assert!(added.into_iter().all(|ended| ended.is_ok()));
    assert_eq!(*total.lock().expect("not poisoned"), 40_000);

    let held = total.lock().expect("not poisoned");
    let waits = total.clone();
    let in_vain = thread::spawn(move_in(|total| total.lock_timeout(SOON).is_err()), waits);
    assert!(in_vain.expect("starts").join().expect("returns"));
    drop(held);
    let panics: fn(Shared<Mutex<u64>>) = |total| {
        let _held = total.lock();
        panic!("on purpose");
    };
    let ended = thread::spawn(panics, total.clone()).expect("starts").join();
    assert!(ended.is_err() && total.lock().is_err(), "poisoned");
}

/// A closure that takes such a lock, as the `fn` that it is.
fn move_in(task: fn(Shared<Mutex<u64>>) -> bool) -> fn(Shared<Mutex<u64>>) -> bool {
    task
}

#[test]
fn sleepers_are_woken_by_every_lock() {
    let (turn, told) = (Mutex::new(0_u32), Condvar::new());
    let (permits, barrier, once) = (Semaphore::new(0), Barrier::new(4), Once::new());
    let (values, ran) = (RwLock::new([0_u64; 2]), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for me in 0..4_u32 {
            let (turn, told, permits, barrier) = (&turn, &told, &permits, &barrier);
            let (once, values, ran) = (&once, &values, &ran);
            scope.spawn(move || {
                for round in 0..500_u32 {
                    // In turn: each is woken by the one before it.
                    let mut now = turn.lock().expect("not poisoned");
                    while *now % 4 != me {
                        let (again, woken) = told.wait_timeout(now, LIMIT).expect("not poisoned");
                        assert!(!woken.timed_out(), "round {round}");
                        now = again;
                    }
                    *now += 1;
                    drop(now);
                    told.notify_all();
                    permits.add_permits(1);
                    let permit = permits.acquire_timeout(LIMIT).expect("there are as many");
                    permit.forget();
                    {
                        let mut both = values.write().expect("not poisoned");
                        both[0] += 1;
                        both[1] += 1;
                    }
                    let both = values.read().expect("not poisoned");
                    assert_eq!(both[0], both[1], "one writes at a time");
                    drop(both);
                    once.call_once(|| _ = ran.fetch_add(1, Ordering::Relaxed));
                    barrier.wait_timeout(LIMIT).expect("all arrive");
                }
            });
        }
    });
    assert_eq!(*turn.lock().expect("not poisoned"), 2000);
    assert_eq!(values.read().expect("not poisoned")[0], 2000);
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

#[test]
fn every_wait_ends_with_its_time() {
    let began = Instant::now();
    let (lock, values) = (Mutex::new(()), RwLock::new(()));
    let held = lock.lock().expect("not poisoned");
    let writes = values.write().expect("not poisoned");
    assert!(lock.lock_timeout(SOON).is_err());
    assert!(values.read_timeout(SOON).is_err() && values.write_timeout(SOON).is_err());
    assert!(Semaphore::new(0).acquire_timeout(SOON).is_none());
    assert!(Barrier::new(2).wait_timeout(SOON).is_err());
    assert!(!Once::new().wait_timeout(SOON));
    let (_, woken) = Condvar::new()
        .wait_timeout(held, SOON)
        .expect("not poisoned");
    assert!(woken.timed_out());
    drop(writes);
    let (_sender, receiver) = channel::shm::<u8>(1).expect("made");
    assert_eq!(receiver.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
    assert!(Select::new().ready_timeout(SOON).is_err());
    assert!(began.elapsed() >= SOON * 8 && began.elapsed() < LIMIT);
}

/// An end and a region in one message, in another channel.
type Passed = (Sender<u64>, Receiver<Shared<[u64]>>, Shared<AtomicU64>);

#[test]
fn ends_and_regions_pass_through_channels_and_stay_what_they_are() {
    for over in Transport::ALL {
        let (to, from) = channel::channel::<Passed>(over, 1).expect("made");
        let (results, sums) = channel::channel(over, 4).expect("made");
        let (values, theirs) = channel::channel(over, 4).expect("made");
        let seen = Shared::new(AtomicU64::new(0)).expect("made");
        let sum: fn(Receiver<Passed>) = |from| {
            let (results, values, seen) = from.recv().expect("sent");
            for values in &values {
                seen.fetch_add(1, Ordering::Relaxed);
                let values = values.expect("no loss");
                results.send(values.iter().sum()).expect("received");
            }
        };
        let task = thread::spawn(sum, from).expect("starts");
        to.send((results, theirs, seen.clone())).expect("received");
        for n in 0..20_u64 {
            let values_ = Shared::from_slice(&[n, n, n]).expect("made");
            assert!(values_.is_sealed());
            values.send(values_).expect("received");
            assert_eq!(sums.recv_timeout(LIMIT), Ok(3 * n));
        }
        drop(values);
        task.join().expect("it ends with its senders");
        assert_eq!(seen.load(Ordering::Relaxed), 20, "the same memory");
        assert!(sums.recv().is_err(), "its only sender went with the task");
    }
}

#[test]
fn the_same_region_comes_back() {
    let (sender, receiver) = channel::shm(1).expect("made");
    let mut buffer = Buffer::zeroed(100_000).expect("made");
    buffer[99_999] = 7;
    let shared = buffer.into_shared().expect("sealed");
    sender.send(shared.clone()).expect("received");
    let back = receiver.recv().expect("sent");
    assert!(Shared::ptr_eq(&shared, &back) && back[99_999] == 7);
    assert!(Buffer::zeroed(usize::MAX).is_err());
}

#[cfg(unix)]
#[test]
fn files_pass_through_channels() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use brigade::Descriptor;

    let (sender, receiver) = channel::pipe(1).expect("made");
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    sender.send(Descriptor(theirs)).expect("received");
    let Descriptor(mut stream): Descriptor<UnixStream> = receiver.recv().expect("sent");
    stream.write_all(b"hello").expect("open");
    drop(stream);
    let mut heard = String::new();
    ours.read_to_string(&mut heard).expect("open");
    assert_eq!(heard, "hello");
}

#[derive(serde::Serialize, serde::Deserialize)]
struct List(Option<Box<List>>);

#[test]
fn a_value_that_is_nested_too_deeply_is_refused_before_the_stack_ends() {
    let run = || {
        let (sender, receiver) = channel::shm(1).expect("made");
        let mut list = List(None);
        for _ in 0..100_000 {
            list = List(Some(Box::new(list)));
        }
        let mut list = sender.send(list).expect_err("refused").0;
        assert!(sender.fault().expect("told").contains("levels deep"));
        // Taken apart without recursion.
        while let Some(next) = list.0.take() {
            list = *next;
        }
        sender.send(List(Some(Box::new(List(None))))).expect("sent");
        assert!(receiver.recv().expect("received").0.is_some());
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    thread.expect("a thread").join().expect("no overflow");
}
