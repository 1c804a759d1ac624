//! What Brigade is measured beside: the operating system's own cost, and other libraries.
//!
//! Each peer is something that is started once and then takes turns: a turn gives the microseconds for one.

pub(crate) mod floor;
pub(crate) mod procspawn;
pub(crate) mod python;
