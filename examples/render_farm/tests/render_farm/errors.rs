//! What cannot be done is said, in words that help.

use std::fs;
use std::process::{Command, Stdio};

use crate::{Scratch, farm, names, said};

/// Asserts that this is refused, with these words.
fn refused(scratch: &Scratch, options: &[&str], words: &str) {
    let output = farm(scratch, &[])
        .args(options)
        .output()
        .expect("it starts");
    assert_eq!(
        output.status.code(),
        Some(2),
        "{options:?}: {}",
        said(&output)
    );
    let said = said(&output);
    assert!(said.contains(words), "{options:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn options_that_make_no_sense() {
    let scratch = Scratch::new();
    for (option, value, words) in [
        ("--poison", "22", "the film's last frame is 21"),
        ("--jobs", "0", "1..=4096"),
        ("--timeout", "0", "1..=1000000"),
    ] {
        refused(&scratch, &[option, value], words);
    }
    let chaos = ["--chaos", "100", "--workers", "thread"];
    refused(&scratch, &chaos, "threads cannot be killed");
    for (option, value, words) in [
        ("--size", "641x360", "an even number from 16 to 8192"),
        ("--size", "large", "640x360 is one"),
        ("--frames", "0", "1..=1000000"),
        ("--chunk", "201", "1..=200"),
        ("--rate", "0", "1..=240"),
        ("--speed", "11", "0..=10"),
        ("--quantizer", "256", "0..=255"),
        ("--workers", "fibre", "fibre"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_render_farm"));
        let output = command
            .args([option, value])
            .current_dir(&scratch.0)
            .output();
        let output = output.expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    assert!(names(&scratch.0).is_empty());
}

#[test]
fn places_that_cannot_be_written() {
    let scratch = Scratch::new();
    let file = scratch.0.join("file");
    fs::write(&file, "").expect("written");
    let inside = file.join("chunks");
    let output = farm(&scratch, &[]).arg("--state").arg(&inside).output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains(&format!("{}: Not a directory", inside.display())));

    for (out, words) in [
        ("/nonexistent/film.ivf", "No such file or directory"),
        ("/dev/null", "/dev/null: it is there, and is no file"),
        ("/", "/: it is there, and is no file"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_render_farm"));
        let output = command
            .args(["--out", out, "--state"])
            .arg(scratch.0.join("chunks"))
            .output();
        let output = output.expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{out}");
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    assert!(fs::metadata("/dev/null").is_ok_and(|there| !there.is_file()));
}

/// Runs where this test has mounted a disk of two pages: one for the job, and one for a chunk.
const ON_A_SMALL_DISK: &str = r#"
    mount -t tmpfs -o size=8k disk "$1" || exit 77
    shift
    "$@"; echo "first: $?"
    mount -o remount,size=1m disk || exit 77
    "$@"; echo "second: $?"
"#;

#[test]
fn a_disk_that_is_full_costs_what_is_not_on_it() {
    let scratch = Scratch::new();
    let disk = scratch.0.join("disk");
    fs::create_dir(&disk).expect("made");
    let output = Command::new("unshare")
        .args([
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            ON_A_SMALL_DISK,
            "sh",
        ])
        .arg(&disk)
        .arg(env!("CARGO_BIN_EXE_render_farm"))
        .args(crate::SMALL)
        .args(["--quantizer", "200", "--out"])
        .arg(scratch.film())
        .arg("--state")
        .arg(disk.join("chunks"))
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Ok(output) if output.status.code() == Some(0) => output,
        other => {
            println!("skipped, because nothing can be mounted here: {other:?}");
            return;
        }
    };
    let said = said(&output);
    assert!(
        said.contains("first: 2\n") && said.contains("second: 0\n"),
        "{said}"
    );
    assert!(
        said.contains(".ivf.part: No space left on device"),
        "{said}"
    );
    assert!(said.contains("1 of 4 chunks are there already"), "{said}");
    assert!(scratch.film().exists());
    assert_eq!(names(&scratch.0), ["disk", "film.ivf"]);
}
