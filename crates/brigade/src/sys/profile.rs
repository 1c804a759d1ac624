//! The profile of a program that was built with `-C instrument-coverage`: workers write theirs.
//!
//! LLVM's run-time library writes a program's counters at its exit(3). A worker ends by _exit(2),
//! or is killed when its pool ends, so it has its counters written before it says that a task has
//! ended. Where the library is not linked, its functions are weak symbols that nothing defines, and
//! all of this is a look at a word.
//!
//! `LLVM_PROFILE_FILE` says where, with `%p` for the process's number and `%m` for files that are
//! merged into. The library has read it before the fork server forked, so each worker gives it the
//! same again. With `%c` the counters are in the file all the time, and nothing is done.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The address of a function that may not be there.
macro_rules! weak {
    ($name:literal) => {{
        let address: usize;
        // SAFETY: reads the word that the linker, or the loader, has set to the function's address,
        // or to zero if there is none.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::asm!(
                concat!(".weak ", $name),
                concat!("mov {}, qword ptr [rip + ", $name, "@GOTPCREL]"),
                out(reg) address,
                options(pure, readonly, nostack, preserves_flags)
            )
        };
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            std::arch::asm!(
                concat!(".weak ", $name),
                concat!("adrp {0}, :got:", $name),
                concat!("ldr {0}, [{0}, :got_lo12:", $name, "]"),
                out(reg) address,
                options(pure, readonly, nostack, preserves_flags)
            )
        };
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            address = 0;
        }
        address
    }};
}

/// What Rust's compiler has the library use if `LLVM_PROFILE_FILE` says nothing.
const DEFAULT: &[u8] = b"default_%m_%p.profraw";

/// Where this process's workers write; `None`: nowhere.
static PATTERN: OnceLock<Option<CString>> = OnceLock::new();

/// The process that the library has the name of.
static NAMED: AtomicU32 = AtomicU32::new(0);

/// Whether the program counts.
#[inline]
pub(crate) fn is_linked() -> bool {
    weak!("__llvm_profile_write_file") != 0
}

/// In a worker, before its task: counts anew, for what the fork server has counted is not the
/// worker's, and notes where the profile is to be written, for tasks may go elsewhere.
pub(crate) fn begin() {
    if !is_linked() {
        return;
    }
    if PATTERN.get_or_init(pattern).is_some() {
        reset();
    }
}

/// In a worker: writes what it has counted up to now.
pub(crate) fn write() {
    if !is_linked() {
        return;
    }
    let Some(Some(pattern)) = PATTERN.get() else {
        return;
    };
    let own = std::process::id();
    if NAMED.swap(own, Ordering::Relaxed) != own {
        // The library does nothing where the pattern is the one that it has. This one has it open
        // nothing.
        set_filename(c"%m");
        set_filename(pattern);
    }
    let write = weak!("__llvm_profile_write_file");
    // SAFETY: the library's function of this name and type: InstrProfiling.h. It says on stderr
    // what goes wrong.
    let write: extern "C" fn() -> c_int = unsafe { std::mem::transmute(write) };
    write();
    // The file is merged into: what was added is not to be added again.
    reset();
}

fn reset() {
    let reset = weak!("__llvm_profile_reset_counters");
    if reset == 0 {
        return;
    }
    // SAFETY: the library's function of this name and type. It sets counters to zero that other
    // threads, if there are any, may be adding to, as they always do.
    let reset: extern "C" fn() = unsafe { std::mem::transmute(reset) };
    reset();
}

fn set_filename(pattern: &CStr) {
    let set = weak!("__llvm_profile_set_filename");
    if set == 0 {
        return;
    }
    // SAFETY: the library's function of this name and type. It copies the pattern.
    let set: extern "C" fn(*const c_char) = unsafe { std::mem::transmute(set) };
    set(pattern.as_ptr());
}

fn pattern() -> Option<CString> {
    let said = std::env::var_os("LLVM_PROFILE_FILE").map(OsStringExt::into_vec);
    let text = said.filter(|text| !text.is_empty());
    complete(in_directory(text.unwrap_or_else(|| DEFAULT.to_vec())))
}

/// Where it is in a directory that is named from here, its path from the root.
fn in_directory(pattern: Vec<u8>) -> Vec<u8> {
    if pattern.starts_with(b"/") || pattern.starts_with(b"%t") {
        return pattern;
    }
    let Ok(here) = std::env::current_dir() else {
        return pattern;
    };
    let mut path = here.into_os_string().into_vec();
    path.push(b'/');
    path.extend(pattern);
    path
}

/// Such that what a process writes is merged with what is in its file: it writes more than once.
/// Where the pattern does not say so itself, each process has its own file, beside the one that is
/// named. `None`: it is written all the time.
fn complete(mut pattern: Vec<u8>) -> Option<CString> {
    let has = |kind: u8| {
        let behind = pattern.split(|&byte| byte == b'%').skip(1);
        // %4m: a pool of four.
        behind
            .filter_map(|word| word.iter().find(|byte| !byte.is_ascii_digit()))
            .any(|&byte| byte == kind)
    };
    let (continuous, number, merges) = (has(b'c'), has(b'p'), has(b'm'));
    if continuous {
        return None;
    }
    if !merges {
        let more: &[u8] = if number { b"-%m" } else { b"-%p-%m" };
        let name = pattern.iter().rposition(|&byte| byte == b'/');
        let dot = pattern.iter().rposition(|&byte| byte == b'.');
        // Before the extension, by which tools look for such files.
        let at = dot.filter(|&dot| dot > name.map_or(0, |name| name + 1));
        let at = at.unwrap_or(pattern.len());
        pattern.splice(at..at, more.iter().copied());
    }
    CString::new(pattern).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_file_or_adds_to_one() {
        let complete = |text: &str| {
            let text = super::complete(text.as_bytes().to_vec())?;
            Some(text.into_string().expect("text"))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(complete("/x/%p-%m"), some("/x/%p-%m"));
        assert_eq!(complete("/x/%4m"), some("/x/%4m"));
        assert_eq!(complete("/x.d/%p"), some("/x.d/%p-%m"));
        assert_eq!(complete("/x/all.profraw"), some("/x/all-%p-%m.profraw"));
        assert_eq!(complete("/x/.pm%"), some("/x/.pm%-%p-%m"));
        assert_eq!(complete("/x/%c%p"), None);
    }

    #[test]
    fn relative_ones_are_from_here() {
        let here = std::env::current_dir().expect("a directory");
        let path = in_directory(b"x-%p".to_vec());
        assert_eq!(path, here.join("x-%p").into_os_string().into_vec());
        assert_eq!(in_directory(b"/x".to_vec()), b"/x");
    }
}
