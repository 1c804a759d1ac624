//! A function's name across address spaces.
//!
//! Problem: a worker is the same program loaded at another address, so a function pointer of the
//! host means nothing there. A plain `fn`'s distance from the load address is the same in both, and
//! that travels. It is only believed where it falls into the program's code, and only between
//! processes of the same build, which the fork server's first message proves (see
//! `worker::process`).

use std::io;

use crate::sys::image::ProgramImage;

/// The distance of a function from where its program was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Function(pub(crate) u64);

impl Function {
    /// Names the function at `address`, which is one of this process's.
    pub(crate) fn at(address: usize) -> io::Result<Function> {
        ProgramImage::this().offset_of(address).map(Function).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::Unsupported,
                "the task's function is not code of the main program (it is in a shared library), so a worker process cannot find it",
            )
        })
    }

    /// The function's address in this process.
    pub(crate) fn address(self) -> Option<usize> {
        ProgramImage::this().address_of(self.0)
    }
}
