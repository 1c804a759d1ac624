//! Whether this library is part of the program that /proc/self/exe names, which is what a process
//! is started from; and if not, what else is going on.
//!
//! | what | how it is recognized |
//! |---|---|
//! | a shared library (a plugin, a module of an interpreter) | the first object that the loader lists, which is the program, is not where this code is |
//! | a program run by the loader (`ld.so program`), under valgrind, or emulated by qemu | the file that was executed is another than the one that this code was loaded from |
//!
//! valgrind and qemu answer for /proc/self/exe themselves, and name the program where the kernel
//! would name them. Neither knows /proc/thread-self, which is asked here.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sys::error::Call;
use crate::sys::image::{self, ProgramImage};

/// Why this program cannot be started again as its own fork server, if that is so. `code`: an
/// address in this library.
pub(super) fn why_not_startable(code: usize) -> io::Result<Option<String>> {
    if ProgramImage::this().offset_of(code).is_none() {
        let modules = image::modules();
        let library = modules.iter().find(|m| m.range.contains(&code));
        let library = library.map_or(OsStr::new("?"), |m| &m.path);
        return Ok(Some(format!(
            "brigade is part of a shared library ({}), such as a plugin or a language's extension \
             module, and not of the program that would be started again for a process: it gets no \
             processes, but threads work",
            Path::new(library).display()
        )));
    }
    let exe = std::fs::metadata("/proc/self/exe")
        .call("stat(2)")
        .at(|| needed("/proc/self/exe"))?;
    let maps = std::fs::read("/proc/self/maps")
        .call("open(2)")
        .at(|| needed("/proc/self/maps"))?;
    let loaded = maps
        .split(|&b| b == b'\n')
        .find_map(|l| Mapped::of(l, code));
    if loaded.as_ref().is_some_and(|from| from.inode == exe.ino()) {
        return Ok(None);
    }
    let executed = std::fs::read_link("/proc/thread-self/exe")
        .call("readlink(2)")
        .at(|| needed("/proc/thread-self/exe"))?;
    // An overlay of file systems may show the number of the file below (before Linux 6.8).
    if loaded.is_some_and(|from| from.path == executed) {
        return Ok(None);
    }
    let what = Interpreter::of(&executed).describe();
    Ok(Some(format!(
        "this program is run by {what} ({}), which would be started again in its place for a \
         process: it gets no processes, but threads work",
        executed.display()
    )))
}

fn needed(path: &str) -> String {
    format!("a process is started through {path}, which cannot be read")
}

/// What a range of memory was loaded from.
#[derive(Debug, PartialEq, Eq)]
struct Mapped {
    inode: u64,
    path: PathBuf,
}

impl Mapped {
    /// If this line of /proc/self/maps is the one with this address: `from-to perms offset dev
    /// inode path`, proc_pid_maps(5). The path may be no text.
    fn of(line: &[u8], address: usize) -> Option<Mapped> {
        let (range, rest) = split(line, b' ');
        let (low, high) = split(range, b'-');
        if !(number(low, 16)?..number(high, 16)?).contains(&(address as u64)) {
            return None;
        }
        let (_perms, rest) = split(rest, b' ');
        let (_offset, rest) = split(rest, b' ');
        let (_device, rest) = split(rest, b' ');
        let (inode, path) = split(rest, b' ');
        Some(Mapped {
            inode: number(inode, 10)?,
            path: OsString::from_vec(path.trim_ascii_start().to_vec()).into(),
        })
    }
}

fn split(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|&b| b == at) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// What runs a program in the kernel's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interpreter {
    Loader,
    Valgrind,
    Qemu,
    Other,
}

impl Interpreter {
    /// By the path of the file that was executed.
    fn of(executed: &Path) -> Interpreter {
        let name = executed.file_name().unwrap_or_default().as_bytes();
        // `ld-linux-x86-64.so.2`, `ld-2.31.so`, `ld-musl-x86_64.so.1`; memcheck-amd64-linux and its
        // like lie in libexec/valgrind.
        if name.starts_with(b"ld-") || name.starts_with(b"ld.so") || name == b"ld64.so.2" {
            Interpreter::Loader
        } else if executed.components().any(|c| c.as_os_str() == "valgrind") {
            Interpreter::Valgrind
        } else if name.starts_with(b"qemu-") {
            Interpreter::Qemu
        } else {
            Interpreter::Other
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Interpreter::Loader => "the dynamic loader",
            Interpreter::Valgrind => "valgrind",
            Interpreter::Qemu => "qemu's emulation of a processor",
            Interpreter::Other => "another program",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_found_by_an_address_in_it() {
        let line = b"7f00-7fff r-xp 00001000 fe:01 1234                     /a b\xff (deleted)";
        let path = PathBuf::from(OsString::from_vec(b"/a b\xff (deleted)".to_vec()));
        for address in [0x7f00, 0x7ffe] {
            let expected = Mapped {
                inode: 1234,
                path: path.clone(),
            };
            assert_eq!(Mapped::of(line, address), Some(expected));
        }
        assert_eq!(Mapped::of(line, 0x7fff), None);
        assert_eq!(Mapped::of(line, 0x7eff), None);
        assert_eq!(Mapped::of(b"", 0), None);
        assert_eq!(Mapped::of(b"garbage", 0), None);
    }

    #[test]
    fn what_runs_a_program_is_told_by_its_path() {
        for (path, expected) in [
            (
                "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                Interpreter::Loader,
            ),
            ("/lib/ld-musl-x86_64.so.1", Interpreter::Loader),
            ("/lib/x86_64-linux-gnu/ld-2.31.so", Interpreter::Loader),
            (
                "/usr/libexec/valgrind/memcheck-amd64-linux",
                Interpreter::Valgrind,
            ),
            ("/usr/bin/qemu-aarch64-static", Interpreter::Qemu),
            ("/usr/bin/box64", Interpreter::Other),
        ] {
            assert_eq!(Interpreter::of(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_test_program_can_be_started_again() {
        let code = needed as fn(&str) -> String as usize;
        assert_eq!(why_not_startable(code).expect("read"), None);
    }
}
