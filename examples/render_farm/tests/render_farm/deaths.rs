//! What a worker's death costs.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::ivf::{Film, decoded, is_installed, psnr};
use crate::{Scratch, farm, made, names, said, undisturbed};

#[test]
fn a_frame_that_faults_is_tried_again_and_told_of_and_shows_its_neighbour() {
    let scratch = Scratch::new();
    let options = ["--poison", "9", "--jobs", "2"];
    let output = farm(&scratch, &options).output().expect("it starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let attempts = said.matches("frame 9: worker process ").count();
    assert_eq!(attempts, 3, "{said}");
    let report = "frame 9 shows frame 8: 3 attempts failed, the last: worker process ";
    let report = said
        .lines()
        .find(|line| line.starts_with(report))
        .expect("it is told of");
    assert!(
        report.contains("SIGSEGV") && report.contains("read_nowhere"),
        "{report}"
    );

    // No other chunk differs.
    let patched = fs::read(scratch.film()).expect("there is a film");
    let (whole, patched) = (Film::read(undisturbed()), Film::read(&patched));
    assert!(whole.packets[..6] == patched.packets[..6]);
    assert!(whole.packets[6..12] != patched.packets[6..12]);
    assert!(whole.packets[12..] == patched.packets[12..]);
    if is_installed("ffmpeg") {
        let bytes = 64 * 36 * 3 / 2;
        let [whole, patched] =
            [whole, patched].map(|film| decoded(&film.of(0..22), &scratch.0, bytes));
        assert_eq!(patched.len(), 22);
        for (number, frame) in patched.iter().enumerate() {
            let shown = if number == 9 { 8 } else { number };
            let alike = psnr(frame, &whole[shown]);
            assert!(alike > 34.0, "frame {number}: {alike:.1} dB");
        }
    }
}

#[test]
fn the_chunk_of_a_frame_that_was_mended_is_made_anew_and_no_other() {
    let scratch = Scratch::new();
    let output = farm(&scratch, &["--poison", "6", "--poison", "7"])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("frame 6 shows frame 8: "),
        "{}",
        said(&output)
    );
    let kept = [
        "0000.ivf",
        "0001.patched.ivf",
        "0002.ivf",
        "0003.ivf",
        "job.json",
    ];
    assert_eq!(scratch.chunks(), kept);
    let patched = fs::read(scratch.film()).expect("there is a film");

    let again = farm(&scratch, &["--poison", "6", "--poison", "7"])
        .output()
        .expect("it starts");
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(said(&again).contains("3 of 4 chunks are there already"));
    assert!(fs::read(scratch.film()).expect("there is a film") == patched);

    let mended = farm(&scratch, &[]).output().expect("it starts");
    assert_eq!(mended.status.code(), Some(0), "{}", said(&mended));
    assert_eq!(said(&mended).matches(" is stored: ").count(), 1);
    assert!(fs::read(scratch.film()).expect("there is a film") == undisturbed());
    assert_eq!(names(&scratch.0), ["film.ivf"]);
}

#[test]
fn where_a_whole_chunk_faults_what_is_beside_it_is_shown() {
    let scratch = Scratch::new();
    let poison = ["0", "1", "4", "5"].map(|frame| ["--poison", frame]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_render_farm"));
    command.args(["--size", "32x16", "--frames", "6", "--chunk", "2", "--out"]);
    let output = command
        .arg(scratch.film())
        .args(poison.as_flattened())
        .output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for report in [
        "frame 0 shows frame 2: ",
        "frame 1 shows frame 2: ",
        "frame 4 shows frame 3: ",
        "frame 5 shows frame 3: ",
    ] {
        assert!(said(&output).contains(report), "{}", said(&output));
    }
}

#[test]
fn where_nothing_can_be_shown_there_is_no_film() {
    let scratch = Scratch::new();
    let poison = (0..22).flat_map(|frame| ["--poison".to_owned(), frame.to_string()]);
    let output = farm(&scratch, &[])
        .args(poison)
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("could not be drawn in 3 attempts"));
    assert_eq!(names(&scratch.0), ["film.ivf.chunks"]);
}

#[test]
fn workers_that_are_killed_change_nothing() {
    let scratch = Scratch::new();
    let options = ["--chaos", "100", "--jobs", "3"];
    let output = farm(&scratch, &options).output().expect("it starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let told = said
        .lines()
        .find_map(|line| line.strip_suffix(" killed by --chaos"));
    let killed = told.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(killed.is_some_and(|killed| killed > 0), "{said}");
    assert!(fs::read(scratch.film()).expect("there is a film") == undisturbed());
    assert_eq!(names(&scratch.0), ["film.ivf"]);
}

#[test]
fn a_thread_that_faults_takes_the_program_along_and_leaves_what_is_finished() {
    let scratch = Scratch::new();
    let options = ["--workers", "thread", "--jobs", "1", "--poison", "20"];
    let output = farm(&scratch, &options).output().expect("it starts");
    assert_eq!(
        output.status.signal(),
        Some(libc::SIGSEGV),
        "{}",
        said(&output)
    );
    assert!(!scratch.film().exists());
    let finished = scratch
        .chunks()
        .iter()
        .filter(|name| name.ends_with(".ivf"))
        .count();
    assert!((1..4).contains(&finished), "{:?}", scratch.chunks());
    // Its neighbours in the chunk are drawn once more, and nothing else.
    assert!(made(&scratch, &["--workers", "process"]) == undisturbed());
}

#[test]
fn a_frame_that_takes_too_long_is_given_up() {
    for kind in ["process", "thread"] {
        let scratch = Scratch::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_render_farm"));
        // A second is short for as many pixels, whatever the machine.
        command.args(["--size", "2560x1440", "--frames", "1", "--timeout", "1"]);
        command.args(["--workers", kind, "--jobs", "1", "--out"]);
        let output = command.arg(scratch.film()).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        let why = "frame 0 could not be drawn in 3 attempts, nor could those beside it: ";
        let told = said(&output);
        let told = told.lines().find_map(|line| line.split_once(why));
        assert!(
            told.is_some_and(|(_, why)| why.contains("1s")),
            "{}",
            said(&output)
        );
    }
}
