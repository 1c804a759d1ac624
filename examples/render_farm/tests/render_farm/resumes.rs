//! What ends before its time goes on from what is finished.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Scratch, farm, made, names, said, undisturbed};

/// A run under way.
struct Run(Child);

impl Run {
    fn start(mut command: Command) -> Run {
        Run(command.stdout(Stdio::null()).spawn().expect("it starts"))
    }

    /// One that has stored two chunks, and stores no more.
    fn paused(scratch: &Scratch, options: &[&str]) -> Run {
        let options = [options, &["--pause-after", "2", "--jobs", "2"]].concat();
        let mut command = farm(scratch, &options);
        command.stderr(Stdio::piped());
        let mut run = Run::start(command);
        let mut told = String::new();
        for line in BufReader::new(run.0.stderr.as_mut().expect("piped")).lines() {
            let line = line.expect("text");
            if line.starts_with("paused") {
                return run;
            }
            told += &line;
        }
        panic!("{told}");
    }

    /// Sends it a signal, and gives how it ended, with what it said at last.
    fn ended_by(mut self, signal: Signal) -> (ExitStatus, String) {
        // It is not waited for yet, so the number is its own.
        let pid = Pid::from_raw(self.0.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("it is there");
        let mut told = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            stderr.read_to_string(&mut told).expect("text");
        }
        (self.0.wait().expect("it has ended"), told)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn after_a_signal_the_same_command_goes_on() {
    for kind in ["process", "thread"] {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let scratch = Scratch::new();
            let (status, told) = Run::paused(&scratch, &["--workers", kind]).ended_by(signal);
            assert_eq!(status.code(), Some(code), "{kind}: {told}");
            assert!(told.contains("the same command goes on"), "{told}");
            assert_eq!(names(&scratch.0), ["film.ivf.chunks"]);
            assert_eq!(scratch.chunks().len(), 3, "{:?}", scratch.chunks());

            let output = farm(&scratch, &["--workers", kind])
                .output()
                .expect("it starts");
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            assert!(said(&output).contains("2 of 4 chunks are there already"));
            assert_eq!(said(&output).matches(" is stored: ").count(), 2);
            assert!(fs::read(scratch.film()).expect("there is a film") == undisturbed());
            assert_eq!(names(&scratch.0), ["film.ivf"]);
        }
    }
}

#[test]
fn after_sigkill_too() {
    let scratch = Scratch::new();
    Run::paused(&scratch, &[]).ended_by(Signal::KILL);
    assert_eq!(names(&scratch.0), ["film.ivf.chunks", "film.ivf.part"]);
    assert!(made(&scratch, &["--workers", "thread"]) == undisturbed());
    assert_eq!(names(&scratch.0), ["film.ivf"]);
}

#[test]
fn whenever_it_is_interrupted_the_film_is_the_same() {
    let scratch = Scratch::new();
    let mut after = Duration::from_millis(20);
    loop {
        let mut command = farm(&scratch, &[]);
        command.stderr(Stdio::null());
        let run = Run::start(command);
        std::thread::park_timeout(after);
        let (status, _) = run.ended_by(Signal::INT);
        match status.code() {
            Some(0) => break,
            // None: before it had come as far as to listen.
            Some(130) | None => assert!(!scratch.film().exists()),
            Some(other) => panic!("exit status {other}"),
        }
        after = after.mul_f32(1.3);
    }
    assert!(fs::read(scratch.film()).expect("there is a film") == undisturbed());
    assert_eq!(names(&scratch.0), ["film.ivf"]);
}

#[test]
fn what_another_film_has_left_is_refused_or_thrown_away() {
    let scratch = Scratch::new();
    Run::paused(&scratch, &[]).ended_by(Signal::INT);
    let kept = scratch.chunks();
    for (option, value, told) in [
        ("--quantizer", "81", "quality: "),
        ("--speed", "9", "quality: "),
    ] {
        let output = farm(&scratch, &[option, value])
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(
            said(&output).contains("is of another film ("),
            "{}",
            said(&output)
        );
        assert!(said(&output).contains(told), "{}", said(&output));
    }
    assert_eq!(scratch.chunks(), kept);

    // Another scene, as another version of the program would have.
    let job = scratch.0.join("film.ivf.chunks/job.json");
    let text = fs::read_to_string(&job).expect("text");
    fs::write(&job, text.replace("cistern ", "castle ")).expect("written");
    let output = farm(&scratch, &[]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("(scene: \"cistern "),
        "{}",
        said(&output)
    );

    let output = farm(&scratch, &["--restart"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(said(&output).matches(" is stored: ").count(), 4);
    assert!(fs::read(scratch.film()).expect("there is a film") == undisturbed());
}

#[test]
fn a_chunk_that_is_damaged_is_made_anew() {
    let scratch = Scratch::new();
    Run::paused(&scratch, &[]).ended_by(Signal::INT);
    let dir = scratch.0.join("film.ivf.chunks");
    let chunk = scratch.chunks().remove(0);
    let bytes = fs::read(dir.join(&chunk)).expect("a chunk");
    fs::write(dir.join(&chunk), &bytes[..bytes.len() - 1]).expect("written");
    // As a run leaves it that ends while it writes.
    fs::write(dir.join("0003.ivf.part"), "half").expect("written");
    let output = farm(&scratch, &[]).output().expect("it starts");
    assert!(
        said(&output).contains("1 of 4 chunks are there already"),
        "{}",
        said(&output)
    );
    assert!(fs::read(scratch.film()).expect("there is a film") == undisturbed());
    assert_eq!(names(&scratch.0), ["film.ivf"]);
}

#[test]
fn what_others_have_put_there_stays() {
    let scratch = Scratch::new();
    let dir = scratch.0.join("film.ivf.chunks");
    fs::create_dir(&dir).expect("made");
    for name in ["notes.txt", "holiday.ivf"] {
        fs::write(dir.join(name), "mine").expect("written");
    }
    made(&scratch, &["--restart"]);
    assert_eq!(names(&dir), ["holiday.ivf", "notes.txt"]);
}

#[test]
fn two_runs_do_not_meet() {
    let scratch = Scratch::new();
    let first = Run::paused(&scratch, &[]);
    let output = farm(&scratch, &[]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("another run "), "{}", said(&output));
    let elsewhere = scratch.0.join("elsewhere");
    let elsewhere = elsewhere.to_str().expect("text");
    let output = farm(&scratch, &["--state", elsewhere])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("another run writes it"),
        "{}",
        said(&output)
    );
    let (status, _) = first.ended_by(Signal::INT);
    assert_eq!(status.code(), Some(130));
    assert!(made(&scratch, &[]) == undisturbed());
}
