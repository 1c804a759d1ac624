//! Where a worker was when it was asked: its process, how far it had come, the calls on its stack,
//! and what it waited for.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::crash::Phase;
use super::symbols::{Frames, Symbols};
use crate::sys::blocked::{Look, NoAnswer};

/// Where a worker was.
#[derive(Clone)]
pub(crate) struct Whereabouts {
    /// `None`: a thread.
    pub(crate) pid: Option<u32>,
    pub(crate) phase: Option<Phase>,
    pub(crate) frames: Frames,
    backtrace: OnceLock<Option<String>>,
    /// Where in the kernel it was: `in read(2) on descriptor 5, a pipe`. Empty: it ran, or that
    /// cannot be known.
    pub(crate) blocked: String,
    /// Why the task's calls are not known, if there is a reason to give.
    pub(crate) why_unknown: Option<&'static str>,
}

impl Whereabouts {
    pub(crate) fn new(pid: Option<u32>, phase: Option<Phase>, frames: Frames) -> Whereabouts {
        Whereabouts {
            pid,
            phase,
            frames,
            backtrace: OnceLock::new(),
            blocked: String::new(),
            why_unknown: None,
        }
    }

    /// Of a worker that was asked: its calls, if it has answered, and how it looked from outside.
    pub(crate) fn asked(
        pid: Option<u32>,
        phase: Option<Phase>,
        symbols: &Arc<Symbols>,
        calls: Option<Vec<usize>>,
        look: Look,
    ) -> Whereabouts {
        let is_answered = calls.is_some();
        let frames = Frames::new(symbols, calls.unwrap_or_default());
        let mut place = Whereabouts::new(pid, phase, frames);
        place.see(look);
        if is_answered {
            place.why_unknown = None;
        } else if place.why_unknown.is_none() {
            place.why_unknown = Some("it did not answer in time");
        }
        place
    }

    fn see(&mut self, look: Look) {
        self.why_unknown = look.cannot_answer.map(|cannot_answer| match cannot_answer {
            NoAnswer::Stopped => "it is stopped",
            NoAnswer::Blocks => "its thread blocks the signal that asks it",
            NoAnswer::NoHandler => {
                "it has become another program, or has no handler for the signal that asks it"
            }
            NoAnswer::Ended => "it has ended",
        });
        self.blocked = look.place;
    }

    /// The task's calls, innermost first, one a line. Looked up at the first call.
    pub(crate) fn backtrace(&self) -> Option<&str> {
        let text = self.backtrace.get_or_init(|| self.frames.render());
        text.as_deref()
    }

    pub(crate) fn blocked(&self) -> Option<&str> {
        Some(self.blocked.as_str()).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whereabouts")
            .field("pid", &self.pid)
            .field("phase", &self.phase)
            .field("blocked", &self.blocked)
            .field("why_unknown", &self.why_unknown)
            .finish_non_exhaustive()
    }
}

/// On one line: the innermost call that is the program's own, and what it waited for. With a comma
/// before each.
impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.frames.innermost() {
            write!(f, ", in {place}")?;
        }
        if let Some(blocked) = self.blocked() {
            write!(f, ", {blocked}")?;
        }
        Ok(())
    }
}
