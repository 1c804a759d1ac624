//! The memory that readers find, and the thread that writes it when one asks. README.md has the
//! layout, and why it is so.

#![expect(unsafe_code, reason = "memory shared with readers")]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

use rustix::fs::{Mode, SealFlags};

use super::text::Writer;
use crate::sys::error::{Call as _, THREAD};
use crate::sys::futex;
use crate::sys::mapping::{self, Mapping};
use crate::sys::signal::Blocked;
use crate::task::contain::contained;

const NAME: &str = "brigade-published";
const MAGIC: &[u8; 16] = b"brigade-publish\n";
const VERSION: u32 = 1;
const VERSION_AT: usize = 16;
const NUMBER_AT: usize = 20;
const REQUEST_AT: usize = 24;
const PID_AT: usize = 28;
const LEN_AT: usize = 32;
const TEXT_AT: usize = 64;
const SIZE: usize = 256 << 10;

/// How long the thread rests after each text, whichever process asks.
const REST: Duration = Duration::from_millis(50);

/// What keeps the memory where readers find it.
pub(super) struct Page {
    _file: OwnedFd,
}

impl Page {
    pub(super) fn start() -> io::Result<Page> {
        let file = mapping::memfd_of(NAME, SIZE, mapping::SIZE_SEALS)?;
        let memory = Mapping::writable(&file, SIZE)?;
        memory.keep_from_children()?;
        // From here on all writes go through that mapping, and that is only in this process.
        mapping::add_seals(&file, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        rustix::fs::fchmod(&file, Mode::RUSR).call("fchmod(2)")?;
        let mut text = PageText(memory);
        text.head();
        text.write(&mut Writer::default());
        let blocked = Blocked::all();
        std::thread::Builder::new()
            .name("brigade-publish".to_owned())
            .spawn(move || text.answer())
            .call(THREAD)
            .needed_to("publish what pools do")?;
        drop(blocked);
        Ok(Page { _file: file })
    }
}

/// The memory, which one thread writes.
struct PageText(Mapping);

impl PageText {
    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at % 4 == 0 && at + 4 <= self.0.len());
        // SAFETY: within the mapping and aligned, for that begins on a page; the file is sealed
        // against shrinking. It is only ever used as an atomic by this process, and readers cannot
        // write it.
        unsafe { self.0.at().add(at).cast::<AtomicU32>().as_ref() }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        assert!(bytes.len() <= self.0.len() - at);
        // SAFETY: within the mapping, as just checked, and no reference into this part of it is
        // ever made. No other thread has the mapping; readers in other processes may see any part
        // of this, and tell by the number.
        unsafe {
            let to = self.0.at().add(at).as_ptr();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    fn head(&mut self) {
        self.put(0, MAGIC);
        self.word(VERSION_AT).store(VERSION, Ordering::Relaxed);
        let pid = std::process::id();
        self.word(PID_AT).store(pid, Ordering::Relaxed);
    }

    /// Writes the present state.
    fn write(&mut self, writer: &mut Writer) {
        let mut text = Vec::new();
        // Wakers and destructors of the program's may run in this.
        contained(|| text = writer.write(SIZE - TEXT_AT));
        let number = self.word(NUMBER_AT).load(Ordering::Relaxed);
        self.word(NUMBER_AT)
            .store(number.wrapping_add(1), Ordering::Relaxed);
        // The odd number is seen no later than what follows.
        fence(Ordering::Release);
        self.put(TEXT_AT, &text);
        self.word(LEN_AT)
            .store(text.len() as u32, Ordering::Relaxed);
        self.word(NUMBER_AT)
            .store(number.wrapping_add(2), Ordering::Release);
        futex::wake_all_shared(self.word(NUMBER_AT));
    }

    /// The thread: writes when a reader wakes it.
    fn answer(mut self) {
        let mut writer = Writer::default();
        loop {
            futex::wait_shared(self.word(REQUEST_AT), 0, None);
            self.write(&mut writer);
            futex::rest(REST);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_write_it_but_the_program() {
        let page = Page::start().unwrap();
        assert!(rustix::io::pwrite(&page._file, b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(&page._file, 0).is_err());
        assert!(Mapping::writable(&page._file, SIZE).is_err());
        assert!(mapping::add_seals(&page._file, SealFlags::WRITE).is_err());
        let mode = rustix::fs::fstat(&page._file).unwrap().st_mode;
        assert_eq!(mode & 0o7777, 0o400);
    }
}
