//! The last lines of stderr that a crash tells are those of the task that crashed.

use brigade::{Kind, Pool};

use crate::{crash_of, join, pool, processes};

/// Past Rust's streams, as a C library does it.
fn write(text: &str) {
    let written = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
    assert_eq!(written, Ok(text.len()));
}

fn say((text, dies): (String, bool)) {
    write(&text);
    if dies {
        std::process::abort();
    }
}

/// By another process, which shares the stream.
fn have_said(text: String) {
    let said = std::process::Command::new("/bin/sh")
        .args(["-c", r#"printf '%s' "$0" >&2"#, &text])
        .status();
    assert!(said.expect("sh").success());
}

fn in_a_thread(text: String) {
    let thread = std::thread::spawn(move || write(&text));
    thread.join().expect("no panic");
}

fn nothing((): ()) {}

fn panics((): ()) {
    panic!("the words of a panic");
}

fn last_words(pool: &Pool, text: &str) -> String {
    let crash = crash_of(join(pool.submit(say, (text.to_owned(), true))));
    crash.stderr().to_owned()
}

#[test]
fn none_of_a_task_before_it() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        let before: [&dyn Fn(); 6] = [
            &|| join(pool.submit(say, ("one\n".to_owned(), false))).expect("returns"),
            &|| join(pool.submit(say, ("no end of line".to_owned(), false))).expect("returns"),
            &|| join(pool.submit(have_said, "of a child\n".to_owned())).expect("returns"),
            &|| join(pool.submit(in_a_thread, "of a thread\n".to_owned())).expect("returns"),
            &|| drop(join(pool.submit(panics, ())).expect_err("panics")),
            &|| join(pool.submit(say, ("much\n".repeat(3000), false))).expect("returns"),
        ];
        for talk in before {
            talk();
            assert_eq!(last_words(&pool, "own\n"), "own\n");
            talk();
            assert_eq!(pool.map(nothing, (0..500).map(|_| ())).count(), 500);
            assert_eq!(last_words(&pool, ""), "");
            assert_eq!(pool.map(nothing, (0..500).map(|_| ())).count(), 500);
            talk();
            talk();
            assert_eq!(last_words(&pool, "own\n"), "own\n");
        }
    });
}

/// However quickly one follows the other.
#[test]
fn none_of_the_tasks_that_lie_before_it() {
    fn numbered(n: u32) {
        if n % 7 == 0 {
            write(&format!("this is {n}\n"));
        }
        if n % 100 == 91 {
            std::process::abort();
        }
    }
    processes(|| {
        let pool = pool(Kind::Process, 1);
        for (n, ended) in pool.map(numbered, 0..3000).enumerate() {
            if n % 100 == 91 {
                let own = (n % 7 == 0).then(|| format!("this is {n}\n"));
                assert_eq!(crash_of(ended).stderr(), own.unwrap_or_default());
            } else {
                ended.expect("returns");
            }
        }
    });
}

#[test]
fn none_of_the_initializer() {
    fn greet() {
        write("hello\n");
    }
    processes(|| {
        let builder = Pool::builder(Kind::Process).workers(1);
        let pool = builder.initializer(greet).build().expect("a pool");
        assert_eq!(last_words(&pool, "own\n"), "own\n");
        // The next worker has greeted, too.
        assert_eq!(last_words(&pool, ""), "");
    });
}

#[test]
fn all_of_its_own_that_is_kept() {
    processes(|| {
        let pool = pool(Kind::Process, 1);
        join(pool.submit(say, ("before\n".to_owned(), false))).expect("returns");
        let long: String = (0..2000).map(|n| format!("line {n}\n")).collect();
        let kept = last_words(&pool, &long);
        assert!(long.ends_with(&kept) && kept.starts_with("line "), "{kept}");
        assert!((4000..=4096).contains(&kept.len()), "{}", kept.len());
        join(pool.submit(say, ("before\n".to_owned(), false))).expect("returns");
        let whole = "x".repeat(4000);
        assert_eq!(last_words(&pool, &whole), whole);
    });
}
