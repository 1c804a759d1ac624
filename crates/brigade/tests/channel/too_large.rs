//! A message over the limit of size is refused by whatever sends it, which says so; it comes back,
//! and the channel goes on. The messages here are cheap to make: their elements have no bytes, and
//! each takes one when it is encoded.

use brigade::channel::{Receiver, Sender, channel};

use crate::{LIMIT, each};

/// 2 GiB and one byte, 4 GiB (where a length of 32 bits is 0), and more.
const COUNTS: [usize; 4] = [1 << 31, 1 << 32, (1 << 32) + 3, 5 << 30];

type Many = Vec<()>;

/// Sends each in every way. Gives what is wrong.
fn send_too_much(to: Sender<Many>) -> Vec<String> {
    let mut wrong = Vec::new();
    for count in COUNTS {
        let many = || vec![(); count];
        let told = to.send(many()).map_err(|e| e.to_string());
        if !told.as_ref().is_err_and(|told| says_so(told, count)) {
            wrong.push(format!("{count}: {told:?}"));
        }
        let came_back = [
            ("send", to.send(many()).map_err(|e| e.into_inner().len())),
            (
                "try_send",
                to.try_send(many()).map_err(|e| e.into_inner().len()),
            ),
            (
                "send_timeout",
                to.send_timeout(many(), LIMIT)
                    .map_err(|e| e.into_inner().len()),
            ),
            ("send_ref", to.send_ref(&many()).map_err(|_| count)),
        ];
        for (way, ended) in came_back {
            if ended != Err(count) {
                wrong.push(format!("{way} of {count}: {ended:?}"));
            }
            // The last way's, which says the same as the others'.
            let fault = to.fault().unwrap_or_default();
            if !says_so(&fault, count) {
                wrong.push(format!("{way} of {count}: {fault}"));
            }
        }
        if to.send(vec![(); 7]).is_err() {
            wrong.push(format!("after {count}: {:?}", to.fault()));
        }
    }
    wrong
}

/// How many bytes it takes, and the limit.
fn says_so(why: &str, count: usize) -> bool {
    let at_least = (count..count + 16).any(|bytes| why.contains(&format!("takes {bytes} bytes")));
    at_least && why.contains("over the limit of 2147483648")
}

#[test]
fn a_message_that_is_too_large_is_told_by_who_sends_it() {
    each(|over, kind| {
        let (sender, receiver): (_, Receiver<Many>) = channel(over, COUNTS.len()).expect("made");
        let task = kind.spawn(send_too_much, sender).expect("starts");
        assert_eq!(task.join().expect("returns"), [""; 0]);
        for _ in COUNTS {
            assert_eq!(receiver.recv_timeout(LIMIT).expect("sent").len(), 7);
        }
        assert!(receiver.recv().is_err());
    });
}

#[test]
fn a_receiver_that_is_gone_is_told_as_that() {
    each(|over, _| {
        let (sender, receiver) = channel::<Many>(over, 1).expect("made");
        let told = sender.send(vec![(); 1 << 32]).expect_err("too large");
        assert!(says_so(&told.to_string(), 1 << 32), "{told}");
        drop(receiver);
        let told = sender.send(vec![(); 7]).expect_err("disconnected");
        assert_eq!(told.to_string(), "sending on a disconnected channel");
    });
}

/// In the place where a length of 32 bits would wrap.
#[test]
#[ignore = "takes 4 GiB of address space, which a small machine does not lend"]
fn bytes_that_are_too_many_are_told_so() {
    each(|over, _| {
        let (sender, _receiver) = channel::<Vec<u8>>(over, 1).expect("made");
        // A vector of bytes may be its own encoding: the first fits.
        for count in COUNTS.map(|count| count.max((1 << 31) + 1)) {
            let bytes = vec![0; count];
            let back = sender.send(bytes).expect_err("too large").into_inner();
            assert_eq!(back.len(), count);
            let fault = sender.fault().unwrap_or_default();
            assert!(says_so(&fault, count), "{fault}");
        }
    });
}
