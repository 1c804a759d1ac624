//! Run the same task in a thread or in a process, one word apart.
#![doc = ""]
#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "brigade works on Linux only (5.10 or later): it is built on memfd, pidfd, futex and signalfd"
);
#[cfg(not(target_pointer_width = "64"))]
compile_error!("brigade works on 64-bit processors only");

mod sys;
mod task;
mod transport;
mod worker;

pub use task::Message;
pub use task::crash::{Cause, Crash, Phase};
pub use task::error::JoinError;
pub use task::panic::Panic;
pub use worker::handle::JoinHandle;
pub use worker::process::bootstrap::init;
pub use worker::{Kind, ParseKindError, process, thread};
