//! The programs that publish what their pools do.

use crate::inspect::look;
use crate::inspect::proc_dir::{self, Hidden, ProcDir};
use crate::inspect::process::Stat;
use crate::published::Reader;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) pid: u32,
    pub(super) name: String,
}

/// All that may be looked into, and how many may not.
pub(super) fn all() -> Result<(Vec<Program>, usize), Hidden> {
    let mut programs = Vec::new();
    let mut not_permitted = 0;
    for pid in proc_dir::pids()? {
        let Ok(dir) = ProcDir::open(pid) else {
            continue;
        };
        match Reader::find(&dir) {
            Ok(Some(_)) => {
                if let Ok(stat) = Stat::read(&dir, "stat") {
                    programs.push(Program {
                        pid,
                        name: stat.name,
                    });
                }
            }
            Ok(None) => {}
            Err(Hidden::NotPermitted) => not_permitted += 1,
            Err(_) => {}
        }
    }
    Ok((programs, not_permitted))
}

/// What the user means: a process, or the name of a program.
pub(super) enum Meant {
    One(u32),
    /// None, or several.
    Choice(Vec<Program>, usize),
}

/// Finds it. A number is a process, whether it publishes or not.
pub(super) fn find(which: Option<&str>) -> Result<Meant, String> {
    if let Some(pid) = which.and_then(|which| which.parse().ok()) {
        let pid = look::thread_group(pid).ok_or_else(|| format!("there is no process {pid}"))?;
        return Ok(Meant::One(pid));
    }
    let (mut programs, not_permitted) = all().map_err(|why| format!("/proc: {why}"))?;
    if let Some(name) = which {
        // The kernel keeps 15 bytes of a name.
        let short = name.get(..name.len().min(15)).unwrap_or(name);
        programs.retain(|program| program.name == short);
        match programs.as_slice() {
            [] => {
                return Err(format!(
                    "no program `{name}` publishes what its pools do{}",
                    hidden(not_permitted)
                ));
            }
            [one] => return Ok(Meant::One(one.pid)),
            _ => {}
        }
    }
    Ok(Meant::Choice(programs, not_permitted))
}

/// ` (12 processes may not be looked into)`.
pub(super) fn hidden(not_permitted: usize) -> String {
    match not_permitted {
        0 => String::new(),
        1 => " (one process may not be looked into: not permitted)".into(),
        many => format!(" ({many} processes may not be looked into: not permitted)"),
    }
}
