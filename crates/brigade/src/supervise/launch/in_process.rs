//! A child in a process.

use std::io;
use std::sync::Weak;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{InProcess, Launch, Launched, Outcome, RepeatedTask, Returned, under};
use crate::Message;
use crate::channel::{self, Sender};
use crate::supervise::context::{Context, Voice};
use crate::supervise::line::remote::LineRegion;
use crate::task::entry;
use crate::task::identity::Function;
use crate::task::name::TaskName;

impl<A: Message + Clone, R: Outcome + 'static> RepeatedTask for InProcess<A, R> {
    fn launch(&self, launch: &Launch<'_>) -> io::Result<Launched> {
        let region = LineRegion::new()?;
        let (voice, ready) = match launch.waits_until_ready {
            true => Some(channel::socket(1)?).unzip(),
            false => (None, None),
        };
        let run = ProcessRun {
            task: Function::at(self.0.task as usize)?.0,
            line: region.clone(),
            voice,
            input: self.0.input.clone(),
        };
        let builder = (launch.process.clone())
            .name(launch.name)
            .grace(Duration::ZERO);
        let handle = builder.spawn_as(in_process::<A, R>, run, self.0.name.clone())?;
        Ok(Launched {
            // What it holds, the next one needs: it is to be gone first.
            handle: handle.told_when_gone(),
            line: region.into(),
            ready,
            presence: Weak::new(),
        })
    }

    fn name(&self) -> &TaskName {
        &self.0.name
    }

    fn copy(&self) -> Box<dyn RepeatedTask> {
        Box::new(InProcess(self.0.clone()))
    }
}

#[derive(Serialize, Deserialize)]
struct ProcessRun<A> {
    /// The program's function, which is an `fn(A) -> R`.
    task: u64,
    line: LineRegion,
    voice: Option<Sender<()>>,
    input: A,
}

fn in_process<A: Message, R: Outcome>(run: ProcessRun<A>) -> Returned {
    let function = Function(run.task);
    let Some(task) = entry::task_at::<A, R>(function) else {
        return Returned::Failed(format!("its function {}", function.why_absent()));
    };
    let voice = run.voice.map_or(Voice::None, Voice::Process);
    under(&Context::new(run.line.into(), voice), task, run.input)
}
