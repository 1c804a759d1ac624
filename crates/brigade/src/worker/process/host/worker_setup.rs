//! What a builder asks for its workers.

use std::io;
use std::sync::Arc;

use super::events::{Forwarding, WorkerEvents};
use super::streams::GivenStreams;
use crate::worker::process::ipc::mailbox::Mailbox;
use crate::worker::process::ipc::protocol::Setup;
use crate::worker::process::ipc::streams::SentRoutes;

/// What a worker gets before its task, and what only the host and its fork server know of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerSetup {
    /// What the worker gets.
    pub(crate) setup: Setup,
    /// The worker's streams. The host sends them to the fork server, which sends the worker their
    /// descriptors.
    pub(crate) streams: GivenStreams,
    /// The worker hears which shared libraries functions of tasks lie in: it is one of this
    /// program, and of a pool.
    pub(crate) tells_libraries: bool,
    /// Where the worker's events go, if they do.
    events: Option<Forwarding>,
}

impl WorkerSetup {
    pub(crate) fn new(setup: Setup, streams: GivenStreams) -> WorkerSetup {
        WorkerSetup {
            setup,
            streams,
            tells_libraries: false,
            events: None,
        }
    }

    /// The worker's events go to `to`.
    pub(crate) fn forward_events(&mut self, to: Forwarding) {
        self.setup.streams.get_or_insert_default().events = Some(to.level());
        self.events = Some(to);
    }

    /// What the fork server gets of this worker before the worker has this setup; and where the
    /// worker's events are read, if it sends any.
    pub(crate) fn routes(
        &self,
        pid: u32,
        mailbox: &Arc<Mailbox>,
    ) -> io::Result<(Option<SentRoutes>, Option<Arc<WorkerEvents>>)> {
        let mut sent = self.streams.to_send()?;
        let Some(forwarding) = &self.events else {
            return Ok((sent, None));
        };
        let (socket, source) = forwarding.connect(pid, mailbox)?;
        let (routes, descriptors) = sent.get_or_insert_default();
        routes.events = true;
        descriptors.push(socket);
        Ok((sent, Some(source)))
    }
}
