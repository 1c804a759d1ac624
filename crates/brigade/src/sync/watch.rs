//! The world as the locks see it: who this process is, who is dead, how to sleep and how to wake.
//!
//! It is [`roster`](super::roster) and the kernel's futex; in models (`scripts/loom`) their
//! [twin](super::model), and on systems other than Linux [another](super::portable).

use std::time::{Duration, Instant};

#[cfg(loom)]
pub(crate) use super::model::{DeathWatch, Token, wait, wait_either, wake_all, wake_one};
#[cfg(any(not(target_os = "linux"), brigade_portable))]
pub(crate) use super::portable::{DeathWatch, Token, wake_all, wake_one};
#[cfg(all(target_os = "linux", not(any(loom, brigade_portable))))]
pub(crate) use super::roster::{DeathWatch, Token};
pub(crate) use crate::sys::futex::Wake;
#[cfg(all(target_os = "linux", not(any(loom, brigade_portable))))]
pub(crate) use crate::sys::futex::{
    wait_either, wait_shared as wait, wake_all_shared as wake_all, wake_shared as wake_one,
};

/// When a wait of this long is over. `None`: never, as far as a clock can say.
pub(super) fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
