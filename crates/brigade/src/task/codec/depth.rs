//! How deep values may be nested. Serde encodes and decodes by recursion, on the stack of the code
//! that does it.
//!
//! A value that is nested too deeply is refused, before the stack overflows. How much stack a level
//! takes is up to the compiler and to the types, so what counts is what is left; the levels are
//! counted as well, for stacks that are not known.

use super::error::{Error, Result};
use crate::sys::stack;

/// The most levels. A level is a struct, a sequence, a map, a `Some`, or a variant with a value.
const MAX_LEVELS: usize = 1 << 16;

/// The most levels on a stack of unknown size.
const LIMIT_UNKNOWN: usize = 4096;

/// Of those, the most in a buffer of serde's.
const LIMIT_UNKNOWN_BUFFERED: usize = 128;

/// Levels for which nobody looks at the stack. Without optimization, a level can take 10 KiB of it.
const UNCHECKED: usize = if cfg!(debug_assertions) { 4 } else { 16 };

/// What has to be left of the stack, for what runs between two looks at it, and for dropping what
/// was decoded.
const RESERVE: usize = 128 << 10;

/// What has to be left of the stack for each level in one of serde's buffers (`untagged`, `flatten`
/// and the like), beside that: what is in there is looked at again when all of it is read, by code
/// that asks nobody whether there is room. JSON reads 128 levels, for which this is enough on a
/// thread's stack of 2 MiB, where the program is optimized.
const BUFFERED: usize = if cfg!(debug_assertions) {
    12 << 10
} else {
    8 << 10
};

/// The levels that are open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Depth(usize);

impl Depth {
    /// One level further in.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> Result<()> {
        self.0 += 1;
        if self.0 > UNCHECKED {
            return self.check();
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn leave(&mut self) {
        self.0 -= 1;
    }

    /// The next level is one in a buffer of serde's, in which `buffered` are open.
    pub(super) fn check_buffered(self, buffered: usize) -> Result<()> {
        match stack::left() {
            Some(left) if left < RESERVE + buffered * BUFFERED => Err(self.too_deep()),
            None if buffered > LIMIT_UNKNOWN_BUFFERED => Err(Self::over(LIMIT_UNKNOWN_BUFFERED)),
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn check(self) -> Result<()> {
        match stack::left() {
            Some(left) if left < RESERVE => Err(self.too_deep()),
            Some(_) if self.0 > MAX_LEVELS => Err(Self::over(MAX_LEVELS)),
            None if self.0 > LIMIT_UNKNOWN => Err(Self::over(LIMIT_UNKNOWN)),
            _ => Ok(()),
        }
    }

    #[cold]
    fn too_deep(self) -> Error {
        Error::grave(format_args!(
            "it is nested {} levels deep, which is as deep as this thread's stack allows",
            self.0
        ))
    }

    #[cold]
    fn over(limit: usize) -> Error {
        Error::grave(format_args!("it is nested more than {limit} levels deep"))
    }
}
