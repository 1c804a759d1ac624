//! Programs that have a terminal.

use crate::Host;

pub(crate) const HOSTS: &[(&str, Host)] = &[];
pub(crate) const TRIALS: &[(&str, fn())] = &[];
