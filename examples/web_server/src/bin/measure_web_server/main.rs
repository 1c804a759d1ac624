//! Measures this server beside nginx and Apache, with wrk over loopback, in one run:
//!
//! ```sh
//! cargo run --release -p web_server --bin measure_web_server
//! ```
//!
//! Each server has as many workers as there are processors, serves the same two files, and writes
//! no access log. What is not installed is skipped aloud: `apt-get install wrk nginx apache2-bin`.

mod memory;
mod servers;
mod wrk;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use crate::servers::{Breaks, Kind, Server};
use crate::wrk::Load;

/// Measures this server beside nginx and Apache.
#[derive(Debug, Parser)]
struct Options {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections at once
    #[arg(long, default_value_t = 32)]
    connections: u32,
}

/// What is asked for.
const ROUTES: [(&str, &str, &str); 2] = [
    ("static file, 10 KB", "/page.html", "identity"),
    ("gzip of 100 KB", "/gzip/text.txt", "gzip"),
];

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    if !servers::is_installed("wrk") {
        println!("skipped: wrk is not installed (apt-get install wrk)");
        return Ok(());
    }
    let dir = Scratch::new()?;
    println!(
        "| what is asked for | server | a crash a second | requests/s | p50 | p99 | failed | processor time | memory |"
    );
    println!("|---|---|---|---:|---:|---:|---:|---:|---:|");
    for (what, path, encoding) in ROUTES {
        for crashes in [false, true] {
            for kind in Kind::ALL {
                let name = kind.name();
                let server = match kind.start(&dir.0) {
                    Ok(Some(server)) => server,
                    Ok(None) => {
                        eprintln!("skipped: {name} is not installed");
                        continue;
                    }
                    Err(why) => return Err(format!("{name}: {why}").into()),
                };
                let breaks: &[Option<Breaks>] = match (crashes, kind) {
                    (false, _) => &[None],
                    (true, Kind::BrigadeThreads) => continue,
                    (true, Kind::Brigade) => &[Some(Breaks::Request), Some(Breaks::Process)],
                    (true, _) => &[Some(Breaks::Process)],
                };
                for breaks in breaks {
                    let load = Load {
                        url: format!("http://{}{path}", server.address),
                        encoding,
                        seconds: options.seconds,
                        connections: options.connections,
                    };
                    let row = measure(&server, &load, *breaks)?;
                    let how = match breaks {
                        None => "no",
                        Some(Breaks::Request) => "a request's worker",
                        Some(Breaks::Process) => "a process that accepts",
                    };
                    println!("| {what} | {name} | {how} | {row} |");
                }
            }
        }
    }
    Ok(())
}

fn measure(server: &Server, load: &Load, breaks: Option<Breaks>) -> Result<String, Failure> {
    let warm = Load {
        seconds: 2,
        ..load.clone()
    };
    warm.run()?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let breaking = scope.spawn(|| {
            let start = Instant::now();
            let mut broken = 0;
            while let Some(breaks) = breaks.filter(|_| !is_over.load(Ordering::Relaxed)) {
                std::thread::park_timeout(Duration::from_secs(1));
                if start.elapsed().as_secs() as usize > broken {
                    server.break_one(breaks, broken);
                    broken += 1;
                }
            }
        });
        let memory = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                std::thread::park_timeout(Duration::from_millis(500));
                most = most.max(memory::of(&server.file));
            }
            most
        });
        let before = memory::processor_time(&server.file);
        let figures = load.run();
        let spent = memory::processor_time(&server.file).saturating_sub(before);
        is_over.store(true, Ordering::Relaxed);
        breaking.thread().unpark();
        memory.thread().unpark();
        let memory = memory.join().map_err(|_| "measuring memory")?;
        breaking.join().map_err(|_| "breaking workers")?;
        let figures = figures?;
        let each = spent.as_micros() as f64 / figures.requests.max(1) as f64;
        Ok(format!("{figures} | {each:.0} µs | {} MiB", memory >> 20))
    })
}

/// A directory of our own, with what is served.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("web-server-measure-{}", std::process::id()));
        let root = dir.join("root");
        std::fs::create_dir_all(root.join("gzip"))?;
        std::fs::write(root.join("page.html"), text(10_000))?;
        std::fs::write(root.join("text.txt"), text(100_000))?;
        // The others find it where they are asked for it.
        std::fs::write(root.join("gzip/text.txt"), text(100_000))?;
        // Workers of theirs run as another user.
        for path in [&dir as &Path, &root] {
            let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(path, all)?;
        }
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// So many bytes of words, which compress as text does.
fn text(len: usize) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "process", "thread", "worker", "the", "of", "memory", "request", "a", "answers", "and",
        "kitchen", "listens",
    ];
    let mut state = 1_u64;
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let random = (state >> 33) as usize;
        text.extend_from_slice(WORDS[random % WORDS.len()].as_bytes());
        text.push(if random & 0xf00 == 0 { b'\n' } else { b' ' });
    }
    text.truncate(len);
    text
}
