//! A call, with its names.

/// The name of what was called, and where in its source or in which file.
pub(super) type NamedCall = (String, Option<String>);
