//! What Brigade is measured beside: the operating system's own cost, and other libraries.
//!
//! Each peer is something that is started once and then takes turns, or that starts and ends in
//! each turn: a turn gives the figure. Where an anchor is between two processes, the other one is a
//! worker of ours that does nothing but that: how it was started makes no difference by then.

pub(crate) mod floor;
pub(crate) mod iceoryx;
pub(crate) mod ipc;
pub(crate) mod kernel;
pub(crate) mod locks;
pub(crate) mod memory;
pub(crate) mod pools;
pub(crate) mod procspawn;
pub(crate) mod python;
pub(crate) mod threads;
