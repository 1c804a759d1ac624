//! The name of a task in its error.

use crate::JoinError;
use crate::task::name::TaskName;

/// This error, told as one of the exported task of this name: where it has the function's path, it
/// has the name instead. All else, [files](crate::Crash::file) too, stays.
///
/// # Examples
/// ```
/// use brigade::{JoinError, exported, process};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// brigade::init();
/// let error = process::spawn(|()| -> () { std::process::abort() }, ())?.join().unwrap_err();
/// let JoinError::Crashed(crash) = exported::with_name(error, "render") else { unreachable!() };
/// assert_eq!(crash.task(), "render");
/// # Ok(())
/// # }
/// ```
pub fn with_name(error: JoinError, name: &str) -> JoinError {
    match error {
        JoinError::Panicked(panic) => {
            let task = TaskName::told(name, panic.started_at());
            JoinError::Panicked(panic.named(task))
        }
        JoinError::Crashed(mut crash) => {
            crash.0.task = TaskName::told(name, crash.started_at());
            JoinError::Crashed(crash)
        }
        JoinError::TimedOut(timeout) => {
            let task = TaskName::told(name, timeout.started_at());
            JoinError::TimedOut(timeout.named(task))
        }
        JoinError::Undeliverable(why) => JoinError::Undeliverable(match path_in(&why) {
            Some(rest) => format!("task `{name}`: {rest}"),
            None => why,
        }),
        JoinError::Cancelled | JoinError::Closed => error,
    }
}

/// What stands after the path of the task, where that comes first.
fn path_in(why: &str) -> Option<&str> {
    let (_, rest) = why.strip_prefix("task `")?.split_once("`: ")?;
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_at_the_beginning_is_replaced() {
        let named = |why: &str| with_name(JoinError::Undeliverable(why.to_owned()), "render");
        let told = named("task `app::draw`: its input could not be encoded: `T`: why").to_string();
        assert!(
            told.ends_with("task `render`: its input could not be encoded: `T`: why"),
            "{told}"
        );
        let told = named("it was not handed over").to_string();
        assert!(told.ends_with("it was not handed over"), "{told}");
        let ended = with_name(JoinError::Cancelled, "render");
        assert!(ended.is_cancelled());
    }
}
