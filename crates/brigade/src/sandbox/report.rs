//! What a sandbox is to bring about, and by what it does.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Rules;
use crate::process::Enforcement;

/// What a sandbox brings about. See [`Sandbox`](crate::Sandbox).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// No file is read, written, made or removed, and no metadata read or changed, but beneath
    /// granted paths.
    Files,
    /// Nothing is sent to or received from other machines and programs, but through granted ports
    /// and the descriptors that it was given.
    Network,
    /// No program is executed and no process made, but granted programs; and no memory is mapped as
    /// code.
    Programs,
    /// No signal goes to a process outside.
    Signals,
    /// No memory of another process is read or written, but what is shared with it on purpose.
    Memory,
}

impl Effect {
    /// All of them.
    pub const ALL: [Effect; 5] = [
        Effect::Files,
        Effect::Network,
        Effect::Programs,
        Effect::Signals,
        Effect::Memory,
    ];
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Effect::Files => "no files",
            Effect::Network => "no network",
            Effect::Programs => "no new programs",
            Effect::Signals => "no signals to others",
            Effect::Memory => "no outside memory",
        })
    }
}

/// By what each [`Effect`] of a sandbox is enforced on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    effects: Vec<(Effect, Enforcement)>,
    took: Vec<(String, Duration)>,
}

impl Report {
    pub(super) fn of_worker(rules: &Rules, applied: Applied) -> Report {
        Report {
            effects: effects(rules, &applied),
            took: applied.took,
        }
    }

    pub(super) fn nothing(why: &str) -> Report {
        let unavailable = |effect| (effect, Enforcement::Unavailable(why.to_owned()));
        Report {
            effects: Effect::ALL.map(unavailable).to_vec(),
            took: Vec::new(),
        }
    }

    /// What each step took that shut the worker in, in order.
    pub fn steps(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.took.iter().map(|(step, time)| (step.as_str(), *time))
    }

    /// Of this effect.
    pub fn of(&self, effect: Effect) -> &Enforcement {
        let found = self.effects.iter().find(|(of, _)| *of == effect);
        // Every report has every effect.
        &found.unwrap_or(&self.effects[0]).1
    }

    /// Each effect, in the order of [`Effect::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Effect, &Enforcement)> {
        self.effects.iter().map(|(effect, state)| (*effect, state))
    }

    /// Whether all are enforced in full, so that [`require`](crate::Sandbox::require) starts.
    pub fn is_complete(&self) -> bool {
        self.effects.iter().all(|(_, state)| state.is_enforced())
    }
}

impl IntoIterator for Report {
    type Item = (Effect, Enforcement);
    type IntoIter = std::vec::IntoIter<(Effect, Enforcement)>;

    fn into_iter(self) -> Self::IntoIter {
        self.effects.into_iter()
    }
}

/// An effect a line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (effect, state)) in self.effects.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{effect}: {state}")?;
        }
        Ok(())
    }
}

/// What a worker has done to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// The version of Landlock that is in force; 0: none.
    pub(crate) landlock: u8,
    /// Why it is not.
    pub(crate) no_landlock: Option<String>,
    /// Why no seccomp filter is in force.
    pub(crate) no_seccomp: Option<String>,
    /// Files in memory can be executed as programs.
    pub(crate) executes_memory: bool,
    /// How long each step took.
    pub(crate) took: Vec<(String, Duration)>,
}

/// The version of Landlock that knows ports.
const PORTS: u8 = 4;
/// The version that keeps signals within.
const SIGNALS: u8 = 6;

/// What comes of what a worker has done.
pub(crate) fn effects(rules: &Rules, applied: &Applied) -> Vec<(Effect, Enforcement)> {
    let state = |effect| state(effect, rules, applied);
    Effect::ALL.map(|effect| (effect, state(effect))).to_vec()
}

fn state(effect: Effect, rules: &Rules, applied: &Applied) -> Enforcement {
    let landlock = applied.landlock;
    // Without a version that does its part, seccomp alone must do.
    let (helps, part_without_filter) = match effect {
        Effect::Files => (1, Some("metadata can be read and changed")),
        Effect::Network => (PORTS, Some("only TCP is refused")),
        Effect::Programs => (1, Some("it may fork, and map memory as code")),
        Effect::Signals => (SIGNALS, None),
        Effect::Memory => (1, Some("System V shared memory is not refused")),
    };
    let with_landlock = landlock >= helps;
    let by_landlock = format!("Landlock (version {landlock})");
    if effect == Effect::Programs && applied.executes_memory {
        return Enforcement::Partial(
            "programs are granted, and a file in memory can be executed too, before Linux 6.3"
                .to_owned(),
        );
    }
    match (&applied.no_seccomp, with_landlock) {
        (None, true) => Enforcement::Enforced(format!("seccomp, {by_landlock}")),
        (None, false) => match needs_landlock(effect, rules) {
            Some(what) => Enforcement::Partial(format!(
                "{what}, and {}",
                applied.no_landlock.clone().unwrap_or(by_landlock)
            )),
            None => Enforcement::Enforced("seccomp".to_owned()),
        },
        (Some(why), true) => match part_without_filter {
            Some(part) => Enforcement::Partial(format!("{part}, by {by_landlock} alone: {why}")),
            None => Enforcement::Enforced(by_landlock),
        },
        (Some(why), false) => Enforcement::Unavailable(why.clone()),
    }
}

/// Why an effect that seccomp refuses as a whole needs Landlock, where a rule grants a part of it.
fn needs_landlock(effect: Effect, rules: &Rules) -> Option<&'static str> {
    match effect {
        Effect::Files if rules.has_paths() => Some("granted paths cannot be told from others"),
        Effect::Network if rules.has_ports() => Some("granted ports cannot be told from others"),
        Effect::Programs if !rules.execute.is_empty() => {
            Some("granted programs cannot be told from others")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(landlock: u8, seccomp: bool) -> Applied {
        Applied {
            landlock,
            no_landlock: (landlock == 0).then(|| "this kernel has no Landlock".to_owned()),
            no_seccomp: (!seccomp).then(|| "seccomp(2) is denied".to_owned()),
            executes_memory: false,
            took: Vec::new(),
        }
    }

    fn all_enforced(rules: &Rules, applied: &Applied) -> bool {
        effects(rules, applied).iter().all(|(_, s)| s.is_enforced())
    }

    #[test]
    fn a_filter_alone_denies_all() {
        let nothing = Rules::default();
        assert!(all_enforced(&nothing, &applied(0, true)));
        assert!(all_enforced(&nothing, &applied(7, true)));
        for landlock in [0, 1, 7] {
            assert!(!all_enforced(&nothing, &applied(landlock, false)));
        }
    }

    #[test]
    fn what_is_granted_takes_landlock() {
        let mut rules = Rules {
            read: vec![b"/usr".to_vec()],
            ..Rules::default()
        };
        assert!(!all_enforced(&rules, &applied(0, true)));
        assert!(all_enforced(&rules, &applied(1, true)));
        rules.connect.push(80);
        assert!(!all_enforced(&rules, &applied(3, true)));
        assert!(all_enforced(&rules, &applied(4, true)));
    }
}
