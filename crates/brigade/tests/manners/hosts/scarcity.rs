//! Hosts that have little of something.

use brigade::{JoinError, process};

use super::{Host, double, limit, spawn_works};

pub(crate) const HOSTS: &[(&str, Host)] = &[
    ("few-descriptors", few_descriptors),
    ("small-files", small_files),
    ("keeps-handles", keeps_handles),
];

/// Has as many descriptors open as it may when new workers arrive: an error for who asks, and
/// nothing for who runs already.
fn few_descriptors(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    use rustix::process::Resource::Nofile;
    brigade::init();
    let running: Vec<_> = (0..2)
        .map(|_| {
            process::spawn(
                |()| -> u32 {
                    loop {
                        std::thread::park();
                    }
                },
                (),
            )
        })
        .collect::<Result<_, _>>()?;
    let before = limit(Nofile, 0)?;
    let mut failed = 0;
    for _ in 0..12 {
        match process::spawn(double, 21) {
            Ok(handle) => drop(handle.join()?),
            Err(e) if e.to_string().contains("Too many open files") => failed += 1,
            Err(e) => return Err(e.into()),
        }
        // Neither may a value that needs a descriptor be lost in silence.
        match process::spawn(|text: String| text, "x".repeat(1 << 20)) {
            Ok(handle) => match handle.join() {
                Ok(text) if text.len() == 1 << 20 => {}
                Err(JoinError::Undeliverable(_)) => failed += 1,
                other => return Err(format!("{other:?}").into()),
            },
            Err(_) => failed += 1,
        }
    }
    rustix::process::setrlimit(Nofile, before)?;
    if failed == 0 || running.iter().any(brigade::JoinHandle::is_finished) {
        return Err(format!("{failed} failed; {running:?}").into());
    }
    for handle in running {
        handle.cancel();
        match handle.join() {
            Err(JoinError::Cancelled) => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    spawn_works()
}

/// A limit of file sizes: an error, not the SIGXFSZ that the kernel would send.
fn small_files(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    let before = limit(rustix::process::Resource::Fsize, 1 << 20)?;
    let error = process::spawn(double, 1).err().ok_or("it worked")?;
    let told = brigade::SystemError::of(&error).ok_or("no system call's")?;
    let limit = told.limit().unwrap_or_default();
    if told.raw_os_error() != libc::EFBIG || !limit.starts_with("RLIMIT_FSIZE is 1048576") {
        return Err(error.into());
    }
    rustix::process::setrlimit(rustix::process::Resource::Fsize, before)?;
    spawn_works()
}

/// Joins nothing until everything is started: more handles than the usual limit of descriptors.
fn keeps_handles(_: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    brigade::init();
    limit(rustix::process::Resource::Nofile, 256)?;
    let handles: Vec<_> = (0..600)
        .map(|n| process::spawn(double, n))
        .collect::<Result<_, _>>()?;
    for (n, handle) in (0..).zip(handles) {
        if handle.join()? != n * 2 {
            return Err("a wrong result".into());
        }
    }
    Ok(())
}
