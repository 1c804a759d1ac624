//! Why messages came back from a channel, though its receiver is there.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::usable;

thread_local! {
    /// Why the last message that this thread could not send came back, and which side sent it:
    /// another thread that sends with the same side must not overwrite the reason.
    static FAULT: Cell<Option<(u64, Option<String>)>> = const { Cell::new(None) };
}

/// What is remembered of a sending side's messages.
#[derive(Debug)]
pub(super) struct SendFault {
    /// Of any thread.
    any: Mutex<Option<String>>,
    /// No other side that this process ever has is given the same.
    number: u64,
}

impl SendFault {
    pub(super) fn new() -> SendFault {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        SendFault {
            any: Mutex::new(None),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Remembers why it was, or that it was for no other reason.
    pub(super) fn set(&self, why: Option<String>) {
        let _ = FAULT.try_with(|own| own.set(Some((self.number, why.clone()))));
        // Not waited for: another thread that has it puts its own reason there, and in a fork it
        // may be a thread that is not there.
        if let Some(mut any) = usable(self.any.try_lock()) {
            *any = why;
        }
    }

    /// Of this thread's last message that was refused, if that was this channel's; or else of any
    /// thread's.
    pub(super) fn get(&self) -> Option<String> {
        match own() {
            Some((number, why)) if number == self.number => why,
            _ => usable(self.any.try_lock())?.clone(),
        }
    }
}

/// Of this thread's last message that came back, and to which side.
fn own() -> Option<(u64, Option<String>)> {
    let kept = FAULT.try_with(|kept| {
        let own = kept.take();
        kept.set(own.clone());
        own
    });
    kept.ok().flatten()
}

/// Why this thread's last message that came back came back. `Some(None)`: the receiver is gone.
/// `None`: none has come back.
pub(super) fn last() -> Option<Option<String>> {
    own().map(|(_, why)| why)
}
