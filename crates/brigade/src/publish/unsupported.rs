//! In place of `page`, where there is no memory that readers find.

use std::io;

pub(super) struct Page;

impl Page {
    pub(super) fn start() -> io::Result<Page> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "what a program does is published on Linux only",
        ))
    }
}
