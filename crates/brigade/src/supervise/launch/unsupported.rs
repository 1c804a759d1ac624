//! In place of `in_process`, where there are no worker processes.

use std::io;

use super::{InProcess, Launch, Launched, Outcome, RepeatedTask};
use crate::Message;
use crate::task::name::TaskName;
use crate::worker::process::host;

impl<A: Message + Clone, R: Outcome + 'static> RepeatedTask for InProcess<A, R> {
    fn launch(&self, _: &Launch<'_>) -> io::Result<Launched> {
        Err(host::unsupported())
    }

    fn name(&self) -> &TaskName {
        &self.0.name
    }

    fn copy(&self) -> Box<dyn RepeatedTask> {
        Box::new(InProcess(self.0.clone()))
    }
}
