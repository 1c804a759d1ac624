//! procspawn: a process a call, by executing the program again.

use std::io;

pub(crate) const NAME: &str = "procspawn 1.0.2";

pub(crate) fn spawn() -> io::Result<()> {
    procspawn::spawn((), |()| ())
        .join()
        .map_err(io::Error::other)
}
