//! Addresses to names, in the host, when somebody asks.
//!
//! A worker that faults can only note addresses. They are turned into names here, from the same
//! files: the program itself is read through `/proc/self/exe`, which is the right file even when
//! another has taken its path since.

#[cfg(feature = "backtrace")]
mod debug_info;
#[cfg(not(feature = "backtrace"))]
#[path = "no_debug_info.rs"]
mod debug_info;
#[cfg(feature = "backtrace")]
mod functions;
mod trim;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::debug_info::DebugInfo;
use self::trim::Call;
use crate::sys::image::{self, Module};
use crate::sys::per_process::PerProcess;
use crate::task::panic::attempt;

/// A process's loaded objects.
#[derive(Debug)]
pub(crate) struct Symbols {
    modules: Vec<Module>,
}

impl Symbols {
    pub(crate) fn new(modules: Vec<Module>) -> Symbols {
        Symbols { modules }
    }

    /// The objects of this process, as they were when first asked for.
    pub(crate) fn of_this_process() -> &'static Arc<Symbols> {
        static THIS: PerProcess<Arc<Symbols>> =
            PerProcess::new(|| Arc::new(Symbols::new(image::modules())));
        THIS.get()
    }

    /// The path of the function that `address` is in.
    pub(crate) fn function(&self, address: usize) -> Option<String> {
        self.with_debug_info(address, DebugInfo::function)?
    }

    /// What is known of the file that an address's object was loaded from, and the address in it.
    fn with_debug_info<T>(
        &self,
        address: usize,
        f: impl FnOnce(&DebugInfo, u64) -> T,
    ) -> Option<T> {
        static KNOWN: PerProcess<Mutex<HashMap<OsString, DebugInfo>>> =
            PerProcess::new(Mutex::default);
        let module = self.modules.iter().find(|m| m.range.contains(&address))?;
        let path = if module.path.is_empty() {
            OsStr::new("/proc/self/exe")
        } else {
            &module.path
        };
        let mut known = KNOWN.get().lock().unwrap_or_else(PoisonError::into_inner);
        // A file is whatever a linker, a stripper or a damaged disk has made of it. What the reader
        // of its debug information panics at has no name; and neither who waits for a task nor the
        // thread that tells of its end ends of that.
        let found = attempt(|| {
            #[cfg(test)]
            tests::maybe_panic(address);
            let info = known
                .entry(path.to_owned())
                .or_insert_with(|| DebugInfo::open(Path::new(path)));
            f(info, address.wrapping_sub(module.bias) as u64)
        });
        if found.is_none() {
            // It may be half of what it was.
            known.remove(path);
        }
        found
    }

    /// The calls at `address`, innermost first: more than one where functions were inlined. The
    /// last is the function itself, by its full name.
    fn calls(&self, address: usize) -> Vec<Call> {
        let found = self.with_debug_info(address, DebugInfo::calls);
        let module = self.modules.iter().find(|m| m.range.contains(&address));
        if let Some(mut calls) = found.filter(|c| !c.is_empty()) {
            // Of a library without line tables the library is the place.
            let library = module.map(|m| &m.path).filter(|path| !path.is_empty());
            let library = library.map(|path| path.to_string_lossy().into_owned());
            for (_, place) in &mut calls {
                *place = place.take().or_else(|| library.clone());
            }
            return calls;
        }
        // As addr2line(1) takes it: the address in the file.
        let at = address.wrapping_sub(module.map_or(0, |m| m.bias));
        let place = module.map(|m| {
            if m.path.is_empty() {
                "the program".to_owned()
            } else {
                m.path.to_string_lossy().into_owned()
            }
        });
        vec![(format!("{at:#x}"), place)]
    }
}

/// A stack of calls, not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    symbols: Arc<Symbols>,
    calls: Vec<usize>,
}

impl Frames {
    pub(crate) fn new(symbols: &Arc<Symbols>, calls: Vec<usize>) -> Frames {
        Frames {
            symbols: Arc::clone(symbols),
            calls,
        }
    }

    /// One call a line, innermost first; without the machinery of panics above, and ours below.
    pub(crate) fn render(&self) -> Option<String> {
        if self.calls.is_empty() {
            return None;
        }
        let mut all = self.without_ours();
        trim::drop_panic_machinery(&mut all);
        Some(trim::text(&all))
    }

    /// The calls, innermost first, as far as they are the task's. Never cut to nothing: a stack
    /// that is all ours is all there.
    fn without_ours(&self) -> Vec<Call> {
        let mut all = Vec::new();
        let mut end = None;
        for &at in &self.calls {
            let calls = self.symbols.calls(at);
            // What is inlined into ours is ours.
            if end.is_none() && calls.iter().any(|(name, _)| trim::is_ours(name)) {
                end = Some(all.len()).filter(|&end| end > 0);
            }
            all.extend(calls);
        }
        all.truncate(end.unwrap_or(all.len()));
        all
    }

    /// Whether a call of a function like this is among them.
    pub(crate) fn pass_through(&self, like: impl Fn(&str) -> bool) -> bool {
        self.calls
            .iter()
            .any(|&at| self.symbols.function(at).is_some_and(|name| like(&name)))
    }

    /// The innermost call and its place, on one line: not one of the standard library or of C's, if
    /// it was called by another one.
    pub(crate) fn innermost(&self) -> Option<String> {
        let mut all = self.without_ours();
        let is_own = |(name, place): &Call| match place.as_deref() {
            Some(place) => !is_system(place),
            // A program without line tables: its names are all there is.
            None => !name.starts_with("0x") && !is_standard(name),
        };
        let at = all.iter().position(is_own);
        let (name, place) = all.drain(at.unwrap_or(0)..).next()?;
        Some(match place {
            Some(place) => format!("{name} at {place}"),
            None => name,
        })
    }
}

/// Whether such a place is the standard library's, or in a library that every program has: C's,
/// whether its debug information is there (which has relative paths, or some below /usr) or not.
fn is_system(place: &str) -> bool {
    const LIBRARIES: [&str; 7] = [
        "libc.",
        "libc-",
        "libpthread",
        "libm.",
        "libgcc_s",
        "libstdc++",
        "ld-",
    ];
    let file = place.rsplit('/').next().unwrap_or(place);
    let is_library = LIBRARIES.iter().any(|name| file.starts_with(name)) && file.contains(".so");
    let is_c = [".c:", ".S:", ".h:"].iter().any(|end| file.contains(end));
    is_standard_library(place)
        || is_library
        || is_c && (place.starts_with("./") || place.starts_with("../"))
}

/// Whether the place is in the sources of the standard library, wherever they were when it was
/// built: rustup's is from below `/rustc/`, a distribution's from below `/usr/src/`.
fn is_standard_library(place: &str) -> bool {
    let is_crate = |rest: &str| {
        let names = ["alloc/src/", "core/src/", "std/src/", "panic_unwind/src/"];
        names.iter().any(|name| rest.starts_with(name))
    };
    let below = place.strip_prefix("library/");
    let below = below.or_else(|| place.split_once("/library/").map(|(_, rest)| rest));
    place.starts_with("/rustc/") || below.is_some_and(is_crate)
}

/// Whether it is the standard library's, by its name.
fn is_standard(name: &str) -> bool {
    let name = name.trim_start_matches(['<', '&']);
    ["std::", "core::", "alloc::", "__rust", "rust_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// Looking this address up panics.
    static PANICS_AT: AtomicUsize = AtomicUsize::new(0);
    /// Looking anything up panics in the listener.
    pub(crate) static PANICS_IN_LISTENER: AtomicBool = AtomicBool::new(false);
    /// How often it did.
    pub(crate) static PANICKED_IN_LISTENER: AtomicUsize = AtomicUsize::new(0);

    pub(super) fn maybe_panic(address: usize) {
        assert_ne!(address, PANICS_AT.load(Ordering::Relaxed), "injected");
        let is_listener = || std::thread::current().name() == Some("brigade-listener");
        if PANICS_IN_LISTENER.load(Ordering::Relaxed) && is_listener() {
            PANICKED_IN_LISTENER.fetch_add(1, Ordering::Relaxed);
            panic!("injected");
        }
    }

    #[test]
    fn places_in_the_standard_library_are_known_wherever_it_was_built() {
        for place in [
            "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/ptr/mod.rs:1757",
            "/usr/src/rustc-1.85.0/library/core/src/ptr/mod.rs:1757",
            "library/std/src/sys/pal/unix/thread.rs:110",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
        ] {
            assert!(is_system(place), "{place}");
        }
        for place in ["/home/me/library/src/main.rs:1", "library/src/lib.rs:1"] {
            assert!(!is_system(place), "{place}");
        }
    }

    #[inline(never)]
    fn one() -> &'static str {
        std::hint::black_box("one")
    }

    #[inline(never)]
    fn another() -> &'static str {
        std::hint::black_box("another")
    }

    #[test]
    fn what_cannot_be_looked_up_without_a_panic_has_no_name() {
        if cfg!(not(feature = "backtrace")) {
            eprintln!("skipped, because without the feature `backtrace` nothing is looked up");
            return;
        }
        let (bad, good) = (one as fn() -> _ as usize, another as fn() -> _ as usize);
        let symbols = Symbols::of_this_process();
        assert!(
            symbols
                .function(bad)
                .is_some_and(|name| name.ends_with("::one"))
        );
        PANICS_AT.store(bad, Ordering::Relaxed);
        assert_eq!(symbols.function(bad), None);
        let all = Frames::new(symbols, vec![bad, good]).render();
        let all = all.expect("there are calls");
        PANICS_AT.store(0, Ordering::Relaxed);
        assert!(
            all.starts_with("   0: 0x") && all.contains("::another"),
            "{all}"
        );
        assert!(symbols.function(bad).is_some());
    }
}
