//! The limit of size, which is one for all ways that a value goes: just under it and at it a value
//! arrives, over it it is refused, in one sentence with both numbers.
//!
//! With real bytes not run by itself: it takes 12 GiB of memory, and a minute.
//! `cargo test --release --test contract -- --ignored size`

use brigade::channel::{Transport, channel};
use brigade::{JoinError, Message, Pool, process};

/// What README and the library's documentation say.
const LIMIT: usize = 1 << 31;

/// A value of which any size can be made.
trait Long: Message {
    fn of(len: usize) -> Self;
    fn len(&self) -> usize;
    /// Whether it is what [`of`](Self::of) makes, at a few places.
    fn is_whole(&self) -> bool;
}

impl Long for String {
    fn of(len: usize) -> String {
        "x".repeat(len)
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_whole(&self) -> bool {
        let bytes = self.as_bytes();
        [0, bytes.len() / 2, bytes.len() - 1].map(|at| bytes[at]) == [b'x'; 3]
    }
}

impl Long for Vec<u8> {
    fn of(len: usize) -> Vec<u8> {
        vec![7; len]
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_whole(&self) -> bool {
        [0, self.len() / 2, self.len() - 1].map(|at| self[at]) == [7; 3]
    }
}

fn take<T: Long>(value: T) -> usize {
    assert!(value.is_whole());
    value.len()
}

fn give<T: Long>(len: usize) -> T {
    T::of(len)
}

/// How many bytes are more than the limit, and the limit, as the sentence says.
fn numbers(why: &str) -> [usize; 2] {
    let (_, told) = why.split_once(" takes ").expect(why);
    let numbers: Vec<usize> = told
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    numbers.try_into().expect(why)
}

fn undeliverable<R: std::fmt::Debug>(ended: Result<R, JoinError>) -> String {
    match ended {
        Err(JoinError::Undeliverable(why)) => why,
        Err(other) => panic!("it was to be refused: {other}"),
        Ok(_) => panic!("it was to be refused"),
    }
}

/// The longest that can be carried, found by what is said of those that are longer; one less, and
/// one more.
fn sizes<T: Long>() -> [(usize, bool); 3] {
    let mut most = LIMIT;
    loop {
        let ended = process::spawn(take::<T>, T::of(most)).expect("a process starts");
        match ended.join() {
            Ok(_) => return [(most - 1, true), (most, true), (most + 1, false)],
            refused => {
                let [encoded, limit] = numbers(&undeliverable(refused));
                assert!(limit == LIMIT && (1..100).contains(&(encoded - limit)));
                most -= encoded - limit;
            }
        }
    }
}

fn over(why: &str) {
    assert_eq!(numbers(why), [LIMIT + 1, LIMIT], "{why}");
}

fn goes_everywhere<T: Long + std::fmt::Debug>() {
    brigade::init();
    let pool = Pool::processes(1).expect("a pool");
    for (len, fits) in sizes::<T>() {
        eprintln!("{} of {len}", std::any::type_name::<T>());
        let ways: [&dyn Fn() -> Result<usize, JoinError>; 5] = [
            &|| {
                process::spawn(take::<T>, T::of(len))
                    .expect("a process starts")
                    .join()
            },
            &|| pool.submit(take::<T>, T::of(len)).join(),
            &|| {
                pool.map(take::<T>, [T::of(len)])
                    .next()
                    .expect("one result")
            },
            &|| {
                let given = process::spawn(give::<T>, len)
                    .expect("a process starts")
                    .join();
                given.map(take)
            },
            &|| pool.submit(give::<T>, len).join().map(take),
        ];
        for way in ways {
            let ended = way();
            if fits {
                assert_eq!(ended.expect("it arrives"), len);
            } else {
                over(&undeliverable(ended));
            }
        }
        // The worker goes on.
        assert_eq!(
            pool.submit(take::<T>, T::of(1)).join().expect("it arrives"),
            1
        );
        for over_what in Transport::ALL {
            through_a_channel::<T>(over_what, len, fits);
        }
    }
    assert_eq!(pool.stats().restarts, 0);
}

/// In a message a vector of bytes may be its own encoding, so that the limit is its own length
/// then.
fn through_a_channel<T: Long + std::fmt::Debug>(over_what: Transport, len: usize, fits: bool) {
    let (sender, receiver) = channel::<T>(over_what, 1).expect("a channel");
    let sent = sender.send(T::of(len));
    if let Err(back) = sent {
        assert!(!fits, "{over_what}: it comes back");
        assert_eq!(back.0.len(), len);
        over(&sender.fault().expect("a reason"));
    } else {
        let got = receiver.recv().expect("it arrives");
        assert_eq!(take(got), len);
        if !fits {
            // The next one is one too many, then.
            let back = sender.send(T::of(LIMIT + 1)).expect_err("over the limit");
            assert_eq!(back.0.len(), LIMIT + 1);
            over(&sender.fault().expect("a reason"));
        }
    }
    sender.send(T::of(1)).expect("the channel goes on");
    assert_eq!(take(receiver.recv().expect("it arrives")), 1);
}

#[test]
#[ignore = "takes 12 GiB of memory"]
fn size_of_a_string() {
    goes_everywhere::<String>();
}

#[test]
#[ignore = "takes 12 GiB of memory"]
fn size_of_a_vector_of_bytes() {
    goes_everywhere::<Vec<u8>>();
}

/// Elements without bytes, which take one each when they are encoded: cheap to make.
#[test]
fn size_of_4_gib_and_more_is_told() {
    type Many = Vec<()>;
    fn count(many: Many) -> usize {
        many.len()
    }
    fn make(count: usize) -> Many {
        vec![(); count]
    }
    brigade::init();
    let pool = Pool::processes(1).expect("a pool");
    for len in [LIMIT, 1 << 32, (1 << 32) + 3, 5 << 30] {
        let many = || vec![(); len];
        let alone = process::spawn(count, many()).expect("a process starts");
        let given = process::spawn(make, len).expect("a process starts");
        let mapped = pool.map(count, [many()]).next().expect("one result");
        for why in [
            undeliverable(alone.join()),
            undeliverable(given.join()),
            undeliverable(pool.submit(count, many()).join()),
            undeliverable(pool.submit(make, len).join()),
            undeliverable(mapped),
        ] {
            let [encoded, limit] = numbers(&why);
            assert!(
                (len..len + 16).contains(&encoded) && limit == LIMIT,
                "{why}"
            );
        }
        let next = pool.submit(count, vec![(); 3]).join();
        assert_eq!(next.expect("the worker goes on"), 3);
    }
    assert_eq!(pool.stats().restarts, 0);
}
