//! Memory that many write, each its own part: one owner at a time, whichever the kind and whoever
//! dies.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use brigade::channel::{Sender, Transport, TrySendError, channel};
use brigade::shm::{RecoverError, Recovery, Writable};
use brigade::{JoinError, Kind, Pool, Shared, process};

use crate::{both, each_way};

const LIMIT: Duration = Duration::from_secs(60);

type Part = Writable<[u64]>;

fn number(mut part: Part) -> Part {
    let from = part.range().start as u64;
    for (i, n) in (from..).zip(part.iter_mut()) {
        *n += i;
    }
    part
}

fn is_numbered(numbers: &[u64], times: u64) -> bool {
    numbers.iter().zip(0..).all(|(&n, i)| n == times * i)
}

#[test]
fn parts_are_written_where_they_are_and_frozen() {
    each_way(|starter| {
        let mut whole = Shared::<[u64]>::writable(100_003).expect("a region");
        for times in 1..=3 {
            let tasks: Vec<_> = whole
                .split_into(16)
                .into_iter()
                .map(|part| starter.start(number, part))
                .collect();
            let parts = tasks.into_iter().map(|task| task.join().expect("returns"));
            // In another order than they lie in.
            let parts: Vec<_> = parts.collect::<Vec<_>>().into_iter().rev().collect();
            whole = Writable::join(parts).expect("all there");
            assert!(is_numbered(&whole, times));
        }
        let frozen = whole.freeze().expect("no worker maps it");
        assert!(frozen.is_sealed() && is_numbered(&frozen, 3));
    });
}

fn begin_and_panic(mut part: Part) -> Part {
    part[0] = 7;
    panic!("in the middle");
}

fn begin_and_die(mut part: Part) -> Part {
    part[0] = 7;
    std::process::abort();
}

fn number_but_one(part: Part) -> Part {
    if part.range().start == 40 {
        panic!("the one from 40 on");
    }
    number(part)
}

fn poisoned(recovery: &Recovery<[u64]>) -> Part {
    match recovery.recover() {
        Err(RecoverError::Poisoned(part)) => part.into_inner(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_leaves_a_part_poisoned() {
    each_way(|starter| {
        let whole = Shared::<[u64]>::writable(10).expect("a region");
        let recovery = whole.recovery().expect("no limit");
        let ended = starter.start(begin_and_panic, whole).join();
        assert!(matches!(ended, Err(JoinError::Panicked(_))));
        let mut whole = poisoned(&recovery);
        assert_eq!(whole[0], 7);
        whole[0] = 0;
        let whole = starter.start(number, whole).join().expect("returns");
        assert!(is_numbered(&whole, 1));
    });
}

#[test]
fn a_dead_worker_leaves_a_part_poisoned_and_the_others_are_whole() {
    each_way(|starter| {
        if starter.kind() == Kind::Thread {
            return;
        }
        let mut parts = Shared::<[u64]>::writable(1000)
            .expect("a region")
            .split_into(4);
        let lost = parts.remove(1);
        let recovery = lost.recovery().expect("no limit");
        let dying = starter.start(begin_and_die, lost);
        let others: Vec<_> = parts
            .into_iter()
            .map(|part| starter.start(number, part))
            .collect();
        assert!(matches!(dying.join(), Err(JoinError::Crashed(_))));
        let mut parts: Vec<_> = others
            .into_iter()
            .map(|task| task.join().expect("returns"))
            .collect();
        let refused = Writable::join(parts).expect_err("one is missing");
        assert!(refused.to_string().contains("250 to 499"), "{refused}");
        parts = refused.into_parts();
        let mut lost = poisoned(&recovery);
        assert_eq!((lost.range(), lost[0]), (250..500, 7));
        lost[0] = 0;
        parts.push(starter.start(number, lost).join().expect("returns"));
        let whole = Writable::join(parts).expect("all there");
        assert!(is_numbered(&whole.freeze().expect("nobody maps it"), 1));
    });
}

#[test]
fn what_tasks_gave_back_is_kept_where_one_of_them_failed() {
    both(|kind| {
        let pool = Pool::new(kind, 2).expect("a pool");
        let parts = || {
            let whole = Shared::<[u64]>::writable(100).expect("a region");
            whole.into_chunks(20)
        };
        let whole = Writable::try_join(pool.map(number, parts())).expect("all return");
        assert!(is_numbered(&whole.freeze().expect("nobody maps it"), 1));

        let failed = Writable::try_join(pool.map(number_but_one, parts())).expect_err("one panics");
        assert_eq!(failed.kind(), std::io::ErrorKind::Other);
        let error = std::error::Error::source(&failed)
            .and_then(|e| e.downcast_ref::<std::io::Error>())
            .and_then(|e| e.get_ref()?.downcast_ref::<JoinError>());
        match error {
            Some(JoinError::Panicked(panic)) => assert_eq!(panic.message(), "the one from 40 on"),
            other => panic!("{other:?} in {failed}"),
        }
        let ranges = failed.into_parts().into_iter().map(|part| part.range());
        assert_eq!(ranges.collect::<Vec<_>>(), [0..20, 20..40, 60..80, 80..100]);
    });
}

#[test]
fn no_results_are_no_parts() {
    let none = Vec::<Result<Part, JoinError>>::new();
    let refused = Writable::try_join(none).expect_err("there are none");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}

fn count_and_die((runs, mut part): (Shared<AtomicU64>, Part)) {
    runs.fetch_add(1, Ordering::Relaxed);
    part[0] += 1;
    std::process::abort();
}

fn count_and_hang((runs, mut part): (Shared<AtomicU64>, Part)) {
    runs.fetch_add(1, Ordering::Relaxed);
    part[0] += 1;
    // A thread may be unparked by what ran there before.
    let end = std::time::Instant::now() + Duration::from_secs(5);
    while std::time::Instant::now() < end {
        std::thread::park_timeout(Duration::from_secs(5));
    }
}

#[test]
fn a_task_that_holds_a_part_is_not_run_again() {
    both(|kind| {
        let builder = || Pool::builder(kind).workers(2).retries(3);
        let runs = Shared::new(AtomicU64::new(0)).expect("a region");
        if kind == Kind::Process {
            let pool = builder().build().expect("a pool");
            let part = Shared::<[u64]>::writable(1).expect("a region");
            let recovery = part.recovery().expect("no limit");
            let ended = pool.submit(count_and_die, (runs.clone(), part)).join();
            assert!(matches!(ended, Err(JoinError::Crashed(_))), "{ended:?}");
            assert_eq!(
                (runs.swap(0, Ordering::Relaxed), poisoned(&recovery)[0]),
                (1, 1)
            );
        }
        let builder = builder().timeout(Duration::from_millis(200));
        let pool = builder.build().expect("a pool");
        let part = Shared::<[u64]>::writable(1).expect("a region");
        let recovery = part.recovery().expect("no limit");
        let ended = pool.submit(count_and_hang, (runs.clone(), part)).join();
        assert!(matches!(ended, Err(JoinError::TimedOut(_))), "{ended:?}");
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        match kind {
            Kind::Process => assert_eq!(poisoned(&recovery)[0], 1),
            // The thread was let go of, and has it.
            _ => assert!(matches!(recovery.recover(), Err(RecoverError::Owned))),
        }
    });
}

fn die((): ()) {
    std::process::abort();
}

#[test]
fn a_task_whose_worker_dies_before_it_begins_has_its_part() {
    brigade::init();
    let pool = Pool::processes(1).expect("a pool");
    for _ in 0..20 {
        let dying = pool.submit(die, ());
        let parts = Shared::<[u64]>::writable(64)
            .expect("a region")
            .split_into(4);
        let written: Result<Vec<_>, _> = pool.map(number, parts).collect();
        assert!(matches!(dying.join(), Err(JoinError::Crashed(_))));
        let whole = Writable::join(written.expect("each runs")).expect("all there");
        assert!(is_numbered(&whole.freeze().expect("frozen"), 1));
    }
}

fn send_back((part, back): (Part, Sender<Part>)) {
    back.send(number(part)).expect("the receiver is there");
}

#[test]
fn a_channel_gives_back_what_it_has_no_room_for_and_takes_it_later() {
    both(|kind| {
        for over in Transport::ALL {
            let (sender, receiver) = channel::<Part>(over, 1).expect("a channel");
            let mut parts = Shared::<[u64]>::writable(30)
                .expect("a region")
                .split_into(3);
            let (last, second) = (parts.pop().expect("three"), parts.pop().expect("three"));
            let first = parts.pop().expect("three");
            let task = kind
                .spawn(send_back, (first, sender.clone()))
                .expect("starts");
            task.join().expect("returns");
            let refused = sender.try_send(second).expect_err("it holds one");
            let TrySendError::Full(mut second) = refused else {
                panic!("{over}: {refused}");
            };
            second[0] = 5;
            let first = receiver.recv_timeout(LIMIT).expect("sent");
            sender.send(second).expect("there is room");
            let mut second = receiver.recv_timeout(LIMIT).expect("sent");
            assert_eq!(second[0], 5, "{over}");
            second[0] = 0;
            drop(receiver);
            let last = sender.send(last).expect_err("disconnected").0;
            let whole = Writable::join([last, first, second]).expect("all there");
            let frozen = whole.freeze().expect("nobody maps it");
            assert!(is_numbered(&frozen[..10], 1) && frozen[10..].iter().all(|&n| n == 0));
        }
    });
}

fn add_one((mut part, dies): (Part, bool)) -> Part {
    let half = part.len() / 2;
    part[..half].iter_mut().for_each(|n| *n += 1);
    if dies {
        std::process::abort();
    }
    part[half..].iter_mut().for_each(|n| *n += 1);
    part
}

/// Each part is written by one at a time, and never twice for one task, however many workers die.
#[test]
fn parts_survive_workers_that_die_at_any_time() {
    brigade::init();
    let pool = Pool::builder(Kind::Process)
        .workers(2)
        .retries(2)
        .build()
        .expect("a pool");
    let mut parts = Shared::<[u64]>::writable(8 * 512)
        .expect("a region")
        .split_into(8);
    for round in 1..=10_u64 {
        let recoveries: Vec<_> = parts
            .iter()
            .map(|part| part.recovery().expect("no limit"))
            .collect();
        let inputs = parts
            .into_iter()
            .zip(0..)
            .map(|(part, i)| (part, (i + round) % 3 == 0));
        let tasks: Vec<_> = inputs.map(|input| pool.submit(add_one, input)).collect();
        parts = tasks
            .into_iter()
            .zip(&recoveries)
            .map(|(task, recovery)| match task.join() {
                Ok(part) => part,
                Err(JoinError::Crashed(_)) => {
                    let mut part = poisoned(recovery);
                    // Exactly half of what the task does, once.
                    let (begun, rest) = part.split_at_mut(256);
                    assert!(begun.iter().all(|&n| n == round));
                    assert!(rest.iter().all(|&n| n == round - 1));
                    rest.fill(round);
                    part
                }
                Err(other) => panic!("{other}"),
            })
            .collect();
        assert!(parts.iter().all(|part| part.iter().all(|&n| n == round)));
    }
    let frozen = Writable::join(parts).expect("all there").freeze();
    assert!(
        frozen
            .expect("the dead map nothing")
            .iter()
            .all(|&n| n == 10)
    );
}

fn keep((kept, of): (Part, Part)) -> Part {
    // Its own for as long as it lives.
    static KEPT: std::sync::Mutex<Vec<Part>> = std::sync::Mutex::new(Vec::new());
    KEPT.lock().expect("no panic").push(kept);
    of
}

/// What a worker has kept, it has: the rest is not to be had for all.
#[test]
fn what_a_worker_keeps_is_nobody_elses_until_it_ends() {
    brigade::init();
    let pool = Pool::processes(1).expect("a pool");
    let (kept, of) = Shared::<[u64]>::writable(10).expect("a region").split_at(5);
    let recovery = kept.recovery().expect("no limit");
    let of = pool.submit(keep, (kept, of)).join().expect("returns");
    assert!(matches!(recovery.recover(), Err(RecoverError::Owned)));
    assert!(pool.submit(die, ()).join().is_err());
    let whole = Writable::join([of, poisoned(&recovery)]).expect("all there");
    assert!(whole.freeze().is_ok());
}

#[test]
fn a_part_on_its_way_to_a_worker_that_is_cancelled_is_recovered() {
    brigade::init();
    let part = Shared::<[u64]>::writable(3).expect("a region");
    let recovery = part.recovery().expect("no limit");
    let task = process::spawn(begin_and_hang, part).expect("starts");
    task.cancel();
    assert!(matches!(task.join(), Err(JoinError::Cancelled)));
    // Whether it had begun is not known; that it has ended is.
    match recovery.recover() {
        Ok(part) => assert_eq!(part[0], 0),
        Err(RecoverError::Poisoned(part)) => assert!(part.get_ref()[0] <= 7),
        Err(other) => panic!("{other:?}"),
    }
}

fn begin_and_hang(mut part: Part) -> Part {
    part[0] = 7;
    loop {
        std::thread::park();
    }
}
