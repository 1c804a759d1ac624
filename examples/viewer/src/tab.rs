//! Tabs: a document each, the process that draws it, and how that ended.

use std::fmt;
use std::io;
use std::time::Duration;

use brigade::{Cause, JoinError, Kind, Pool, Sandbox, process};
use serde::Serialize;

use crate::picture::Picture;
use crate::render::{self, Document, Drawn};

/// How documents are drawn.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) kind: Kind,
    pub(crate) workers: Option<usize>,
    pub(crate) size: u32,
    pub(crate) timeout: Duration,
    pub(crate) memory: u64,
}

/// What came of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// There is a picture.
    Drawn,
    /// It is no document that the library takes.
    Refused,
    /// It reached for what it may not have, and was ended.
    Escaping,
    /// It took too long.
    TooSlow,
    /// It took too much memory.
    TooLarge,
    /// It broke what drew it.
    Crashed,
}

/// The end of a tab.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    /// In words: the error, what it reached for, where it crashed.
    pub(crate) why: String,
    pub(crate) picture: Option<Picture>,
}

impl Viewer {
    /// Processes for tabs: a new one for each, so that no document meets what another has left.
    pub(crate) fn pool(&self) -> io::Result<Pool> {
        let pixels = u64::from(self.size) * u64::from(self.size) * 4;
        let shut_in = process::Builder::new()
            .sandbox(Sandbox::deny_all().kill_on_violation())
            .memory_limit(self.memory + pixels)
            .file_size_limit(pixels.max(1 << 20))
            .open_files_limit(64);
        let mut pool = Pool::builder(self.kind)
            .name("tab")
            .initializer(render::load_fonts)
            .fresh_per_task(true)
            .timeout(self.timeout)
            .process(shut_in);
        if let Some(workers) = self.workers {
            pool = pool.workers(workers);
        }
        pool.build()
    }

    pub(crate) fn document(&self, bytes: Vec<u8>) -> Document {
        Document {
            bytes,
            size: self.size,
        }
    }

    /// What the end of a task means.
    pub(crate) fn judge(&self, ended: Result<Result<Drawn, String>, JoinError>) -> Ended {
        let (verdict, why) = match ended {
            Ok(Ok(drawn)) => match Picture::check(drawn, self.size) {
                Ok(picture) => {
                    return Ended {
                        verdict: Verdict::Drawn,
                        why: format!("{} x {}", picture.width(), picture.height()),
                        picture: Some(picture),
                    };
                }
                Err(why) => (Verdict::Refused, why),
            },
            Ok(Err(why)) => (Verdict::Refused, why),
            Err(JoinError::Crashed(crash)) => {
                let why = match (crash.cause(), crash.stderr().lines().last()) {
                    (Cause::Signal(_), _) => crash.to_string(),
                    (cause, _) => cause.to_string(),
                };
                let verdict = match crash.cause() {
                    Cause::Sandbox(_) => Verdict::Escaping,
                    Cause::OutOfMemory => Verdict::TooLarge,
                    Cause::CpuLimit => Verdict::TooSlow,
                    _ => Verdict::Crashed,
                };
                (verdict, why)
            }
            Err(JoinError::TimedOut(_)) => (
                Verdict::TooSlow,
                format!("it took longer than {:?}", self.timeout),
            ),
            Err(other) => (Verdict::Crashed, other.to_string()),
        };
        Ended {
            verdict,
            why,
            picture: None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Drawn => "drawn",
            Verdict::Refused => "refused",
            Verdict::Escaping => "escaping",
            Verdict::TooSlow => "too slow",
            Verdict::TooLarge => "too large",
            Verdict::Crashed => "crashed",
        })
    }
}
