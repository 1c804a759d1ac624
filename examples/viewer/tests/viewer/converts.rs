//! A directory of documents becomes one of pictures.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::{Scratch, good_documents, hostile, viewer};

/// The verdict of each document, and why.
fn convert(
    dir: &Path,
    out: &Path,
    options: &[&str],
) -> (Option<i32>, BTreeMap<String, [String; 2]>) {
    let output = viewer()
        .arg(dir)
        .arg("--out")
        .arg(out)
        .arg("--json")
        .args(options)
        .output();
    let output = output.expect("it starts");
    let verdicts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let verdicts = verdicts.as_array().expect("a list").iter().map(|row| {
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        (text("document"), [text("verdict"), text("why")])
    });
    (output.status.code(), verdicts.collect())
}

/// The sides of a picture, and its pixels.
fn picture(path: &Path) -> (u32, u32, Vec<u8>) {
    let file = BufReader::new(File::open(path).expect("there is a picture"));
    let mut reader = png::Decoder::new(file).read_info().expect("PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
    reader.next_frame(&mut pixels).expect("PNG");
    (reader.info().width, reader.info().height, pixels)
}

#[test]
fn good_documents_are_drawn_alike_by_either_kind() {
    let scratch = Scratch::new();
    let names = ["chart", "clock", "evening"];
    let dir = scratch.0.join("documents");
    std::fs::create_dir(&dir).expect("made");
    for name in names {
        let file = format!("{name}.svg");
        std::fs::copy(good_documents().join(&file), dir.join(&file)).expect("copied");
    }
    let [one, other] = ["process", "thread"].map(|kind| {
        let out = scratch.0.join(kind);
        let (code, verdicts) = convert(&dir, &out, &["--kind", kind, "--size", "320"]);
        assert_eq!(code, Some(0), "{verdicts:?}");
        names.map(|name| picture(&out.join(format!("{name}.png"))))
    });
    assert!(one == other);
    let [(width, height, _), clock, evening] = one;
    assert_eq!((width, height, clock.0, clock.1), (320, 200, 320, 320));
    // The sky, at its upper left.
    let sky = evening.2[..3].iter().zip([0x1b, 0x2a, 0x5c]);
    assert!(
        sky.into_iter()
            .all(|(found, drawn)| found.abs_diff(drawn) <= 2)
    );
}

#[test]
fn hostile_documents_cost_their_own_picture_only() {
    let scratch = Scratch::with_all_documents();
    let out = scratch.0.join("pictures");
    let options = ["--timeout", "15000", "--memory", "128", "--workers", "2"];
    let (code, verdicts) = convert(&scratch.0, &out, &options);
    assert_eq!(code, Some(1));
    let expected = [
        ("chart.svg", "drawn", ""),
        ("clock.svg", "drawn", ""),
        ("evening.svg", "drawn", ""),
        ("reads-a-file.svg", "escaping", "/etc/passwd"),
        ("reads-itself.svg", "escaping", "/proc/self/maps"),
        ("nested-references.svg", "refused", "limit"),
        ("endless-noise.svg", "too-slow", "15s"),
        ("memory-bomb.svg", "too-large", "memory"),
        ("picture-of-terabytes.svg", "too-large", "memory"),
        ("chain-of-clip-paths.svg", "crashed", "stack overflow"),
        ("no-document.svg", "refused", ""),
    ];
    for (name, verdict, why) in expected {
        let found = verdicts.get(name).expect("each has a verdict");
        assert_eq!(found[0], verdict, "{name}: {}", found[1]);
        assert!(found[1].contains(why), "{name}: {}", found[1]);
        assert_eq!(
            out.join(name).with_extension("png").exists(),
            verdict == "drawn",
            "{name}"
        );
    }
    assert_eq!(verdicts.len(), expected.len());
}

/// Names and texts that a document has chosen, on a terminal; and two names that differ in their
/// ends only.
#[test]
fn names_are_apart_and_harmless() {
    let scratch = Scratch::new();
    let document = |shape: &str| {
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 9 9\">{shape}</svg>")
    };
    let dir = scratch.0.join("documents");
    std::fs::create_dir(&dir).expect("made");
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).expect("written");
    write(
        "a.svg",
        document("<rect width=\"9\" height=\"9\" fill=\"red\"/>"),
    );
    write(
        "a.svgz",
        document("<rect width=\"9\" height=\"9\" fill=\"blue\"/>"),
    );
    write("\x1b[2J\u{202e}.svg", document(""));
    let out = scratch.0.join("pictures");
    let run = || {
        let ran = viewer().arg(&dir).arg("--out").arg(&out).output();
        String::from_utf8(ran.expect("it starts").stdout).expect("text")
    };
    let told = run();
    assert!(told.contains("3 of 3 drawn"), "{told}");
    assert!(!told.contains(['\x1b', '\u{202e}']), "{told:?}");
    assert_eq!(picture(&out.join("a.png")).2[..3], [255, 0, 0]);
    assert_eq!(picture(&out.join("a-svgz.png")).2[..3], [0, 0, 255]);
}

#[test]
fn a_thread_takes_the_program_along() {
    let scratch = Scratch::new();
    let (name, document) = hostile::all().swap_remove(6);
    assert_eq!(name, "chain-of-clip-paths.svg");
    std::fs::write(scratch.0.join(name), document).expect("written");
    let out = scratch.0.join("pictures");
    let output = viewer()
        .arg(&scratch.0)
        .arg("--out")
        .arg(out)
        .args(["--kind", "thread"])
        .output();
    let status = output.expect("it starts").status;
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let output = viewer().arg("/nonexistent").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent"));
}
