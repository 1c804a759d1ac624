//! Addresses to names, in the host, when it is asked for.
//!
//! A worker that faults can only note addresses. They are turned into names here, from the same
//! files: the program itself is read through `/proc/self/exe`, which is the right file even when
//! another has taken its path since.

#[cfg(feature = "backtrace")]
mod debug_info;
#[cfg(not(feature = "backtrace"))]
#[path = "no_debug_info.rs"]
mod debug_info;
mod frames;
#[cfg(feature = "backtrace")]
mod functions;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::debug_info::DebugInfo;
pub(crate) use self::frames::Frames;
use self::frames::NamedCall;
use crate::sys::image::{self, Module};
use crate::sys::per_process::PerProcess;
use crate::task::contain::attempt;
use crate::task::library;

/// A process's loaded objects.
#[derive(Debug)]
pub(crate) struct Symbols {
    modules: Vec<Module>,
    /// They are this process's, which may load more.
    may_grow: bool,
}

/// Where an address is.
struct Place {
    /// The file of its object; empty: the program.
    path: OsString,
    /// The address in the file.
    at: u64,
}

impl Symbols {
    pub(crate) fn new(modules: Vec<Module>) -> Symbols {
        Symbols {
            modules,
            may_grow: false,
        }
    }

    /// The objects of this process, as they were when first asked for, and what it has loaded
    /// since.
    pub(crate) fn of_this_process() -> &'static Arc<Symbols> {
        static THIS: PerProcess<Arc<Symbols>> = PerProcess::new(|| {
            Arc::new(Symbols {
                modules: image::modules(),
                may_grow: true,
            })
        });
        THIS.get()
    }

    /// Where it is: in an object, or, if it is no address but a word for one, in the library that
    /// this is of.
    fn place(&self, address: usize) -> Option<Place> {
        if let Some((path, at)) = library::place_of(address as u64) {
            let path = path.into();
            return Some(Place { path, at });
        }
        let place = |m: &Module| Place {
            path: m.path.clone(),
            at: address.wrapping_sub(m.bias) as u64,
        };
        let contains = |m: &&Module| m.range.contains(&address);
        let known = self.modules.iter().find(contains).map(place);
        let loaded_since = || image::modules().iter().find(contains).map(place);
        known.or_else(|| self.may_grow.then(loaded_since)?)
    }

    /// The path of the function that `address` is in.
    pub(crate) fn function(&self, address: usize) -> Option<String> {
        self.with_debug_info(address, DebugInfo::function)?
    }

    /// The paths of all functions that begin where that one does: its own first. More than one
    /// where the compiler or the linker has merged functions whose code is equal.
    pub(crate) fn functions(&self, address: usize) -> Vec<String> {
        self.with_debug_info(address, DebugInfo::functions)
            .unwrap_or_default()
    }

    /// What is known of the file that an address's object was loaded from, and the address in it.
    fn with_debug_info<T>(
        &self,
        address: usize,
        f: impl FnOnce(&DebugInfo, u64) -> T,
    ) -> Option<T> {
        static KNOWN: PerProcess<Mutex<HashMap<OsString, DebugInfo>>> =
            PerProcess::new(Mutex::default);
        let place = self.place(address)?;
        let path = if place.path.is_empty() {
            OsStr::new("/proc/self/exe")
        } else {
            &place.path
        };
        let mut known = KNOWN.get().lock().unwrap_or_else(PoisonError::into_inner);
        // A file is whatever a linker, a stripper or a damaged disk has made of it. What the reader
        // of its debug information panics at has no name; and it ends neither the thread that waits
        // for a task nor the one that tells of its end.
        let found = attempt(|| {
            #[cfg(test)]
            tests::maybe_panic(address);
            let info = known
                .entry(path.to_owned())
                .or_insert_with(|| DebugInfo::open(Path::new(path)));
            f(info, place.at)
        });
        if found.is_none() {
            // It may be half of what it was.
            known.remove(path);
        }
        found
    }

    /// The calls at `address`, innermost first: more than one where functions were inlined. The
    /// last is the function itself, by its full name.
    fn calls(&self, address: usize) -> Vec<NamedCall> {
        let found = self.with_debug_info(address, DebugInfo::calls);
        let place = self.place(address);
        if let Some(mut calls) = found.filter(|c| !c.is_empty()) {
            // Of a library without line tables the library is the place.
            let library = place.map(|it| it.path).filter(|path| !path.is_empty());
            let library = library.map(|path| path.to_string_lossy().into_owned());
            for (_, place) in &mut calls {
                *place = place.take().or_else(|| library.clone());
            }
            return calls;
        }
        // As addr2line(1) takes it: the address in the file.
        let at = place.as_ref().map_or(address as u64, |it| it.at);
        let place = place.map(|it| {
            if it.path.is_empty() {
                "the program".to_owned()
            } else {
                it.path.to_string_lossy().into_owned()
            }
        });
        vec![(format!("{at:#x}"), place)]
    }
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
