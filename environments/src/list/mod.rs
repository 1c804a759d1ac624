//! The environments: what each is, and what is expected there.
//!
//! - [`programs`]: what the program is, and what runs it; [`starts`]: what it is started with
//! - [`places`]: mounts, namespaces, users; [`limits`]; [`refusals`]: filters of system calls

mod limits;
mod places;
mod programs;
mod refusals;
mod starts;

use std::io;

use crate::builds::Build;
use crate::place::Start;

/// All of them. An order names one by its place here.
pub(crate) fn all() -> Vec<&'static Environment> {
    let parts = [
        programs::ALL,
        starts::ALL,
        places::ALL,
        limits::ALL,
        refusals::ALL,
    ];
    parts.into_iter().flatten().collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The test suites pass.
    Works,
    /// There are no processes, and the error has all these words in it. Threads work.
    Refused(&'static [&'static str]),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Runs {
    /// The checks, and the test suites.
    Suites,
    /// A program of the checks alone, with this argument.
    Checks(&'static str, &'static str),
}

/// What an environment needs of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    Root,
    /// A command, and the package that it is in.
    Command(&'static str, &'static str),
    /// The same for a file.
    File(&'static str, &'static str),
    /// A control group's controller.
    Controller(&'static str),
    /// A kernel that is not older than this version.
    Kernel(u32, u32),
    Landlock,
}

pub(crate) struct Environment {
    pub(crate) name: &'static str,
    /// Whether it is in the quick part.
    pub(crate) quick: bool,
    pub(crate) build: Build,
    pub(crate) runs: Runs,
    pub(crate) expected: Expected,
    pub(crate) needs: &'static [Need],
    /// Parts of names of tests that cannot be run there, and why. Told in the table.
    pub(crate) without: &'static [(&'static str, &'static str)],
    /// What is to be mended before it is as expected. It is tried, told and counted; no failure.
    pub(crate) known_fault: Option<&'static str>,
    /// Whether tests run one after another.
    pub(crate) one_by_one: bool,
    /// Moves this process there.
    pub(crate) enter: fn(&mut Start) -> io::Result<()>,
}

const PLAIN: Environment = Environment {
    name: "",
    quick: false,
    build: Build::Usual,
    runs: Runs::Suites,
    expected: Expected::Works,
    needs: &[],
    without: &[],
    known_fault: None,
    one_by_one: false,
    enter: |_| Ok(()),
};
