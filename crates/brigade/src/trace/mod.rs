//! The parts of [`tracing`] that the library uses, so that it can do without: where the feature
//! `tracing` is off, an event is nothing, and there is no subscriber.
//!
//! [`tracing`]: https://docs.rs/tracing

#[cfg(feature = "tracing")]
mod span;

#[cfg(feature = "tracing")]
pub(crate) use tracing::{Level, enabled, event, field::display, level_filters::LevelFilter, warn};

#[cfg(feature = "tracing")]
pub(crate) use span::{Span, SpanFields, Submission};

#[cfg(not(feature = "tracing"))]
pub(crate) use absent::{Level, LevelFilter, Submission, enabled, event, warn};

/// Tells the subscriber, if one is interested in this level. A panic in it must not take a task's
/// end along, or the thread that tells.
#[inline]
pub(crate) fn emit(level: Level, emit: impl FnOnce()) {
    if level <= LevelFilter::current() {
        crate::task::contain::contained(emit);
    }
}

#[cfg(not(feature = "tracing"))]
mod absent {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct Level(u8);

    impl Level {
        pub(crate) const WARN: Level = Level(2);
        pub(crate) const INFO: Level = Level(3);
        pub(crate) const DEBUG: Level = Level(4);
        pub(crate) const TRACE: Level = Level(5);
    }

    /// None is let through.
    #[derive(Debug)]
    pub(crate) struct LevelFilter;

    impl LevelFilter {
        pub(crate) const fn current() -> Level {
            Level(0)
        }
    }

    /// Where a task was submitted: no subscriber is there.
    #[derive(Clone, Debug)]
    pub(crate) enum Submission {}

    macro_rules! enabled {
        ($($any:tt)*) => {
            false
        };
    }

    macro_rules! event {
        ($($any:tt)*) => {
            ()
        };
    }

    pub(crate) use {enabled, event, event as warn};
}
