//! Deaths and failures while a value is encoded or decoded, on either side.

use brigade::{Cause, JoinError, Phase, process};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{crash_of, into_crash, next_task_succeeds};

/// What goes wrong, and in which direction.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    Error,
    Panic,
    Abort,
}

fn make(trouble: u8) -> Result<(), &'static str> {
    match trouble {
        0 => Ok(()),
        1 => Err("on purpose"),
        2 => panic!("panicked on purpose"),
        _ => std::process::abort(),
    }
}

/// Troubles when it is encoded (first) and decoded (second).
#[derive(Debug)]
struct Bomb(Trouble, Trouble);

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        make(self.0 as u8).map_err(serde::ser::Error::custom)?;
        (self.1 as u8).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Bomb, D::Error> {
        make(u8::deserialize(d)?).map_err(serde::de::Error::custom)?;
        Ok(Bomb(Trouble::None, Trouble::None))
    }
}

#[test]
fn aborts_while_decoding_the_input() {
    let crash = crash_of(|_: Bomb| (), Bomb(Trouble::None, Trouble::Abort));
    assert_eq!(
        (crash.cause(), crash.phase()),
        (&Cause::Abort, Phase::Decoding)
    );
    assert!(crash.to_string().contains("decoding"), "{crash}");
}

#[test]
fn aborts_while_encoding_the_result() {
    let crash = crash_of(|()| Bomb(Trouble::Abort, Trouble::None), ());
    assert_eq!(
        (crash.cause(), crash.phase()),
        (&Cause::Abort, Phase::Encoding)
    );
}

#[test]
fn errors_are_undeliverable_and_say_which_task() {
    brigade::init();
    let input: fn(Bomb) = |_| ();
    for (bomb, what) in [
        (Bomb(Trouble::Error, Trouble::None), "encoded"),
        (Bomb(Trouble::None, Trouble::Error), "decoded"),
    ] {
        match process::spawn(input, bomb)
            .expect("a process starts")
            .join()
        {
            Err(JoinError::Undeliverable(why)) => assert!(
                why.contains("input") && why.contains(what) && why.contains("task `"),
                "{why}"
            ),
            other => panic!("{other:?}"),
        }
    }
    let result: fn(bool) -> Bomb = |encode| {
        if encode {
            Bomb(Trouble::Error, Trouble::None)
        } else {
            Bomb(Trouble::None, Trouble::Error)
        }
    };
    for (encode, what) in [(true, "encoded"), (false, "decoded")] {
        match process::spawn(result, encode)
            .expect("a process starts")
            .join()
        {
            Err(JoinError::Undeliverable(why)) => {
                assert!(why.contains("result") && why.contains(what), "{why}")
            }
            other => panic!("{other:?}"),
        }
    }
    next_task_succeeds();
}

#[test]
fn panics_are_panics_wherever_they_happen() {
    brigade::init();
    let input: fn(Bomb) = |_| ();
    let result: fn(bool) -> Bomb = |encode| {
        if encode {
            Bomb(Trouble::Panic, Trouble::None)
        } else {
            Bomb(Trouble::None, Trouble::Panic)
        }
    };
    let ends = [
        process::spawn(input, Bomb(Trouble::Panic, Trouble::None))
            .expect("a process starts")
            .join()
            .map(|()| Bomb(Trouble::None, Trouble::None)),
        process::spawn(input, Bomb(Trouble::None, Trouble::Panic))
            .expect("a process starts")
            .join()
            .map(|()| Bomb(Trouble::None, Trouble::None)),
        process::spawn(result, true)
            .expect("a process starts")
            .join(),
        process::spawn(result, false)
            .expect("a process starts")
            .join(),
    ];
    for ended in ends {
        match ended {
            Err(JoinError::Panicked(panic)) => {
                assert_eq!(panic.message(), "panicked on purpose");
                assert!(
                    panic.location().is_some_and(|l| l.contains("codec.rs")),
                    "{:?}",
                    panic.location()
                );
            }
            other => panic!("{other:?}"),
        }
    }
    next_task_succeeds();
}

#[test]
fn a_large_input_whose_worker_dies_over_it() {
    let crash = into_crash({
        brigade::init();
        process::spawn(
            |bytes: String| -> usize {
                if bytes.len() > 5 {
                    std::process::abort()
                } else {
                    0
                }
            },
            "x".repeat(3 << 20),
        )
        .expect("a process starts")
        .join()
    });
    assert_eq!(
        (crash.cause(), crash.phase()),
        (&Cause::Abort, Phase::Running)
    );
}
