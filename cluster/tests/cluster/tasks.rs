//! The tasks of the tests, which worker programs have too.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use brigade_test_support::wait::pause;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::server::until;

pub(crate) fn double(n: u64) -> u64 {
    2 * n
}
brigade::export!("double", double);

/// It takes some milliseconds, so that what happens to its worker happens to it.
pub(crate) fn double_slowly(n: u64) -> u64 {
    pause(Duration::from_millis(5));
    2 * n
}
brigade::export!("double_slowly", double_slowly);

pub(crate) fn panics(why: String) -> u64 {
    panic!("{why}")
}
brigade::export!("panics", panics);

pub(crate) fn reversed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reverse();
    bytes
}
brigade::export!("reversed", reversed);

pub(crate) fn length(bytes: Vec<u8>) -> usize {
    bytes.len()
}
brigade::export!("length", length);

/// Computes for `milliseconds` ms.
pub(crate) fn works(milliseconds: u64) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(milliseconds) {
        std::hint::spin_loop();
    }
}
brigade::export!("works", works);

/// How many hours its machine's clock counts.
pub(crate) fn hour((): ()) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is what is asked for")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.expect("it is later").as_secs() / 3600
}
brigade::export!("hour", hour);

/// Its input, and its result, cannot be carried where it is `None`.
#[derive(Debug)]
pub(crate) struct Fragile(pub(crate) Option<u64>);

impl serde::Serialize for Fragile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(n) => serializer.serialize_u64(n),
            None => Err(serde::ser::Error::custom("it is fragile")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fragile, D::Error> {
        let n = u64::deserialize(deserializer)?;
        if n == 13 {
            return Err(serde::de::Error::custom("it has come apart"));
        }
        Ok(Fragile(Some(n)))
    }
}

/// 0 becomes what cannot be carried.
pub(crate) fn fragile(Fragile(n): Fragile) -> Fragile {
    Fragile(n.filter(|n| *n != 0))
}
brigade::export!("fragile", fragile);

/// Fails by itself.
pub(crate) fn fails(why: String) -> Result<u64, String> {
    Err(why)
}
brigade::export!("fails", fails);

/// Kills its worker until it is begun for the third time.
pub(crate) fn dies_twice((): ()) -> u32 {
    if brigade::attempt() < 3 {
        std::process::abort();
    }
    brigade::attempt()
}
brigade::export!("dies_twice", dies_twice);

/// Leaves a file behind that tells it has run, each time.
pub(crate) fn aborts(dir: PathBuf) {
    mark(&dir);
    std::process::abort();
}
brigade::export!("aborts", aborts);

pub(crate) fn aborts_with(bytes: Vec<u8>) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    std::process::abort();
}
brigade::export!("aborts_with", aborts_with);

pub(crate) fn panics_with(bytes: Vec<u8>) -> usize {
    assert!(bytes.is_empty(), "there is something");
    0
}
brigade::export!("panics_with", panics_with);

/// Tells that it runs by a file in the directory, and ends when its [`Gate`] is opened; tells how
/// many runs had begun then.
pub(crate) fn waits(dir: PathBuf) -> usize {
    let mut gate = fs::File::open(dir.join("gate")).expect("a gate");
    mark(&dir);
    gate.read_to_end(&mut Vec::new()).expect("it can be read");
    begun(&dir)
}
brigade::export!("waits", waits);

/// One that no worker has.
pub(crate) fn not_exported(n: u64) -> u64 {
    n + 7
}

/// A directory for `waits`, whose runs end when this is opened.
pub(crate) struct Gate {
    dir: TempDir,
    /// Readers of the pipe wait as long as somebody could write.
    shut: Option<fs::File>,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("gate");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let both = fs::OpenOptions::new().read(true).write(true).open(pipe);
        Gate {
            dir,
            shut: Some(both.expect("it opens")),
        }
    }

    pub(crate) fn input(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn begun(&self) -> usize {
        begun(self.dir.path())
    }

    pub(crate) fn until_begun(&self, runs: usize) {
        until("it has begun", || (self.begun() >= runs).then_some(()));
    }

    pub(crate) fn open(&mut self) {
        self.shut = None;
    }
}

/// How many runs have begun there.
pub(crate) fn begun(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).expect("a directory");
    let is_mark = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("run-");
    entries
        .filter(|entry| is_mark(entry.as_ref().expect("an entry")))
        .count()
}

fn mark(dir: &Path) {
    let mut number = 0;
    loop {
        let file = dir.join(format!("run-{number}"));
        match fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(file)
        {
            Ok(_) => return,
            Err(_) => number += 1,
        }
    }
}
