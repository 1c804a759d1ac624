//! The fork server of this program.

use std::io;

use brigade::process::Builder;
use brigade_test_support::{procfs, wait};

/// The name of a fork server.
pub(crate) const NAME: &str = "brigade-server";

/// The fork server of this program, found through a worker: it is the worker's parent.
pub(crate) fn find() -> io::Result<u32> {
    find_of(&Builder::new())
}

/// That of such workers: those in a sandbox have one of their own.
pub(crate) fn find_of(builder: &Builder) -> io::Result<u32> {
    wait::until_found("a worker of a fork server that is there", || {
        let worker = builder.spawn(|()| std::os::unix::process::parent_id(), ())?;
        let server = worker.join().map_err(io::Error::other)?;
        match procfs::name(server) {
            Ok(name) if name == NAME => Ok(Some(server)),
            Ok(other) => Err(io::Error::other(format!(
                "a worker's parent, process {server}, is called `{other}`, not `{NAME}`"
            ))),
            // It was killed just now, and its workers die with it: a moment later.
            Err(e) if procfs::is_gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    })
}
