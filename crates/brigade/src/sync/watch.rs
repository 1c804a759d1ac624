//! The world as the locks see it: who this process is, who is dead, how to sleep and how to wake.
//!
//! It is [`roster`](super::roster) and the kernel's futex; in models (`scripts/loom`) their
//! [twin](super::model).

use std::time::{Duration, Instant};

#[cfg(loom)]
pub(crate) use super::model::{DeathWatch, Token, wait, wait_either, wake_all, wake_one};
#[cfg(not(loom))]
pub(crate) use super::roster::{DeathWatch, Token};
pub(crate) use crate::sys::futex::Wake;
#[cfg(not(loom))]
pub(crate) use crate::sys::futex::{
    wait_either, wait_shared as wait, wake_all_shared as wake_all, wake_shared as wake_one,
};

/// When a wait of this long is over. `None`: never, as far as a clock can say.
pub(super) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
