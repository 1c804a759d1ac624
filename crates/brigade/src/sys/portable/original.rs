//! Telling a process from its forks, by its number.

/// The process that made this, and no fork of it.
#[derive(Clone, Debug)]
pub(crate) struct Original(u32);

impl Original {
    pub(crate) fn this_process() -> Original {
        Original(std::process::id())
    }

    /// Whether that is the process that asks.
    pub(crate) fn is_this_process(&self) -> bool {
        self.0 == std::process::id()
    }
}
