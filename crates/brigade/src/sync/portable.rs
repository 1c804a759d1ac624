//! In place of [`liveness`](super::liveness) and futex(2), where there are no worker processes: all
//! holders of locks are threads of this program, and live as long as it does.

use std::time::Instant;

use crate::sim::shared::AtomicU32;
use crate::sys::futex::{self, Wake};

/// The program, in 31 bits, not zero; the highest bit is the lock word's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u32);

impl Token {
    /// The bits of a word that are a token.
    pub(crate) const MASK: u32 = (1 << 31) - 1;

    #[inline]
    pub(crate) fn mine() -> Token {
        Token(1)
    }

    #[inline]
    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    /// `None`: of no process.
    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Option<Token> {
        Some(Token(bits & Token::MASK)).filter(|token| token.0 != 0)
    }
}

/// A watch over processes, none of which dies.
#[derive(Debug)]
pub(crate) struct DeathWatch;

impl DeathWatch {
    pub(crate) fn begin() -> DeathWatch {
        DeathWatch
    }

    pub(crate) fn is_dead(&mut self, _: Token) -> bool {
        false
    }

    /// Sleeps while `word` is `expected`, and no longer than until the deadline. May come back
    /// early.
    pub(crate) fn sleep(&self, word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Wake {
        futex::wait_private(word, expected, deadline)
    }
}
