//! What a path may name, and what may become of the file.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use brigade::process::{LookupError, Program};
use brigade::{Kind, Pool, process};

use crate::Copy;

#[track_caller]
fn refused(path: impl AsRef<Path>, kind: ErrorKind, why: &str) {
    let path = path.as_ref();
    let error = Program::open(path).expect_err("no program");
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(why), "{text}");
    assert!(text.contains(&path.display().to_string()), "{text}");
    // A builder says it when it is used.
    let builder = process::Builder::new().program(path);
    let said = builder.task::<u32, u32>("double").expect_err("no program");
    assert!(
        matches!(&said, LookupError::Program(e) if e.kind() == kind),
        "{said:?}"
    );
    let pool = Pool::builder(Kind::Process)
        .process(builder.clone())
        .build();
    assert!(pool.expect_err("no program").to_string().contains(why));
    let spawned = builder.spawn(|n: u32| n, 1).expect_err("no program");
    assert!(spawned.to_string().contains(why), "{spawned}");
}

#[test]
fn what_is_no_program_is_refused_and_not_executed() {
    let copy = Copy::new("refused");
    let dir = copy.path().parent().expect("a directory");
    refused(dir.join("missing"), ErrorKind::NotFound, "missing");
    refused(dir, ErrorKind::InvalidInput, "a directory");
    refused("/dev/null", ErrorKind::InvalidInput, "no regular file");
    refused(
        "/bin/true",
        ErrorKind::InvalidInput,
        "Brigade is no part of it",
    );

    let script = dir.join("script");
    let ran = dir.join("ran");
    std::fs::write(&script, format!("#!/bin/sh\ntouch {}\n", ran.display())).expect("written");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("executable");
    refused(&script, ErrorKind::InvalidInput, "a script");
    assert!(!ran.exists());

    let fifo = dir.join("fifo");
    let made = Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .expect("mkfifo(1)");
    assert!(made.success());
    refused(&fifo, ErrorKind::InvalidInput, "no regular file");

    let text = dir.join("text");
    std::fs::write(&text, "hello").expect("written");
    refused(&text, ErrorKind::InvalidInput, "no program");
}

/// Writes into the note that says that Brigade is in the program.
fn write_note(path: &Path, at: u64, bytes: &[u8]) {
    let file = std::fs::read(path).expect("read");
    // Put together here, so that this test has no copy of it.
    let lengths = [8_u32, 32, 1].map(u32::to_le_bytes);
    let owner = [lengths.concat(), b"Brigade\0".to_vec()].concat();
    let places: Vec<_> = memchr::memmem::find_iter(&file, &owner).collect();
    assert_eq!(places.len(), 1, "one note");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("open");
    let at = places[0] as u64 + owner.len() as u64 + at;
    file.write_all_at(bytes, at).expect("written");
}

#[test]
fn another_protocol_is_refused_in_one_sentence() {
    let copy = Copy::new("protocol");
    write_note(copy.path(), 0, &(1_u32 << 16 | 77).to_le_bytes());
    write_note(copy.path(), 4, b"9.8.7\0");
    refused(copy.path(), ErrorKind::Unsupported, "Brigade 9.8.7");
    refused(copy.path(), ErrorKind::Unsupported, "speaks version 77");
    write_note(copy.path(), 0, &(2_u32 << 16 | 1).to_le_bytes());
    refused(copy.path(), ErrorKind::Unsupported, "build both alike");
}

#[test]
fn a_program_that_may_not_be_executed_is_an_error_of_the_first_look_up() {
    let copy = Copy::new("mode");
    std::fs::set_permissions(copy.path(), PermissionsExt::from_mode(0o644)).expect("set");
    let program = Program::open(copy.path()).expect("it can be read");
    let error = program
        .task::<u32, u32>("double")
        .expect_err("it cannot be executed");
    let LookupError::Program(e) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{e}");
    assert!(e.to_string().contains("execve(2)"), "{e}");
}

#[test]
fn a_file_that_is_replaced_is_the_same_program_until_it_is_opened_again() {
    let copy = Copy::new("replaced");
    let old = Program::open(copy.path()).expect("a program");
    let double = old.task::<u32, u32>("double").expect("exported");
    let server = old.task::<(), u32>("server").expect("exported");
    let next = copy.path().with_extension("next");
    std::fs::copy(copy.path(), &next).expect("copied");
    std::fs::rename(&next, copy.path()).expect("replaced");
    let new = Program::open(copy.path()).expect("a program");
    assert_eq!(
        old.spawn(&double, 4)
            .expect("a process starts")
            .join()
            .expect("returns"),
        8
    );
    let pid = old
        .spawn(&server, ())
        .expect("a process starts")
        .join()
        .expect("returns");
    let theirs = new.task::<(), u32>("server").expect("exported");
    let other = new
        .spawn(&theirs, ())
        .expect("a process starts")
        .join()
        .expect("returns");
    assert_ne!(pid, other);
    // The old one is started again from its own file, which has no name any more.
    std::fs::remove_file(copy.path()).expect("removed");
    brigade_test_support::signal::kill(pid);
    let again = loop {
        match old.spawn(&server, ()) {
            Ok(handle) => match handle.join() {
                Ok(again) if again != pid => break again,
                _ => {}
            },
            Err(e) => panic!("{e}"),
        }
    };
    assert_ne!(again, pid);
    assert_eq!(
        old.spawn(&double, 4)
            .expect("a process starts")
            .join()
            .expect("returns"),
        8
    );
}

#[test]
fn a_file_that_was_written_to_is_refused_until_it_is_opened_again() {
    let copy = Copy::new("written");
    let program = Program::open(copy.path()).expect("a program");
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(copy.path())
        .expect("open");
    file.write_all(b"more").expect("written");
    drop(file);
    let error = program.task::<u32, u32>("double").expect_err("written to");
    assert!(error.to_string().contains("was written to"), "{error}");
    let program = Program::open(copy.path()).expect("a program");
    let double = program.task::<u32, u32>("double").expect("exported");
    assert_eq!(
        program
            .spawn(&double, 4)
            .expect("a process starts")
            .join()
            .expect("returns"),
        8
    );
}

#[test]
fn a_file_that_is_written_for_a_moment_is_waited_for_and_longer_is_refused() {
    let copy = Copy::new("busy");
    let program = Program::open(copy.path()).expect("a program");
    let writer = std::fs::OpenOptions::new()
        .append(true)
        .open(copy.path())
        .expect("open");
    let error = program
        .task::<u32, u32>("double")
        .expect_err("open for writing");
    let LookupError::Program(e) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(e.kind(), ErrorKind::ExecutableFileBusy, "{e}");
    drop(writer);
    program.task::<u32, u32>("double").expect("exported");
}
