//! A program in a bare container: there is nothing in /dev.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use brigade::process;
use libtest_mimic::Trial;

use crate::hosts::Host;
use crate::observe::{check, host};
use crate::steps;
use crate::trials::trial;

pub(crate) const HOSTS: &[(&str, Host)] = &[("bare", bare)];

pub(crate) fn trials() -> Vec<Trial> {
    ["", "stdin", "stderr", "stdin stderr"]
        .into_iter()
        .map(|closed| {
            let test = format!("a_host_without_dev_null_and: {closed}");
            trial(&test, move || without_dev(closed))
        })
        .collect()
}

fn without_dev(closed: &'static str) {
    let mut command = host("bare");
    command.arg(closed);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: system calls alone, which touch no memory of this process's.
    unsafe { command.pre_exec(empty_dev) };
    let output = match command.output() {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            eprintln!("skipped, because this user may not mount anything: {e}");
            return;
        }
        output => check("bare", output.expect("starts")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    for (step, end) in steps::told(&text) {
        assert_eq!(end, "ok", "{step}:\n{text}");
    }
    assert_eq!(steps::told(&text).len(), steps::names(false).len() + 2);
    assert!(
        text.lines().any(|line| line == "printed by a task"),
        "{text}"
    );
}

/// In a mount namespace of its own.
fn empty_dev() -> io::Result<()> {
    let none = std::ptr::null();
    // SAFETY: all strings are constants.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                none,
                c"/".as_ptr(),
                none,
                libc::MS_REC | libc::MS_PRIVATE,
                none.cast(),
            ) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/dev".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                none.cast(),
            ) == 0
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn bare(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: no memory is involved. It ends a host that waits for ever, which fails the test.
    unsafe { libc::alarm(60) };
    brigade::init();
    if std::path::Path::new("/dev/null").exists() {
        return Err("there is a /dev/null".into());
    }
    // Not before `main`: std would not start.
    for (number, name) in [(0, "stdin"), (2, "stderr")] {
        if args.iter().any(|closed| closed.contains(name)) {
            // SAFETY: nobody owns the numbers of the standard streams.
            unsafe { libc::close(number) };
        }
    }
    steps::all(false);
    steps::step("stdin", || {
        let rest = process::spawn(read_all, ())?.join()?;
        steps::same(rest, Ok(Vec::new()))
    });
    steps::step("prints", || Ok(process::spawn(print, ())?.join()?));
    Ok(())
}

fn read_all((): ()) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    let read = io::stdin().read_to_end(&mut all);
    read.map(|_| all).map_err(|e| e.to_string())
}

fn print((): ()) {
    println!("printed by a task");
    eprintln!("told by a task");
}
