//! What a builder asks for its workers.

use super::streams::GivenStreams;
use crate::worker::process::ipc::protocol::Setup;

/// What a worker gets before its task, and what only the host and its fork server know of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerSetup {
    /// What the worker gets.
    pub(crate) told: Setup,
    /// The worker's streams. The host sends them to the fork server, which sends the worker their
    /// descriptors.
    pub(crate) streams: GivenStreams,
}
