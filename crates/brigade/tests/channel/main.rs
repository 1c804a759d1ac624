//! The contract of channels: one suite, for each transport and each kind of worker at the other
//! end.

mod bounds;
mod deaths;
mod descriptors;
mod ends;
mod large;
mod messages;
mod requests;
mod send_async;
mod stalled;
mod too_large;
mod undeliverable;
mod waiting;

use brigade::channel::{Receiver, Transport};
use brigade::{Kind, Message};
use brigade_test_support::wait::LIMIT;

/// Runs a row for each transport, with threads and with processes.
fn each(row: impl Fn(Transport, Kind)) {
    brigade::init();
    // `scripts/tsan` can look at threads only.
    let only = std::env::var("BRIGADE_TEST_KIND").ok();
    let asked = |kind: &Kind| only.as_ref().is_none_or(|only| *only == kind.to_string());
    for over in Transport::ALL {
        for kind in Kind::ALL.into_iter().filter(asked) {
            eprintln!("over {over}, with a {kind}:");
            row(over, kind);
        }
    }
}

/// All that is left to come; nothing may be lost.
fn all<T: Message>(receiver: &Receiver<T>) -> Vec<T> {
    let all: Result<Vec<T>, _> = receiver.iter().collect();
    all.expect("no message is lost")
}

/// A text of this many bytes, that tells which it is.
fn text(len: usize, seed: usize) -> String {
    (0..len)
        .map(|i| char::from(b'a' + ((i * 7 + seed) % 26) as u8))
        .collect()
}
