//! Renders an animation frame by frame, and encodes it chunk by chunk, in a pool of processes, or
//! of threads, one word apart.
//!
//! README.md beside it tells what a worker's death costs, and what was measured.

#![deny(unsafe_code)]

mod attempt;
mod chaos;
mod farm;
mod film;
mod interrupt;
mod job;
mod progress;
mod state;
mod still;

use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use brigade::{Kind, Pool};
use clap::Parser;
use clap::builder::RangedU64ValueParser;
use futures::executor::block_on;
use futures::future::{Either, select};
use render_farm::encode::{self, Quality};
use render_farm::picture::Size;
use render_farm::scene;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::farm::{Farm, Patch};
use crate::film::Draft;
use crate::interrupt::Interrupts;
use crate::job::Job;
use crate::progress::Progress;
use crate::state::State;

/// Renders an animation in workers that may crash or be killed, into one film (AV1 in IVF)
#[derive(Debug, Parser)]
#[command(name = "render_farm")]
struct Options {
    /// The film; what is there is replaced when the new one is whole
    #[arg(long, default_value = "film.ivf")]
    out: PathBuf,
    /// Pixels of a frame's sides
    #[arg(long, default_value = "640x360")]
    size: Size,
    /// Frames in a second
    #[arg(long, default_value_t = 24, value_parser = between(1, 240))]
    rate: u32,
    /// How many frames the film has
    #[arg(long, default_value_t = 120, value_parser = between(1, 1_000_000))]
    frames: u32,
    /// Frames in a chunk: each begins with a key frame, and is encoded by one worker
    // Their descriptors go with one message, of which there may be no more than the kernel takes.
    #[arg(long, default_value_t = 12, value_parser = between(1, 200))]
    chunk: u32,
    /// From 0, the best, to 255
    #[arg(long, default_value_t = 80)]
    quantizer: u8,
    /// How fast the encoder is, from 0 to 10; the faster, the larger the film
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(..=10))]
    speed: u8,
    /// What renders and encodes: `process` or `thread`
    #[arg(long, default_value = "process")]
    workers: Kind,
    /// How many workers; as many as there are processors, if it is not given
    #[arg(long, value_parser = between(1, 4096))]
    jobs: Option<u32>,
    /// Where finished chunks are kept until the film is whole [default: OUT.chunks]
    #[arg(long)]
    state: Option<PathBuf>,
    /// Throws away what an earlier run has left
    #[arg(long)]
    restart: bool,
    /// Seconds that a frame or a chunk may take
    #[arg(long, default_value_t = 300, value_parser = between(1, 1_000_000))]
    timeout: u32,
    /// A frame that faults in the worker which draws it; may be given more than once
    #[arg(long, value_name = "FRAME")]
    poison: Vec<u32>,
    /// Kills a worker at random, every so many milliseconds on average
    #[arg(long, value_name = "MILLISECONDS", value_parser = between(1, 1_000_000))]
    chaos: Option<u32>,
    /// Stores so many chunks, and then waits to be interrupted
    #[arg(long, value_name = "CHUNKS", value_parser = between(1, 1_000_000))]
    pause_after: Option<u32>,
    /// Draws this frame alone, as PNG
    #[arg(long, value_name = "FRAME")]
    still: Option<u32>,
}

fn between(least: u64, most: u64) -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(least..=most)
}

/// How a run ended.
#[derive(Debug)]
enum Ended {
    /// The film is there, and each frame is its own.
    Whole,
    /// The film is there, and in the place of some frames there are others.
    Patched,
    /// By a signal, of this number.
    Interrupted(i32),
}

fn main() -> ExitCode {
    brigade::init();
    let options = Options::parse();
    let ended = match options.still {
        Some(frame) => still::write(frame, &options).map(|()| Ended::Whole),
        None => make(&options),
    };
    match ended {
        Ok(Ended::Whole) => ExitCode::SUCCESS,
        Ok(Ended::Patched) => ExitCode::from(1),
        // As shells tell it.
        Ok(Ended::Interrupted(signal)) => ExitCode::from(128 + signal as u8),
        Err(why) => {
            eprintln!("render_farm: {why}");
            ExitCode::from(2)
        }
    }
}

impl Options {
    fn job(&self) -> Job {
        Job {
            size: self.size,
            rate: self.rate,
            frames: self.frames,
            chunk: self.chunk,
            quality: Quality {
                quantizer: self.quantizer,
                speed: self.speed,
            },
            scene: scene::identity(),
            encoder: encode::identity(),
        }
    }

    fn state(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| {
            let mut beside = self.out.as_os_str().to_owned();
            beside.push(".chunks");
            PathBuf::from(beside)
        })
    }

    fn pool(&self) -> Result<Pool, String> {
        let mut pool = Pool::builder(self.workers)
            .name("farm")
            .timeout(Duration::from_secs(u64::from(self.timeout)));
        if let Some(jobs) = self.jobs {
            pool = pool.workers(jobs as usize);
        }
        pool.build().map_err(|e| e.to_string())
    }
}

fn make(options: &Options) -> Result<Ended, String> {
    if options.chaos.is_some() && options.workers == Kind::Thread {
        return Err("--chaos kills workers, and threads cannot be killed".to_owned());
    }
    if let Some(frame) = options
        .poison
        .iter()
        .find(|frame| **frame >= options.frames)
    {
        let last = options.frames - 1;
        return Err(format!("--poison {frame}: the film's last frame is {last}"));
    }
    let (_interrupts, interrupted) = Interrupts::new().map_err(|e| e.to_string())?;
    let start = Instant::now();
    let job = options.job();
    let draft = Draft::create(&options.out)?;
    let dir = options.state();
    let state = State::open(&dir, &job, options.restart)?;
    let mut missing = Vec::new();
    for chunk in 0..job.chunks() {
        if !state.is_finished(chunk)? {
            missing.push(chunk);
        }
    }
    let to_draw: u32 = missing.iter().map(|&n| job.frames_of(n).len() as u32).sum();
    let stored = job.chunks() - missing.len() as u32;
    let progress = Progress::new(&job, job.frames - to_draw, stored);
    let pool = options.pool()?;
    let farm = Farm {
        pool: &pool,
        job: &job,
        state: &state,
        progress: &progress,
        poisoned: &options.poison,
        pause_after: options.pause_after,
        at_once: chunks_at_once(pool.workers(), job.chunk),
    };
    let (made, killed) = std::thread::scope(|scope| {
        let (over, is_over) = mpsc::channel();
        let chaos = options.chaos.map(|mean| {
            let mean = Duration::from_millis(u64::from(mean));
            let pool = &pool;
            scope.spawn(move || chaos::kill_workers(pool, mean, &is_over))
        });
        let run = pin!(farm.run(missing));
        let made = block_on(select(run, interrupted));
        drop(over);
        let killed = chaos.map(|thread| thread.join().unwrap_or_default());
        let made = match made {
            Either::Left((made, _)) => made.map(Ok),
            Either::Right((Ok(signal), _)) => Ok(Err(signal)),
            Either::Right((Err(_), _)) => Err("the thread that waits for signals is gone".into()),
        };
        (made, killed)
    });
    progress.clear();
    let restarts = pool.stats().restarts;
    // Nothing is under way, or nothing of it is wanted.
    pool.abort();
    let patches = match made? {
        Ok(patches) => patches,
        Err(signal) => {
            eprintln!(
                "interrupted: the same command goes on from what is in {}",
                dir.display()
            );
            return Ok(Ended::Interrupted(signal));
        }
    };
    state.assemble(draft)?;
    println!(
        "{}: {} frames of {}, {}, in {:.1?}",
        options.out.display(),
        job.frames,
        job.size,
        size_of(&options.out)?,
        start.elapsed()
    );
    if restarts > 0 {
        let killed = killed.map_or(String::new(), |n| format!(", {n} killed by --chaos"));
        println!("{restarts} workers were replaced{killed}");
    }
    for Patch {
        frame,
        shown,
        failure,
    } in &patches
    {
        println!(
            "frame {frame} shows frame {shown}: {} attempts failed, the last: {}",
            failure.attempts, failure.why
        );
    }
    if patches.is_empty() {
        state.remove()?;
        return Ok(Ended::Whole);
    }
    println!(
        "the same command tries them again; the other chunks are in {}",
        dir.display()
    );
    Ok(Ended::Patched)
}

/// How many chunks are under way at once: one for each worker, and one to go on with while the last
/// frames of others are drawn. Each frame is a descriptor as long as its chunk is under way.
fn chunks_at_once(workers: usize, chunk: u32) -> usize {
    const OTHERS: u64 = 128;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OTHERS)) / u64::from(chunk);
    (workers + 1)
        .min(usize::try_from(room).unwrap_or(usize::MAX))
        .max(1)
}

fn size_of(file: &std::path::Path) -> Result<String, String> {
    let bytes = std::fs::metadata(file).map_err(film::at(file))?.len();
    Ok(format!("{} KiB", bytes.div_ceil(1024)))
}
