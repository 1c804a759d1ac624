//! The workers behind a pool's handles, of either kind; and what ends them with the last handle.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::{process, thread};
use crate::publish::{self, PoolSource, Registration};
use crate::sys::service_thread;

/// A pool's workers.
#[derive(Clone)]
pub(super) enum Backend {
    Thread(Arc<thread::ThreadPool>),
    Process(Arc<process::ProcessPool>),
}

impl Backend {
    /// As the drop of the last handle does.
    pub(super) fn finish(&self) {
        match self {
            Backend::Thread(pool) => {
                pool.shutdown();
                pool.flush_timeline();
            }
            Backend::Process(pool) => {
                pool.shutdown();
                pool.flush_timeline();
            }
        }
    }

    pub(super) fn close(&self) {
        match self {
            Backend::Thread(pool) => pool.close(),
            Backend::Process(pool) => pool.close(),
        }
    }

    pub(super) fn abort(&self) {
        match self {
            Backend::Thread(pool) => pool.abort(),
            Backend::Process(pool) => pool.abort(),
        }
    }

    pub(super) fn wait_idle(&self, deadline: Option<Instant>) -> bool {
        match self {
            Backend::Thread(pool) => pool.wait_idle(deadline),
            Backend::Process(pool) => pool.wait_idle(deadline),
        }
    }
}

/// What all handles of a pool share: dropped with the last of them, it ends the pool.
pub(super) struct LastHandle {
    backend: Backend,
    _published: Registration,
}

impl LastHandle {
    pub(super) fn new(backend: Backend) -> LastHandle {
        let source = match &backend {
            Backend::Thread(pool) => Arc::downgrade(pool) as Weak<dyn PoolSource>,
            Backend::Process(pool) => Arc::downgrade(pool) as Weak<dyn PoolSource>,
        };
        LastHandle {
            _published: publish::register(source),
            backend,
        }
    }
}

impl Drop for LastHandle {
    fn drop(&mut self) {
        if !service_thread::is_this() {
            return self.backend.finish();
        }
        // The pool needs this thread in order to finish: another waits for that.
        let backend = self.backend.clone();
        let waits = std::thread::Builder::new()
            .name("brigade-ends".to_owned())
            .spawn(move || backend.finish());
        if waits.is_err() {
            self.backend.abort();
            self.backend.finish();
        }
    }
}
