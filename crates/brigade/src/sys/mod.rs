//! The only place with system calls and their `unsafe`.
//!
//! Each file wraps one kernel mechanism in the smallest safe interface that the rest needs. Where
//! rustix has the call, it is used from outside directly; what is here is what rustix does not have
//! (`clone`, `fork`, signal handlers, `futex_waitv`) and what needs an argument about memory
//! (mappings, descriptors by number).

#![expect(unsafe_code, reason = "this is the layer that talks to the kernel")]

pub(crate) mod asking;
pub(crate) mod blocked;
pub(crate) mod c_streams;
pub(crate) mod carried;
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod environment;
pub(crate) mod epoll;
pub(crate) mod error;
pub(crate) mod fault;
pub(crate) mod fds;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod last_word;
pub(crate) mod launch;
pub(crate) mod library;
pub(crate) mod limits;
pub(crate) mod mapping;
pub(crate) mod mqueue;
pub(crate) mod numbers;
pub(crate) mod opened;
pub(crate) mod original;
pub(crate) mod per_process;
pub(crate) mod privilege;
pub(crate) mod process;
pub(crate) mod processors;
pub(crate) mod profile;
pub(crate) mod program_file;
pub(crate) mod remote_error;
pub(crate) mod service_thread;
pub(crate) mod signal;
pub(crate) mod signal_name;
pub(crate) mod spin;
pub(crate) mod stack;
pub(crate) mod ticks;
pub(crate) mod timer;
pub(crate) mod unwind;
pub(crate) mod value_file;
pub(crate) mod wakeup;
