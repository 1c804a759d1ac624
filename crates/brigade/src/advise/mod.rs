//! Which kind of worker a task should have, measured with the task itself.
//!
//! - [`measure`]: the steps, and what they find: [`Measured`]
//! - [`trial`]: the step that runs in a process, to see what threads would do there
//! - [`decide`]: from [`Measured`] to [`Advice`], without clocks and workers; [`verdict`]: what
//!   decides; [`words`]: the sentences

mod decide;
mod measure;
mod trial;
mod verdict;
mod words;

use std::fmt;
use std::io;
use std::time::Duration;

use crate::{Kind, Message};

/// Runs `task` on `inputs` in threads and in processes, and says which suits it better here.
///
/// The same as [`Advisor::new`]`().`[`advise`](Advisor::advise)`(task, inputs)`.
///
/// # Errors
/// As [`Advisor::advise`].
///
/// # Examples
/// ```
/// use brigade::Kind;
///
/// fn parse(text: String) -> usize {
///     if text.starts_with('!') {
///         std::process::abort(); // as a C library might
///     }
///     text.split(',').count()
/// }
///
/// # fn main() -> std::io::Result<()> {
/// brigade::init();
/// let advice = brigade::advise(parse, ["a,b", "c", "!"].map(String::from))?;
/// assert_eq!(advice.kind(), Kind::Process);
/// println!("{advice}");
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn advise<A, R>(task: fn(A) -> R, inputs: impl IntoIterator<Item = A>) -> io::Result<Advice>
where
    A: Message + Clone,
    R: Message,
{
    Advisor::new().advise(task, inputs)
}

/// How [`advise`] measures.
#[derive(Clone, Debug)]
#[must_use = "an advisor measures nothing by itself"]
pub struct Advisor {
    time_limit: Duration,
    budget: Duration,
}

impl Default for Advisor {
    fn default() -> Advisor {
        Advisor::new()
    }
}

impl Advisor {
    /// With the defaults of its options.
    pub fn new() -> Advisor {
        Advisor {
            time_limit: Duration::from_secs(30),
            budget: Duration::from_secs(2),
        }
    }

    /// A task that runs longer is taken for one that hangs.
    ///
    /// *Default: 30 s.*
    pub fn time_limit(mut self, time: Duration) -> Advisor {
        self.time_limit = time;
        self
    }

    /// About how long it goes on measuring threads beside processes, once each input was run in
    /// each of them. The other steps together take about as long; slow tasks take longer, for each
    /// input is run some ten times at least.
    ///
    /// *Default: 2 s.*
    pub fn budget(mut self, time: Duration) -> Advisor {
        self.budget = time;
        self
    }

    /// Runs `task` on `inputs`, which should be such as the program will have: a few to a few
    /// hundred, those that are feared among them.
    ///
    /// **The program does not die of it**: each input is run in processes first. Only if all of
    /// them return there, and do so again in threads within a process of their own, and leave no
    /// memory behind, they are run in threads of this program: its own memory may matter to them. A
    /// task whose effects must not be repeated should not be measured with its real inputs.
    ///
    /// It takes some seconds, and all processors; what else runs on the machine meanwhile makes the
    /// figures worse, for both kinds alike.
    ///
    /// # Errors
    /// There are no inputs; no process can be made (as [`process::spawn`](crate::process::spawn)
    /// says why).
    #[track_caller]
    pub fn advise<A, R>(
        &self,
        task: fn(A) -> R,
        inputs: impl IntoIterator<Item = A>,
    ) -> io::Result<Advice>
    where
        A: Message + Clone,
        R: Message,
    {
        let inputs: Vec<A> = inputs.into_iter().collect();
        if inputs.is_empty() {
            let why = "advice needs at least one input to run the task on";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        measure::measure(self, task, inputs).map(decide::decide)
    }
}

/// What is advised for a task, and why. Its `Display` is a text of several lines.
///
/// It advises; the programmer decides.
#[derive(Clone, Debug)]
pub struct Advice {
    kind: Kind,
    workers: usize,
    is_close: bool,
    reasons: Vec<String>,
    would_change: Vec<String>,
    measured: Measured,
}

impl Advice {
    /// What its workers should be.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many workers a pool for it should have.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Whether the other kind costs nearly the same (within 10 %, or too little to be told from
    /// what one round differs from the next), so that either will do.
    pub fn is_close(&self) -> bool {
        self.is_close
    }

    /// Why, a sentence each, with the figures. The first one decided.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// What would change the verdict, a sentence each.
    pub fn would_change(&self) -> &[String] {
        &self.would_change
    }

    /// The time that a task takes from the pool, when all its workers are busy: the time of many
    /// tasks, divided by their number. In a pool of threads. `None`: that was not measured, for it
    /// would not have been safe, or nothing returned.
    pub fn thread_time(&self) -> Option<Duration> {
        self.measured.threads
    }

    /// The time of a task in a pool of processes.
    pub fn process_time(&self) -> Option<Duration> {
        self.measured.processes
    }

    /// The time of a task with a new process for each, as many at a time as there are processors.
    pub fn fresh_process_time(&self) -> Option<Duration> {
        self.measured.fresh
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.workers == 1 { "" } else { "s" };
        let kind = match self.kind {
            Kind::Thread => "thread",
            Kind::Process => "process",
        };
        let es = match (self.kind, self.workers) {
            (_, 1) => "",
            (Kind::Thread, _) => plural,
            (Kind::Process, _) => "es",
        };
        writeln!(f, "Advice: a pool of {} {kind}{es}.", self.workers)?;
        for (heading, sentences) in [
            ("Why:", &self.reasons),
            ("What would change this:", &self.would_change),
        ] {
            if !sentences.is_empty() {
                writeln!(f, "{heading}")?;
            }
            for sentence in sentences {
                writeln!(f, "- {sentence}")?;
            }
        }
        Ok(())
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
struct Measured {
    processors: usize,
    /// Inputs that were given.
    inputs: usize,
    /// How those ended that did not return, in processes.
    failures: Failures,
    /// How threads did within a process of their own. `None`: that was not tried.
    together: Option<Together>,
    results: Results,
    /// What one task does when it runs alone.
    alone: Option<Alone>,
    /// Workers in the pools that the times below are of.
    workers: usize,
    threads: Option<Duration>,
    processes: Option<Duration>,
    fresh: Option<Duration>,
    /// How many times as long as threads processes take: the median of pairs.
    ratio: Option<f64>,
    /// The first and the third quartile of the same. A machine that has much else to do gives them
    /// on both sides of 1.
    quartiles: Option<(f64, f64)>,
    /// Bytes of an encoded input, and of an encoded result.
    carried: (u64, u64),
    /// Memory of a worker process that is its own, in bytes, when it has done some tasks.
    worker_memory: Option<u64>,
}

/// Inputs that did not return in a process, and what was said of the first of each sort.
#[derive(Clone, Debug, Default)]
struct Failures {
    crashed: Failed,
    timed_out: Failed,
    panicked: Failed,
    undeliverable: Failed,
}

#[derive(Clone, Debug, Default)]
struct Failed {
    count: usize,
    first: Option<String>,
}

/// How threads did that ran the task at the same time, in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Together {
    Well,
    Crashed(String),
    /// The tasks together did not return in time, though each task alone does.
    Hung,
    /// That could not be measured.
    Unknown(String),
}

/// Whether a task gives the same wherever it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Results {
    /// The task gives the same in a new process, in a used one, and in a thread of the program.
    Same,
    /// In a worker that has run tasks it gives something else than in a new one.
    DependOnTasksBefore,
    /// In the program it gives something else than in a process.
    DependOnTheProgram,
    /// The task gives something else each time; or what it gives cannot be compared.
    #[default]
    Unknown,
}

/// One task after another, on one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Alone {
    time: Duration,
    /// The part of that in which it waited, and no processor would have helped.
    waits: f64,
    /// Bytes of memory that each task left behind, where that went on.
    leaks: Option<u64>,
}
