//! In place of `host`, where there are no worker processes: systems other than Linux.

#[path = "host/start_method.rs"]
pub(super) mod start_method;

use std::io;
use std::sync::Arc;

use crate::Message;
use crate::process::{Builder, Enforcement, Limit};
use crate::task::name::TaskName;

impl Builder {
    pub(in crate::worker::process) fn start<A: Message, R: Message>(
        &self,
        _: fn(A) -> R,
        _: A,
        _: TaskName,
    ) -> io::Result<one_shot::ProcessTask<R>> {
        Err(unsupported())
    }

    pub(in crate::worker::process) fn start_of_program<A: Message, R: Message>(
        &self,
        program: &Arc<program::NamedProgram>,
        _: [u64; 2],
        _: A,
        _: TaskName,
    ) -> io::Result<one_shot::ProcessTask<R>> {
        match **program {}
    }
}

/// Why there are none.
pub(crate) fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "processes need Linux (5.10 or later); threads work here",
    )
}

/// What this worker's sandbox is made of: this is no worker.
#[cfg(feature = "sandbox")]
pub(crate) fn applied_in_this_worker() -> Option<crate::sandbox::Applied> {
    None
}

pub(super) fn limited_by(_: Limit) -> Enforcement {
    Enforcement::Unavailable(unsupported().to_string())
}

pub(crate) mod client {
    use std::io;

    use super::start_method::StartMethod;
    use crate::worker::process::Inheritance;

    /// There is none.
    pub(in crate::worker::process) enum ForkServerClient {}

    /// Which of them.
    pub(in crate::worker::process) struct Origin;

    impl Origin {
        pub(in crate::worker::process) fn own(_: Inheritance) -> Origin {
            Origin
        }
    }

    impl ForkServerClient {
        pub(in crate::worker::process) fn get(_: Origin) -> io::Result<ForkServerClient> {
            Err(super::unsupported())
        }

        pub(in crate::worker::process) fn start_method(&self) -> &StartMethod {
            match *self {}
        }
    }
}

pub(crate) mod lines {
    use std::fs::File;
    use std::io;
    use std::path::Path;
    use std::task::{Context, Poll};
    use std::time::Instant;

    use crate::process::Line;

    /// Where lines of workers go: there are none.
    #[derive(Debug)]
    pub(crate) enum Sink {}

    #[derive(Debug)]
    pub(crate) enum Source {}

    pub(crate) fn lines() -> io::Result<(Sink, Source)> {
        Err(super::unsupported())
    }

    impl Source {
        pub(crate) fn next(&mut self) -> Option<Line> {
            match *self {}
        }

        pub(crate) fn next_until(&mut self, _: Option<Instant>) -> io::Result<Option<Line>> {
            match *self {}
        }

        pub(crate) fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Line>> {
            match *self {}
        }
    }

    pub(crate) fn reopen_output(_: &File) -> io::Result<File> {
        Err(super::unsupported())
    }

    pub(crate) fn copy_input(_: &File) -> io::Result<File> {
        Err(super::unsupported())
    }

    pub(crate) fn open_output(_: &Path) -> io::Result<File> {
        Err(super::unsupported())
    }

    pub(crate) fn open_input(_: &Path) -> io::Result<File> {
        Err(super::unsupported())
    }
}

pub(crate) mod program {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use crate::Message;
    use crate::process::LookupError;

    /// A program with processes: there is none.
    #[derive(Debug)]
    pub(crate) enum NamedProgram {}

    impl NamedProgram {
        pub(crate) fn open(_: &Path) -> io::Result<Arc<NamedProgram>> {
            Err(super::unsupported())
        }

        pub(crate) fn path(&self) -> &Path {
            match *self {}
        }

        pub(crate) fn names(self: &Arc<Self>) -> io::Result<Vec<String>> {
            match **self {}
        }

        pub(crate) fn find<A: Message, R: Message>(
            self: &Arc<Self>,
            _: &str,
        ) -> Result<[u64; 2], LookupError> {
            match **self {}
        }
    }
}

pub(crate) mod one_shot {
    use std::convert::Infallible;
    use std::marker::PhantomData;
    use std::task::{Context, Poll};
    use std::time::Instant;

    use crate::JoinError;

    /// A task in a process: there is none.
    pub(crate) struct ProcessTask<R> {
        none: Infallible,
        result: PhantomData<fn() -> R>,
    }

    impl<R> ProcessTask<R> {
        pub(crate) fn wait(&mut self, _: Option<Instant>) -> Option<Result<R, JoinError>> {
            match self.none {}
        }

        pub(crate) fn poll(&mut self, _: &mut Context<'_>) -> Poll<Result<R, JoinError>> {
            match self.none {}
        }

        pub(crate) fn is_finished(&self) -> bool {
            match self.none {}
        }

        pub(crate) fn cancel(&self) {
            match self.none {}
        }

        pub(crate) fn terminate(&self) {
            match self.none {}
        }

        pub(crate) fn tell_when_gone(&mut self) {
            match self.none {}
        }

        pub(crate) fn pid(&self) -> Option<u32> {
            match self.none {}
        }
    }
}
