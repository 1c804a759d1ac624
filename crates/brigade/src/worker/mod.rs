//! WHERE a task runs: in a thread or in a process, behind one handle. `README.md` beside this file
//! tells the protocol of processes.

mod cancel_on_drop;
pub(crate) mod handle;
mod kind;
mod on_done;
pub mod process;
pub(crate) mod program_init;
pub mod thread;

use std::io;

use crate::{JoinHandle, Message};

pub use kind::{Kind, ParseKindError};

impl Kind {
    /// Starts `task` on `input`, in a new worker of this kind.
    ///
    /// # Errors
    /// As [`thread::spawn`] and [`process::spawn`].
    #[track_caller]
    pub fn spawn<A: Message, R: Message>(
        self,
        task: fn(A) -> R,
        input: A,
    ) -> io::Result<JoinHandle<R>> {
        match self {
            Kind::Thread => thread::spawn(task, input),
            Kind::Process => process::spawn(task, input),
        }
    }
}
