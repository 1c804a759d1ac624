//! What workers inherit of the program beside its code.

/// What a fork server has of the program's arguments and environment, and so all its workers: they
/// lie in the memory of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inheritance {
    /// All of them.
    Environment,
    /// The first argument, and what the loader needs. For workers in a sandbox.
    #[cfg_attr(
        any(not(target_os = "linux"), brigade_portable, not(feature = "sandbox")),
        expect(dead_code, reason = "only workers in a sandbox need it")
    )]
    Nothing,
}
