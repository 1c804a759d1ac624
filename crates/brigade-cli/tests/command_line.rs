//! The built program, as a user runs it: help, mistakes, exit codes.

mod support;

use support::{brigade, rows};

#[test]
fn help_names_the_commands_and_the_exit_codes_and_hides_the_rest() {
    let help = brigade(&["--help"]);
    assert_eq!(help.code(), Some(0));
    for word in ["compare", "doctor", "Exit codes:"] {
        assert!(help.stdout.contains(word), "no {word} in {}", help.stdout);
    }
    assert!(!help.stdout.contains("helper"), "{}", help.stdout);
}

#[test]
fn the_help_of_compare_names_its_rows() {
    let help = brigade(&["compare", "--help"]);
    assert_eq!(help.code(), Some(0));
    for row in rows() {
        assert!(help.stdout.contains(row), "no {row} in {}", help.stdout);
    }
}

#[test]
fn a_row_that_does_not_exist_is_a_mistake_that_names_those_that_do() {
    let mistake = brigade(&["compare", "--only", "nonsense"]);
    assert_eq!(mistake.code(), Some(2));
    assert!(mistake.stdout.is_empty(), "{}", mistake.stdout);
    assert!(mistake.stderr.contains("nonsense"), "{}", mistake.stderr);
    for row in rows() {
        assert!(
            mistake.stderr.contains(row),
            "no {row} in {}",
            mistake.stderr
        );
    }
}

#[test]
fn no_command_and_an_unknown_flag_are_mistakes() {
    assert_eq!(brigade(&[]).code(), Some(2));
    assert_eq!(brigade(&["compare", "--fast"]).code(), Some(2));
    assert_eq!(brigade(&["compare", "--color", "pink"]).code(), Some(2));
    assert_eq!(
        brigade(&["compare", "--json", "--color", "always"]).code(),
        Some(2)
    );
}

#[test]
fn a_helper_is_not_for_people() {
    let refused = brigade(&["helper", "--parent", "1", "noop"]);
    assert_eq!(refused.code(), Some(1));
    assert!(
        refused.stderr.contains("started by brigade itself"),
        "{}",
        refused.stderr
    );
}
