//! On what machine the figures were taken.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{cores, procfs};

/// The machine, as far as it matters to the figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Cores this program may use.
    pub(crate) cores: usize,
    /// The processor's own name for itself.
    pub(crate) processor: Option<String>,
    /// `uname -r`.
    pub(crate) kernel: String,
    /// Bytes of memory.
    pub(crate) memory: Option<u64>,
    /// Programs that wanted to run, on average over the last minute: with many, figures are
    /// unsteady.
    pub(crate) load: Option<f64>,
    /// `release` or `debug`: how this program was built.
    pub(crate) build: Cow<'static, str>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        Self {
            cores: cores::allowed().len(),
            processor: processor(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            memory: procfs::total(),
            load: load(),
            build: if cfg!(debug_assertions) {
                "debug".into()
            } else {
                "release".into()
            },
        }
    }
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}
