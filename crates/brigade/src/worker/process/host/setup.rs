//! From a builder to the setup that its workers get.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::Duration;

use super::client::Origin;
use super::events::Forwarding;
use super::groups::{self, Groups};
use super::one_shot::ProcessTask;
use super::program::NamedProgram;
use super::streams::GivenStreams;
use super::worker_setup::WorkerSetup;
use crate::process::Builder;
#[cfg(feature = "sandbox")]
use crate::process::streams::StdinFrom;
use crate::sys::error::Call;
use crate::task::entry::Plan;
use crate::task::identity::Function;
use crate::task::name::TaskName;
#[cfg(feature = "tracing")]
use crate::trace::Level;
use crate::worker::process::ipc::protocol::{Limits, Setup};
use crate::worker::program_init::ProgramInit;
use crate::{Kind, Message};

impl Builder {
    /// Starts `task` on `input` in a process of its own.
    pub(in crate::worker::process) fn start<A: Message, R: Message>(
        &self,
        task: fn(A) -> R,
        input: A,
        name: TaskName,
    ) -> io::Result<ProcessTask<R>> {
        self.check_own("the task")?;
        let mut setup = self.setup()?;
        self.forward_task(&mut setup, &name)?;
        ProcessTask::start(task, input, setup.as_ref(), name, self.grace)
            .needed_to("run a task in a process")
    }

    /// As `start`, of a task of another program.
    pub(in crate::worker::process) fn start_of_program<A: Message, R: Message>(
        &self,
        program: &Arc<NamedProgram>,
        plan: [u64; 2],
        input: A,
        name: TaskName,
    ) -> io::Result<ProcessTask<R>> {
        let mut setup = self.setup()?;
        // Its own program may have one; this one's is not there.
        if let Some(setup) = &mut setup {
            setup.setup.program_init = None;
        }
        self.forward_task(&mut setup, &name)?;
        let of = Origin {
            program: Some(program),
            inheritance: Setup::inheritance(setup.as_ref().map(|setup| &setup.setup)),
        };
        let plan = Plan::from_words(plan);
        ProcessTask::start_plan(of, plan, input, setup.as_ref(), name, self.grace)
            .needed_to("run a task in a process")
    }

    /// Whether a worker is as it begins: what is asked for often is not to cost what is rare.
    fn asks_nothing(&self) -> bool {
        let Builder {
            name,
            env_clear,
            env,
            current_dir,
            oom_score_adj,
            grace: _,
            limits,
            // Which program's worker it is costs the worker nothing.
            program: _,
            streams,
            // Each task, and each pool, has a place for its workers' events.
            events: _,
            #[cfg(feature = "sandbox")]
            sandbox,
        } = self;
        #[cfg(feature = "sandbox")]
        if sandbox.is_some() {
            return false;
        }
        name.is_none()
            && !env_clear
            && env.is_empty()
            && current_dir.is_none()
            && oom_score_adj.is_none()
            && limits.is_none()
            && streams.is_none()
            && (self.program.is_some() || ProgramInit::get().is_none())
    }

    /// How long a worker has, after a SIGTERM.
    pub(crate) fn grace_time(&self) -> Duration {
        self.grace
    }

    /// What its workers are to be like; `None`: as they begin.
    pub(crate) fn setup(&self) -> io::Result<Option<WorkerSetup>> {
        if self.asks_nothing() {
            return Ok(None);
        }
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        if let Some(name) = &self.name {
            Kind::Process.check_name(name)?;
        }
        if self
            .oom_score_adj
            .is_some_and(|v| !(-1000..=1000).contains(&v))
        {
            return Err(invalid(
                "an oom_score_adj is between -1000 and 1000".to_owned(),
            ));
        }
        let mut env = Vec::new();
        for (key, value) in &self.env {
            let (key_bytes, value_bytes) = (key.clone().into_vec(), value.clone().into_vec());
            if key_bytes.is_empty()
                || key_bytes.contains(&b'=')
                || key_bytes.contains(&0)
                || value_bytes.contains(&0)
            {
                return Err(invalid(format!(
                    "{key:?} cannot be set to {value:?}: an environment variable has a name, without `=` and zero bytes"
                )));
            }
            env.push((key_bytes, value_bytes));
        }
        let streams = self.given_streams()?;
        let setup = Setup {
            name: self.name.as_deref().map(str::to_owned),
            env_clear: self.env_clear,
            env,
            current_dir: self
                .current_dir
                .clone()
                .map(|d| OsString::from(d).into_vec()),
            oom_score_adj: self.oom_score_adj,
            limits: self.limits()?,
            program_init: self.program_init()?,
            streams: streams.of_worker(),
            #[cfg(feature = "sandbox")]
            sandbox: self.sandbox.clone().map(|s| Box::new(s.0)),
            pool: None,
        };
        #[cfg(feature = "sandbox")]
        let setup = of_sandbox(setup);
        Ok((setup != Setup::default()).then(|| WorkerSetup::new(setup, streams)))
    }
}

impl Builder {
    /// Has the events of a worker with a single task told under that, if its builder says so.
    fn forward_task(&self, setup: &mut Option<WorkerSetup>, name: &TaskName) -> io::Result<()> {
        if let Some(level) = self.events {
            let forwarding = Forwarding::of_task(level, name.clone())?;
            setup.get_or_insert_default().forward_events(forwarding);
        }
        Ok(())
    }

    /// Up to which level its workers' events are the program's, if they are.
    #[cfg(feature = "tracing")]
    pub(crate) fn forwards(&self) -> Option<Level> {
        self.events
    }

    /// The function's offset. A program that is another has its own.
    fn program_init(&self) -> io::Result<Option<u64>> {
        let init = ProgramInit::get().filter(|_| self.program.is_none());
        let offset = init.map(|init| Function::at(init.address)).transpose()?;
        Ok(offset.map(|function| function.0))
    }

    fn given_streams(&self) -> io::Result<GivenStreams> {
        let Some(streams) = &self.streams else {
            return Ok(GivenStreams::default());
        };
        #[cfg(feature = "sandbox")]
        if self.sandbox.is_some() && matches!(streams.stdin.0, StdinFrom::Inherit) {
            let why =
                "a worker in a sandbox cannot have the program's stdin: that would be a way out";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let program = self.named_program()?.map(|program| Arc::clone(&program.0));
        Ok(GivenStreams::new(streams, self.name.clone(), program))
    }

    fn limits(&self) -> io::Result<Limits> {
        let Some(asked) = &self.limits else {
            return Ok(Limits::default());
        };
        let zero = [
            ("memory", asked.memory),
            ("open files", asked.open_files),
            ("processes", asked.processes),
        ];
        if let Some((what, _)) = zero.iter().find(|(_, limit)| *limit == Some(0)) {
            let why = format!("a process cannot run with {what} limited to 0");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if asked.cpu.is_some_and(|time| time.is_zero()) {
            let why = "a process cannot run with no processor time";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut limits = Limits {
            memory: asked.memory,
            cpu: asked.cpu,
            open_files: asked.open_files,
            file_size: asked.file_size,
            processes: asked.processes,
            nice: asked.nice,
            processors: asked.processors.clone(),
            ..Limits::default()
        };
        if limits.memory.is_some() {
            limits.memory_group = Groups::bytes(&groups::here().memory);
        }
        if limits.processes.is_some() {
            limits.processes_group = Groups::bytes(&groups::here().processes);
        }
        Ok(limits)
    }
}

/// A worker in a sandbox has none of the program's environment, and none of its directories, but
/// what it is given.
#[cfg(feature = "sandbox")]
fn of_sandbox(mut setup: Setup) -> Setup {
    if setup.sandbox.is_some() {
        setup.env_clear = true;
        setup.current_dir.get_or_insert_with(|| b"/".to_vec());
    }
    setup
}
