//! R12: the program, its fork server and its workers are stopped at random: nobody waits for ever,
//! and no task is over its time that had not had it.
//!
//! The program is a process of its own, `stopped`, for it is stopped too. It has tasks run all the
//! time: in processes of their own, in a pool of processes and in one of threads. This one stops it
//! and what it started, and lets them go on; and then reads what became of the tasks.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use brigade::{Cause, JoinError, JoinHandle, Kind, Pool, process};
use brigade_test_support::{procfs, wait};
use rustix::process::Signal;

use crate::Verdict;
use crate::fork_server;
use crate::measure::Numbers;
use crate::rollcall::{Watched, await_ends};
use crate::table::{Table, grouped};

/// A variable in the program's environment, and so in everybody's who comes from it.
const MARK: &str = "BRIGADE_CHAOS_STOPPED";

/// What a pool's task has.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// What it needs, in milliseconds.
const NEEDS: u64 = 150;
/// Stops that nobody is to notice, in milliseconds.
const SHORT: std::ops::Range<u64> = 1..150;
/// Longer than a task's time.
const LONG: Duration = Duration::from_secs(3);
/// Longer than a fork server may take to answer.
const LONGER: Duration = Duration::from_secs(13);
/// Who is not told by then waits for ever.
const LIMIT: Duration = Duration::from_secs(90);
/// Tasks that run at a time in processes.
const AT_ONCE: u64 = 4;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many short stops.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// How many stops past every limit.
    #[arg(long, default_value_t = 50)]
    long: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What became of tasks.
const ENDINGS: [&str; 5] = [
    "returned",
    "timed out",
    "lost",
    "otherwise",
    "wait for ever",
];
type Endings = [u64; ENDINGS.len()];

// ---- the program

#[derive(Debug, Default)]
struct Tally([AtomicU64; ENDINGS.len()]);

impl Tally {
    fn count(&self, handle: JoinHandle<u64>) {
        let at = match handle.join_timeout(LIMIT) {
            Ok(Ok(NEEDS)) => 0,
            Ok(Err(JoinError::TimedOut(_))) => 1,
            Ok(Err(JoinError::Crashed(crash))) if crash.cause() == &Cause::Lost => 2,
            Ok(other) => {
                eprintln!("{other:?}");
                3
            }
            Err(handle) => {
                eprintln!("{handle:?} has not ended");
                4
            }
        };
        self.0[at].fetch_add(1, SeqCst);
    }
}

/// A task that needs so much time in which it can run, in milliseconds: of what is between two of
/// its steps it counts no more than one.
fn work(needs: u64) -> u64 {
    let step = Duration::from_millis(5);
    let (mut had, mut last) = (Duration::ZERO, Instant::now());
    while had < Duration::from_millis(needs) {
        wait::pause(Duration::from_millis(1));
        had += last.elapsed().min(step);
        last = Instant::now();
    }
    needs
}

/// Runs tasks until it is told to end; says what became of them whenever it is told to.
pub(crate) fn stopped() -> io::Result<Verdict> {
    // Whoever ends the goal while this is stopped leaves nobody behind who could go on with it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let tally = Arc::new(Tally::default());
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for kind in Kind::ALL {
        let pool = Pool::builder(kind).workers(2).timeout(TIMEOUT).build()?;
        let (tally, over) = (Arc::clone(&tally), Arc::clone(&over));
        threads.push(std::thread::spawn(move || {
            while !over.load(SeqCst) {
                let handles: Vec<_> = (0..4).map(|_| pool.submit(work, NEEDS)).collect();
                handles.into_iter().for_each(|handle| tally.count(handle));
            }
        }));
    }
    let theirs = (Arc::clone(&tally), Arc::clone(&over));
    threads.push(std::thread::spawn(move || {
        let (tally, over) = theirs;
        while !over.load(SeqCst) {
            match process::spawn(work, NEEDS) {
                Ok(handle) => tally.count(handle),
                Err(why) => {
                    eprintln!("{why}");
                    tally.0[3].fetch_add(1, SeqCst);
                }
            }
        }
    }));
    for line in io::stdin().lock().lines() {
        line?;
        let counts: Vec<String> = tally.0.iter().map(|n| n.load(SeqCst).to_string()).collect();
        println!("{}", counts.join(" "));
        io::stdout().flush()?;
    }
    over.store(true, SeqCst);
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("a thread of the program panicked"))?;
    }
    Ok(Verdict::Met)
}

// ---- who stops it

/// The program, from outside.
struct Program {
    child: Child,
    mark: String,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Who is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Program,
    Server,
    Worker,
}

impl Program {
    fn start() -> io::Result<Program> {
        let mark = format!("{}", std::process::id());
        let mut child = Command::new(std::env::current_exe()?)
            .arg("stopped")
            .env(MARK, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Program {
            child,
            mark,
            input,
            output: BufReader::new(output),
        })
    }

    /// The fork server that it has now.
    fn server(&self) -> io::Result<u32> {
        wait::until_found("a fork server", || {
            let all = procfs::with_variable(MARK, &self.mark)?;
            let is_one = |&pid: &u32| procfs::name(pid).is_ok_and(|name| name == fork_server::NAME);
            // One that was given up may be there for a moment more.
            Ok(all.into_iter().filter(is_one).max())
        })
    }

    fn find(&self, who: Who, numbers: &mut Numbers) -> io::Result<Watched> {
        wait::until_found("somebody to be stopped", || {
            let pid = match who {
                Who::Program => self.child.id(),
                Who::Server => self.server()?,
                Who::Worker => {
                    let all = procfs::children(self.server()?).unwrap_or_default();
                    if all.is_empty() {
                        return Ok(None);
                    }
                    all[numbers.below(all.len() as u64) as usize]
                }
            };
            Ok(Watched::new(pid).ok())
        })
    }

    /// What became of tasks until now.
    fn ask(&mut self) -> io::Result<Endings> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(b"\n")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let counts: Option<Vec<u64>> = line.split_whitespace().map(|n| n.parse().ok()).collect();
        let counts = counts.and_then(|counts| counts.try_into().ok());
        counts.ok_or_else(|| io::Error::other(format!("the program says {line:?}")))
    }

    /// Tells it to end. Whether it did, in time, and nobody is left.
    fn end(mut self) -> io::Result<bool> {
        drop(self.input.take());
        let own = [Watched::new(self.child.id())?];
        let ended = await_ends(&own, Instant::now(), LIMIT)?.is_ok();
        if !ended {
            self.child.kill()?;
        }
        let well = self.child.wait()?.success();
        let left = wait::until_found("everybody to be gone", || {
            let left = procfs::with_variable(MARK, &self.mark)?;
            Ok(left.is_empty().then_some(()))
        });
        if let Err(why) = &left {
            println!("  {why}: {:?}", procfs::with_variable(MARK, &self.mark)?);
        }
        Ok(ended && well && left.is_ok())
    }
}

/// Lets it go on, whatever happens.
struct Stop(Watched);

impl Stop {
    fn new(who: Watched) -> io::Result<Stop> {
        who.signal(Signal::STOP)?;
        Ok(Stop(who))
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        // One that has been killed meanwhile needs it no more.
        let _ = self.0.signal(Signal::CONT);
    }
}

fn less(all: Endings, before: Endings) -> Endings {
    std::array::from_fn(|at| all[at] - before[at])
}

pub(crate) fn run(options: &Options) -> io::Result<Verdict> {
    let mut numbers = Numbers::new(options.seed);
    let mut program = Program::start()?;
    program.server()?;
    let start = Instant::now();
    let mut stops = [[0_u64; 3]; 2];
    let who_of = |n: u64| [Who::Program, Who::Server, Who::Worker][n as usize];
    for _ in 0..options.count {
        // One of them, or two at once.
        let mut held = Vec::new();
        for _ in 0..=numbers.below(2) {
            let who = who_of(numbers.below(3));
            stops[0][who as usize] += 1;
            held.push(Stop::new(program.find(who, &mut numbers)?)?);
        }
        let millis = SHORT.start + numbers.below(SHORT.end - SHORT.start);
        wait::pause(Duration::from_millis(millis));
        drop(held);
        wait::pause(Duration::from_millis(numbers.below(40)));
    }
    let short = program.ask()?;
    for _ in 0..options.long {
        let who = who_of(numbers.below(3));
        stops[1][who as usize] += 1;
        let held = Stop::new(program.find(who, &mut numbers)?)?;
        wait::pause(if who == Who::Server { LONGER } else { LONG });
        drop(held);
        wait::pause(Duration::from_millis(200 + numbers.below(500)));
    }
    let long = less(program.ask()?, short);
    let ended = program.end()?;

    println!(
        "R12: {} short stops, and {} past every limit, in {:.1} s",
        grouped(options.count),
        options.long,
        start.elapsed().as_secs_f64()
    );
    let mut header = vec!["", "program", "fork server", "worker"];
    header.extend(ENDINGS);
    let mut table = Table::new(&header);
    for (name, stops, endings) in [("short", stops[0], short), ("long", stops[1], long)] {
        let mut line = vec![name.to_owned()];
        line.extend(stops.into_iter().chain(endings).map(grouped));
        table.line(line);
    }
    table.print();
    let [_, timed_out, lost, otherwise, for_ever] = short;
    let short_is_met = timed_out + lost + otherwise + for_ever == 0 && short[0] > 0;
    let [_, timed_out, lost, otherwise, for_ever] = long;
    // A worker that is stopped for longer than a task's time costs the one that it runs; a fork
    // server that is, what its workers run.
    let most_timed_out = stops[1][Who::Worker as usize];
    let most_lost = stops[1][Who::Server as usize] * AT_ONCE;
    let long_is_met = timed_out <= most_timed_out
        && lost <= most_lost
        && otherwise + for_ever == 0
        && (long[0] > 0 || options.long == 0);
    println!(
        "  goal: of the short stops nobody hears; of the long ones at most {most_timed_out} tasks are over their time, and {most_lost} lost; nobody waits for ever"
    );
    if !ended {
        println!("  the program did not end, or left somebody behind");
    }
    let met = short_is_met && long_is_met && ended;
    Ok(Verdict::print(met))
}
