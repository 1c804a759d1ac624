//! One process in `/proc`, held by its folder.
//!
//! The folder is opened once and everything is read below it: when the process has ended, that
//! fails, also if its number was given to another process meanwhile. So nothing of two processes
//! is ever mixed. (The crate `procfs` holds the folder too; but it does not give the device and
//! inode of a descriptor, by which a region is found in other processes, nor peers of sockets, so
//! that most of it would have been read a second time.)

use std::fmt;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// Why something of a process was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hidden {
    /// The process, or the thread, has ended.
    Ended,
    NotPermitted,
    Other(String),
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("it has ended"),
            Self::NotPermitted => f.write_str("not permitted"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// No file of a process that is read here is longer than this; the rest is left out.
const LIMIT: u64 = 64 << 20;

#[derive(Debug)]
pub(crate) struct ProcDir {
    folder: OwnedFd,
}

impl ProcDir {
    pub(crate) fn open(pid: u32) -> Result<ProcDir, Hidden> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match fs::open(format!("/proc/{pid}"), flags, Mode::empty()) {
            Ok(folder) => Ok(ProcDir { folder }),
            Err(errno) => Err(hidden(errno)),
        }
    }

    fn file(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Hidden> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        fs::openat(&self.folder, path, flags, Mode::empty()).map_err(|errno| self.why(path, errno))
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>, Hidden> {
        let file = std::fs::File::from(self.file(path, OFlags::empty())?);
        let mut bytes = Vec::with_capacity(1024);
        match file.take(LIMIT).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(match error.raw_os_error() {
                Some(code) => self.why(path, Errno::from_raw_os_error(code)),
                None => Hidden::Other(error.to_string()),
            }),
        }
    }

    /// Files that hold text. What is no UTF-8 in it is replaced.
    pub(crate) fn text(&self, path: &str) -> Result<String, Hidden> {
        let bytes = self.read(path)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// The names in a folder that are numbers, in order.
    pub(crate) fn numbers(&self, path: &str) -> Result<Vec<u32>, Hidden> {
        let folder = self.file(path, OFlags::DIRECTORY)?;
        let entries = fs::Dir::new(folder).map_err(|errno| self.why(path, errno))?;
        let mut numbers = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|errno| self.why(path, errno))?;
            numbers.extend(number(entry.file_name().to_bytes()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where a link leads to.
    pub(crate) fn link(&self, path: &str) -> Result<Vec<u8>, Hidden> {
        let target = fs::readlinkat(&self.folder, path, Vec::new());
        target
            .map(|target| target.into_bytes())
            .map_err(|errno| self.why(path, errno))
    }

    /// Of what a link leads to, or of the link itself.
    pub(crate) fn stat(&self, path: &str, follow: bool) -> Result<fs::Stat, Hidden> {
        let flags = if follow {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        fs::statat(&self.folder, path, flags).map_err(|errno| self.why(path, errno))
    }

    /// Opens what a link leads to, for reading.
    pub(crate) fn open_target(&self, path: &str) -> Result<OwnedFd, Hidden> {
        self.file(path, OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// The path of this file, for calls that take a path and no folder.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("/proc/self/fd/{}/{path}", self.folder.as_raw_fd())
    }

    /// A file that is not there may be one that this kernel does not have.
    fn why(&self, path: &str, errno: Errno) -> Hidden {
        let is_alive = || fs::statat(&self.folder, "stat", AtFlags::empty()).is_ok();
        match hidden(errno) {
            Hidden::Ended if errno == Errno::NOENT && !path.contains('/') && is_alive() => {
                Hidden::Other(format!("this kernel has no /proc/PID/{path}"))
            }
            why => why,
        }
    }
}

/// A file of a process that is read again and again, and holds little.
#[derive(Debug)]
pub(crate) struct ShortFile {
    path: &'static str,
    file: Option<OwnedFd>,
}

/// Such a file is read in one call up to this length.
const SHORT: usize = 1024;

impl ShortFile {
    pub(crate) fn new(path: &'static str) -> ShortFile {
        ShortFile { path, file: None }
    }

    /// All of it. `keep`: it stays open for the next time, which costs a descriptor, and saves two
    /// of three calls.
    pub(crate) fn read(&mut self, dir: &ProcDir, keep: bool) -> Result<Vec<u8>, Hidden> {
        let file = match self.file.take() {
            Some(file) => file,
            None => dir.file(self.path, OFlags::empty())?,
        };
        let mut bytes = [0; SHORT];
        // Once the process has ended this fails, whatever has its number then.
        let len = rustix::io::pread(&file, &mut bytes[..], 0);
        let len = len.map_err(|errno| dir.why(self.path, errno))?;
        self.file = Some(file).filter(|_| keep);
        if len == SHORT {
            return dir.read(self.path);
        }
        Ok(bytes[..len].to_vec())
    }
}

fn hidden(errno: Errno) -> Hidden {
    match errno {
        Errno::NOENT | Errno::SRCH => Hidden::Ended,
        Errno::ACCESS | Errno::PERM => Hidden::NotPermitted,
        other => Hidden::Other(other.to_string()),
    }
}

fn number(name: &[u8]) -> Option<u32> {
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// All processes that can be seen.
pub(crate) fn pids() -> Result<Vec<u32>, Hidden> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = fs::open("/proc", flags, Mode::empty()).map_err(hidden)?;
    let entries = fs::Dir::new(folder).map_err(hidden)?;
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| number(entry.ok()?.file_name().to_bytes()))
        .collect();
    pids.sort_unstable();
    Ok(pids)
}
