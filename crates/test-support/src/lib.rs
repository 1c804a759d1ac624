//! What the tests, `chaos/`, `environments/` and `benches/` share.
//!
//! - [`wait`]: looking until something is so, with a limit that only a hang exceeds
//! - [`block_on`]: the smallest executor
//! - [`procfs`], [`signal`]: seeing other processes, and sending them signals
//! - [`doorbell`]: how a task tells the program that it runs
//! - [`deny`]: system calls that fail, or end who makes them

mod block_on;
mod deny;
pub mod doorbell;
pub mod procfs;
pub mod signal;
pub mod wait;

pub use block_on::block_on;
pub use deny::{DeniedCall, deny, kill};
