//! A function's name across address spaces.
//!
//! Problem: a worker is the same program loaded at another address, so a function pointer of the
//! host means nothing there. A plain `fn`'s distance from the load address is the same in both, and
//! that travels. It is only believed where it falls into the program's code, and only between
//! processes of the same build, which the fork server's first message proves (see
//! `worker::process`). A function of a shared library has the library's number beside it
//! ([`library`]).

use std::io;

use super::library;
use crate::sys::image::ProgramImage;

/// The distance of a function from where its program was loaded; or, of a shared library, the
/// library's number and the distance from where that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Function(pub(crate) u64);

impl Function {
    /// Names the function at `address`, which is one of this process's.
    pub(crate) fn at(address: usize) -> io::Result<Function> {
        match ProgramImage::this().offset_of(address) {
            Some(offset) => Ok(Function(offset)),
            None => library::name(address).map(Function),
        }
    }

    /// The function's address in this process, which is a worker: of a library that its host has
    /// told it of, which is loaded now, if it was not.
    #[inline(always)]
    pub(crate) fn address(self) -> Option<usize> {
        match ProgramImage::this().address_of(self.0) {
            None => library::find(self.0),
            of_program => of_program,
        }
    }

    /// Why it has no [`address`](Self::address): the end of a sentence about the function.
    pub(crate) fn why_absent(self) -> String {
        library::why_absent(self.0)
    }

    /// What the [symbols](super::symbols) of this process, which has named it, find it by. 0: it is
    /// none.
    pub(crate) fn for_symbols(self) -> usize {
        let of_program = ProgramImage::this().address_of(self.0);
        let of_library = || library::place_of(self.0).map(|_| self.0 as usize);
        of_program.or_else(of_library).unwrap_or(0)
    }

    /// Whether it is code of the main program.
    pub(crate) fn is_of_program(self) -> bool {
        ProgramImage::this().address_of(self.0).is_some()
    }
}
