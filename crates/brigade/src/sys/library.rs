//! Shared libraries in this process: which of them an address is code of, and loading one.
//!
//! Two processes have the same code where a library's build id is the same: then an address is the
//! library's load address and an offset, in both. dl_iterate_phdr(3), dlopen(3).

use std::ffi::{CStr, CString, OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::image::{self, Code, Module};
use super::program_file;

/// A shared library that is loaded.
#[derive(Clone, Debug)]
pub(crate) struct LoadedLibrary {
    /// What it was loaded by, as the loader has it.
    pub(crate) path: OsString,
    /// What is added to the addresses in its file.
    pub(crate) bias: usize,
    /// Its first and last+1 address.
    pub(crate) range: Range<usize>,
    /// Executable segments, as address ranges in memory.
    text: Vec<Range<usize>>,
    /// The GNU build id note; empty if the linker wrote none.
    pub(crate) build_id: Vec<u8>,
}

impl LoadedLibrary {
    /// The one that `address` is code of.
    pub(crate) fn at(address: usize) -> Option<LoadedLibrary> {
        let contains = |text: &[Range<usize>]| text.iter().any(|t| t.contains(&address));
        LoadedLibrary::find(|code| contains(&code.text))
    }

    /// The one of this build.
    pub(crate) fn of_build(build_id: &[u8]) -> Option<LoadedLibrary> {
        LoadedLibrary::find(|code| code.build_id == build_id)
    }

    /// The first that is so, but for the main program.
    fn find(is_it: impl Fn(&Code) -> bool) -> Option<LoadedLibrary> {
        let mut found = None;
        let mut is_program = true;
        image::each_module(&mut |info| {
            // The first object is the main program.
            if std::mem::take(&mut is_program) {
                return true;
            }
            let code = Code::of(info);
            if is_it(&code) {
                found = Module::of(info).map(|module| LoadedLibrary {
                    path: module.path,
                    bias: code.bias,
                    range: module.range,
                    text: code.text,
                    build_id: code.build_id,
                });
            }
            found.is_none()
        });
        found
    }

    /// Loads the library at this path, unless it is loaded; of this build only. Its constructors
    /// run. Gives it, or why not, as the end of a sentence.
    pub(crate) fn load(path: &Path, build_id: &[u8]) -> Result<LoadedLibrary, String> {
        if let Some(loaded) = LoadedLibrary::of_build(build_id) {
            return Ok(loaded);
        }
        // Looked at first, so that no code of another build runs.
        let there = program_file::build_id_of(path).map_err(|e| e.to_string())?;
        let other = || "another build of it is at its path now".to_owned();
        if there != build_id {
            return Err(other());
        }
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string())?;
        // SAFETY: `name` is a C string. This runs the constructors of a library that the host has
        // loaded too, as its build id says, and so has run.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(dl_error());
        }
        // It is never unloaded: functions of it are called until this process ends.
        LoadedLibrary::of_build(build_id).ok_or_else(other)
    }

    /// The distance of `address`, which is code of it, from its load address.
    pub(crate) fn offset_of(&self, address: usize) -> Option<u64> {
        let is_code = self.text.iter().any(|t| t.contains(&address));
        is_code.then(|| address.wrapping_sub(self.bias) as u64)
    }

    /// The address of the code at `offset`, if there is any.
    pub(crate) fn address_of(&self, offset: u64) -> Option<usize> {
        let address = self.bias.wrapping_add(usize::try_from(offset).ok()?);
        let is_code = self.text.iter().any(|t| t.contains(&address));
        is_code.then_some(address)
    }

    /// An absolute path of its file: the loader's name for it, or what the kernel has mapped.
    pub(crate) fn absolute_path(&self) -> PathBuf {
        let named = PathBuf::from(&self.path);
        if named.is_absolute() {
            return named;
        }
        mapped_at(self.range.start).unwrap_or(named)
    }
}

/// The path of the file that is mapped at this address: `from-to perms offset dev inode path`,
/// proc_pid_maps(5).
fn mapped_at(address: usize) -> Option<PathBuf> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let start = format!("{address:08x}-");
    let line = maps
        .split(|&b| b == b'\n')
        .find(|line| line.starts_with(start.as_bytes()))?;
    let at = line.iter().position(|&b| b == b'/')?;
    Some(OsString::from_vec(line[at..].to_vec()).into())
}

/// Why the loader refused.
fn dl_error() -> String {
    // SAFETY: the text of this thread's last error, or null; it stays until the next call of the
    // loader's by this thread, and is copied before.
    let text = unsafe {
        let text = libc::dlerror();
        (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes().to_vec())
    };
    let text = text.unwrap_or_default();
    OsStr::from_bytes(&text).to_string_lossy().into_owned()
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    /// A function of the C library's.
    fn address() -> usize {
        libc::getpid as *const () as usize
    }

    #[test]
    fn a_function_of_a_library_goes_there_and_back() {
        let Some(library) = LoadedLibrary::at(address()) else {
            eprintln!("skipped, because this program has no C library of its own file");
            return;
        };
        assert!(library.absolute_path().is_absolute(), "{library:?}");
        let offset = library.offset_of(address()).expect("code of it");
        assert_eq!(library.address_of(offset), Some(address()));
        assert_eq!(library.address_of(u64::MAX), None);
        let mapped = mapped_at(library.range.start).expect("it is mapped");
        assert_eq!(mapped.file_name(), library.absolute_path().file_name());
        let again = LoadedLibrary::load(&library.absolute_path(), &library.build_id);
        assert_eq!(again.expect("it is loaded").bias, library.bias);
    }

    #[test]
    fn what_is_no_code_of_a_library_is_in_none() {
        let on_the_stack = 0_u8;
        assert!(LoadedLibrary::at(std::ptr::from_ref(&on_the_stack) as usize).is_none());
        let of_program = what_is_no_code_of_a_library_is_in_none as fn() as usize;
        assert!(LoadedLibrary::at(of_program).is_none());
    }

    #[test]
    fn another_build_is_not_loaded() {
        let this = std::env::current_exe().expect("this program");
        let why = LoadedLibrary::load(&this, b"another").expect_err("another build");
        assert_eq!(why, "another build of it is at its path now");
        let why = LoadedLibrary::load(Path::new("/nowhere"), b"another").expect_err("nothing");
        assert!(why.contains("No such file"), "{why}");
    }
}
