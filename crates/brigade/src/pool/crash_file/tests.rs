//! What is written can be read; what is damaged is an error.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::build::{build_id, hash_of};
use super::format::{INPUT, TITLE, VERSION};
use super::read::{ReadError, read};
use super::write::{CrashFile, create_dir};
use crate::Crash;
use crate::task::crash::{Cause, Death, Phase};
use crate::task::entry::Plan;
use crate::task::name::TaskName;
use crate::task::symbols::{Frames, Symbols};
use crate::worker::process::ipc::protocol::Setup;

/// A directory of this test's own, gone at its end.
pub(in crate::pool) struct Scratch(pub(in crate::pool) PathBuf);

impl Scratch {
    pub(in crate::pool) fn new(name: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("brigade-{name}-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hungry(dishes: Vec<u8>) -> usize {
    dishes.len()
}

/// The crash of a worker that never was.
pub(in crate::pool) fn crash(stderr: &str) -> Crash {
    Crash(Box::new(Death {
        cause: Cause::Signal(libc::SIGSEGV),
        pid: 4711,
        task: TaskName::new(hungry as fn(Vec<u8>) -> usize as usize, Some("cook".into())),
        phase: Phase::Running,
        stderr: stderr.to_owned(),
        address: Some(0x10),
        frames: Frames::new(
            Symbols::of_this_process(),
            vec![crash as *const () as usize],
        ),
        backtrace: OnceLock::new(),
        file: None,
        file_error: None,
    }))
}

fn file_of<'a>(input: &'a [u8], setup: Option<&'a Setup>) -> CrashFile<'a> {
    CrashFile {
        plan: Plan::of(hungry as fn(Vec<u8>) -> usize).expect("code of this program"),
        input,
        descriptors: 0,
        context: None,
        uses_state: false,
        attempt: 1,
        initializer: Some(0x1234),
        setup,
    }
}

fn setup() -> Setup {
    Setup {
        name: Some("cook".to_owned()),
        env_clear: true,
        env: vec![
            (b"LANG".to_vec(), b"C".to_vec()),
            (b"ODD".to_vec(), b"a=b\nend: \xff\\".to_vec()),
        ],
        current_dir: Some(b"/tmp/\xff odd".to_vec()),
        ..Setup::default()
    }
}

#[test]
fn there_and_back() {
    let scratch = Scratch::new("there-and-back");
    let setup = setup();
    for len in [0, 1, 2, 3, 56, 57, 58, 114, 100_000] {
        let input: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
        let crash = crash("one\nend: 0123\ninput in base64:\n\x1b[31mtwo");
        let path = file_of(&input, Some(&setup))
            .write(&crash, &scratch.0.join("new/too"))
            .expect("is written");
        let text = fs::read_to_string(&path).expect("is text");
        let back = read(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert!(back.input == input);
        assert_eq!(back.task, crash.task());
        assert_eq!(back.cause, "a segmentation fault (SIGSEGV)");
        assert_eq!(back.spec.variables, setup.env);
        assert_eq!(back.spec.directory, setup.current_dir);
        assert!(back.spec.clear_environment);
        assert_eq!(back.spec.initializer, Some(0x1234));
        assert_eq!(back.spec.build, build_id().expect("known"));
    }
}

#[test]
fn only_its_owner_reads_it_and_nothing_else_is_left() {
    let scratch = Scratch::new("owner");
    let crash = crash("");
    let paths: Vec<PathBuf> = (0..3)
        .map(|_| {
            file_of(b"secret", None)
                .write(&crash, &scratch.0)
                .expect("is written")
        })
        .collect();
    let task = if cfg!(feature = "backtrace") {
        "hungry-cook-4711-2"
    } else {
        "-cook-4711-2"
    };
    for path in &paths {
        let mode = fs::metadata(path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
        assert!(name.contains(task) && name.ends_with(".crash"), "{name}");
    }
    let mut there: Vec<PathBuf> = fs::read_dir(&scratch.0)
        .expect("is there")
        .map(|entry| entry.expect("is read").path())
        .collect();
    there.sort();
    let mut expected = paths;
    expected.sort();
    assert_eq!(there, expected);
}

#[test]
fn the_crash_says_where_it_is_or_why_not() {
    let scratch = Scratch::new("where");
    let mut one = crash("");
    file_of(b"", None).write_and_attach(&mut one, &scratch.0);
    assert!(one.file().is_some_and(std::path::Path::is_file));
    assert_eq!(one.file_error(), None);

    let file = scratch.0.join("a file");
    fs::write(&file, "").expect("is written");
    let mut other = crash("");
    file_of(b"", None).write_and_attach(&mut other, &file);
    assert_eq!(other.file(), None);
    assert!(other.file_error().is_some_and(|why| why.contains("a file")));
    assert!(create_dir(&file).is_err());
    assert_eq!(create_dir(&scratch.0).expect("is there"), scratch.0);
}

/// A file in bytes.
fn sample() -> Vec<u8> {
    let scratch = Scratch::new("sample");
    let input: Vec<u8> = (0..200).collect();
    let path = file_of(&input, Some(&setup()))
        .write(&crash("its last words\n"), &scratch.0)
        .expect("is written");
    fs::read(path).expect("is there")
}

#[test]
fn a_file_that_is_cut_is_an_error() {
    let whole = sample();
    for len in 0..whole.len() {
        assert!(read(&whole[..len]).is_err(), "cut after {len}");
    }
    let mut longer = whole;
    longer.push(b'\n');
    assert!(read(&longer[..]).is_err());
}

#[test]
fn a_file_that_is_damaged_is_an_error_or_says_the_same() {
    let whole = sample();
    let intact = read(&whole[..]).expect("is read");
    let same = |bytes: &[u8], what: &str| {
        if let Ok(back) = read(bytes) {
            assert_eq!(back.spec, intact.spec, "{what}");
            assert_eq!(back.input, intact.input, "{what}");
        }
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        for bit in 0..8 {
            bytes[at] = whole[at] ^ (1 << bit);
            same(&bytes, &format!("bit {bit} of byte {at}"));
        }
        for byte in *b"\n\\ :=0~\xff\0" {
            bytes[at] = byte;
            same(&bytes, &format!("byte {at} is {byte:#x}"));
        }
        bytes.remove(at);
        same(&bytes, &format!("without byte {at}"));
    }
}

#[test]
fn lines_that_change_places_are_an_error_or_say_the_same() {
    let whole = sample();
    let intact = read(&whole[..]).expect("is read");
    let lines: Vec<&[u8]> = whole.split_inclusive(|&b| b == b'\n').collect();
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    for _ in 0..5000 {
        let mut mixed = lines.clone();
        for _ in 0..=random(3) {
            let (a, b) = (random(mixed.len()), random(mixed.len()));
            match random(3) {
                0 => mixed.swap(a, b),
                1 => mixed.insert(a, lines[b % lines.len()]),
                _ => drop(mixed.remove(a)),
            }
        }
        if let Ok(back) = read(&mixed.concat()[..]) {
            assert_eq!(back.spec, intact.spec);
            assert_eq!(back.input, intact.input);
        }
    }
}

#[test]
fn what_is_for_people_may_be_edited() {
    let text = String::from_utf8(sample()).expect("is text");
    let edited = text.replace("its last words", "(removed)");
    assert_ne!(text, edited);
    assert!(read(edited.as_bytes()).is_ok());
    let edited = text.replace("variable: LANG=C", "variable: LANG=D");
    assert_ne!(text, edited);
    assert!(matches!(
        read(edited.as_bytes()),
        Err(ReadError::Damaged(_))
    ));
}

#[test]
fn what_is_no_crash_file_is_told_so() {
    let told = |bytes: &[u8]| read(bytes).expect_err("no crash file").to_string();
    assert_eq!(told(b""), "it is not a crash file");
    assert_eq!(told(&[0xff; 1000]), "it is not a crash file");
    assert_eq!(told(b"#!/bin/sh\n"), "it is not a crash file");
    assert!(told(b"brigade crash file, version 2\n").contains("version 2"));
    assert!(told(b"brigade crash file, version 1\n").contains("cut off"));
}

#[test]
fn a_file_without_end_is_not_read_without_end() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            bytes.fill(b'a');
            Ok(bytes.len())
        }
    }
    struct Again(&'static [u8], usize);
    impl Read for Again {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.0.len() - self.1);
            bytes[..len].copy_from_slice(&self.0[self.1..self.1 + len]);
            self.1 = (self.1 + len) % self.0.len();
            Ok(len)
        }
    }
    let title = format!("{TITLE}{VERSION}\n");
    assert!(read(io::BufReader::new(Endless)).is_err());
    assert!(read(io::BufReader::new(title.as_bytes().chain(Endless))).is_err());
    assert!(
        read(io::BufReader::new(
            title.as_bytes().chain(Again(b"variable: A=B\n", 0))
        ))
        .is_err()
    );
    assert!(read(io::BufReader::new(title.as_bytes().chain(Again(b"\n", 0)))).is_err());
    // More input than there may be, and more than it says.
    let whole = String::from_utf8(sample()).expect("is text");
    let before = &whole[..whole.find(INPUT).expect("is there") + INPUT.len() + 1];
    let endless = before.as_bytes().chain(Again(b"AAAA\n", 0));
    assert!(read(io::BufReader::new(endless)).is_err());
    let lies = before.replace("input length: 200", "input length: 99999999999");
    assert!(
        read(io::BufReader::new(
            lies.as_bytes().chain(Again(b"AAAA\n", 0))
        ))
        .is_err()
    );
}

#[test]
fn a_program_without_a_build_id_is_known_by_its_file() {
    let exe = Path::new("/proc/self/exe");
    let hash = hash_of(exe).expect("is read");
    assert_eq!(hash, hash_of(exe).expect("is read"));
    assert_ne!(
        hash,
        hash_of(Path::new("/proc/self/maps")).expect("is read")
    );
    assert!(hash.starts_with("file-"), "{hash}");
}
