//! What the debug information and the symbols of a program file tell of its addresses.

use std::path::Path;

use addr2line::Loader;

use super::frames::NamedCall;
use super::functions::Functions;

pub(super) struct DebugInfo {
    functions: Option<Functions>,
    loader: Option<Loader>,
}

impl DebugInfo {
    pub(super) fn open(path: &Path) -> DebugInfo {
        DebugInfo {
            functions: Functions::read(path),
            loader: Loader::new(path).ok(),
        }
    }

    /// The path of the function that this address is in.
    pub(super) fn function(&self, at: u64) -> Option<String> {
        let name = self.functions.as_ref()?.name_at(at)?;
        Some(demangled(&name))
    }

    /// The paths of all functions that begin where that one does: its own first.
    pub(super) fn functions(&self, at: u64) -> Vec<String> {
        let mut paths = Vec::new();
        for name in self.functions.iter().flat_map(|known| known.names_at(at)) {
            let path = demangled(&name);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    /// The calls at this address, innermost first: more than one where functions were inlined. The
    /// last is the function itself, by its full name.
    pub(super) fn calls(&self, at: u64) -> Vec<NamedCall> {
        let mut calls = Vec::new();
        if let Some(mut frames) = self.loader.as_ref().and_then(|l| l.find_frames(at).ok()) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.as_ref().and_then(|f| f.raw_name().ok());
                if let Some(name) = name {
                    calls.push((demangled(&name), frame.location.and_then(place)));
                }
            }
        }
        let Some(function) = self.function(at) else {
            return calls;
        };
        match calls.last_mut() {
            // Where debug information is little, its names have no path.
            Some((name, _)) => *name = function,
            None => {
                let location = self.loader.as_ref().and_then(|l| l.find_location(at).ok()?);
                calls.push((function, location.and_then(place)));
            }
        }
        calls
    }
}

/// Some instructions are of no line, as the compiler has made them up: then the file alone.
fn place(location: addr2line::Location<'_>) -> Option<String> {
    let file = location.file?;
    Some(match location.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    })
}

fn demangled(name: &str) -> String {
    match rustc_demangle::try_demangle(name) {
        Ok(path) => format!("{path:#}"),
        Err(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_of_no_line_has_a_file() {
        let at = |line| {
            place(addr2line::Location {
                file: Some("src/main.rs"),
                line,
                column: None,
            })
        };
        assert_eq!(at(Some(7)).as_deref(), Some("src/main.rs:7"));
        assert_eq!(at(None).as_deref(), Some("src/main.rs"));
    }
}
