//! What workers' standard streams are, where their builder says so.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::program::NamedProgram;
use crate::process::streams::{AskedStreams, StdinFrom, To};
use crate::sys::error::Call;
use crate::sys::opened;
use crate::task::name::TaskName;
use crate::worker::process::ipc::streams::{OwnStreams, PlanWords, Route, Routes, SentRoutes};

/// The streams that a builder gives its workers, and what their tasks are called.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenStreams(Option<Arc<StreamsData>>);

#[derive(Clone, Debug, Default)]
struct StreamsData {
    streams: AskedStreams,
    worker: Option<Arc<str>>,
    program: Option<Arc<NamedProgram>>,
    /// The memory file of a value that each worker is given at its start.
    value: Option<Arc<OwnedFd>>,
}

impl GivenStreams {
    pub(crate) fn new(
        streams: &AskedStreams,
        worker: Option<Arc<str>>,
        program: Option<Arc<NamedProgram>>,
    ) -> GivenStreams {
        GivenStreams(Some(Arc::new(StreamsData {
            streams: streams.clone(),
            worker,
            program,
            value: None,
        })))
    }

    /// Each worker is given this memory file, too.
    pub(crate) fn add_value(&mut self, file: OwnedFd) {
        let inner = self.0.get_or_insert_with(Arc::default);
        Arc::make_mut(inner).value = Some(Arc::new(file));
    }

    /// The workers are those of a pool of this name.
    pub(crate) fn name_workers(&mut self, name: &Arc<str>) {
        if let Some(inner) = &mut self.0 {
            Arc::make_mut(inner).worker = Some(Arc::clone(name));
        }
    }

    /// What the worker's setup has of its streams.
    pub(crate) fn of_worker(&self) -> Option<OwnStreams> {
        let StreamsData { streams, value, .. } = self.0.as_deref()?;
        let AskedStreams {
            stdin,
            stdout,
            stderr,
        } = streams;
        let marks = [stdout, stderr].map(|output| matches!(output.0, To::Lines(_)));
        Some(OwnStreams {
            stdin: !matches!(stdin.0, StdinFrom::Null),
            stdout: !matches!(stdout.0, To::Inherit),
            marks,
            value: value.is_some(),
            events: None,
        })
    }

    /// What the fork server gets of these streams, and what goes with that; `None`: nothing.
    pub(crate) fn to_send(&self) -> io::Result<Option<SentRoutes>> {
        let Some(inner) = &self.0 else {
            return Ok(None);
        };
        let mut descriptors = Vec::new();
        let stdin = match &inner.streams.stdin.0 {
            StdinFrom::Null => false,
            StdinFrom::Inherit => {
                let stdin = opened::copy(rustix::stdio::stdin());
                descriptors.push(stdin.needed_to("give a worker the program's stdin")?);
                true
            }
            StdinFrom::File(file) => {
                // Anew, for a place of its own in it.
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                let file = opened::file(path, OFlags::RDONLY | OFlags::NOCTTY);
                descriptors.push(file.needed_to("give a worker its stdin")?);
                true
            }
        };
        let mut route = |to: &To| -> io::Result<Option<Route>> {
            Ok(match to {
                To::Inherit => None,
                To::Null => Some(Route::Nowhere),
                To::File(file) => {
                    descriptors.push(opened::copy(file)?);
                    Some(Route::File)
                }
                To::Lines(sink) => {
                    descriptors.push(opened::copy(sink.socket())?);
                    Some(Route::Lines)
                }
            })
        };
        let routes = Routes {
            stdin,
            stdout: route(&inner.streams.stdout.0)?,
            stderr: route(&inner.streams.stderr.0)?,
            value: inner.value.is_some(),
            events: false,
        };
        if let Some(value) = &inner.value {
            descriptors.push(opened::copy(value)?);
        }
        Ok(Some((routes, descriptors)))
    }

    /// The thread that reads the lines of such a worker is to know what this function's tasks are
    /// called.
    pub(crate) fn name(
        &self,
        function: PlanWords,
        name: impl Fn(Option<&Arc<str>>, Option<&Arc<NamedProgram>>) -> TaskName,
    ) {
        let Some(inner) = &self.0 else {
            return;
        };
        for output in [&inner.streams.stdout, &inner.streams.stderr] {
            if let To::Lines(sink) = &output.0 {
                sink.name(function, || {
                    name(inner.worker.as_ref(), inner.program.as_ref())
                });
            }
        }
    }
}
