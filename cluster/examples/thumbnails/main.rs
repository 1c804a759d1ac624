//! The thumbnails of `examples/thumbnails`, by workers on this machine or on many: one word apart.
//!
//! ```text
//! cargo run --release --example thumbnails                                  # on this machine
//! cargo run --release --example thumbnails -- --worker nats://server        # on each worker machine
//! cargo run --release --example thumbnails -- --cluster nats://server       # the same, on those
//! ```
//!
//! The task, the pictures and what becomes of them are those of the program for one machine, whose
//! files these are.

#[path = "../../../examples/thumbnails/legacy.rs"]
#[expect(
    unsafe_code,
    reason = "it stands for a decoder in C, with its mistakes"
)]
mod legacy;
#[path = "../../../examples/thumbnails/picture.rs"]
mod picture;
#[path = "../../../examples/thumbnails/samples.rs"]
mod samples;

#[cfg(test)]
#[path = "../../tests/cluster/server.rs"]
#[expect(dead_code, reason = "the tests of the crate use the rest")]
mod server;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::{fs, io};

use brigade::JoinError;
use brigade_cluster::{Pool, Settings};
use futures_util::StreamExt;

brigade::export!("shrink", picture::shrink);

/// All that programs of this application agree on.
const APP: &str = "thumbnails";

/// What the command line says.
#[derive(Debug)]
struct Arguments {
    /// Where the pictures are. `None`: some are made.
    pictures: Option<PathBuf>,
    /// Where the workers are: `local:`, or the servers.
    cluster: String,
    out: PathBuf,
}

/// What became of the pictures.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    made: usize,
    failed: usize,
    crashed: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    brigade::init();
    let mut words = std::env::args_os().skip(1);
    let mut arguments = Arguments {
        pictures: None,
        cluster: "local:".to_owned(),
        out: std::env::temp_dir().join(format!("brigade-thumbnails-{}", std::process::id())),
    };
    let runtime = tokio::runtime::Runtime::new()?;
    while let Some(word) = words.next() {
        let mut value = || {
            let missing = || format!("{} takes a value", word.to_string_lossy());
            words.next().ok_or_else(missing)
        };
        match word.to_str() {
            Some("--worker") => {
                let url = text(value()?)?;
                let pool = brigade::Pool::processes(processors())?;
                println!(
                    "{}",
                    runtime.block_on(brigade_cluster::serve(&url, APP, pool))?
                );
                return Ok(());
            }
            Some("--cluster") => arguments.cluster = text(value()?)?,
            Some("--out") => arguments.out = value()?.into(),
            Some(flag) if flag.starts_with("--") => {
                return Err(format!(
                    "there is no {flag}: thumbnails [PICTURES] [--cluster URL] [--out DIRECTORY], or --worker URL"
                )
                .into());
            }
            _ => arguments.pictures = Some(word.into()),
        }
    }
    runtime.block_on(run(arguments, Settings::default()))?;
    Ok(())
}

fn text(word: OsString) -> Result<String, String> {
    let wrong = |word: OsString| format!("{} is no URL", word.to_string_lossy());
    word.into_string().map_err(wrong)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn run(arguments: Arguments, settings: Settings) -> Result<Counts, Box<dyn Error>> {
    let pictures = match arguments.pictures {
        Some(pictures) => pictures,
        None => {
            let pool = brigade::Pool::processes(processors())?;
            samples::make(&pool, &arguments.out.join("pictures"), 12)?
        }
    };
    let thumbnails = arguments.out.join("thumbnails");
    fs::create_dir_all(&thumbnails)?;
    let builder = Pool::builder(&arguments.cluster, APP).settings(settings);
    let pool = builder.connect().await?;

    let files = files_in(&pictures)?;
    let began = Instant::now();
    // Each is read when it is submitted; what cannot be read is left out, and told of at the end.
    let taken = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let noted = Arc::clone(&taken);
    let inputs = files.into_iter().filter_map(move |file| {
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::read(&file) {
            Ok(bytes) => {
                noted.0.push(file);
                Some(bytes)
            }
            Err(e) => {
                noted.1.push((file, e));
                None
            }
        }
    });
    let mut counts = Counts::default();
    let mut results = pool.map_unordered(picture::shrink, inputs);
    while let Some((number, ended)) = results.next().await {
        let file = taken.lock().unwrap_or_else(PoisonError::into_inner).0[number].clone();
        match ended {
            Ok(Ok(thumbnail)) => {
                fs::write(thumbnails.join(target(&file)), thumbnail)?;
                counts.made += 1;
            }
            Ok(Err(why)) => {
                println!("failed: {}: {why}", file.display());
                counts.failed += 1;
            }
            // This one only; the others go on, on this machine or another.
            Err(JoinError::Crashed(crash)) => {
                println!("crashed: {}: {crash}", file.display());
                counts.crashed += 1;
            }
            Err(other) => {
                println!("failed: {}: {other}", file.display());
                counts.failed += 1;
            }
        }
    }
    for (file, e) in &taken.lock().unwrap_or_else(PoisonError::into_inner).1 {
        println!("failed: {}: {e}", file.display());
        counts.failed += 1;
    }
    println!(
        "{} thumbnails in {:.2} s, by {}; they are in {}",
        counts.made,
        began.elapsed().as_secs_f64(),
        arguments.cluster,
        thumbnails.display()
    );
    Ok(counts)
}

/// `a.png` and `a.jpg` have a thumbnail each.
fn target(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".png");
    name.into()
}

fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        if ["png", "jpg", "jpeg", "leg"]
            .iter()
            .any(|known| extension == *known)
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use brigade_cluster::Worker;

    use super::*;

    /// Of twelve pictures and three in the old format: one is cut off, one crashes its decoder.
    const EXPECTED: Counts = Counts {
        made: 14,
        failed: 1,
        crashed: 1,
    };

    fn arguments(cluster: String, out: &Path) -> Arguments {
        Arguments {
            pictures: None,
            cluster,
            out: out.to_owned(),
        }
    }

    #[test]
    fn on_this_machine() {
        brigade::init();
        let out = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let run = run(
            arguments("local:".to_owned(), out.path()),
            Settings::default(),
        );
        assert_eq!(runtime.block_on(run).unwrap(), EXPECTED);
        assert_eq!(files_in(&out.path().join("thumbnails")).unwrap().len(), 14);
    }

    #[test]
    fn by_a_worker_program() {
        brigade::init();
        if let Err(why) = server::program() {
            eprintln!("SKIPPED: {why}");
            return;
        }
        let server = server::Server::start();
        let out = tempfile::tempdir().unwrap();
        let settings = Settings::default().ack_wait(Duration::from_secs(2));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (told, stop) = tokio::sync::oneshot::channel::<()>();
        let pool = brigade::Pool::processes(2).unwrap();
        let worker = Worker::new(&server.url(), APP, pool).settings(settings.clone());
        let served = runtime.spawn(worker.run_until(async {
            let _ = stop.await;
        }));
        let run = run(arguments(server.url(), out.path()), settings);
        assert_eq!(runtime.block_on(run).unwrap(), EXPECTED);
        told.send(()).unwrap();
        let served = runtime.block_on(served).unwrap().unwrap();
        // What kills its worker is begun three times, and is a dead letter then.
        assert_eq!((served.ended(), served.dead()), (16, 1), "{served}");
    }
}
