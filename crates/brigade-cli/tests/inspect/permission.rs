//! What may not be seen is said, and not shown as zero.

use super::program::Known;
use super::{inspect_as_nobody, process};

#[test]
fn another_users_process_is_drawn_with_what_may_be_seen() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can look as another user");
        return;
    }
    let program = Known::start("threads", &[]);
    let pid = program.pid().to_string();
    let output = inspect_as_nobody(&["--json", &pid]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let picture: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let seen = process(&picture, program.pid());
    for hidden in [
        &seen["descriptors"],
        &seen["memory"]["private"],
        &seen["memory"]["shared"],
    ] {
        assert_eq!(hidden["unknown"], "not permitted", "{seen:#}");
    }
    // Anybody may know these.
    assert!(seen["memory"]["resident"].as_u64().expect("a number") > 0);
    assert!(seen["threads"].as_array().expect("a list").len() >= 3);
    let text = inspect_as_nobody(&[&pid]);
    let text = String::from_utf8(text.stdout).expect("it is UTF-8");
    assert!(text.contains("descriptors: not permitted"), "{text}");
    assert!(text.contains("private and shared: not permitted"), "{text}");
}
