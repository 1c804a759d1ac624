//! The program as its users start it, on films that are small enough to be made many times.

mod deaths;
mod errors;
mod films;
mod ivf;
mod picture;
mod resumes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A film of four chunks, the last of which is shorter.
const SMALL: [&str; 8] = [
    "--size", "64x36", "--frames", "22", "--chunk", "6", "--rate", "6",
];

/// A directory that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("render-farm-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).expect("made");
        Scratch(dir)
    }

    fn film(&self) -> PathBuf {
        self.0.join("film.ivf")
    }

    /// What is in the directory of the chunks.
    fn chunks(&self) -> Vec<String> {
        names(&self.0.join("film.ivf.chunks"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("read").file_name();
        name.to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// The program, to make the small film in a directory.
fn farm(scratch: &Scratch, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_render_farm"));
    command
        .args(SMALL)
        .args(options)
        .arg("--out")
        .arg(scratch.film());
    command.stdin(Stdio::null());
    command
}

/// Makes the small film, and gives its bytes.
fn made(scratch: &Scratch, options: &[&str]) -> Vec<u8> {
    let output = farm(scratch, options).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    fs::read(scratch.film()).expect("there is a film")
}

/// The small film, as it is when nothing happens.
fn undisturbed() -> &'static [u8] {
    static FILM: OnceLock<Vec<u8>> = OnceLock::new();
    FILM.get_or_init(|| made(&Scratch::new(), &[]))
}

/// What a program has said.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
