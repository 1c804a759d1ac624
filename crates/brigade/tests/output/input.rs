//! What workers read by their stdin.

use std::io::{Read, Write};
use std::process::Stdio;

use brigade::process::{Builder, Input};
use brigade::{Kind, Pool};

use crate::{ROLE, again};

fn read(_: ()) -> String {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("stdin");
    text
}

#[test]
fn each_worker_reads_a_file_from_its_beginning() {
    brigade::init();
    let path = std::env::temp_dir().join(format!("brigade-input-{}", std::process::id()));
    std::fs::write(&path, "one\ntwo\n").expect("written");
    let builder = Builder::new().stdin(Input::file(&path).expect("a file"));
    std::fs::remove_file(&path).expect("removed");
    for _ in 0..3 {
        let worker = builder.spawn(read, ()).expect("a worker");
        assert_eq!(worker.join().expect("it returns"), "one\ntwo\n");
    }
    let pool = Pool::builder(Kind::Process).workers(1).process(builder);
    let pool = pool.build().expect("a pool");
    assert_eq!(
        pool.submit(read, ()).join().expect("it returns"),
        "one\ntwo\n"
    );
    // The worker has read it.
    assert_eq!(pool.submit(read, ()).join().expect("it returns"), "");
}

#[test]
fn without_it_there_is_nothing() {
    brigade::init();
    let builder = Builder::new().stdin(Input::null());
    let worker = builder.spawn(read, ()).expect("a worker");
    assert_eq!(worker.join().expect("it returns"), "");
}

#[test]
fn a_worker_may_have_the_programs() {
    brigade::init();
    if std::env::var_os(ROLE).is_some() {
        let builder = Builder::new().stdin(Input::inherit());
        let worker = builder.spawn(read, ()).expect("a worker");
        assert_eq!(worker.join().expect("it returns"), "said to the program");
        return;
    }
    let mut program = again("input::a_worker_may_have_the_programs")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = program.stdin.take().expect("piped");
    stdin.write_all(b"said to the program").expect("written");
    drop(stdin);
    let ran = program.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && told.contains("1 passed"), "{told}");
}

#[test]
fn what_not_each_can_read_is_refused() {
    let error = Input::file("/").expect_err("a directory");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let error = Input::file("/nowhere/at all").expect_err("no such file");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[cfg(feature = "sandbox")]
#[test]
fn a_worker_in_a_sandbox_has_not_the_programs() {
    use brigade::Sandbox;
    brigade::init();
    let builder = Builder::new()
        .sandbox(Sandbox::deny_all())
        .stdin(Input::inherit());
    let error = builder.spawn(read, ()).expect_err("a way out");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
