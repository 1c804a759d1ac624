//! `Kind` by its name: in the environment, and as a flag.

use brigade::Kind;

/// The environment is that of all tests: each has a variable of its own, which a worker of another
/// program sets.
fn named_by(value: Option<&str>) -> Result<Option<Kind>, String> {
    const VARIABLE: &str = "BRIGADE_TEST_NAMED_KIND";
    brigade::init();
    let mut worker = brigade::process::Builder::new();
    if let Some(value) = value {
        worker = worker.env(VARIABLE, value);
    }
    let asked = |()| Kind::from_env(VARIABLE).map_err(|e| e.to_string());
    worker
        .spawn(asked, ())
        .expect("starts")
        .join()
        .expect("returns")
}

#[test]
fn the_environment_names_a_kind() {
    assert_eq!(named_by(None), Ok(None));
    for kind in Kind::ALL {
        assert_eq!(named_by(Some(&kind.to_string())), Ok(Some(kind)));
    }
    for wrong in ["Thread", "fiber", ""] {
        let said = format!(
            "BRIGADE_TEST_NAMED_KIND: `{wrong}` is not a kind of worker: expected `thread` or `process`"
        );
        assert_eq!(named_by(Some(wrong)), Err(said));
    }
}

#[cfg(feature = "clap")]
#[test]
fn a_flag_names_a_kind() {
    use clap::{Arg, Command, value_parser};

    let given = |word: &str| {
        let flag = Arg::new("kind")
            .long("kind")
            .value_parser(value_parser!(Kind));
        let matches = Command::new("cook")
            .arg(flag)
            .try_get_matches_from(["cook", "--kind", word]);
        matches.map(|matches| matches.get_one::<Kind>("kind").copied())
    };
    for kind in Kind::ALL {
        assert_eq!(given(&kind.to_string()).expect("is one"), Some(kind));
    }
    let said = given("fiber").expect_err("is none").to_string();
    assert!(
        said.contains("[possible values: thread, process]"),
        "{said}"
    );
}
