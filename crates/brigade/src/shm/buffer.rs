//! A region to be filled by one owner.

#![expect(
    unsafe_code,
    reason = "the bytes are borrowed from where they are mapped"
)]

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use super::Shared;
use super::draft::{self, MappedDraft, Memory, file_len};
use super::region::Region;

/// Bytes that are written by one owner, and then sealed and shared: a large result without a copy.
///
/// ```
/// use brigade::{Shared, shm::Buffer, thread};
///
/// /// A picture, one byte per pixel.
/// fn render((width, height): (usize, usize)) -> Result<Shared<[u8]>, String> {
///     let mut picture = Buffer::zeroed(width * height).map_err(|e| e.to_string())?;
///     for (y, line) in picture.chunks_exact_mut(width).enumerate() {
///         line.fill(y as u8);
///     }
///     picture.into_shared().map_err(|e| e.to_string())
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let picture = thread::spawn(render, (640, 480))?.join()??;
/// assert_eq!((picture.len(), picture[641]), (640 * 480, 1));
/// # Ok(())
/// # }
/// ```
///
/// It holds bytes, which [`view_mut`](super::view_mut) shows as numbers; a region of one owner for
/// values of any other type is a [`Writable`](super::Writable).
///
/// Most of what a large buffer costs is its pages: where the same memory is filled again and again
/// and its readers take turns, a `Shared` of atomics or of a lock, kept and sent each time, saves
/// that.
///
/// A child that the process makes by `fork` without `exec` does not inherit it: to touch it there
/// is a `SIGSEGV`.
pub struct Buffer {
    memory: MappedDraft,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` bytes, all zero. Its memory is there, and mapped: that takes longest, and
    /// filling it then runs at full speed.
    ///
    /// # Errors
    /// There is no memory, or a limit of the process (descriptors, RLIMIT_FSIZE, RLIMIT_AS) is
    /// reached.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let mut buffer = brigade::shm::Buffer::zeroed(5)?;
    /// buffer[1..4].copy_from_slice(b"abc");
    /// assert_eq!(*buffer, *b"\0abc\0");
    /// # Ok(())
    /// # }
    /// ```
    pub fn zeroed(len: usize) -> io::Result<Buffer> {
        let size = file_len(1, len)?;
        let memory = MappedDraft::new(draft::make(size, Memory::Reserved)?, size)?;
        memory.populate();
        Ok(Buffer { memory, len })
    }

    /// A buffer that begins as a copy of these bytes.
    ///
    /// # Errors
    /// As [`zeroed`](Buffer::zeroed).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let mut buffer = brigade::shm::Buffer::from_slice(b"mine")?;
    /// buffer[0] = b'f';
    /// assert_eq!(*buffer, *b"fine");
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_slice(bytes: &[u8]) -> io::Result<Buffer> {
        let size = file_len(1, bytes.len())?;
        let mut file = draft::make(
            size,
            if bytes.is_empty() {
                Memory::Reserved
            } else {
                Memory::Written
            },
        )?;
        // SAFETY: the slice is valid for reads of its length.
        unsafe { draft::write(&mut file, bytes.as_ptr(), bytes.len()) }?;
        Ok(Buffer {
            memory: MappedDraft::new(file, size)?,
            len: bytes.len(),
        })
    }

    /// Bytes in it.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// assert_eq!(brigade::shm::Buffer::zeroed(100)?.len(), 100);
    /// # Ok(())
    /// # }
    /// ```
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes in it.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// assert!(brigade::shm::Buffer::zeroed(0)?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Seals it, so that no process can change it any more, hostile or not, and makes it one to
    /// share. No byte is copied.
    ///
    /// # Errors
    /// It could not be mapped anew, or something else holds its memory at the moment, as a debugger
    /// or a device can. Its content is lost then.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let shared = brigade::shm::Buffer::from_slice(b"once and for all")?.into_shared()?;
    /// assert!(shared.is_sealed());
    /// assert_eq!(*shared, *b"once and for all");
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_shared(self) -> io::Result<Shared<[u8]>> {
        let Buffer { memory, len } = self;
        Ok(Shared::slice(Region::seal(memory.unmap(), true)?, len))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` is at most what was mapped; a file's bytes are initialized. The file was
        // made here, and its descriptor has never left this struct: this mapping is the only one,
        // and what is borrowed from it is governed by `self`.
        unsafe { std::slice::from_raw_parts(self.memory.at().as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; it is mapped to be written, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.memory.at().as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("bytes", &self.len).finish()
    }
}

#[cfg(all(test, target_os = "linux", not(brigade_portable)))]
mod tests {
    use super::*;
    use crate::sys::mapping::Mapping;

    #[test]
    fn it_is_zero_then_what_was_written_and_then_it_cannot_be_changed() {
        let mut buffer = Buffer::zeroed(10_000).expect("made");
        assert!(buffer.iter().all(|&b| b == 0));
        buffer[9_999] = 7;
        let other = rustix::io::fcntl_dupfd_cloexec(buffer.memory.file(), 3).expect("dup");
        rustix::io::pwrite(&other, &[8], 9_998).expect("not sealed yet");
        let shared = buffer.into_shared().expect("sealed");
        assert_eq!((shared.len(), shared[9_998], shared[9_999]), (10_000, 8, 7));
        assert_eq!(
            rustix::io::pwrite(&other, &[9], 0),
            Err(rustix::io::Errno::PERM)
        );
        assert!(Mapping::writable(&other, 4096).is_err());
    }

    #[test]
    fn somebody_who_still_can_write_keeps_it_from_being_shared() {
        let buffer = Buffer::from_slice(b"x").expect("made");
        let other = Mapping::writable(buffer.memory.file(), 4096).expect("mapped");
        let e = buffer.into_shared().expect_err("mapped elsewhere");
        assert_eq!(e.kind(), io::ErrorKind::ResourceBusy);
        drop(other);
    }

    #[test]
    fn an_empty_one() {
        for buffer in [Buffer::zeroed(0), Buffer::from_slice(&[])] {
            let buffer = buffer.expect("made");
            assert!(buffer.is_empty());
            assert!(buffer.into_shared().expect("sealed").is_empty());
        }
    }

    #[test]
    fn too_large_is_an_error() {
        for len in [usize::MAX, isize::MAX as usize, 1 << 50] {
            assert!(Buffer::zeroed(len).is_err(), "{len}");
        }
    }
}
