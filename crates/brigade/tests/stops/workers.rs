//! Workers are stopped.

use crate::Host;

pub(crate) const HOSTS: &[(&str, Host)] = &[];
