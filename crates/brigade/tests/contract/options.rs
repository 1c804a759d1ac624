//! What the builders set.

use std::io::ErrorKind;

use brigade::{JoinError, process, thread};

#[test]
fn one_builder_many_workers() {
    brigade::init();
    let builder = process::Builder::new()
        .env("BRIGADE_TEST_COLOUR", "green")
        .current_dir("/");
    for _ in 0..3 {
        let seen = builder.spawn(
            |()| {
                (
                    std::env::var("BRIGADE_TEST_COLOUR").ok(),
                    std::env::current_dir().ok(),
                    std::env::var_os("PATH").is_some(),
                )
            },
            (),
        );
        let (colour, dir, path) = seen.expect("starts").join().expect("returns");
        assert_eq!(colour.as_deref(), Some("green"));
        assert_eq!(dir, Some("/".into()));
        assert!(path, "the rest of the environment is the program's");
    }
    assert!(
        std::env::var_os("BRIGADE_TEST_COLOUR").is_none(),
        "the program's own environment is as it was"
    );
}

#[test]
fn an_empty_environment() {
    brigade::init();
    let seen = process::Builder::new()
        .env("GONE", "x")
        .env_clear()
        .env("ONLY", "1")
        .spawn(|()| std::env::vars().collect::<Vec<_>>(), ());
    assert_eq!(
        seen.expect("starts").join().expect("returns"),
        [("ONLY".to_owned(), "1".to_owned())]
    );
}

#[test]
fn the_marker_of_the_fork_server_is_not_in_the_environment() {
    brigade::init();
    let seen = process::spawn(
        |()| std::env::vars_os().any(|(k, _)| k.to_string_lossy().starts_with("BRIGADE_FORK")),
        (),
    );
    assert!(!seen.expect("starts").join().expect("returns"));
}

#[test]
fn what_cannot_be_is_an_error_of_spawn() {
    brigade::init();
    let task: fn(()) = |()| ();
    let missing = process::Builder::new()
        .current_dir("/no/such/directory")
        .spawn(task, ())
        .expect_err("no such directory");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(
        missing.to_string().contains("/no/such/directory"),
        "{missing}"
    );
    for builder in [
        process::Builder::new().env("A=B", "c"),
        process::Builder::new().env("", "c"),
        process::Builder::new().env("A", "b\0c"),
        process::Builder::new().name("a\0b"),
    ] {
        assert_eq!(
            builder.spawn(task, ()).expect_err("refused").kind(),
            ErrorKind::InvalidInput
        );
    }
    assert_eq!(
        thread::Builder::new()
            .name("a\0b")
            .spawn(task, ())
            .expect_err("refused")
            .kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn names_are_seen() {
    brigade::init();
    let comm = process::Builder::new().name("sous-chef").spawn(
        |()| std::fs::read_to_string("/proc/self/comm").unwrap_or_default(),
        (),
    );
    assert_eq!(
        comm.expect("starts").join().expect("returns"),
        "sous-chef\n"
    );
    let name = thread::Builder::new()
        .name("sous-chef")
        .stack_size(1 << 20)
        .spawn(|()| std::thread::current().name().map(str::to_owned), ());
    assert_eq!(
        name.expect("starts").join().expect("returns").as_deref(),
        Some("sous-chef")
    );

    let fails: fn(()) = |()| panic!("burnt");
    for ended in [
        process::Builder::new()
            .name("sous-chef")
            .spawn(fails, ())
            .expect("starts")
            .join(),
        thread::Builder::new()
            .name("sous-chef")
            .spawn(fails, ())
            .expect("starts")
            .join(),
    ] {
        let Err(JoinError::Panicked(panic)) = ended else {
            panic!("{ended:?}")
        };
        assert!(panic.to_string().contains("sous-chef"), "{panic}");
    }
}

#[test]
fn a_worker_has_no_descriptors_of_the_programs() {
    brigade::init();
    let before = process::spawn(open_descriptors, ())
        .expect("starts")
        .join()
        .expect("returns");
    // One that is not close-on-exec, as a C library might leave it.
    let (read, write) = rustix::pipe::pipe().expect("pipe");
    let after = process::spawn(open_descriptors, ())
        .expect("starts")
        .join()
        .expect("returns");
    drop((read, write));
    assert_eq!(before, after);
    assert!(
        before.len() == 6,
        "stdin, stdout, stderr, the descriptor socket, the wake socket, the liveness table: {before:?}"
    );
}

fn open_descriptors((): ()) -> Vec<String> {
    let all = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let kinds = all
        .flatten()
        .filter_map(|e| std::fs::read_link(e.path()).ok())
        .map(|l| {
            l.to_string_lossy()
                .split(':')
                .next()
                .unwrap_or_default()
                .to_owned()
        });
    let mut kinds: Vec<String> = kinds.collect();
    kinds.retain(|k| !k.starts_with("/proc/"));
    kinds.sort();
    kinds
}
