//! Films and chunks as files: AV1 in IVF, which `ffmpeg` and the players that are made of it open.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use render_farm::picture::Size;

/// Bytes before the first packet.
const HEADER: usize = 32;
/// Where the header has the number of frames.
const COUNT: Range<usize> = 24..28;
/// Bytes before each packet's own: its length, and the number of its frame.
const BEFORE_PACKET: usize = 12;

/// The header of a film of so many frames.
pub(crate) fn header(size: Size, rate: u32, frames: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    // It panics where writing fails, which it does not in memory.
    ivf::write_ivf_header(&mut bytes, size.width, size.height, rate as usize, 1);
    bytes[COUNT].copy_from_slice(&frames.to_le_bytes());
    bytes
}

/// A chunk as a film of its own, whose frames have the numbers that they have in the whole.
pub(crate) fn chunk(size: Size, rate: u32, first: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = header(size, rate, packets.len() as u32);
    for (number, packet) in (u64::from(first)..).zip(packets) {
        ivf::write_ivf_frame(&mut bytes, number, packet);
    }
    bytes
}

/// The packets of a chunk, each with what is before it, if it is one of these frames of such a
/// film.
pub(crate) fn packets_of(chunk: &[u8], size: Size, rate: u32, frames: Range<u32>) -> Option<&[u8]> {
    let (before, packets) = chunk.split_at_checked(HEADER)?;
    if before != header(size, rate, frames.len() as u32) {
        return None;
    }
    let mut rest = packets;
    for number in frames {
        let (before, others) = rest.split_at_checked(BEFORE_PACKET)?;
        let (len, at) = before.split_first_chunk()?;
        if at != u64::from(number).to_le_bytes() {
            return None;
        }
        rest = others.get(u32::from_le_bytes(*len) as usize..)?;
    }
    rest.is_empty().then_some(packets)
}

/// A file that gets its name when all of it is there.
#[derive(Debug)]
pub(crate) struct Draft {
    file: File,
    to: PathBuf,
    path: PathBuf,
    is_kept: bool,
}

impl Draft {
    /// Begins it, beside where it is to be: what is in the way there is found out before any work.
    pub(crate) fn create(to: &Path) -> Result<Draft, String> {
        if fs::metadata(to).is_ok_and(|there| !there.is_file()) {
            return Err(format!("{}: it is there, and is no file", to.display()));
        }
        let mut name = to.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = loop {
            let file = open(&path)?;
            if take(&file, &path)? {
                break file;
            }
        };
        file.set_len(0).map_err(at(&path))?;
        Ok(Draft {
            file,
            to: to.to_owned(),
            path,
            is_kept: false,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.file.write_all(bytes).map_err(at(&self.path))
    }

    /// Gives it its name. It is on the disk then, whatever happens to the machine.
    pub(crate) fn keep(mut self) -> Result<(), String> {
        self.file.sync_all().map_err(at(&self.path))?;
        fs::rename(&self.path, &self.to).map_err(at(&self.to))?;
        self.is_kept = true;
        let dir = match self.to.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(at(dir))
    }
}

/// Opens the file of a draft. One that an earlier run has left is taken over.
fn open(path: &Path) -> Result<File, String> {
    let mut open = File::options();
    let open = open.write(true).create(true).truncate(false);
    open.open(path).map_err(at(path))
}

/// Locks it, unless another run is at it. Whether it is the draft still: another run may have given
/// it its name since it was opened, and then it is a film, which is not to be written to.
fn take(file: &File, path: &Path) -> Result<bool, String> {
    file.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => format!("{}: another run writes it", path.display()),
        TryLockError::Error(e) => at(path)(e),
    })?;
    is_at(file, path)
}

/// Whether what was opened is what has this name now.
pub(crate) fn is_at(file: &File, path: &Path) -> Result<bool, String> {
    let identity = |of: &fs::Metadata| (of.dev(), of.ino());
    let ours = file.metadata().map_err(at(path))?;
    match fs::metadata(path) {
        Ok(there) => Ok(identity(&there) == identity(&ours)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(at(path)(e)),
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// An error with the name of the file that it is of.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> String {
    move |e| format!("{}: {e}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that ends just when another begins: the other has the draft open, and not yet locked.
    #[test]
    fn a_draft_that_has_become_a_film_is_left_alone() {
        let dir = std::env::temp_dir().join(format!("draft-{}", std::process::id()));
        fs::create_dir(&dir).expect("made");
        let film = dir.join("film.ivf");
        let mut first = Draft::create(&film).expect("it is the only one");
        first.write(b"a film").expect("written");
        let opened = open(&first.path).expect("opened");
        let busy = take(&opened, &first.path).expect_err("the first is at it");
        assert!(busy.contains("another run"), "{busy}");
        let path = first.path.clone();
        first.keep().expect("kept");
        assert_eq!(take(&opened, &path), Ok(false));
        let mut second = Draft::create(&film).expect("the first has ended");
        assert_eq!(fs::read(&film).expect("there"), b"a film");
        second.write(b"another").expect("written");
        second.keep().expect("kept");
        assert_eq!(fs::read(&film).expect("there"), b"another");
        fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn a_chunk_that_is_not_whole_is_none() {
        let size = "32x16".parse().expect("a size");
        let whole = chunk(size, 24, 7, &[vec![1, 2, 3], vec![], vec![4]]);
        assert_eq!(whole.len(), HEADER + 3 * BEFORE_PACKET + 4);
        let packets = packets_of(&whole, size, 24, 7..10);
        assert_eq!(packets, Some(&whole[HEADER..]));
        for len in 0..whole.len() {
            assert_eq!(packets_of(&whole[..len], size, 24, 7..10), None);
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(packets_of(&longer, size, 24, 7..10), None);
        for frames in [6..9, 7..9, 7..11, 8..10] {
            assert_eq!(packets_of(&whole, size, 24, frames), None);
        }
        assert_eq!(packets_of(&whole, size, 25, 7..10), None);
        let mut endless = whole.clone();
        endless[HEADER..HEADER + 4].fill(0xff);
        assert_eq!(packets_of(&endless, size, 24, 7..10), None);
    }
}
