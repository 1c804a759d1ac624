//! In place of `sys`, on systems other than Linux: what threads, channels and locks within one
//! program need of the system. What has a path is the same as on Linux.

#![expect(unsafe_code, reason = "parking_lot_core asks for an argument")]

pub(crate) mod asking;
pub(crate) mod blocked;
pub(crate) mod carried;
pub(crate) mod clock;
#[path = "../error.rs"]
pub(crate) mod error;
pub(crate) mod futex;
pub(crate) mod limits;
pub(crate) mod original;
#[path = "../per_process.rs"]
pub(crate) mod per_process;
pub(crate) mod process;
#[path = "../processors.rs"]
pub(crate) mod processors;
#[path = "../service_thread.rs"]
pub(crate) mod service_thread;
#[path = "../signal_name.rs"]
pub(crate) mod signal_name;
#[path = "../spin.rs"]
pub(crate) mod spin;
#[path = "../stack.rs"]
pub(crate) mod stack;
pub(crate) mod unwind;
