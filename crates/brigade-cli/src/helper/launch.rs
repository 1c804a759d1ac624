//! Starting this program once more, and learning how it ended: never by waiting for ever.
//!
//! Its output goes to anonymous memory and not to a pipe: a pipe can be full, and can be held open
//! by a worker that is still about when the helper is not.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::DeserializeOwned;

use crate::fail::{Failure, OrFail as _};
use crate::signals;

/// The longest any helper may take. They take a second or two; this is for a machine that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that runs this program's helper of that name.
pub(crate) fn command<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    // Not `current_exe`: this is right even when the file was replaced or removed while we run.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("brigade")
        .arg("helper")
        .arg("--parent")
        .arg(std::process::id().to_string());
    command.args(arguments);
    command
}

/// A helper that runs; killed when it is dropped before its end.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stderr: File,
}

/// How a helper ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(
        arguments: &[String],
        stdin: Stdio,
        stdout: Stdio,
    ) -> Result<Self, Failure> {
        let stderr = memory()?;
        let for_child = stderr.try_clone().or_fail("copying a descriptor")?;
        let child = command(arguments)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::from(for_child))
            .spawn()
            .or_fail("starting this program once more")?;
        Ok(Self { child, stderr })
    }

    /// How it ends. Fails if it does not in time; then it is killed.
    fn wait(&mut self) -> Result<ExitStatus, Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::new("a helper without a process id"))?;
        // No race: it is our child, so its number is not reused before we wait for it.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).or_fail("watching a helper")?;
        let timeout = rustix::time::Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)).or_fail("watching a helper")? {
            0 => Err(Failure::new(format!(
                "a helper did not end within {} s",
                PATIENCE.as_secs()
            ))),
            _ => self.child.wait().or_fail("waiting for a helper"),
        }
    }

    /// Waits for a good end; a bad one is a failure that gives its last words.
    pub(crate) fn finish_well(mut self) -> Result<(), Failure> {
        let status = self.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(bad_end(status, &text(&mut self.stderr)?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail harmlessly when it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a helper to its end, whatever that is.
pub(crate) fn run(arguments: &[String]) -> Result<Ended, Failure> {
    let mut stdout = memory()?;
    let for_child = stdout.try_clone().or_fail("copying a descriptor")?;
    let mut running = Running::start(arguments, Stdio::null(), Stdio::from(for_child))?;
    let status = running.wait()?;
    Ok(Ended {
        status,
        stdout: text(&mut stdout)?,
        stderr: text(&mut running.stderr)?,
    })
}

/// Runs a helper that answers with one line of JSON.
pub(crate) fn ask<T: DeserializeOwned>(arguments: &[String]) -> Result<T, Failure> {
    let ended = run(arguments)?;
    if !ended.status.success() {
        return Err(bad_end(ended.status, &ended.stderr));
    }
    serde_json::from_str(ended.stdout.trim()).or_fail("reading a helper's answer")
}

fn bad_end(status: ExitStatus, stderr: &str) -> Failure {
    let last = stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing");
    let last = last.strip_prefix("brigade: ").unwrap_or(last);
    Failure::new(format!(
        "{last} (a helper ended with {})",
        signals::ending(status)
    ))
}

fn memory() -> Result<File, Failure> {
    Ok(File::from(
        memfd_create("brigade-output", MemfdFlags::CLOEXEC).or_fail("making anonymous memory")?,
    ))
}

fn text(file: &mut File) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .or_fail("reading a helper's output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
