//! Measures the program with threads and with processes, undisturbed, with a frame that faults, and
//! with workers that are killed:
//!
//! ```sh
//! cargo build --release -p render_farm && cargo run --release -p render_farm --bin measure_render_farm
//! ```

#[path = "../../../web_server/src/bin/measure_web_server/memory.rs"]
mod memory;

use std::fs;
use std::io::Cursor;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;

/// Measures the program with threads and with processes.
#[derive(Debug, Parser)]
struct Options {
    /// Frames of the film
    #[arg(long, default_value = "120")]
    frames: String,
    /// Pixels of its sides
    #[arg(long, default_value = "640x360")]
    size: String,
}

type Failure = Box<dyn std::error::Error>;

/// What is measured: the workers, how many, and what happens to them.
const RUNS: [(&str, &str, &[&str]); 8] = [
    ("thread", "1", &[]),
    ("process", "1", &[]),
    ("thread", "2", &[]),
    ("process", "2", &[]),
    ("process", "4", &[]),
    ("process", "2", &["--chaos", "8000"]),
    ("process", "2", &["--poison", "30"]),
    ("thread", "2", &["--poison", "30"]),
];

/// Frames of a chunk, unless it is told otherwise.
const CHUNK: usize = 12;

/// What a run took, and how it ended.
#[derive(Debug)]
struct Taken {
    time: Duration,
    processor: Duration,
    memory: u64,
    status: ExitStatus,
    report: String,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let program = std::env::current_exe()?.with_file_name("render_farm");
    let dir = Scratch::new()?;
    let mut undisturbed: Option<Vec<Vec<u8>>> = None;
    println!("| workers | what happens | time | processor time | memory | what comes of it |");
    println!("|---|---|---:|---:|---:|---|");
    for (kind, jobs, what) in RUNS {
        let film = dir.0.join("film.ivf");
        let chunks = dir.0.join("film.ivf.chunks");
        drop(fs::remove_file(&film));
        drop(fs::remove_dir_all(&chunks));
        let mut command = Command::new(&program);
        command.args(["--workers", kind, "--jobs", jobs]).args(what);
        command.args(["--frames", &options.frames, "--size", &options.size]);
        command.arg("--out").arg(&film);
        let taken = run(&mut command, &program)?;
        let end = match (taken.status.code(), taken.status.signal()) {
            (Some(0 | 1), _) => {
                let packets = packets(&fs::read(&film)?)?;
                let told = taken.report.lines().skip(1);
                let told =
                    told.filter(|line| line.contains(" killed ") || line.contains(" shows "));
                // The rest of a line is a long one's reason.
                let told = told.filter_map(|line| Some(line.split(':').next()?.to_owned()));
                let mut end: Vec<String> = told.collect();
                end.push(match &undisturbed {
                    None => "the film".to_owned(),
                    Some(first) if *first == packets => "the same bytes".to_owned(),
                    Some(first) => {
                        let differ = |chunk: &(_, _)| chunk.0 != chunk.1;
                        let chunks = first.chunks(CHUNK).zip(packets.chunks(CHUNK));
                        format!("{} chunk differs", chunks.filter(differ).count())
                    }
                });
                undisturbed.get_or_insert(packets);
                end.join("; ")
            }
            (_, Some(signal)) => {
                let stored = fs::read_dir(&chunks)?.flatten();
                let stored = stored.filter(|e| e.path().extension().is_some_and(|e| e == "ivf"));
                format!(
                    "the program ends by signal {signal}; {} chunks are stored",
                    stored.count()
                )
            }
            (code, None) => return Err(format!("{kind} {jobs}: exit status {code:?}").into()),
        };
        let what = match what {
            [] => "nothing".to_owned(),
            what => format!("`{}`", what.join(" ")),
        };
        let plural = match (kind, jobs) {
            (kind, "1") => format!("1 {kind}"),
            ("process", jobs) => format!("{jobs} processes"),
            (kind, jobs) => format!("{jobs} {kind}s"),
        };
        println!(
            "| {plural} | {what} | {:.1} s | {:.1} s | {} MiB | {end} |",
            taken.time.as_secs_f64(),
            taken.processor.as_secs_f64(),
            taken.memory >> 20
        );
    }
    Ok(())
}

/// The packets of a film.
fn packets(film: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut rest = Cursor::new(film);
    ivf::read_header(&mut rest)?;
    let mut packets = Vec::new();
    while (rest.position() as usize) < film.len() {
        packets.push(ivf::read_packet(&mut rest)?.data.into_vec());
    }
    Ok(packets)
}

/// Runs it, and looks at all of its processes ten times a second.
fn run(command: &mut Command, program: &Path) -> Result<Taken, Failure> {
    let start = Instant::now();
    let mut running = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (mut processor, mut memory) = (Duration::ZERO, 0);
    while running.try_wait()?.is_none() {
        processor = processor.max(memory::processor_time(program));
        memory = memory.max(memory::of(program));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let output = running.wait_with_output()?;
    Ok(Taken {
        time: start.elapsed(),
        processor,
        memory,
        status: output.status,
        report: String::from_utf8_lossy(&output.stdout).into_owned(),
    })
}

/// A directory of our own, with the films.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("render-farm-measure-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
