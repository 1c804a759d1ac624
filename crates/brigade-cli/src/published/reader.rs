//! The memory that a program publishes in: crates/brigade/src/publish/README.md has the layout.
//!
//! It is another program's, which may change it at any time. So it is never read through the
//! mapping, but by pread(2), which copies; the mapping is only there for futex(2), whose calls take
//! an address and read it in the kernel.

use std::os::fd::{AsFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, SealFlags, fcntl_get_seals, fstat};
use rustix::io::pread;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::futex::{self, Flags};

use super::Published;
use super::numbers::number_inside;
use crate::inspect::proc_dir::{Hidden, ProcDir};

const TARGET: &[u8] = b"/memfd:brigade-published (deleted)";
const MAGIC: &[u8] = b"brigade-publish\n";
const VERSION: u32 = 1;
const NUMBER_AT: usize = 20;
const REQUEST_AT: usize = 24;
const TEXT_AT: usize = 64;
const SIZE: usize = 256 << 10;

/// How long a program may take to finish a text that it has begun.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often it is asked: it may be at work, or resting, when it is.
const AGAIN: Duration = Duration::from_millis(10);

/// What a program publishes.
#[derive(Debug)]
pub(crate) struct Reader {
    file: OwnedFd,
    at: NonNull<u8>,
    /// As the program sees itself.
    pid: u32,
}

struct Header {
    number: u32,
    len: usize,
}

impl Reader {
    /// `Ok(None)`: the program publishes nothing.
    pub(crate) fn find(dir: &ProcDir) -> Result<Option<Reader>, Hidden> {
        for number in dir.numbers("fd")? {
            let path = format!("fd/{number}");
            if dir.link(&path).is_ok_and(|target| target == TARGET) {
                let file = dir.open_target(&path)?;
                let reader = Reader::of(file, number_inside(dir)?).map_err(Hidden::Other)?;
                // One that a fork has inherited says that it is another's.
                if reader.header().is_ok() {
                    return Ok(Some(reader));
                }
            }
        }
        Ok(None)
    }

    fn of(file: OwnedFd, pid: u32) -> Result<Reader, String> {
        let stat = fstat(&file).map_err(|error| error.to_string())?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        // Only a memfd has seals.
        let seals = fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
        if !is_file || stat.st_size != SIZE as i64 || !seals.contains(SealFlags::SHRINK) {
            return Err("what it publishes is not as expected".into());
        }
        // SAFETY: at a place that the kernel chooses, so that nothing else is there.
        let at = unsafe {
            mmap(
                std::ptr::null_mut(),
                TEXT_AT,
                ProtFlags::READ,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        let at = at.map_err(|error| error.to_string())?;
        let at = NonNull::new(at.cast()).ok_or("mapped at address 0")?;
        Ok(Reader { file, at, pid })
    }

    /// Asks the program for its present state, and reads that. If the program does not answer (it
    /// is stopped, say) within `patience`, what it wrote before, and `is_stale`. The first name of
    /// a task takes a while: the program reads its own symbols for that.
    pub(crate) fn read(&self, patience: Duration) -> Result<Published, String> {
        let until = Instant::now() + patience;
        let before = self.header()?.number;
        let mut is_stale = true;
        while is_stale && Instant::now() < until {
            let _ = futex::wake(self.word(REQUEST_AT), Flags::empty(), 1);
            let _ = self.wait_for_change(before);
            let now = self.header()?.number;
            is_stale = now == before || now % 2 == 1;
        }
        // While it is written it is read again; a program that never finishes has its time.
        let until = Instant::now() + PATIENCE;
        loop {
            let header = self.header()?;
            if header.number.is_multiple_of(2) {
                let text = self.bytes(TEXT_AT, header.len)?;
                if self.header()?.number == header.number {
                    let mut published = Published::parse(&text)?;
                    published.is_stale = is_stale;
                    return Ok(published);
                }
            }
            if Instant::now() >= until {
                return Err("it does not finish what it publishes".into());
            }
            let _ = self.wait_for_change(header.number);
        }
    }

    fn wait_for_change(&self, from: u32) -> rustix::io::Result<()> {
        let time = futex::Timespec {
            tv_sec: 0,
            tv_nsec: AGAIN.subsec_nanos().into(),
        };
        futex::wait(self.word(NUMBER_AT), Flags::empty(), from, Some(&time))
    }

    fn header(&self) -> Result<Header, String> {
        let bytes = self.bytes(0, TEXT_AT)?;
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes)
        };
        if !bytes.starts_with(MAGIC) {
            return Err("what it publishes is not as expected".into());
        }
        let version = word(16);
        if version != VERSION {
            return Err(format!(
                "it publishes in version {version}, and this program reads version {VERSION}"
            ));
        }
        if word(28) != self.pid {
            return Err("it has this from the process that it was forked from".into());
        }
        let len = word(32) as usize;
        if len > SIZE - TEXT_AT {
            return Err("what it publishes is longer than it can be".into());
        }
        Ok(Header {
            number: word(NUMBER_AT),
            len,
        })
    }

    fn bytes(&self, at: usize, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            match pread(self.file.as_fd(), &mut bytes[done..], (at + done) as u64) {
                Ok(0) => return Err("what it publishes is cut off".into()),
                Ok(read) => done += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(format!("reading what it publishes: {error}")),
            }
        }
        Ok(bytes)
    }

    /// A word, for futex(2) alone: it is not to be read here.
    fn word(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at.is_multiple_of(4) && at + 4 <= TEXT_AT);
        // SAFETY: within what `of` has mapped, and aligned. Nothing in this program reads or writes
        // it: the kernel takes the address, and answers with an error where it does not like it.
        unsafe { self.at.add(at).cast::<AtomicU32>().as_ref() }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: exactly what `of` has mapped, and references into it borrow from `self`.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), TEXT_AT) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::fs::{MemfdFlags, fcntl_add_seals, ftruncate, memfd_create};
    use rustix::io::pwrite;

    use super::*;

    /// A page with these bytes, as a program that means ill would make it.
    fn page(bytes: &[u8]) -> Reader {
        let file = memfd_create("brigade-published", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, SIZE as u64).unwrap();
        pwrite(&file, bytes, 0).unwrap();
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        Reader::of(file, 7).unwrap()
    }

    fn header(version: u32, number: u32, pid: u32, len: u32) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for word in [version, number, 0, pid, len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(TEXT_AT, 0);
        bytes
    }

    #[test]
    fn a_page_that_no_program_writes_is_stale() {
        let mut bytes = header(1, 2, 7, 2);
        bytes.extend(b"{}");
        assert!(page(&bytes).read(AGAIN).unwrap().is_stale);
    }

    #[test]
    fn pages_that_lie_are_errors() {
        for (bytes, why) in [
            (vec![], "not as expected"),
            (header(2, 2, 7, 2), "version 2"),
            (header(1, 2, 8, 2), "forked"),
            (header(1, 2, 7, SIZE as u32), "longer"),
            (header(1, 2, 7, u32::MAX), "longer"),
            (header(1, 3, 7, 2), "does not finish"),
            (header(1, 2, 7, 100), "not as expected"),
        ] {
            let error = page(&bytes).read(AGAIN).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn files_that_could_shrink_or_are_no_memory_are_not_mapped() {
        let loose = memfd_create("brigade-published", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&loose, SIZE as u64).unwrap();
        assert!(Reader::of(loose, 7).is_err());
        let (reader, _writer) = std::io::pipe().unwrap();
        assert!(Reader::of(reader.into(), 7).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Any bytes are an error or something that can be shown; never a panic.
        #[test]
        fn any_text_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(published) = Published::parse(&text) {
                let shown = serde_json::to_string(&published).unwrap();
                prop_assert!(!shown.contains(char::is_control));
            }
        }

        /// The same for what is nearly right.
        #[test]
        fn any_names_can_be_shown(name in ".*", id in any::<u32>(), age in any::<u64>()) {
            let text = serde_json::json!({"pools": [{
                "kind": name, "name": name, "number": age,
                "list": [{"id": id, "state": name, "task": name, "for_ns": age}],
            }]});
            let published = Published::parse(text.to_string().as_bytes()).unwrap();
            prop_assert!(!published.pools[0].title().contains(char::is_control));
            super::super::age(published.pools[0].list[0].for_ns.unwrap());
        }
    }
}
