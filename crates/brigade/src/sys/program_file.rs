//! A program's file: whether it can be started as a fork server is read from it, so that no other
//! program is ever started to find that out. elf(5).
//!
//! Each program that has this library in it has a note that says so, by a version of the protocol
//! between a host and a fork server. The loader maps notes, so that strip(1) leaves them.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

use super::error::Call;
use super::{image, opened};

/// The owner of the note, and its type.
const OWNER: [u8; 8] = *b"Brigade\0";
const KIND: u32 = 1;
const MOST_VERSION: usize = 28;

/// What a program's file says of the library in it. It is as long as its parts: no padding.
#[repr(C, align(4))]
pub(crate) struct ProgramNote {
    name_len: u32,
    desc_len: u32,
    kind: u32,
    owner: [u8; OWNER.len()],
    protocol: u32,
    /// The library's, and zeros.
    version: [u8; MOST_VERSION],
}

impl ProgramNote {
    pub(crate) const fn new(protocol: u32, version: &str) -> ProgramNote {
        let mut text = [0; MOST_VERSION];
        let (said, len) = (version.as_bytes(), version.len());
        let mut at = 0;
        while at < len && at < MOST_VERSION {
            text[at] = said[at];
            at += 1;
        }
        ProgramNote {
            name_len: OWNER.len() as u32,
            desc_len: (size_of::<u32>() + MOST_VERSION) as u32,
            kind: KIND,
            owner: OWNER,
            protocol,
            version: text,
        }
    }
}

/// A program's file, open for as long as it may be started: one that is removed or replaced
/// meanwhile is the same program still.
#[derive(Debug)]
pub(crate) struct ProgramFile {
    path: PathBuf,
    file: OwnedFd,
    state: FileState,
    pub(crate) protocol: u32,
    /// The library's.
    pub(crate) version: String,
    /// The linker's; empty if it wrote none.
    pub(crate) build_id: Vec<u8>,
}

/// What changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    /// The device and the number.
    pub(crate) file: (u64, u64),
    len: i64,
    written: (i64, u64),
}

impl FileState {
    fn of(file: impl AsFd) -> io::Result<FileState> {
        let stat = rustix::fs::fstat(file).call("fstat(2)")?;
        Ok(FileState {
            file: (stat.st_dev, stat.st_ino),
            len: stat.st_size,
            written: (stat.st_mtime, stat.st_mtime_nsec),
        })
    }
}

impl ProgramFile {
    /// Opens a program, and reads what it says of itself.
    pub(crate) fn open(path: &Path) -> io::Result<ProgramFile> {
        let path = std::path::absolute(path)?;
        ProgramFile::read(&path)
            .needed_to("have workers of it")
            .at(|| format!("the program {}", path.display()))
    }

    fn read(path: &Path) -> io::Result<ProgramFile> {
        // A pipe that is opened without this waits for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = opened::file(path, flags)?;
        let mode = rustix::fs::fstat(&file).call("fstat(2)")?.st_mode;
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(unfit("it is a directory")),
            _ => return Err(unfit("it is no regular file")),
        }
        let file = std::fs::File::from(file);
        let notes = FileNotes::read(&file)?;
        let said = notes.find(&OWNER, KIND).ok_or_else(|| {
            unfit("it has no worker processes to offer: Brigade is no part of it")
        })?;
        let (protocol, version) = said
            .split_first_chunk()
            .ok_or_else(|| unfit("what it says of the Brigade in it makes no sense"))?;
        let version = version.split(|&b| b == 0).next().unwrap_or_default();
        Ok(ProgramFile {
            path: path.to_owned(),
            state: FileState::of(&file)?,
            protocol: u32::from_ne_bytes(*protocol),
            version: String::from_utf8_lossy(version).into_owned(),
            build_id: notes
                .find(image::GNU, image::BUILD_ID)
                .unwrap_or_default()
                .to_vec(),
            file: file.into(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// As it was when it was opened.
    pub(crate) fn state(&self) -> FileState {
        self.state
    }

    /// Whether nothing was written into it since it was opened.
    pub(crate) fn is_unchanged(&self) -> io::Result<bool> {
        Ok(FileState::of(&self.file)? == self.state)
    }

    /// What this process can open and execute it by, whatever is at its path now.
    pub(crate) fn proc_path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

impl AsFd for ProgramFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The linker's build id of a program or library; empty if it wrote none.
pub(super) fn build_id_of(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = std::fs::File::from(opened::file(path, flags)?);
    let notes = FileNotes::read(&file)?;
    let id = notes.find(image::GNU, image::BUILD_ID);
    Ok(id.unwrap_or_default().to_vec())
}

fn unfit(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_owned())
}

/// The notes of a file: of each part of it that has some, with its alignment.
struct FileNotes(Vec<(Vec<u8>, usize)>);

impl FileNotes {
    /// A program has some ten parts, and some hundred bytes of notes.
    const MOST_PARTS: usize = 256;
    const MOST_BYTES: u64 = 64 * 1024;

    fn read(file: &std::fs::File) -> io::Result<FileNotes> {
        let mut header = [0; size_of::<libc::Elf64_Ehdr>()];
        let no_program = || unfit("it is no program: not an ELF file of 64 bits");
        let len = read_up_to(file, &mut header)?;
        if header[..len].starts_with(b"#!") {
            return Err(unfit(
                "it is a script: name the program that it starts, which has Brigade in it",
            ));
        }
        let is_elf = header.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]);
        if len < header.len() || !is_elf {
            return Err(no_program());
        }
        // elf(5): e_phoff, e_phentsize, e_phnum.
        let at = u64::from_le_bytes(field(&header, 32));
        let entry = usize::from(u16::from_le_bytes(field(&header, 54)));
        let count = usize::from(u16::from_le_bytes(field(&header, 56)));
        if entry != size_of::<libc::Elf64_Phdr>() || count > FileNotes::MOST_PARTS {
            return Err(no_program());
        }
        let mut table = vec![0; entry * count];
        file.read_exact_at(&mut table, at)
            .map_err(|_| no_program())?;
        let mut all = Vec::new();
        for part in table.chunks_exact(entry) {
            // p_type, p_offset, p_filesz, p_align.
            let kind = u32::from_le_bytes(field(part, 0));
            let at = u64::from_le_bytes(field(part, 8));
            let len = u64::from_le_bytes(field(part, 32));
            let align = u64::from_le_bytes(field(part, 48));
            if kind == libc::PT_NOTE && len <= FileNotes::MOST_BYTES {
                let mut notes = vec![0; len as usize];
                file.read_exact_at(&mut notes, at)
                    .map_err(|_| no_program())?;
                all.push((notes, align as usize));
            }
        }
        Ok(FileNotes(all))
    }

    fn find(&self, owner: &[u8], kind: u32) -> Option<&[u8]> {
        let mut all = self.0.iter();
        all.find_map(|(notes, align)| image::note(notes, *align, owner, kind))
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// As much as there is, up to the buffer's length.
fn read_up_to(file: &std::fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match file.read_at(&mut buffer[len..], len as u64) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).call("pread(2)"),
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why_not(bytes: &[u8]) -> String {
        let dir = std::env::temp_dir().join(format!("brigade-file-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("program");
        std::fs::write(&path, bytes).expect("written");
        let why = ProgramFile::open(&path).expect_err("no program");
        std::fs::remove_dir_all(&dir).expect("removed");
        why.to_string()
    }

    #[test]
    fn a_program_with_brigade_in_it_says_so() {
        let this = std::env::current_exe().expect("this program");
        let file = ProgramFile::open(&this).expect("this program has Brigade in it");
        assert_eq!(file.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(file.build_id, image::ProgramImage::this().build_id);
        assert!(file.is_unchanged().expect("looked at"));
    }

    #[test]
    fn a_damaged_file_is_no_program() {
        let this = std::fs::read("/proc/self/exe").expect("this program");
        for len in [0, 1, 4, 63, 64, 100] {
            assert!(why_not(&this[..len]).contains("no program"), "{len}");
        }
        let mut lies = this[..4096].to_vec();
        lies[32..40].fill(0xff);
        assert!(why_not(&lies).contains("no program"));
        lies[56..58].fill(0xff);
        assert!(why_not(&lies).contains("no program"));
        assert!(why_not(b"#!/bin/sh\n").contains("a script"));
    }
}
