//! A stack of calls, as text and by its innermost call.

use std::fmt::Write;
use std::sync::Arc;

use super::Symbols;

/// The name of what was called, and where in its source or in which file.
pub(super) type NamedCall = (String, Option<String>);

/// A stack of calls, not yet looked up.
#[derive(Clone, Debug)]
pub(crate) struct Frames {
    symbols: Arc<Symbols>,
    calls: Vec<usize>,
    /// Names that another process has looked up, used instead of `symbols`.
    told: Option<Arc<ToldFrames>>,
}

/// A stack of calls as another process has looked it up.
#[derive(Debug)]
struct ToldFrames {
    backtrace: Option<String>,
    innermost: Option<String>,
}

impl Frames {
    pub(crate) fn new(symbols: &Arc<Symbols>, calls: Vec<usize>) -> Frames {
        Frames {
            symbols: Arc::clone(symbols),
            calls,
            told: None,
        }
    }

    /// Those that another process has looked up, as [`render`](Self::render) and
    /// [`innermost`](Self::innermost) gave them there.
    pub(crate) fn told(backtrace: Option<String>, innermost: Option<String>) -> Frames {
        Frames {
            symbols: Arc::clone(Symbols::of_this_process()),
            calls: Vec::new(),
            told: Some(Arc::new(ToldFrames {
                backtrace,
                innermost,
            })),
        }
    }

    /// One call a line, innermost first; without the machinery of panics above, and ours below.
    pub(crate) fn render(&self) -> Option<String> {
        if let Some(told) = &self.told {
            return told.backtrace.clone();
        }
        if self.calls.is_empty() {
            return None;
        }
        let mut all = self.without_ours();
        drop_panic_machinery(&mut all);
        Some(text(&all))
    }

    /// The calls, innermost first, as far as they are the task's. Never cut to nothing: a stack
    /// that is all ours is all there.
    fn without_ours(&self) -> Vec<NamedCall> {
        let mut all = Vec::new();
        let mut end = None;
        for &at in &self.calls {
            let calls = self.symbols.calls(at);
            // A small task is inlined into what calls it, in optimized programs: what is inlined
            // there is the task's, up to the first call that is ours.
            if end.is_none() && calls.iter().any(|(name, _)| is_ours(name)) {
                let tasks = calls.iter().take_while(|call| !is_our_code(call)).count();
                end = Some(all.len() + tasks).filter(|&end| end > 0);
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
        if let Some(told) = &self.told {
            return told.innermost.clone();
        }
        let mut all = self.without_ours();
        let is_own = |(name, place): &NamedCall| match place.as_deref() {
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
    // There may be no line behind it.
    let source = file.split(':').next().unwrap_or(file);
    let is_c = [".c", ".S", ".h"].iter().any(|end| source.ends_with(end));
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

/// One call a line.
fn text(calls: &[NamedCall]) -> String {
    let mut text = String::new();
    for (n, (name, place)) in calls.iter().enumerate() {
        let _ = write!(text, "{n:4}: {name}");
        if let Some(place) = place {
            let _ = write!(text, "\n          at {place}");
        }
        text.push('\n');
    }
    text
}

/// Takes out what a panic itself has called. Never all.
fn drop_panic_machinery(calls: &mut Vec<NamedCall>) {
    let last = calls.iter().rposition(|(name, _)| is_panic_machinery(name));
    if let Some(last) = last.filter(|last| last + 1 < calls.len()) {
        calls.drain(..=last);
    }
}

/// The frame that calls a task: what is below is brigade's.
fn is_ours(name: &str) -> bool {
    name.starts_with("brigade::task::entry::")
}

/// Whether a call that is inlined into that frame is of brigade's own code: the name of what is
/// inlined has no path where there are line tables only.
fn is_our_code((name, place): &NamedCall) -> bool {
    // As the compiler was given it; in places it is behind the directory of the build.
    let sources = file!().trim_end_matches("task/symbols/frames.rs");
    is_ours(name) || place.as_ref().is_some_and(|place| place.contains(sources))
}

fn is_panic_machinery(name: &str) -> bool {
    const PREFIXES: [&str; 4] = [
        "core::panicking::",
        "std::panicking::",
        "brigade::task::panic::",
        "brigade::sys::unwind::",
    ];
    const NAMES: [&str; 4] = [
        "core::result::unwrap_failed",
        "core::option::unwrap_failed",
        "core::option::expect_failed",
        "__rustc::rust_begin_unwind",
    ];
    // Those call what panics, and are not called by it.
    const CATCHING: [&str; 2] = ["std::panicking::catch_unwind", "std::panicking::try"];
    if CATCHING.iter().any(|p| name.starts_with(p)) {
        return false;
    }
    PREFIXES.iter().any(|p| name.starts_with(p))
        || NAMES.contains(&name)
        || name.ends_with("rust_begin_unwind")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inlined_is_told_by_its_place() {
        let call = |name: &str, place: String| (name.to_owned(), Some(place));
        let ours = format!("/build/{}:12", file!());
        assert!(is_our_code(&call("run", ours)));
        assert!(is_our_code(&(
            "brigade::task::entry::caught".to_owned(),
            None
        )));
        let theirs = "/home/me/src/task/entry.rs:1".to_owned();
        assert!(!is_our_code(&call("{closure#0}", theirs)));
        assert!(!is_our_code(&("main".to_owned(), None)));
    }

    #[test]
    fn places_in_the_standard_library_are_known_wherever_it_was_built() {
        for place in [
            "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/ptr/mod.rs:1757",
            "/usr/src/rustc-1.85.0/library/core/src/ptr/mod.rs:1757",
            "library/std/src/sys/pal/unix/thread.rs:110",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "./nptl/pthread_mutex_lock.c:81",
            "./nptl/pthread_mutex_lock.c",
        ] {
            assert!(is_system(place), "{place}");
        }
        for place in ["/home/me/library/src/main.rs:1", "library/src/lib.rs:1"] {
            assert!(!is_system(place), "{place}");
        }
    }
}
