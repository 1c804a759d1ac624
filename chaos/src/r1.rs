//! R1: a pool's workers are killed, at random and at every point of their work, while a million
//! tasks run: each task ends once, and was run once.
//!
//! Some tasks kill themselves: while they are decoded, run, hold a lock, or are encoded. The others
//! are killed from outside: when the pool has nothing to do, and at any moment. A ledger counts how
//! often each was begun. Who died of what is known here, so that every loss has to be explained: a
//! death costs the task that was running, and one that had none costs nothing.

mod killer;
mod ledger;
mod work;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use brigade::sync::Mutex;
use brigade::{Cause, Crash, JoinError, Kind, Pool, Shared};

use crate::Verdict;
use crate::leftovers::Before;
use crate::measure::{Numbers, let_pass};
use crate::table::{Table, grouped};
use crate::walls::Walls;
use killer::{Killed, When};
use ledger::Ledger;
use work::{Done, Order, Pair, Point};

/// What has not ended so long after everything else has is unresolved.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many kills.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(6..))]
    count: u64,
    /// How many tasks.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    tasks: u64,
    /// How many workers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=100))]
    workers: u64,
    /// Where the moments of death come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    walls: Walls,
}

/// How many ways to die there are: the points, idle, and at any moment.
const WAYS: u64 = Point::ALL.len() as u64 + 2;
/// Kills of each way in a round.
const EACH: u64 = 3;

/// Tasks for what is missing in the end: a task that is to die may be lost to another kill before.
const SPARE: usize = 100_000;

/// What one round of tasks came as.
type Ended = Result<Done, JoinError>;

/// How a round's tasks are given to the pool.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Submitted,
    Mapped,
    Unordered,
}

/// What came of it all.
#[derive(Debug, Default)]
struct Tally {
    given: u64,
    ended: u64,
    returned: u64,
    /// By the point that was theirs: how many died, and were said to have died, just there.
    died: [u64; Point::ALL.len()],
    /// Lost to a kill at any moment.
    collateral: u64,
    locked: u64,
    kills_idle: u64,
    kills_anytime: u64,
    unresolved: u64,
    twice: u64,
    wrong: u64,
    /// Tasks that each death has cost.
    costs: HashMap<u32, u64>,
    examples: Vec<String>,
}

impl Tally {
    fn kills(&self) -> u64 {
        self.died.iter().sum::<u64>() + self.kills_idle + self.kills_anytime
    }

    fn complain(&mut self, what: String) {
        self.wrong += 1;
        if self.examples.len() < 10 {
            self.examples.push(what);
        }
    }
}

/// The pool, and all that is known of it.
struct Scene {
    pool: Arc<Pool>,
    ledger: Ledger,
    killed: Killed,
    lock: Shared<Mutex<Pair>>,
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    // What grows once, grows now.
    Pool::builder(Kind::Process)
        .workers(options.workers as usize)
        .process(options.walls.builder())
        .build()?
        .map(|n: u64| n, 0..10_000)
        .count();
    let before = Before::look_with(options.walls.builder())?;
    let tasks = options.tasks as usize;
    let (ledger, file, path) = Ledger::new(tasks + SPARE)?;
    let start = Instant::now();
    let pool = Pool::builder(Kind::Process)
        .workers(options.workers as usize)
        .initializer(ledger::open)
        .process(options.walls.builder().env(ledger::VARIABLE, path))
        .build()?;
    let scene = Scene {
        pool: Arc::new(pool),
        ledger,
        killed: Killed::default(),
        lock: Shared::new(Mutex::new(Pair::default()))?,
    };
    let mut tally = Tally::default();
    let played = play(&scene, options, &mut tally);
    let taken = start.elapsed();
    let seen = scene.pool.stats();
    if tally.unresolved == 0 {
        played?;
        let pair = *scene.lock.lock().unwrap_or_else(|e| e.into_inner());
        let deaths = tally.died[Point::Locked as usize];
        if pair.first != tally.locked + deaths {
            // A task that was lost after it had given the lock back has counted too.
            let more = pair.first.saturating_sub(tally.locked + deaths);
            if pair.first < tally.locked + deaths || more > tally.kills_anytime {
                tally.complain(format!("{pair:?} in the end, {} went well", tally.locked));
            }
        }
        drop((scene, file));
    } else {
        // It hangs; so would its end.
        let _ = std::mem::ManuallyDrop::new(scene);
    }

    println!(
        "R1: {} tasks, {} kills, {} workers{}, in {:.1} s; seed {}",
        grouped(tally.given),
        grouped(tally.kills()),
        options.workers,
        options.walls.name(),
        taken.as_secs_f64(),
        options.seed
    );
    let mut table = Table::new(&["killed", "kills", "tasks lost"]);
    for (point, died) in Point::ALL.into_iter().zip(tally.died) {
        table.line([point.name().to_owned(), grouped(died), grouped(died)]);
    }
    for (name, kills, lost) in [
        ("idle", tally.kills_idle, 0),
        ("at any moment", tally.kills_anytime, tally.collateral),
    ] {
        table.line([name.to_owned(), grouped(kills), grouped(lost)]);
    }
    table.print();
    println!(
        "  ended: {} of {}; returned {}; workers replaced: {}",
        grouped(tally.ended),
        grouped(tally.given),
        grouped(tally.returned),
        grouped(seen.restarts)
    );
    let lost = tally.given - tally.ended - tally.unresolved;
    println!(
        "  lost: {}, run or ended twice: {}, unresolved after {} s: {}, otherwise wrong: {} (goal 0 each)",
        grouped(lost),
        grouped(tally.twice),
        LIMIT.as_secs(),
        grouped(tally.unresolved),
        grouped(tally.wrong)
    );
    for example in &tally.examples {
        println!("    {example}");
    }
    let mut met = lost + tally.twice + tally.unresolved + tally.wrong == 0;
    met &= tally.kills() >= options.count;
    if tally.unresolved == 0 {
        met &= before.compare(None)?;
    }
    Ok(Verdict::print(met))
}

/// Round after round.
fn play(scene: &Scene, options: &Options, tally: &mut Tally) -> io::Result<()> {
    let mut numbers = Numbers::new(options.seed);
    let rounds = options.count.div_ceil(WAYS * EACH);
    // Every way gets as many kills as every other, but for the rest of the division.
    let kills_until = |round: u64| options.count * round / rounds;
    let mut way = 0;
    for round in 0..rounds {
        let first = (options.tasks * round / rounds) as u32;
        let end = (options.tasks * (round + 1) / rounds) as u32;
        let (mut dies, mut idle, mut anytime) = (HashMap::new(), 0, 0);
        for _ in kills_until(round)..kills_until(round + 1) {
            match Point::ALL.get(way) {
                Some(&point) => {
                    // Two for the same task are one kill less.
                    while dies.len() < (end - first) as usize
                        && dies
                            .insert(first + numbers.below((end - first).into()) as u32, point)
                            .is_some()
                    {}
                }
                None if way == Point::ALL.len() => idle += 1,
                None => anytime += 1,
            }
            way = (way + 1) % WAYS as usize;
        }
        let orders = orders(scene, first, end, &dies);
        let manner = match round % 3 {
            0 => Manner::Submitted,
            1 => Manner::Mapped,
            _ => Manner::Unordered,
        };
        // The pool has nothing to do; and at once it has, whether or not anybody has noticed.
        for _ in 0..idle {
            scene
                .killed
                .kill_one(&scene.pool, When::Idle, &mut numbers)?;
            tally.kills_idle += 1;
        }
        if !play_round(scene, manner, (first, orders), anytime, &mut numbers, tally)? {
            return Ok(());
        }
    }
    let mut first = options.tasks as u32;
    while tally.kills() < options.count {
        let missing = (options.count - tally.kills()).min(100) as u32;
        let end = first + 10 * missing;
        let dies = (0..missing).map(|n| (first + 10 * n, Point::ALL[n as usize % 4]));
        let orders = orders(scene, first, end, &dies.collect());
        let round = (first, orders);
        if !play_round(scene, Manner::Submitted, round, 0, &mut numbers, tally)? {
            return Ok(());
        }
        first = end;
    }
    Ok(())
}

fn orders(scene: &Scene, first: u32, end: u32, dies: &HashMap<u32, Point>) -> Vec<Order> {
    (first..end)
        .map(|number| {
            let dies = dies.get(&number).copied();
            // Others come by and find it as it is. Most tasks bring no descriptor along.
            let lock = dies == Some(Point::Locked) || number.is_multiple_of(97);
            Order {
                number,
                dies,
                lock: lock.then(|| scene.lock.clone()),
            }
        })
        .collect()
}

/// `false`: something did not end.
fn play_round(
    scene: &Scene,
    manner: Manner,
    (first, orders): (u32, Vec<Order>),
    anytime: u64,
    numbers: &mut Numbers,
    tally: &mut Tally,
) -> io::Result<bool> {
    let count = orders.len();
    tally.given += count as u64;
    let mut dies: Vec<Option<Point>> = orders.iter().map(|order| order.dies).collect();
    let received = AtomicU64::new(0);
    let mut kills = numbers.clone();
    let (say, said) = mpsc::channel();
    let pool = Arc::clone(&scene.pool);
    // A thread of its own, for it may hang.
    std::thread::spawn(move || give(&pool, manner, orders, &say));
    let mut seen = vec![false; count];
    let killing: io::Result<bool> = std::thread::scope(|scope| {
        let killer = scope.spawn(|| -> io::Result<()> {
            for kill in 0..anytime {
                // Spread over the round, whatever the speed.
                let after = count as u64 * kill / anytime;
                while received.load(SeqCst) < after {
                    std::thread::yield_now();
                }
                let_pass(Duration::from_nanos(kills.below(1 << 17)));
                scene
                    .killed
                    .kill_one(&scene.pool, When::Anytime, &mut kills)?;
            }
            Ok(())
        });
        let mut all = true;
        for _ in 0..count {
            let Ok((number, ended)) = said.recv_timeout(LIMIT) else {
                tally.unresolved += count as u64 - received.load(SeqCst);
                let missing = seen.iter().position(|seen| !seen).unwrap_or(count);
                tally.examples.push(format!(
                    "{manner:?}: {} of {count} tasks do not end, the first is {}; {:?}",
                    tally.unresolved,
                    first as usize + missing,
                    scene.pool.stats()
                ));
                received.store(u64::MAX, SeqCst);
                all = false;
                break;
            };
            received.fetch_add(1, SeqCst);
            let at = (number - first) as usize;
            if std::mem::replace(&mut seen[at], true) {
                tally.twice += 1;
            }
            judge(scene, number, dies[at].take(), ended, tally);
        }
        killer
            .join()
            .map_err(|_| io::Error::other("the killer panicked"))??;
        Ok(all)
    });
    tally.kills_anytime += anytime;
    *numbers = Numbers::new(numbers.below(u64::MAX));
    killing
}

/// Gives the pool a round's tasks, and says how each has ended.
fn give(pool: &Pool, manner: Manner, orders: Vec<Order>, say: &mpsc::Sender<(u32, Ended)>) {
    let first = orders.first().map_or(0, |order| order.number);
    // Nobody listens any more: it was given up.
    let tell = |number, ended| drop(say.send((number, ended)));
    match manner {
        Manner::Submitted => {
            let handles: Vec<_> = orders
                .into_iter()
                .map(|order| (order.number, pool.submit(work::run, order)))
                .collect();
            for (number, handle) in handles {
                tell(number, handle.join());
            }
        }
        Manner::Mapped => {
            for (number, ended) in (first..).zip(pool.map(work::run, orders)) {
                tell(number, ended);
            }
        }
        Manner::Unordered => {
            for (number, ended) in pool.map_unordered(work::run, orders) {
                tell(first + number as u32, ended);
            }
        }
    }
}

/// Whether it ended as it should have.
fn judge(scene: &Scene, number: u32, dies: Option<Point>, ended: Ended, tally: &mut Tally) {
    tally.ended += 1;
    let runs = scene.ledger.runs(number);
    match ended {
        Ok(done) => {
            tally.returned += 1;
            tally.locked += u64::from(done.locked);
            if runs != 1 || done.number != number {
                tally.twice += 1;
                tally.complain(format!(
                    "task {number} returned, begun {runs} times: {done:?}"
                ));
            }
            if let Some(point) = dies {
                tally.complain(format!("task {number} survived its death: {point:?}"));
            }
            if let Some(what) = done.wrong {
                tally.complain(format!("task {number}: {what}"));
            }
        }
        Err(JoinError::Crashed(crash)) => {
            if runs > 1 {
                tally.twice += 1;
                tally.complain(format!("task {number} was begun {runs} times: {crash}"));
            }
            if let Err(what) = explain(scene, dies, &crash, tally) {
                tally.complain(format!("task {number}, {dies:?}: {what}: {crash}"));
            }
            let costs = tally.costs.entry(crash.pid()).or_default();
            *costs += 1;
            if *costs > 1 {
                let pid = crash.pid();
                tally.complain(format!(
                    "task {number} is not the first that died with {pid}"
                ));
            }
        }
        Err(other) => tally.complain(format!("task {number}, {dies:?}: {other}")),
    }
}

/// Why it died.
fn explain(
    scene: &Scene,
    dies: Option<Point>,
    crash: &Crash,
    tally: &mut Tally,
) -> Result<(), &'static str> {
    if *crash.cause() != Cause::Killed(libc::SIGKILL) {
        return Err("the wrong cause");
    }
    match (dies, scene.killed.when(crash.pid())) {
        (_, Some(When::Idle)) => Err("its worker had nothing to do when it was killed"),
        (_, Some(When::Anytime)) => {
            tally.collateral += 1;
            Ok(())
        }
        (Some(point), None) if crash.phase() == point.phase() => {
            tally.died[point as usize] += 1;
            Ok(())
        }
        (Some(_), None) => Err("the wrong phase"),
        (None, None) => Err("nobody killed its worker"),
    }
}
