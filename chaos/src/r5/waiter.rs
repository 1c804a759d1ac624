//! Those who wait: tasks, in threads and in processes, that live as long as the command and wait in
//! every round.

use std::ops::DerefMut;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

use brigade::channel::{Receiver, Sender};
use brigade::sync::{BarrierTimeoutError, MutexGuard, Once};

use super::LIMIT;
use super::arena::{Arena, Case, Ended, PERMITS, Pair, Point, Round, Said, World};
use crate::measure::now;

/// A waiter's input.
pub(super) type Station = (usize, Arena, Receiver<Round>, Sender<Said>);

/// Waits in each round that it is told of, until there are no more.
pub(super) fn run((who, (world, onces), rounds, say): Station) {
    for round in rounds {
        let round = round.expect("a round as it was told");
        if say.send(Said::Begins).is_err() {
            return;
        }
        let mut waiter = Waiter {
            world: &world,
            who,
            round,
            ended: Ended {
                who,
                told: false,
                began: now(),
                ended: 0,
                done: 0,
                wrong: None,
            },
        };
        waiter.wait(&onces[round.number as usize]);
        if say.send(Said::Ended(waiter.ended)).is_err() {
            return;
        }
    }
}

struct Waiter<'w> {
    world: &'w World,
    who: usize,
    round: Round,
    ended: Ended,
}

impl Waiter<'_> {
    fn wait(&mut self, once: &Once) {
        let world = self.world;
        let writes = self.who < 2;
        match self.round.case {
            Case::Mutex => self.until_told(|w| {
                let taken = match w.is_timed() {
                    true => world.mutex.lock_timeout(LIMIT),
                    false => world.mutex.lock().map_err(TryLockError::from),
                };
                w.change(taken);
            }),
            Case::Writer | Case::Reader if writes => self.until_told(|w| {
                let taken = match w.is_timed() {
                    true => world.rwlock.write_timeout(LIMIT),
                    false => world.rwlock.write().map_err(TryLockError::from),
                };
                w.change(taken);
            }),
            Case::Writer | Case::Reader => self.until_told(|w| {
                let taken = match w.is_timed() {
                    true => world.rwlock.read_timeout(LIMIT),
                    false => world.rwlock.read().map_err(TryLockError::from),
                };
                let Some((pair, poisoned)) = w.taken(taken) else {
                    return;
                };
                // Nobody mends what it only reads: the two may differ, poisoned.
                w.complain_if(!pair.agrees() && !poisoned, || format!("read {:?}", *pair));
            }),
            Case::CondvarHolder => self.wait_for_notifications(),
            Case::CondvarWaiter => self.wait_to_be_notified(),
            Case::Semaphore => {
                let mut many = (1..=PERMITS).cycle().skip(self.who);
                self.until_told(|w| {
                    w.enter(match w.round.point {
                        Point::Held => 1,
                        Point::Anywhere => many.next().unwrap_or(1),
                    });
                });
            }
            Case::Barrier => {
                while !self.ended.told && self.ended.wrong.is_none() {
                    self.ended.began = now();
                    let all_came = match self.is_timed() {
                        true => world.barrier.wait_timeout(LIMIT).map(drop),
                        false => world
                            .barrier
                            .wait()
                            .map(drop)
                            .map_err(|_| BarrierTimeoutError::Broken),
                    };
                    self.ended.ended = now();
                    self.ended.told = all_came.is_err();
                    self.ended.done += 1;
                    let late = all_came == Err(BarrierTimeoutError::TimedOut);
                    self.complain_if(late, || "the barrier's time was over".to_owned());
                }
            }
            Case::Once => {
                self.ended.began = now();
                once.call_once_force(|state| {
                    self.ended.told = state.is_poisoned();
                    self.ended.done = 1;
                    let [first, second] = &world.made;
                    let begun = first.load(Relaxed) != 0;
                    let kept_quiet = begun && !state.is_poisoned();
                    self.complain_if(kept_quiet, || "half done, and not told so".to_owned());
                    first.store(1, Relaxed);
                    second.store(1, Relaxed);
                });
                self.ended.ended = now();
                let made = world.made[1].load(Relaxed);
                self.complain_if(made != 1, || "not done, and said to be".to_owned());
            }
        }
    }

    /// Whether this wait is one with a limit: every second, for each.
    fn is_timed(&self) -> bool {
        (self.round.number + self.who as u64).is_multiple_of(2)
    }

    fn complain_if(&mut self, wrong: bool, what: impl FnOnce() -> String) {
        if wrong && self.ended.wrong.is_none() {
            self.ended.wrong = Some(what());
        }
    }

    /// Once, if the victim has it; else over and over, until it is known to be dead.
    fn until_told(&mut self, mut once: impl FnMut(&mut Self)) {
        loop {
            let over = self.world.over.load(SeqCst) != 0;
            self.ended.began = now();
            once(self);
            let held = self.round.point == Point::Held;
            if held || over || self.outlived() || self.ended.told || self.ended.wrong.is_some() {
                return;
            }
        }
    }

    /// Whether what it had last is what it waited for when the victim was killed, where nothing
    /// else tells.
    fn outlived(&self) -> bool {
        let killed_at = self.world.killed_at.load(SeqCst);
        matches!(self.round.case, Case::Reader | Case::Semaphore)
            && (self.ended.began..self.ended.ended).contains(&killed_at)
    }

    /// A lock that was waited for, if it came, and whether it was poisoned.
    fn taken<G>(&mut self, taken: TryLockResult<G>) -> Option<(G, bool)> {
        self.ended.ended = now();
        self.ended.done += 1;
        match taken {
            Ok(guard) => Some((guard, false)),
            Err(TryLockError::Poisoned(e)) => {
                self.ended.told = true;
                Some((e.into_inner(), true))
            }
            Err(TryLockError::WouldBlock) => {
                self.complain_if(true, || format!("nothing came within {LIMIT:?}"));
                None
            }
        }
    }

    /// Adds to the pair under the lock; mends it first if one who died has left it half-written.
    fn change(&mut self, taken: TryLockResult<impl DerefMut<Target = Pair>>) {
        let Some((mut pair, poisoned)) = self.taken(taken) else {
            return;
        };
        self.complain_if(!pair.agrees() && !poisoned, || format!("found {:?}", *pair));
        pair.second = pair.first;
        pair.add();
    }

    fn enter(&mut self, many: u32) {
        let world = self.world;
        let permits = match self.is_timed() {
            true => world.semaphore.acquire_many_timeout(many, LIMIT),
            false => Some(world.semaphore.acquire_many(many)),
        };
        self.ended.ended = now();
        self.ended.done += 1;
        let Some(_permits) = permits else {
            return self.complain_if(true, || format!("no permit came within {LIMIT:?}"));
        };
        let ours = world.inside[0].fetch_add(many, SeqCst) + many;
        let victims = world.inside[1].load(SeqCst);
        // Of one that is being killed it cannot be known whether it still has what it says it has.
        let all = ours
            + match world.killed_at.load(SeqCst) {
                0 => victims,
                _ => 0,
            };
        self.complain_if(all > PERMITS, || format!("{all} permits of {PERMITS}"));
        world.inside[0].fetch_sub(many, SeqCst);
    }

    /// The one who would notify is killed with the mutex.
    fn wait_for_notifications(&mut self) {
        let world = self.world;
        let locked = world.mutex.lock().map_err(TryLockError::from);
        let Some((mut guard, _)) = self.taken(locked) else {
            return;
        };
        while !self.ended.told && world.over.load(SeqCst) == 0 {
            let pair = *guard;
            self.complain_if(!pair.agrees(), || format!("found {pair:?}"));
            self.ended.began = now();
            let waited = self.wait_on_condvar(guard);
            let Some((again, _)) = self.taken(waited.map_err(TryLockError::from)) else {
                return;
            };
            guard = again;
        }
        if self.ended.told {
            guard.second = guard.first;
        }
    }

    fn wait_on_condvar<'g>(&self, guard: MutexGuard<'g, Pair>) -> LockResult<MutexGuard<'g, Pair>> {
        match self.is_timed() {
            true => match self.world.condvar.wait_timeout(guard, LIMIT) {
                Ok((guard, _)) => Ok(guard),
                Err(e) => Err(PoisonError::new(e.into_inner().0)),
            },
            false => self.world.condvar.wait(guard),
        }
    }

    /// The one who is notified is killed; what is waited for has come.
    fn wait_to_be_notified(&mut self) {
        let world = self.world;
        let not_yet = |pair: &mut Pair| pair.first == 0;
        let guard = match world.mutex.lock() {
            Ok(guard) => guard,
            // The victim had it again, to wait for the next.
            Err(e) => return drop(self.taken(Err(e.into()))),
        };
        self.ended.began = now();
        let mut late = false;
        let waited = match self.is_timed() {
            true => match world.condvar.wait_timeout_while(guard, LIMIT, not_yet) {
                Ok((guard, waited)) => {
                    late = waited.timed_out();
                    Ok(guard)
                }
                Err(e) => Err(PoisonError::new(e.into_inner().0)),
            },
            false => world.condvar.wait_while(guard, not_yet),
        };
        if let Some((guard, _)) = self.taken(waited.map_err(TryLockError::from)) {
            let pair = *guard;
            self.complain_if(late, || "it came, and nobody was told".to_owned());
            self.complain_if(!pair.agrees(), || format!("found {pair:?}"));
        }
    }
}
