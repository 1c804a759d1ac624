//! What a person types to run a task again.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::text::shell_quote;

/// The environment variable: the path of the crash file.
pub(super) const ENV_VAR: &str = "BRIGADE_REPLAY";
/// What a program is debugged with.
pub(super) const DEBUGGER: &str = "rust-gdb -ex run --args ";

/// The shell's command that replays a file, with this before the program.
pub(super) fn replay_command(file: &Path, before: &str) -> String {
    let (file, program) = (
        shell_quote(file.as_os_str()),
        shell_quote(program().as_os_str()),
    );
    format!("{ENV_VAR}={file} {before}{program}")
}

/// The path from which the program was started, also where another file has taken its place since.
pub(super) fn program() -> PathBuf {
    let path = std::env::current_exe().unwrap_or_default();
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(before) => PathBuf::from(OsString::from_vec(before.to_vec())),
        None => path,
    }
}
