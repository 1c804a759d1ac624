//! A stack of calls as text, without what is not the task's.

use std::fmt::Write;

/// The name of what was called, and where in its source or in which file.
pub(super) type Call = (String, Option<String>);

/// One call a line, innermost first.
pub(super) fn text(calls: &[Call]) -> String {
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
pub(super) fn drop_panic_machinery(calls: &mut Vec<Call>) {
    let last = calls.iter().rposition(|(name, _)| is_panic_machinery(name));
    if let Some(last) = last.filter(|last| last + 1 < calls.len()) {
        calls.drain(..=last);
    }
}

/// The frame that calls a task: what is below is brigade's.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with("brigade::task::entry::")
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
