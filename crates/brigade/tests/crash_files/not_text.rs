//! A program whose paths, arguments, environment and names are no text: bytes that are no UTF-8.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use brigade::{Cause, JoinError, Kind, Pool, process};
use libtest_mimic::Trial;

use crate::tasks;

const ODD: &[u8] = b"n\xffot \xe9'text";
/// Where the program keeps its crashes, if it is this one.
const VARIABLE: &[u8] = b"BRIGADE_TEST_NOT_TEXT";

pub(crate) fn trials() -> [Trial; 1] {
    [crate::trials::trial(
        "a_program_whose_paths_and_names_are_no_text",
        whose_paths_are_no_text,
    )]
}

fn odd() -> &'static OsStr {
    OsStr::from_bytes(ODD)
}

/// A copy of this program in a directory of its own.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Copy {
        let top = std::env::temp_dir().join(format!("brigade-not-text-{}", std::process::id()));
        let dir = top.join(odd());
        fs::create_dir_all(&dir).expect("made");
        let this = std::env::current_exe().expect("this program");
        // A link where that can be: it is large.
        let copy = dir.join(odd());
        if fs::hard_link(&this, &copy).is_err() {
            fs::copy(&this, &copy).expect("copied");
        }
        Copy(top)
    }

    fn dir(&self) -> PathBuf {
        self.0.join(odd())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.dir().join(odd()));
        command.arg(odd()).arg("").current_dir(self.dir());
        command.env(odd(), odd()).env("PATH", odd());
        command
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn whose_paths_are_no_text() {
    let copy = Copy::new();
    let crashes = copy.dir().join("crashes");
    let mut command = copy.command();
    command.env(OsStr::from_bytes(VARIABLE), &crashes);
    let output = command.output().expect("starts");
    let text = shown(&output);
    assert!(output.status.success(), "{text}");
    let files: Vec<PathBuf> = fs::read_dir(&crashes)
        .expect("crashes were kept")
        .map(|entry| entry.expect("is read").path())
        .collect();
    let [file] = &files[..] else {
        panic!("{files:?}\n{text}");
    };

    let replayed = copy.command().env("BRIGADE_REPLAY", file).output();
    let replayed = replayed.expect("starts");
    let text = shown(&replayed);
    assert_eq!(replayed.status.signal(), Some(libc::SIGSEGV), "{text}");
    assert!(text.contains("about to read from 0x10"), "{text}");

    // The command in the file does the same.
    let kept = fs::read_to_string(file).expect("the file is text");
    let line = kept.lines().find(|line| line.contains("BRIGADE_REPLAY="));
    let line = line.unwrap_or_else(|| panic!("no command in {kept}"));
    let begin = line.find("BRIGADE_REPLAY=").unwrap_or_default();
    let shell = format!("ulimit -c 0; exec env {}", &line[begin..]);
    let again = Command::new("/bin/sh").args(["-c", &shell]).output();
    let again = again.expect("a shell");
    let text = shown(&again);
    assert_eq!(
        again.status.signal(),
        Some(libc::SIGSEGV),
        "{shell}\n{text}"
    );
}

fn shown(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// This start is that program: what it is.
pub(crate) fn main() -> Option<ExitCode> {
    let crashes = std::env::var_os(OsStr::from_bytes(VARIABLE))?;
    Some(match run(Path::new(&crashes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    })
}

fn run(crashes: &Path) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: the kernel reads a C string of its own length.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"\xff\xfe".as_ptr()) };
    let seen = process::spawn(look_around, ())?.join()?;
    if seen != look_around(()) {
        return Err(format!("a worker has {seen:?}").into());
    }
    let builder = process::Builder::new().env("\u{e4}", odd());
    let builder = builder.current_dir(odd_directory()?);
    builder.spawn(look_around, ())?.join()?;

    let pool = Pool::builder(Kind::Process);
    let pool = pool.workers(2).process(builder).keep_crashes(crashes);
    let pool = pool.build()?;
    let Err(JoinError::Crashed(crash)) = pool.submit(tasks::fault, 0x10).join() else {
        return Err("no crash".into());
    };
    if *crash.cause() != Cause::Signal(libc::SIGSEGV) {
        return Err(format!("it died of {crash}").into());
    }
    let backtrace = crash.backtrace().unwrap_or_default();
    if !backtrace.contains("tasks::fault") {
        return Err(format!("no name in: {backtrace}").into());
    }
    let file = crash.file().ok_or("no file")?;
    io::stdout().write_all(file.as_os_str().as_bytes())?;
    Ok(())
}

fn odd_directory() -> io::Result<PathBuf> {
    let dir = std::env::current_dir()?.join(OsStr::from_bytes(b"work\xff"));
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Directory, arguments and a variable.
fn look_around((): ()) -> (Vec<u8>, Vec<Vec<u8>>, Option<Vec<u8>>) {
    let args = std::env::args_os().map(OsString::into_vec).collect();
    let dir = std::env::current_dir().map(|dir| dir.into_os_string().into_vec());
    let variable = std::env::var_os(odd()).map(OsString::into_vec);
    (dir.unwrap_or_default(), args, variable)
}
