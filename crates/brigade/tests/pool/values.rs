//! Values of every size, there and back; each is dropped once.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use brigade::{JoinError, Kind, Pool};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Count, both, join, occupy, pool, until, works};

fn there_and_back(bytes: Vec<u8>) -> (usize, Vec<u8>) {
    (bytes.len(), bytes)
}

fn bytes(len: usize) -> Vec<u8> {
    // Cheap for large ones, and no two places alike for small ones.
    let pattern: Vec<u8> = (0..=250).collect();
    pattern
        .iter()
        .copied()
        .cycle()
        .take(len.min(1 << 16))
        .chain(std::iter::repeat_n(9, len.saturating_sub(1 << 16)))
        .collect()
}

#[test]
fn every_size_around_the_limits() {
    both(|kind| {
        let pool = pool(kind, 2);
        let around = |n: usize| n.saturating_sub(40)..n + 8;
        let small = (0..300)
            .step_by(7)
            .chain(around(4096))
            .chain(around(16 << 10));
        let large = around(32 << 10).chain(around(64 << 10)).step_by(3);
        let sizes: Vec<usize> = small.chain(large).chain([1 << 17, 1 << 20]).collect();
        let inputs = sizes.iter().map(|&len| bytes(len));
        for (&len, ended) in sizes.iter().zip(pool.map(there_and_back, inputs)) {
            let (seen, back) = ended.expect("returns");
            assert!(
                seen == len && back == bytes(len),
                "{len} bytes came back changed"
            );
        }
    });
}

#[test]
fn large_in_small_out_and_the_other_way_round() {
    both(|kind| {
        let pool = pool(kind, 2);
        for len in [64 << 10, 1 << 20, 64 << 20] {
            let out = pool.submit(|len: usize| vec![7_u8; len], len);
            let back = pool.submit(|v: Vec<u8>| v.len(), vec![1_u8; len]);
            let out = join(out).expect("returns");
            assert!(out.len() == len && out.iter().step_by(4095).all(|&b| b == 7));
            assert_eq!(join(back).expect("returns"), len);
        }
    });
}

#[test]
fn many_large_ones_at_once_block_nobody() {
    // Both ways full at once, and nobody joins before all are given.
    both(|kind| {
        let pool = pool(kind, 2);
        let handles: Vec<_> = (0..64)
            .map(|n| pool.submit(there_and_back, vec![n as u8; 1 << 20]))
            .collect();
        let small: Vec<_> = (0..1000).map(|n| pool.submit(crate::double, n)).collect();
        for (n, handle) in (0..).zip(small) {
            assert_eq!(join(handle).expect("returns"), n * 2);
        }
        for (n, handle) in handles.into_iter().enumerate() {
            let (len, back) = join(handle).expect("returns");
            assert!(len == 1 << 20 && back.iter().step_by(1013).all(|&b| b == n as u8));
        }
    });
}

#[test]
fn large_and_small_mixed_in_a_map() {
    both(|kind| {
        let pool = pool(kind, 3);
        let len = |n: usize| {
            if n % 10 == 0 { 100_000 + n } else { n % 50 }
        };
        let results = pool.map(there_and_back, (0..500).map(|n| bytes(len(n))));
        for (n, ended) in results.enumerate() {
            let (seen, back) = ended.expect("returns");
            assert!(seen == len(n) && back == bytes(len(n)), "input {n}");
        }
    });
}

/// How many of them this program has: threads' and its own.
static ALIVE: AtomicI64 = AtomicI64::new(0);

/// Is counted.
#[derive(Debug)]
struct Token(Vec<u8>);

impl Token {
    fn new() -> Token {
        ALIVE.fetch_add(1, SeqCst);
        Token(vec![1; 100])
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        assert_eq!(self.0.len(), 100);
        ALIVE.fetch_sub(1, SeqCst);
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Token, D::Error> {
        let bytes = Vec::deserialize(d)?;
        ALIVE.fetch_add(1, SeqCst);
        Ok(Token(bytes))
    }
}

fn token(token: Token) -> Token {
    token
}

fn hold((_token, begun, gate): (Token, Count, Count)) -> Token {
    crate::wait_at((begun, gate));
    Token::new()
}

fn drop_it(token: Token) -> Token {
    drop(token);
    // As a panic, but in silence.
    std::panic::resume_unwind(Box::new("with none left"))
}

#[test]
fn every_value_is_dropped_once() {
    both(|kind| {
        let builder = Pool::builder(kind).workers(2).queue_limit(64);
        let pool = builder.timeout(Duration::from_millis(500)).build();
        let pool = pool.expect("a pool");
        for _ in 0..20 {
            drop(join(pool.submit(token, Token::new())));
            drop(pool.submit(token, Token::new()));
            drop(join(pool.submit(drop_it, Token::new())));
            assert_eq!(pool.map(token, (0..50).map(|_| Token::new())).count(), 50);
            assert_eq!(
                pool.map(token, (0..).map(|_| Token::new()))
                    .take(10)
                    .count(),
                10
            );
            drop(pool.map(token, (0..).map(|_| Token::new())));
            let cancelled = pool.submit(token, Token::new());
            cancelled.cancel();
            drop(join(cancelled));
        }
        // In the queue: cancelled, refused, left behind.
        let (begun, gate) = (Count::new(), Count::new());
        let long: Vec<_> = (0..2)
            .map(|_| pool.submit(hold, (Token::new(), begun.clone(), gate.clone())))
            .collect();
        begun.wait_for(2);
        let mut kept = Vec::new();
        for n in 0..100 {
            match pool.try_submit(token, Token::new()) {
                Ok(handle) if n % 3 == 0 => handle.cancel(),
                Ok(handle) if n % 3 == 1 => drop(handle),
                Ok(handle) => kept.push(handle),
                Err(back) => drop(back),
            }
        }
        // Too late: let go, or killed.
        for handle in long {
            assert!(matches!(join(handle), Err(JoinError::TimedOut(_))));
        }
        gate.add();
        // Not joined: what has ended lies in the handle, and what has not is aborted.
        let rest: Vec<_> = (0..60).map(|_| pool.submit(token, Token::new())).collect();
        pool.abort();
        drop((kept, rest));
        until("all are dropped", || ALIVE.load(SeqCst) == 0);
    });
}

#[test]
fn a_result_that_panics_when_it_is_dropped() {
    #[derive(Serialize, Deserialize)]
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("dropped");
            }
        }
    }
    fn bad(_: u32) -> Bad {
        Bad
    }
    both(|kind| {
        let pool = pool(kind, 1);
        // Nobody takes them: whoever drops them has the panic, and the pool goes on.
        for n in 0..10 {
            let handle = pool.submit(bad, n);
            if n % 2 == 0 {
                until("it ends", || handle.is_finished());
            }
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(handle)));
            let _ = dropped;
        }
        works(&pool);
    });
}

#[test]
fn a_map_over_a_pool_that_is_busy_otherwise() {
    both(|kind| {
        let pool = pool(kind, 2);
        let (running, gate) = occupy(&pool);
        let lens: usize = pool
            .map(|v: Vec<u8>| v.len(), (0..300).map(|n| vec![0; n * 100]))
            .map(|len| len.expect("returns"))
            .sum();
        assert_eq!(lens, 299 * 300 / 2 * 100);
        gate.add();
        join(running).expect("returns");
    });
}

/// Cannot be encoded.
#[derive(Debug, Deserialize)]
struct Mute;

impl Serialize for Mute {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("on purpose"))
    }
}

#[test]
fn what_cannot_be_carried_between_processes_is_moved_between_threads() {
    both(|kind| {
        let pool = pool(kind, 1);
        let there = join(pool.submit(|_: Mute| (), Mute)).err();
        let back = join(pool.submit(|()| Mute, ())).err();
        for (ended, which) in [(there, "input"), (back, "result")] {
            match (kind, ended) {
                (Kind::Thread, None) => {}
                (Kind::Process, Some(JoinError::Undeliverable(why))) => assert!(
                    why.contains(which) && why.contains("encoded") && why.contains("task `"),
                    "{why}"
                ),
                (_, other) => panic!("{other:?}"),
            }
        }
        let undeliverable = if kind == Kind::Process { 2 } else { 0 };
        assert_eq!(pool.stats().undeliverable, undeliverable);
        works(&pool);
    });
}

/// What cannot be carried says of which task, in which direction, and why.
#[test]
fn what_is_undeliverable_says_which_way() {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    struct Fickle {
        leaves: bool,
        arrives: bool,
    }
    impl Serialize for Fickle {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if !self.leaves {
                return Err(serde::ser::Error::custom("it will not leave"));
            }
            self.arrives.serialize(serializer)
        }
    }
    impl<'de> Deserialize<'de> for Fickle {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fickle, D::Error> {
            if !bool::deserialize(deserializer)? {
                return Err(serde::de::Error::custom("it will not arrive"));
            }
            let (leaves, arrives) = (true, true);
            Ok(Fickle { leaves, arrives })
        }
    }
    fn take(_: Fickle) {}
    fn give((leaves, arrives): (bool, bool)) -> Fickle {
        Fickle { leaves, arrives }
    }
    fn told<R>(ended: Option<Result<R, JoinError>>) -> String {
        match ended.expect("it ends") {
            Err(JoinError::Undeliverable(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it was carried"),
        }
    }
    crate::processes(|| {
        let pool = pool(Kind::Process, 1);
        for (leaves, arrives, what) in [
            (false, true, ["could not be encoded: ", "it will not leave"]),
            (
                true,
                false,
                ["could not be decoded: ", "it will not arrive"],
            ),
        ] {
            let fickle = || Fickle { leaves, arrives };
            let inputs = [
                told(
                    brigade::process::spawn(take, fickle())
                        .ok()
                        .map(|h| h.join()),
                ),
                told(Some(pool.submit(take, fickle()).join())),
                told(pool.map(take, [fickle()]).next()),
            ];
            for why in inputs {
                assert!(
                    why.contains("::take`: its input ")
                        && what.iter().all(|part| why.contains(part)),
                    "{why}"
                );
                assert!(why.starts_with("task `"), "{why}");
            }
            let results = [
                told(
                    brigade::process::spawn(give, (leaves, arrives))
                        .ok()
                        .map(|h| h.join()),
                ),
                told(Some(pool.submit(give, (leaves, arrives)).join())),
                told(pool.map(give, [(leaves, arrives)]).next()),
            ];
            for why in results {
                assert!(
                    why.contains("::give`: its result ")
                        && what.iter().all(|part| why.contains(part)),
                    "{why}"
                );
                assert!(why.starts_with("task `"), "{why}");
            }
        }
    });
}
