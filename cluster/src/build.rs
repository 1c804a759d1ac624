//! Which build of a program this is: submitters and workers of one build share a queue.

use std::fmt::Write;

use brigade::exported::{CODEC, Exported};
use sha2::{Digest, Sha256};

use crate::Error;

/// What tells builds of a program apart whose user has not named them: the names and types of their
/// tasks, and the version of the encoding. So builds that have the same tasks share a queue.
pub(crate) fn of_this_program() -> String {
    let told = |task: Exported| Some((task.name(), task.types()?));
    let mut tasks: Vec<_> = Exported::all().into_iter().filter_map(told).collect();
    tasks.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(CODEC.to_le_bytes());
    for (name, types) in tasks {
        for text in [name, types.as_str()] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
    let mut build = String::new();
    for byte in hash.finalize().iter().take(8) {
        let _ = write!(build, "{byte:02x}");
    }
    build
}

/// Refuses what cannot be part of subjects, or the name of a consumer.
pub(crate) fn check(build: &str) -> Result<(), Error> {
    let is_fine = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    if (1..=64).contains(&build.len()) && build.bytes().all(is_fine) {
        return Ok(());
    }
    Err(Error::Build(build.to_owned()))
}

/// The name that the user gave, or the program's own.
pub(crate) fn named(build: Option<String>) -> Result<String, Error> {
    let Some(build) = build else {
        return Ok(of_this_program());
    };
    check(&build)?;
    Ok(build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_builds_are_checked() {
        for name in ["7", "v1-2_3", &of_this_program()] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "v1.2", "*", ">", "a b", "ä", &"x".repeat(65)] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
