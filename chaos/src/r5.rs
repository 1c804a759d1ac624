//! R5: whoever holds a lock is killed, thousands of times for each: those who wait are told, and
//! soon; nobody waits for ever.
//!
//! Threads of this program and processes of its own wait, round after round; in each round one more
//! process, the victim, is killed while it holds what they wait for, or at any instant while it
//! takes it and lets go of it. Counted are those who were not told, and what they found: the two
//! halves of a value, how often it was changed, how many permits there are.

mod arena;
mod victim;
mod waiter;

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use brigade::channel::{self, Receiver, RecvTimeoutError, Sender, Transport};
use brigade::sync::Once;
use brigade::{Cause, JoinError, JoinHandle, Kind, Shared, process};
use brigade_test_support::doorbell::Doorbell;
use brigade_test_support::{procfs, wait};

use crate::Verdict;
use crate::measure::{Numbers, if_asked, let_pass, milliseconds, now, percentile};
use crate::rollcall::{self, Watched};
use crate::table::{Table, grouped};
use arena::{Arena, Case, Ended, PERMITS, Pair, Point, Round, Said, WAITERS, World};

/// Who is not told by then hangs.
const LIMIT: Duration = Duration::from_secs(5);
/// When they have to be told, at p99.
const GOAL: Duration = Duration::from_millis(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many are killed for each.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..))]
    count: u64,
    /// Where the instants of death come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only those whose name has this in it.
    #[arg(long)]
    only: Option<String>,
    /// Where somebody hangs, say so and wait, for a debugger.
    #[arg(long)]
    stop: bool,
    /// Only count those who hang: for machines that do something else at the same time.
    #[arg(long)]
    no_time_goal: bool,
}

/// What became of those who waited at one point of one case.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    told: u64,
    hangs: u64,
    wrong: u64,
    examples: Vec<String>,
    /// From the kill until they were told, or had what they waited for; in nanoseconds.
    times: Vec<u64>,
    /// From the kill until the victim was dead, as the kernel has it: nobody can be told before.
    deaths: Vec<u64>,
}

impl Tally {
    fn complain(&mut self, what: String) {
        self.wrong += 1;
        if self.examples.len() < 5 {
            self.examples.push(what);
        }
    }
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    let start = Instant::now();
    let mut instants = Numbers::new(options.seed);
    let mut table = Table::new(&[
        "",
        "killed",
        "kills",
        "told",
        "hangs",
        "wrong",
        "p50",
        "p99",
        "longest",
        "dead, p99",
    ]);
    let (mut met, mut examples) = (true, Vec::new());
    let cases = Case::ALL.into_iter().filter(|case| {
        let only = options.only.as_deref().unwrap_or("");
        case.name().to_lowercase().contains(&only.to_lowercase())
    });
    for case in cases {
        let points = [
            (Point::Held, options.count.div_ceil(2)),
            (Point::Anywhere, options.count / 2),
        ];
        for (point, count) in points {
            let mut tally = Tally::default();
            kill_all(case, point, count, &mut instants, options.stop, &mut tally)?;
            tally.times.sort_unstable();
            tally.deaths.sort_unstable();
            let p99 = percentile(&tally.times, 99);
            let in_time = options.no_time_goal || p99.is_none_or(|t| t <= GOAL);
            met &= tally.hangs == 0 && tally.wrong == 0 && tally.kills == count && in_time;
            examples.extend(
                tally
                    .examples
                    .iter()
                    .map(|what| format!("{}, killed {}: {what}", case.name(), point.name())),
            );
            table.line([
                case.name().to_owned(),
                point.name().to_owned(),
                grouped(tally.kills),
                grouped(tally.told),
                grouped(tally.hangs),
                grouped(tally.wrong),
                milliseconds(percentile(&tally.times, 50)),
                milliseconds(p99),
                milliseconds(percentile(&tally.times, 100)),
                milliseconds(percentile(&tally.deaths, 99)),
            ]);
        }
    }
    println!(
        "R5: holders killed in {:.1} s, {WAITERS} waiting, threads and processes; seed {}",
        start.elapsed().as_secs_f64(),
        options.seed
    );
    table.print();
    println!(
        "  goal: no hangs (nothing within {} s), nothing wrong, p99 {} ms{}",
        LIMIT.as_secs(),
        GOAL.as_millis(),
        if_asked(options.no_time_goal)
    );
    for example in &examples {
        println!("    {example}");
    }
    Ok(Verdict::print(met))
}

/// When to kill: less than 256 µs from now.
fn instant(numbers: &mut Numbers) -> Duration {
    Duration::from_nanos(numbers.below(1 << 18))
}

/// Everybody but the victim.
struct Scene {
    case: Case,
    point: Point,
    arena: Arena,
    bell: Doorbell,
    orders: Vec<Sender<Round>>,
    said: Receiver<Said>,
    waiters: Vec<JoinHandle<()>>,
}

/// Why a round was not played to its end.
enum Stopped {
    Failed(io::Error),
    /// So many are not told.
    Hang(usize),
}

impl<E: Into<io::Error>> From<E> for Stopped {
    fn from(error: E) -> Stopped {
        Stopped::Failed(error.into())
    }
}

fn kill_all(
    case: Case,
    point: Point,
    count: u64,
    instants: &mut Numbers,
    stop: bool,
    tally: &mut Tally,
) -> io::Result<()> {
    let scene = Scene::new(case, point, count)?;
    for number in 0..count {
        match scene.play(number, instant(instants), tally) {
            Ok(()) => {}
            Err(Stopped::Failed(why)) => return Err(why),
            Err(Stopped::Hang(who)) => {
                tally.hangs += who as u64;
                let pids: Vec<_> = scene.waiters.iter().map(JoinHandle::pid).collect();
                tally.examples.push(format!(
                    "round {number}: {who} hang, of {pids:?}; {:?}",
                    *scene.arena.0
                ));
                if stop {
                    eprintln!("R5: {:?}; waits to be looked at", tally.examples.last());
                    wait::for_ever()
                }
                // They wait still; the threads as long as the program.
                scene.waiters.iter().for_each(JoinHandle::cancel);
                return Ok(());
            }
        }
    }
    drop(scene.orders);
    for waiter in scene.waiters {
        waiter.join().map_err(io::Error::other)?;
    }
    Ok(())
}

impl Scene {
    fn new(case: Case, point: Point, count: u64) -> io::Result<Scene> {
        // While the victim keeps it, one is lacking, so that they wait.
        let parties = match point {
            Point::Held => WAITERS + 2,
            Point::Anywhere => WAITERS + 1,
        };
        let arena: Arena = (
            Shared::new(World::new(parties))?,
            Shared::<[Once]>::zeroed(count as usize)?,
        );
        let (say, said) = channel::channel(Transport::Socket, 16)?;
        let (mut orders, mut waiters) = (Vec::new(), Vec::new());
        for who in 0..WAITERS {
            let kind = match who % 2 {
                0 => Kind::Thread,
                _ => Kind::Process,
            };
            let (order, rounds) = channel::channel(Transport::Socket, 4)?;
            let station = (who, arena.clone(), rounds, say.clone());
            waiters.push(kind.spawn(waiter::run, station)?);
            orders.push(order);
        }
        Ok(Scene {
            case,
            point,
            arena,
            bell: Doorbell::new()?,
            orders,
            said,
            waiters,
        })
    }

    fn play(&self, number: u64, instant: Duration, tally: &mut Tally) -> Result<(), Stopped> {
        let world = &*self.arena.0;
        let mut ends = Vec::new();
        self.prepare();
        let round = Round {
            case: self.case,
            point: self.point,
            number,
        };
        // Who is to have it comes first; but the victim has to come to a barrier in full, and it is
        // for the holder of the mutex to notify.
        let waiters_first = match self.case {
            Case::CondvarHolder => self.point == Point::Held,
            Case::Barrier => self.point == Point::Anywhere,
            _ => false,
        };
        if waiters_first {
            self.begin(round, &mut ends)?;
        }
        let victim = process::spawn(victim::run, (self.arena.clone(), round, self.bell.name()))?;
        let pid = self.bell.await_ring()?[0];
        if self.case == Case::Barrier && self.point == Point::Held {
            // Asleep it has arrived: nobody else is there yet who could have the barrier's lock.
            wait::until_found("the victim to sleep", || {
                Ok((procfs::state(pid)? == 'S').then_some(()))
            })?;
        }
        if !waiters_first {
            self.begin(round, &mut ends)?;
        }
        if self.case == Case::CondvarWaiter {
            // The victim rang with the lock: when it is free, the victim waits.
            let mut pair = world.mutex.lock().map_err(poisoned)?;
            (pair.first, pair.second) = (1, 1);
            drop(pair);
            world.condvar.notify_one();
        }
        if (self.case, self.point) != (Case::CondvarWaiter, Point::Held) {
            let_pass(instant);
        }
        let watched = [Watched::new(pid)?];
        let killed_at = now();
        world.killed_at.store(killed_at, SeqCst);
        let start = Instant::now();
        if number.is_multiple_of(2) {
            victim.cancel();
        } else {
            watched[0].kill()?;
        }
        if let Ok(taken) = rollcall::await_ends(&watched, start, LIMIT)? {
            tally.deaths.push(taken.as_nanos() as u64);
        }
        tally.kills += 1;
        match victim.join() {
            Err(JoinError::Cancelled) if number.is_multiple_of(2) => {}
            Err(JoinError::Crashed(c)) if *c.cause() == Cause::Killed(libc::SIGKILL) => {}
            other => tally.complain(format!("round {number}: the victim ended as {other:?}")),
        }
        if self.case == Case::CondvarHolder && self.point == Point::Anywhere {
            // If it did not die with the lock, nobody would notify any more.
            let guard = world.mutex.lock();
            world.over.store(1, SeqCst);
            drop(guard);
            world.condvar.notify_all();
        } else {
            world.over.store(1, SeqCst);
        }
        while ends.len() < WAITERS {
            ends.extend(self.hear(WAITERS - ends.len())?);
        }
        self.judge(number, killed_at, &ends, tally);
        Ok(())
    }

    fn prepare(&self) {
        let world = &*self.arena.0;
        world.mutex.clear_poison();
        world.rwlock.clear_poison();
        if let Ok(mut pair) = world.mutex.lock() {
            *pair = Pair::default();
        }
        if let Ok(mut pair) = world.rwlock.write() {
            *pair = Pair::default();
        }
        world.barrier.reset();
        for word in [
            &world.made[0],
            &world.made[1],
            &world.by_victim,
            &world.killed_at,
        ] {
            word.store(0, SeqCst);
        }
        for word in [&world.inside[0], &world.inside[1], &world.over] {
            word.store(0, SeqCst);
        }
    }

    /// Tells all to wait, and hears that they begin.
    fn begin(&self, round: Round, ends: &mut Vec<Ended>) -> Result<(), Stopped> {
        for order in &self.orders {
            order.send(round).map_err(|_| gone())?;
        }
        for begun in 0..WAITERS {
            // One that reads beside a victim that reads may be done before another begins.
            while let Some(ended) = self.hear(WAITERS - begun)? {
                ends.push(ended);
            }
        }
        Ok(())
    }

    /// What a waiter says next. `None`: it begins.
    fn hear(&self, missing: usize) -> Result<Option<Ended>, Stopped> {
        match self.said.recv_timeout(LIMIT) {
            Ok(Said::Begins) => Ok(None),
            Ok(Said::Ended(ended)) => Ok(Some(ended)),
            Err(RecvTimeoutError::Timeout) => Err(Stopped::Hang(missing)),
            Err(RecvTimeoutError::Disconnected) => Err(gone().into()),
            Err(RecvTimeoutError::Undeliverable(why)) => Err(io::Error::other(why).into()),
        }
    }

    /// Whether all is as it should be.
    fn judge(&self, number: u64, killed_at: u64, ends: &[Ended], tally: &mut Tally) {
        let world = &*self.arena.0;
        let told = ends.iter().filter(|e| e.told).count();
        tally.told += told as u64;
        for ended in ends {
            // It waited when the victim was killed, or came to wait for one that was dying.
            let waited = ended.began < killed_at || ended.told || self.case == Case::Once;
            if waited && ended.ended > killed_at {
                tally.times.push(ended.ended - killed_at);
            }
            if let Some(what) = &ended.wrong {
                tally.complain(format!("round {number}, waiter {}: {what}", ended.who));
            }
        }
        let held = self.point == Point::Held;
        let by_waiters: u64 = ends.iter().map(|e| e.done).sum();
        let by_victim = world.by_victim.load(SeqCst);
        let mut expect = |right: bool, what: &str| {
            if !right {
                tally.complain(format!("round {number}: {what}: {ends:?}, {world:?}"));
            }
        };
        let count = |pair: Pair, by_waiters: u64, poisoned: bool| {
            // The one that died in the middle of it was mended to the end, by whoever was told.
            let more = pair.second - by_waiters - by_victim;
            pair.agrees() && (more == 0 || more == 1 && poisoned)
        };
        match self.case {
            Case::Mutex | Case::CondvarHolder => {
                expect(!held || told == WAITERS, "not all were told");
                let poisoned = world.mutex.is_poisoned();
                let pair = *world.mutex.lock().unwrap_or_else(|e| e.into_inner());
                let by_waiters = if self.case == Case::Mutex {
                    by_waiters
                } else {
                    0
                };
                expect(count(pair, by_waiters, poisoned), "the count is wrong");
            }
            Case::Writer | Case::Reader => {
                let victim_writes = self.case == Case::Writer;
                expect(
                    !held || told == if victim_writes { WAITERS } else { 0 },
                    "not the right ones were told",
                );
                let poisoned = world.rwlock.is_poisoned();
                expect(victim_writes || !poisoned, "poisoned by one that reads");
                let by_writers = ends.iter().filter(|e| e.who < 2).map(|e| e.done).sum();
                let mut pair = *world.rwlock.read().unwrap_or_else(|e| e.into_inner());
                if poisoned && !held && pair.first == pair.second + 1 {
                    // Everybody else was told as a reader.
                    pair.second += 1;
                }
                expect(count(pair, by_writers, poisoned), "the count is wrong");
            }
            Case::CondvarWaiter => {}
            Case::Semaphore => {
                let all = world.semaphore.try_acquire_many(PERMITS).is_some();
                let available = world.semaphore.available_permits();
                expect(all && available == PERMITS, "permits are lost");
            }
            Case::Barrier => {
                expect(told == WAITERS, "not all were told");
                expect(world.barrier.is_broken(), "the barrier is whole");
            }
            Case::Once => {
                expect(by_waiters <= 1, "it ran twice");
                expect(!held || told == 1, "nobody was told");
                let once = &self.arena.1[number as usize];
                expect(once.is_completed(), "it is not completed");
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the waiters are gone")
}

fn poisoned<G>(_: std::sync::PoisonError<G>) -> io::Error {
    io::Error::other("the victim died by itself")
}
