//! The exit codes, numbered once. `--help` and `docs/compare-json.md` repeat them.

/// Everything that was asked for was measured, or found.
pub(crate) const DONE: u8 = 0;
/// Nothing could be measured, or the program itself failed.
pub(crate) const FAILED: u8 = 1;
/// The command line makes no sense. clap ends with the same number.
pub(crate) const USAGE: u8 = 2;
/// Some of it could not be measured, or seen; the rest was, and is printed.
pub(crate) const PARTLY: u8 = 3;
/// `doctor` only: something is missing without which process workers cannot run here.
pub(crate) const LACKING: u8 = 4;

/// These exit codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  everything asked for was measured (compare), found (doctor)
     or drawn (inspect)
  1  nothing could be measured, there is no such process, or the program itself failed
  2  the command line makes no sense
  3  compare: some rows could not be measured; each says why, and the others are printed
     inspect: some things could not be seen; it says which and why, and draws the others
  4  doctor: something is missing without which process workers cannot run here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_numbers_every_code() {
        for code in [DONE, FAILED, USAGE, PARTLY, LACKING] {
            assert!(
                HELP.contains(&format!("\n  {code}  ")),
                "{code} is not in --help"
            );
        }
    }
}
