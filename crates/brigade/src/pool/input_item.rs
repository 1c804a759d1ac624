//! What a map takes as an input.

use std::borrow::Borrow;

/// An input of a map: a value, or a reference to one that the caller keeps.
///
/// It cannot be named outside of this crate.
pub trait InputItem<A>: Borrow<A> {
    /// The value, for a task that is given it as it is.
    fn into_value(self) -> A;
}

impl<A> InputItem<A> for A {
    #[inline]
    fn into_value(self) -> A {
        self
    }
}

impl<A: Clone> InputItem<A> for &A {
    fn into_value(self) -> A {
        self.clone()
    }
}
