//! A channel of capacity 4 holds four messages; the fifth waits.

use std::time::Duration;

use brigade::channel::{
    Receiver, RecvTimeoutError, SendTimeoutError, Sender, Transport, TryRecvError, TrySendError,
    channel,
};

use crate::{LIMIT, all, each};

#[test]
fn the_fifth_of_four_waits_or_comes_back() {
    each(|over, _| {
        let (sender, receiver) = channel(over, 4).expect("a channel");
        assert_eq!((sender.capacity(), receiver.capacity()), (4, 4));
        for n in 0..4 {
            sender.try_send(n).expect("there is room");
        }
        assert_eq!((sender.len(), receiver.len()), (4, 4));
        assert_eq!(sender.try_send(4), Err(TrySendError::Full(4)));
        let short = Duration::from_millis(20);
        assert_eq!(
            sender.send_timeout(4, short),
            Err(SendTimeoutError::Timeout(4))
        );
        assert_eq!(receiver.recv(), Ok(0));
        assert_eq!(sender.send_timeout(4, LIMIT), Ok(()));
        assert_eq!(sender.try_send(5), Err(TrySendError::Full(5)));
        assert_eq!(
            receiver.try_iter().collect::<Result<Vec<i32>, _>>(),
            Ok(vec![1, 2, 3, 4])
        );
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(receiver.recv_timeout(short), Err(RecvTimeoutError::Timeout));
        drop(sender);
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(
            receiver.recv_timeout(LIMIT),
            Err(RecvTimeoutError::Disconnected)
        );
    });
}

fn fill((to, done): (Sender<u32>, Sender<()>)) -> u32 {
    let mut sent = 0;
    while to.try_send(sent).is_ok() {
        sent += 1;
    }
    done.send(()).expect("received");
    for n in sent..20 {
        to.send(n).expect("received");
    }
    sent
}

#[test]
fn it_is_the_same_bound_for_senders_elsewhere() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 3).expect("a channel");
        let (done, filled) = channel(over, 1).expect("a channel");
        let task = kind.spawn(fill, (sender.clone(), done)).expect("starts");
        filled.recv_timeout(LIMIT).expect("filled");
        assert_eq!(sender.try_send(99), Err(TrySendError::Full(99)));
        drop(sender);
        assert_eq!(all(&receiver), (0..20).collect::<Vec<_>>());
        assert_eq!(task.join().expect("returns"), 3);
    });
}

#[test]
fn a_capacity_is_at_least_one() {
    for over in Transport::ALL {
        let refused = channel::<u8>(over, 0).expect_err("no capacity");
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    }
}

fn drain(from: Receiver<u64>) -> u64 {
    all(&from).into_iter().sum()
}

#[test]
fn senders_that_wait_all_get_their_turn() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 1).expect("a channel");
        let task = kind.spawn(drain, receiver).expect("starts");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let sender = sender.clone();
                scope.spawn(move || {
                    for n in 0..300 {
                        sender.send(n).expect("received");
                    }
                });
            }
        });
        drop(sender);
        assert_eq!(task.join().expect("returns"), 4 * (0..300).sum::<u64>());
    });
}

#[test]
fn a_capacity_is_kept_though_the_mechanism_holds_less() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 5_000).expect("a channel");
        for n in 0..5_000_u64 {
            sender.try_send(n).expect("there is room");
        }
        assert!(sender.try_send(0).expect_err("full").is_full());
        for n in 0..1_000 {
            assert_eq!(receiver.recv(), Ok(n));
        }
        for n in 5_000..6_000 {
            sender.try_send(n).expect("there is room");
        }
        drop(sender);
        let task = kind.spawn(drain, receiver).expect("starts");
        assert_eq!(task.join().expect("returns"), (1_000..6_000).sum::<u64>());
    });
}

#[test]
fn when_all_room_is_used_up_a_sender_waits_no_longer_than_it_said() {
    each(|over, _| {
        let (sender, receiver) = channel(over, 1_000_000).expect("a channel");
        let message = "x".repeat(20_000);
        let (tell, hear) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let soon = Duration::from_millis(20);
            let mut sent = 0;
            while sender.send_timeout(message.clone(), soon).is_ok() {
                sent += 1;
            }
            tell.send(sent)
        });
        let sent = hear.recv_timeout(LIMIT).expect("it comes back");
        assert_eq!(all(&receiver).len(), sent);
    });
}

fn send_all((to, count): (Sender<u64>, u64)) {
    for n in 0..count {
        to.send(n).expect("received");
    }
}

#[test]
fn what_is_spilled_stays_in_order_while_both_are_at_work() {
    each(|over, kind| {
        let (sender, receiver) = channel(over, 600).expect("a channel");
        let task = kind.spawn(send_all, (sender, 20_000)).expect("starts");
        for (expected, n) in receiver.iter().enumerate() {
            let n = n.expect("no message is lost");
            assert_eq!(n, expected as u64);
            if n % 700 == 0 {
                // Let it fill.
                while receiver.len() < 600 && n < 19_000 {
                    std::thread::yield_now();
                }
            }
        }
        task.join().expect("returns");
    });
}
