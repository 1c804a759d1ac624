//! The one that is killed: a task that takes what it is told to, and either keeps it or goes on
//! taking it.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use brigade::sync::Once;
use brigade_test_support::{doorbell, wait};

use super::arena::{Arena, Case, PERMITS, Pair, Point, Round, World, linger};
use crate::measure::now;

pub(super) fn run(((world, onces), round, door): (Arena, Round, String)) {
    let ring = || doorbell::ring(&door, &[std::process::id()]).expect("the program listens");
    match round.point {
        Point::Held => keep(&world, &onces[round.number as usize], round.case, &ring),
        Point::Anywhere => go_on(&world, &onces[round.number as usize], round.case, &ring),
    }
}

/// Has it, rings, and waits to be killed.
fn keep(world: &World, once: &Once, case: Case, ring: &dyn Fn()) -> ! {
    let half = |pair: &mut Pair| {
        pair.first += 1;
        ring();
        wait::for_ever()
    };
    match case {
        Case::Mutex | Case::CondvarHolder => half(&mut world.mutex.lock().expect("in order")),
        Case::Writer => half(&mut world.rwlock.write().expect("in order")),
        Case::Reader => {
            let _guard = world.rwlock.read().expect("in order");
            ring();
            wait::for_ever()
        }
        Case::CondvarWaiter => be_notified(world, ring),
        Case::Semaphore => {
            let _all = world.semaphore.acquire_many(PERMITS);
            ring();
            wait::for_ever()
        }
        Case::Barrier => {
            ring();
            let _ = world.barrier.wait();
            unreachable!("it lacks one, and breaks after this one's death")
        }
        Case::Once => {
            once.call_once(|| {
                world.made[0].store(1, Relaxed);
                ring();
                wait::for_ever()
            });
            unreachable!("that never ends")
        }
    }
}

/// Takes it and lets go of it until it is killed.
fn go_on(world: &World, once: &Once, case: Case, ring: &dyn Fn()) {
    let add = |pair: &mut Pair| {
        pair.add();
        world.by_victim.fetch_add(1, Relaxed);
    };
    match case {
        Case::Mutex | Case::CondvarHolder => {
            ring();
            loop {
                add(&mut world.mutex.lock().expect("in order"));
                if case == Case::CondvarHolder {
                    world.condvar.notify_one();
                }
            }
        }
        Case::Writer => {
            ring();
            loop {
                add(&mut world.rwlock.write().expect("in order"));
            }
        }
        Case::Reader => {
            ring();
            loop {
                let pair = world.rwlock.read().expect("in order");
                assert!(pair.agrees(), "{:?}", *pair);
            }
        }
        Case::CondvarWaiter => be_notified(world, ring),
        Case::Semaphore => {
            ring();
            for many in (1..=PERMITS).cycle() {
                let permits = world.semaphore.acquire_many(many);
                world.inside[1].store(many, SeqCst);
                linger();
                world.inside[1].store(0, SeqCst);
                drop(permits);
            }
        }
        Case::Barrier => {
            // Only of one who has arrived before can a barrier know that it is dead.
            world.barrier.wait().expect("all come");
            ring();
            loop {
                world.barrier.wait().expect("all come");
            }
        }
        Case::Once => {
            ring();
            once.call_once(|| {
                world.made[0].store(1, Relaxed);
                // Longer than it takes the others to come, and the program to kill.
                let end = now() + 400_000;
                while now() < end {
                    linger();
                }
                world.made[1].store(1, Relaxed);
            });
            wait::for_ever()
        }
    }
}

/// Waits for what never comes, and so takes the notifications of others with it.
fn be_notified(world: &World, ring: &dyn Fn()) -> ! {
    let mut guard = world.mutex.lock().expect("in order");
    ring();
    loop {
        guard = world.condvar.wait(guard).expect("in order");
    }
}
