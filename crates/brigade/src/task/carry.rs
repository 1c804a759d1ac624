//! Descriptors that travel with a message.
//!
//! Bytes alone cannot carry an end of a channel, a shared region or a file: their descriptors go
//! beside the bytes, over a Unix socket. While a value is encoded, what it is made of [`attach`]es
//! its descriptors here and writes the number it was given into the bytes; while it is decoded, it
//! [`take`]s them back by that number. The code that encodes and decodes (a task's input and
//! result, a channel's message) opens the list with [`Collecting`] and [`provide`]. Anything else
//! that serializes such a value (JSON, say) has opened no list, and gets an error.
//!
//! The lists are the thread's own, for serde hands no context through. They nest: a `Serialize`
//! implementation may itself send a message.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;

use crate::sys::carried::Carried;

/// The most descriptors that one message may carry: what the kernel takes with one datagram
/// (`SCM_MAX_FD`, 253), less some for its carrier.
pub(crate) const MAX: usize = 240;

thread_local! {
    // None of these has a destructor: a message without descriptors, which is nearly every one,
    // costs no more than a look, and the lists are there as long as the thread runs, also in the
    // destructors of other locals. They are empty, and have no memory, when no message is being
    // encoded or decoded.
    static COLLECTING: Cell<bool> = const { Cell::new(false) };
    static COLLECTED: Cell<usize> = const { Cell::new(0) };
    static FIRST: Cell<usize> = const { Cell::new(0) };
    static EXCLUSIVE: Cell<usize> = const { Cell::new(0) };
    static TOOK_EXCLUSIVE: Cell<bool> = const { Cell::new(false) };
    static ATTACHED: Lasting<Vec<Carried>> = const { Lasting::new(RefCell::new(Vec::new())) };
    static PROVIDING: Cell<usize> = const { Cell::new(0) };
    static PROVIDED: Lasting<Vec<Option<Carried>>> = const { Lasting::new(RefCell::new(Vec::new())) };
}

type Lasting<T> = ManuallyDrop<RefCell<T>>;

/// While it lives, descriptors can be attached. Puts the counters back, also after a panic.
pub(crate) struct Collecting {
    outer: (bool, usize),
}

impl Collecting {
    #[inline(always)]
    pub(crate) fn begin() -> Collecting {
        let outer = (COLLECTING.replace(true), FIRST.replace(COLLECTED.get()));
        Collecting { outer }
    }

    /// The descriptors that were attached so far.
    #[inline(always)]
    pub(crate) fn take(&self) -> Vec<Carried> {
        match COLLECTED.get() == FIRST.get() {
            true => Vec::new(),
            false => self.take_attached(),
        }
    }

    #[cold]
    fn take_attached(&self) -> Vec<Carried> {
        let first = FIRST.get();
        COLLECTED.set(first);
        TOOK_EXCLUSIVE.set(EXCLUSIVE.get() > first);
        if EXCLUSIVE.get() > first {
            EXCLUSIVE.set(0);
        }
        ATTACHED.with(|all| {
            let mut all = all.borrow_mut();
            // With its memory, where it is all there is.
            match first {
                0 => std::mem::take(&mut *all),
                _ => all.split_off(first),
            }
        })
    }
}

impl Drop for Collecting {
    #[inline(always)]
    fn drop(&mut self) {
        drop(self.take());
        COLLECTING.set(self.outer.0);
        FIRST.set(self.outer.1);
    }
}

/// Runs `encode`, and gives the descriptors that were attached meanwhile.
#[cfg(test)]
pub(crate) fn collect<R>(encode: impl FnOnce() -> R) -> (R, Vec<Carried>) {
    let collecting = Collecting::begin();
    let encoded = encode();
    let descriptors = collecting.take();
    (encoded, descriptors)
}

/// Attaches a copy of a descriptor to the message that is being encoded. Gives its number in that
/// message.
#[cfg(unix)]
pub(crate) fn attach<E: serde::ser::Error>(descriptor: impl std::os::fd::AsFd) -> Result<u32, E> {
    attach_with(|| {
        crate::sys::carried::copy(descriptor)
            .map_err(|e| E::custom(format_args!("a descriptor could not be copied: {e}")))
    })
}

/// Attaches what is made when there is room for it.
pub(crate) fn attach_with<E: serde::ser::Error>(
    make: impl FnOnce() -> Result<Carried, E>,
) -> Result<u32, E> {
    if !COLLECTING.get() {
        return Err(E::custom(
            "it has a descriptor, which only a task's input or result or a channel's message can carry",
        ));
    }
    let number = COLLECTED.get() - FIRST.get();
    if number >= MAX {
        return Err(E::custom(format_args!(
            "it has more than {MAX} descriptors"
        )));
    }
    let carried = make()?;
    ATTACHED.with(|all| {
        let mut all = all.borrow_mut();
        if all.capacity() == 0 {
            *all = Vec::with_capacity(4);
        }
        all.push(carried);
    });
    COLLECTED.set(COLLECTED.get() + 1);
    Ok(number as u32)
}

/// What was attached last can be decoded once: the message is good for one receiver, whichever
/// process dies.
pub(crate) fn attached_is_exclusive() {
    EXCLUSIVE.set(COLLECTED.get());
}

/// Whether there was such a descriptor among those that this thread has last taken.
#[cfg(all(target_os = "linux", not(brigade_portable)))]
pub(crate) fn took_exclusive() -> bool {
    TOOK_EXCLUSIVE.get()
}

struct Providing {
    /// Of the message that this one is within.
    outer: Vec<Option<Carried>>,
}

impl Drop for Providing {
    fn drop(&mut self) {
        PROVIDING.set(PROVIDING.get() - 1);
        let outer = std::mem::take(&mut self.outer);
        // Closed after the list is free again.
        let left = PROVIDED.with(|list| list.replace(outer));
        drop(left);
    }
}

/// Runs `decode`, which may take these descriptors. Those that it does not take are closed.
#[inline]
pub(crate) fn provide<R>(descriptors: Vec<Carried>, decode: impl FnOnce() -> R) -> R {
    if descriptors.is_empty() && PROVIDING.get() == 0 {
        return decode();
    }
    let list = descriptors.into_iter().map(Some).collect();
    let outer = PROVIDED.with(|there| there.replace(list));
    PROVIDING.set(PROVIDING.get() + 1);
    let _providing = Providing { outer };
    decode()
}

/// Takes a descriptor of the message that is being decoded, by its number there. Each can be taken
/// once.
pub(crate) fn take<E: serde::de::Error>(number: u32) -> Result<Carried, E> {
    let taken = if PROVIDING.get() == 0 {
        None
    } else {
        PROVIDED.with(|list| list.borrow_mut().get_mut(number as usize)?.take())
    };
    taken.ok_or_else(|| E::custom("a descriptor that it needs did not come with it"))
}

#[cfg(all(test, target_os = "linux", not(brigade_portable)))]
mod tests {
    use super::*;
    use serde::de::value::Error;

    fn null() -> std::fs::File {
        std::fs::File::open("/dev/null").expect("/dev/null")
    }

    #[test]
    fn numbers_begin_anew_in_a_message_within_a_message() {
        let (inner, outer) = collect(|| {
            assert_eq!(attach::<Error>(null()), Ok(0));
            let (number, inner) = collect(|| attach::<Error>(null()));
            assert_eq!(number, Ok(0));
            assert_eq!(attach::<Error>(null()), Ok(1));
            inner
        });
        assert_eq!((inner.len(), outer.len()), (1, 2));
        assert!(attach::<Error>(null()).is_err(), "nobody collects");
    }

    #[test]
    fn a_thread_keeps_nothing_between_messages() {
        let ((), descriptors) = collect(|| {
            attach::<Error>(null()).expect("attached");
            let (number, _) = collect(|| attach::<Error>(null()));
            number.expect("attached");
        });
        assert_eq!(ATTACHED.with(|all| all.borrow().capacity()), 0);
        provide(descriptors, || drop(take::<Error>(0)));
        assert_eq!(PROVIDED.with(|all| all.borrow().capacity()), 0);
    }

    #[test]
    fn each_is_taken_once_and_by_the_innermost() {
        provide(vec![null().into()], || {
            provide(Vec::new(), || assert!(take::<Error>(0).is_err()));
            assert!(take::<Error>(0).is_ok());
            assert!(take::<Error>(0).is_err(), "taken");
            assert!(take::<Error>(1).is_err(), "never there");
        });
        assert!(take::<Error>(0).is_err(), "nobody provides");
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let ended = std::panic::catch_unwind(|| {
            collect(|| {
                attach::<Error>(null()).expect("attached");
                panic!("a serializer's own");
            })
        });
        assert!(ended.is_err());
        assert!(attach::<Error>(null()).is_err());
        let ((), descriptors) = collect(|| ());
        assert!(descriptors.is_empty());
    }

    #[test]
    fn too_many_are_an_error() {
        let (refused, descriptors) = collect(|| {
            (0..=MAX)
                .map(|_| attach::<Error>(null()))
                .find_map(Result::err)
        });
        assert!(
            refused
                .expect("refused")
                .to_string()
                .contains("more than 240")
        );
        assert_eq!(descriptors.len(), MAX);
    }
}
