//! In place of `symbols`, on systems other than Linux: addresses to names by the crate `backtrace`,
//! which knows their files. Without the feature of that name nothing has a name.

mod frames;

use std::sync::{Arc, OnceLock};

pub(crate) use self::frames::Frames;
use self::frames::NamedCall;

/// Those of this process.
#[derive(Debug)]
pub(crate) struct Symbols;

impl Symbols {
    pub(crate) fn of_this_process() -> &'static Arc<Symbols> {
        static THIS: OnceLock<Arc<Symbols>> = OnceLock::new();
        THIS.get_or_init(|| Arc::new(Symbols))
    }

    /// The path of the function that `address` is in.
    pub(crate) fn function(&self, address: usize) -> Option<String> {
        known(address).pop().map(|(name, _)| name)
    }

    /// The function at this address as a list; what other names it has is not known.
    pub(crate) fn functions(&self, address: usize) -> Vec<String> {
        self.function(address).into_iter().collect()
    }

    /// The calls at `address`, innermost first: more than one where functions were inlined. The
    /// last is the function itself.
    fn calls(&self, address: usize) -> Vec<NamedCall> {
        match known(address) {
            calls if calls.is_empty() => vec![(format!("{address:#x}"), None)],
            calls => calls,
        }
    }
}

#[cfg(feature = "backtrace")]
fn known(address: usize) -> Vec<NamedCall> {
    let mut calls = Vec::new();
    // It takes what it is given for the address after a call.
    backtrace::resolve((address + 1) as *mut _, |symbol| {
        let Some(name) = symbol.name() else {
            return;
        };
        let place = symbol.filename().map(|file| match symbol.lineno() {
            Some(line) => format!("{}:{line}", file.display()),
            None => file.display().to_string(),
        });
        // Without the hash at its end.
        calls.push((format!("{name:#}"), place));
    });
    calls
}

#[cfg(not(feature = "backtrace"))]
fn known(_: usize) -> Vec<NamedCall> {
    Vec::new()
}
