//! What workers' standard streams are, where their builder says so; and who reads their lines.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::process::Program;
use crate::process::streams::{From, Line, Streams, To};
use crate::sys::error::Call;
use crate::sys::{futex, opened};
use crate::task::name::TaskName;
use crate::worker::process::ipc::streams::{Function, LineFrame, OwnStreams, Route, Routes};

/// The names of the tasks whose lines are read, by their functions.
type Names = Arc<Mutex<HashMap<Function, TaskName>>>;

/// Where the lines of workers go: the fork server's end.
#[derive(Debug)]
pub(crate) struct Sink {
    socket: OwnedFd,
    names: Names,
}

/// The reader's end.
#[derive(Debug)]
pub(crate) struct Source {
    socket: OwnedFd,
    names: Names,
    buffer: Vec<u8>,
}

/// Longer than any line that the fork server sends.
const LONGEST: usize = 64 * 1024;

/// How long a reader pauses where the kernel has no memory.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) fn lines() -> io::Result<(Sink, Source)> {
    let (source, sink) = opened::socket_pair().needed_to("read what workers write")?;
    let names = Names::default();
    let sink = Sink {
        socket: sink,
        names: Arc::clone(&names),
    };
    let source = Source {
        socket: source,
        names,
        buffer: vec![0; LONGEST],
    };
    Ok((sink, source))
}

impl Source {
    /// Waits for the next line. `None`: no writer is left.
    pub(crate) fn next(&mut self) -> Option<Line> {
        loop {
            let got = rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::empty());
            let len = match got {
                Ok((0, _)) => return None,
                Ok((len, _)) => len,
                Err(Errno::INTR) => continue,
                Err(Errno::NOBUFS | Errno::NOMEM) => {
                    futex::rest(PAUSE);
                    continue;
                }
                Err(_) => return None,
            };
            let Some(frame) = LineFrame::read(&self.buffer[..len]) else {
                continue;
            };
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let task = names.get(&frame.function).cloned();
            drop(names);
            return Some(Line {
                pid: frame.pid,
                is_stderr: frame.is_stderr,
                is_whole: frame.is_whole,
                lost: frame.lost,
                task,
                text: String::from_utf8_lossy(frame.text).into_owned(),
            });
        }
    }
}

/// A file that workers' output is written to the end of. It is never waited for.
pub(crate) fn open_output(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let file = options
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
        .open(path)
        .call("open(2)")
        .at(|| path.display().to_string())?;
    above(file)
}

/// A file that workers read, each from its beginning.
pub(crate) fn open_input(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32)
        .open(path)
        .call("open(2)")
        .at(|| path.display().to_string())?;
    let stat = rustix::fs::fstat(&file).call("fstat(2)")?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::CharacterDevice => above(file),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} is no file that each worker could read from its beginning",
                path.display()
            ),
        )),
    }
}

fn above(file: File) -> io::Result<File> {
    opened::lifted(file.into()).map(File::from)
}

/// The streams that a builder gives its workers, and what their tasks are called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(Option<Arc<Inner>>);

#[derive(Clone, Debug)]
struct Inner {
    streams: Streams,
    worker: Option<Arc<str>>,
    program: Option<Program>,
}

impl PartialEq for Given {
    fn eq(&self, other: &Given) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Given {}

impl Given {
    pub(crate) fn new(
        streams: &Streams,
        worker: Option<Arc<str>>,
        program: Option<Program>,
    ) -> Given {
        Given(Some(Arc::new(Inner {
            streams: streams.clone(),
            worker,
            program,
        })))
    }

    /// The workers are those of a pool of this name.
    pub(crate) fn name_workers(&mut self, name: &Arc<str>) {
        if let Some(inner) = &mut self.0 {
            Arc::make_mut(inner).worker = Some(Arc::clone(name));
        }
    }

    /// What the worker is told of it.
    pub(crate) fn of_worker(&self) -> Option<OwnStreams> {
        let Streams {
            stdin,
            stdout,
            stderr,
        } = &self.0.as_ref()?.streams;
        let marks = [stdout, stderr].map(|output| matches!(output.0, To::Lines(_)));
        Some(OwnStreams {
            stdin: !matches!(stdin.0, From::Null),
            stdout: !matches!(stdout.0, To::Inherit),
            marks,
        })
    }

    /// What the fork server is told, and what goes with it; `None`: nothing.
    pub(crate) fn to_send(&self) -> io::Result<Option<(Routes, Vec<OwnedFd>)>> {
        let Some(inner) = &self.0 else {
            return Ok(None);
        };
        let mut descriptors = Vec::new();
        let stdin = match &inner.streams.stdin.0 {
            From::Null => false,
            From::Inherit => {
                let stdin = opened::copy(rustix::stdio::stdin());
                descriptors.push(stdin.needed_to("give a worker the program's stdin")?);
                true
            }
            From::File(file) => {
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
                    descriptors.push(opened::copy(&sink.socket)?);
                    Some(Route::Lines)
                }
            })
        };
        let routes = Routes {
            stdin,
            stdout: route(&inner.streams.stdout.0)?,
            stderr: route(&inner.streams.stderr.0)?,
        };
        Ok(Some((routes, descriptors)))
    }

    /// The thread that reads the lines of such a worker is to know what this function's tasks are
    /// called.
    pub(crate) fn name(
        &self,
        function: Function,
        name: impl Fn(Option<&Arc<str>>, Option<&Program>) -> TaskName,
    ) {
        let Some(inner) = &self.0 else {
            return;
        };
        for output in [&inner.streams.stdout, &inner.streams.stderr] {
            if let To::Lines(sink) = &output.0 {
                let mut names = sink.names.lock().unwrap_or_else(PoisonError::into_inner);
                names
                    .entry(function)
                    .or_insert_with(|| name(inner.worker.as_ref(), inner.program.as_ref()));
            }
        }
    }
}
