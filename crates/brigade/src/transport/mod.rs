//! HOW bytes move between a host and its workers.
//!
//! - [`ring`]: whole frames through shared memory, from one producer to one consumer

pub(crate) mod parcel;
pub(crate) mod ring;
