//! Inputs and results that are more than bytes: files, ends of channels, memory, locks.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use brigade::channel::{self, Receiver, Sender, Transport};
use brigade::shm::Buffer;
use brigade::sync::Mutex;
use brigade::{Descriptor, Shared};

use crate::{LIMIT, both, double, join, pool, works};

fn upper((Descriptor(mut from), Descriptor(mut to)): (Descriptor<File>, Descriptor<UnixStream>)) {
    let mut text = String::new();
    from.read_to_string(&mut text).expect("reads");
    to.write_all(text.to_uppercase().as_bytes())
        .expect("writes");
}

fn file(text: &str) -> File {
    let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(memory.expect("memfd"));
    file.write_all(text.as_bytes()).expect("writes");
    file.rewind().expect("rewinds");
    file
}

#[test]
fn files_and_sockets_come_along() {
    both(|kind| {
        let pool = pool(kind, 2);
        for _ in 0..20 {
            let (mut ours, theirs) = UnixStream::pair().expect("a pair");
            let input = (Descriptor(file("quietly")), Descriptor(theirs));
            join(pool.submit(upper, input)).expect("returns");
            let mut heard = String::new();
            ours.read_to_string(&mut heard).expect("nobody else has it");
            assert_eq!(heard, "QUIETLY");
        }
    });
}

fn first_line(Descriptor(mut from): Descriptor<File>) -> (String, Descriptor<File>) {
    let mut text = String::new();
    from.read_to_string(&mut text).expect("reads");
    (text.clone(), Descriptor(file(&text.to_uppercase())))
}

#[test]
fn a_map_of_files_to_files_among_plain_tasks() {
    both(|kind| {
        let pool = pool(kind, 3);
        let inputs = (0..300).map(|n| Descriptor(file(&format!("number {n}"))));
        let plain: Vec<_> = (0..300).map(|n| pool.submit(double, n)).collect();
        for (n, ended) in pool.map(first_line, inputs).enumerate() {
            let (seen, Descriptor(mut back)) = ended.expect("returns");
            let mut text = String::new();
            back.read_to_string(&mut text).expect("reads");
            assert_eq!((seen, text), (format!("number {n}"), format!("NUMBER {n}")));
        }
        for (n, handle) in (0..).zip(plain) {
            assert_eq!(join(handle).expect("returns"), n * 2);
        }
    });
}

fn many(count: usize) -> Vec<Descriptor> {
    let null = File::open("/dev/null").expect("/dev/null");
    (0..count)
        .map(|_| Descriptor(null.try_clone().expect("cloned").into()))
        .collect()
}

#[test]
fn many_in_one_but_not_any_number() {
    both(|kind| {
        let pool = pool(kind, 1);
        let count: fn(Vec<Descriptor>) -> usize = |all| all.len();
        assert_eq!(join(pool.submit(count, many(200))).expect("returns"), 200);
        assert_eq!(join(pool.submit(many, 200)).expect("returns").len(), 200);
        match (kind, join(pool.submit(count, many(241)))) {
            (brigade::Kind::Thread, Ok(all)) => assert_eq!(all, 241),
            (_, Err(brigade::JoinError::Undeliverable(why))) => {
                assert!(why.contains("more than 240"), "{why}");
            }
            (_, other) => panic!("{other:?}"),
        }
        works(&pool);
    });
}

fn relay((from, to): (Receiver<u32>, Sender<u32>)) -> u32 {
    let mut sum = 0;
    for n in from.iter() {
        let n = n.expect("a number");
        sum += n;
        to.send(n * 2).expect("received");
    }
    sum
}

#[test]
fn tasks_talk_over_channels() {
    both(|kind| {
        let pool = pool(kind, 2);
        for over in Transport::ALL {
            // Two of them, one behind the other.
            let (first, a) = channel::channel(over, 4).expect("a channel");
            let (b, c) = channel::channel(over, 4).expect("a channel");
            let (d, last) = channel::channel(over, 4).expect("a channel");
            let relays = [pool.submit(relay, (a, b)), pool.submit(relay, (c, d))];
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    for n in 0..100 {
                        first.send(n).expect("received");
                    }
                });
                for n in 0..100 {
                    assert_eq!(last.recv_timeout(LIMIT), Ok(n * 4), "over {over}");
                }
            });
            assert!(
                last.recv().is_err(),
                "the workers went on, and kept nothing"
            );
            for (handle, factor) in relays.into_iter().zip([1, 2]) {
                assert_eq!(join(handle).expect("returns"), 99 * 50 * factor);
            }
        }
    });
}

fn give_back(sender: Sender<u8>) -> Sender<u8> {
    sender
}

#[test]
fn a_result_that_nobody_wants_keeps_nothing_open() {
    both(|kind| {
        let pool = pool(kind, 1);
        for n in 0..10 {
            let (sender, receiver) = channel::socket::<u8>(1).expect("a channel");
            let task = pool.submit(give_back, sender);
            if n % 2 == 0 {
                crate::until("it ends", || task.is_finished());
            }
            drop(task);
            let ended = receiver.recv_timeout(LIMIT);
            assert_eq!(ended, Err(channel::RecvTimeoutError::Disconnected));
        }
    });
}

fn count_up((sum, mutex, times): (Shared<[AtomicU64]>, Shared<Mutex<u64>>, u64)) {
    for n in 0..times {
        sum[n as usize % sum.len()].fetch_add(1, SeqCst);
        *mutex.lock().expect("nobody dies") += 1;
    }
}

#[test]
fn tasks_share_memory_and_locks() {
    both(|kind| {
        let pool = pool(kind, 3);
        let sum = Shared::<[AtomicU64]>::zeroed(7).expect("a region");
        let mutex = Shared::new(Mutex::new(0)).expect("a region");
        let inputs = (0..100).map(|_| (sum.clone(), mutex.clone(), 50));
        assert!(pool.map(count_up, inputs).all(|ended| ended.is_ok()));
        assert_eq!(sum.iter().map(|n| n.load(SeqCst)).sum::<u64>(), 5000);
        assert_eq!(*mutex.lock().expect("nobody died"), 5000);
    });
}

fn fill(len: usize) -> Shared<[u8]> {
    let mut buffer = Buffer::zeroed(len).expect("a region");
    for byte in buffer.iter_mut().step_by(4096) {
        *byte = 5;
    }
    buffer.into_shared().expect("sealed")
}

#[test]
fn large_results_come_without_a_copy() {
    both(|kind| {
        let pool = pool(kind, 2);
        for len in [0, 1, 5000, 64 << 20] {
            let bytes = join(pool.submit(fill, len)).expect("returns");
            assert!(bytes.len() == len && bytes.is_sealed());
            assert!(bytes.iter().step_by(4096).all(|&b| b == 5));
            let again = pool.submit(|b: Shared<[u8]>| b.len(), bytes);
            assert_eq!(join(again).expect("returns"), len);
        }
    });
}

#[test]
fn a_panic_with_a_lock_poisons_it() {
    fn lock_and_panic(mutex: Shared<Mutex<u64>>) {
        let _held = mutex.lock().expect("not poisoned yet");
        panic!("with the lock");
    }
    both(|kind| {
        let pool = pool(kind, 1);
        for _ in 0..5 {
            let mutex = Shared::new(Mutex::new(5)).expect("a region");
            crate::panic_of(join(pool.submit(lock_and_panic, mutex.clone())));
            assert_eq!(*mutex.lock().expect_err("poisoned").into_inner(), 5);
        }
        works(&pool);
    });
}
