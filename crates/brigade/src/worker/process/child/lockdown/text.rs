//! What a signal handler has to say of a call: a text that is made without an allocation.

#![expect(unsafe_code, reason = "reads a task's own strings")]

use std::fmt;

use crate::worker::process::ipc::mailbox::REFUSED_TEXT as TEXT;

/// A text of limited length, made without an allocation.
pub(super) struct CallText {
    bytes: [u8; TEXT],
    len: usize,
}

impl Default for CallText {
    fn default() -> CallText {
        CallText {
            bytes: [0; TEXT],
            len: 0,
        }
    }
}

impl CallText {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// Appends a task's string, and stops at what is no printable character.
    pub(super) fn push_path(&mut self, path: usize) {
        if path == 0 {
            return;
        }
        let mut at = path as *const u8;
        loop {
            // SAFETY: the task passed it as a string to a system call. If it is none, this is the
            // task's own fault of memory, and told as such. No byte after the string's end is read.
            let byte = unsafe { at.read() };
            if !(b' '..=b'~').contains(&byte) || self.len == TEXT {
                return;
            }
            self.bytes[self.len] = byte;
            self.len += 1;
            at = at.wrapping_add(1);
        }
    }
}

impl fmt::Write for CallText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().filter(u8::is_ascii).take(TEXT - self.len) {
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}
