//! `brigade doctor`: which of the kernel's means are there, and what that means for the user.
//!
//! The contract of a probe: it tries the thing itself where that is harmless, and in a sacrificial
//! program where it is not; it changes nothing that stays. What implements it: the modules below,
//! in the order of the report.

mod groups;
mod kernel;
mod limits;
mod namespaces;
mod render;
mod security;
mod walls;

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use crate::cli::DoctorArgs;
use crate::exit;
use crate::machine::Machine;
use crate::terminal::{self, Color};

/// Of the JSON. Fields may be added without a new version.
const VERSION: u32 = 1;

/// Is it there?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    Yes,
    /// Some of it, or under conditions: what was found says which.
    Partly,
    No,
}

/// One thing looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable name, for programs.
    pub(crate) id: &'static str,
    /// For people.
    pub(crate) name: &'static str,
    pub(crate) status: Status,
    /// Without it no process worker runs.
    pub(crate) required: bool,
    /// What was seen.
    pub(crate) found: String,
    /// What that means for who uses Brigade here.
    pub(crate) means: String,
}

impl Finding {
    pub(crate) fn new(
        id: &'static str,
        name: &'static str,
        status: Status,
        found: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self {
            id,
            name,
            status,
            required: false,
            found: found.into(),
            means: means.into(),
        }
    }

    /// Marks what process workers cannot do without.
    pub(crate) fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    fn is_lacking(&self) -> bool {
        self.required && self.status == Status::No
    }
}

/// Everything, in the order of the report.
fn look() -> Vec<Finding> {
    let parts: [fn() -> Vec<Finding>; 6] = [
        kernel::look,
        limits::look,
        security::look,
        namespaces::look,
        groups::look,
        walls::look,
    ];
    parts.into_iter().flat_map(|part| part()).collect()
}

/// `brigade doctor`.
pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let machine = Machine::look();
    let findings = look();
    let text = if args.json {
        let report = json!({
            "schema": "brigade-doctor",
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "machine": machine,
            "findings": findings,
        });
        format!("{report:#}\n")
    } else {
        render::report(
            &machine,
            &findings,
            args.color.unwrap_or(Color::Auto).decide(),
        )
    };
    if let Err(error) = terminal::print(&text) {
        eprintln!("brigade: writing the report: {error}");
        return ExitCode::from(exit::FAILED);
    }
    let lacking = findings.iter().any(Finding::is_lacking);
    ExitCode::from(if lacking { exit::LACKING } else { exit::DONE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_required_thing_that_is_missing_is_lacking() {
        let finding = |status| Finding::new("x", "x", status, "", "");
        assert!(finding(Status::No).required().is_lacking());
        assert!(!finding(Status::No).is_lacking());
        assert!(!finding(Status::Partly).required().is_lacking());
    }

    #[test]
    fn the_document_names_every_field() {
        let document = include_str!("../../docs/doctor-json.md");
        let finding = serde_json::to_value(Finding::new("x", "x", Status::Yes, "", "")).unwrap();
        for name in finding.as_object().unwrap().keys() {
            assert!(
                document.contains(&format!("`{name}`")),
                "docs/doctor-json.md says nothing of `{name}`"
            );
        }
    }
}
