//! What a builder asks for its workers.

use super::streams::GivenStreams;
use crate::worker::process::ipc::protocol::Setup;

/// What a worker is told before its task, and what only the host and its fork server know of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerSetup {
    /// What it is told.
    pub(crate) told: Setup,
    /// What its streams are. The fork server is told, and sends the worker their descriptors.
    pub(crate) streams: GivenStreams,
}
