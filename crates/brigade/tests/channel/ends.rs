//! Ends are messages: in a task's input, in its result, in another channel.

use brigade::channel::{Receiver, RecvError, Sender, Transport, channel};

use crate::{LIMIT, all, each, text};

fn make(over: Transport) -> (Sender<String>, Receiver<String>) {
    let (sender, receiver) = channel(over, 8).expect("a channel");
    sender.send("made elsewhere".to_owned()).expect("received");
    (sender, receiver)
}

#[test]
fn both_ends_come_back_in_a_result() {
    each(|over, kind| {
        let task = kind.spawn(make, over).expect("starts");
        let (sender, receiver) = task.join().expect("returns");
        sender.send("and used here".to_owned()).expect("received");
        drop(sender);
        assert_eq!(all(&receiver), ["made elsewhere", "and used here"]);
    });
}

fn answer(questions: Receiver<(u32, Sender<u32>)>) {
    for question in questions {
        let (n, to) = question.expect("a question");
        to.send(n * n).expect("received");
    }
}

#[test]
fn an_end_goes_through_a_channel() {
    each(|over, kind| {
        let (ask, questions) = channel(over, 4).expect("a channel");
        let task = kind.spawn(answer, questions).expect("starts");
        for through in Transport::ALL {
            let (to, answers) = channel(through, 1).expect("a channel");
            ask.send((7, to)).expect("received");
            assert_eq!(answers.recv_timeout(LIMIT), Ok(49), "through {through}");
            assert_eq!(
                answers.recv(),
                Err(RecvError::Disconnected),
                "the only sender is gone"
            );
        }
        drop(ask);
        task.join().expect("returns");
    });
}

fn take_some((from, count): (Receiver<String>, usize)) -> (Receiver<String>, Vec<usize>) {
    let lengths = from.iter().take(count).map(|m| m.expect("a text").len());
    let lengths = lengths.collect();
    (from, lengths)
}

#[test]
fn a_receiver_that_moves_loses_nothing() {
    each(|over, kind| {
        let (sender, mut receiver) = channel(over, 10).expect("a channel");
        let (mut sent, mut got) = (0, 0);
        for round in 0..6 {
            while sent < got + 9 {
                sender
                    .send(text(sent * 977 % 5000, sent))
                    .expect("received");
                sent += 1;
            }
            let count = 1 + round % 3;
            let task = kind.spawn(take_some, (receiver, count)).expect("starts");
            let (back, lengths) = task.join().expect("returns");
            let expected: Vec<usize> = (got..got + count).map(|n| n * 977 % 5000).collect();
            assert_eq!(lengths, expected);
            got += count;
            // And some here.
            assert_eq!(back.recv(), Ok(text(got * 977 % 5000, got)));
            got += 1;
            receiver = back;
        }
        drop(sender);
        assert_eq!(all(&receiver).len(), sent - got);
    });
}

#[test]
fn an_end_on_its_way_keeps_the_channel_connected() {
    each(|over, _| {
        let (sender, receiver) = channel::<u8>(over, 1).expect("a channel");
        let (carrier, carried) = channel(over, 1).expect("a channel");
        carrier.send(sender).expect("received");
        assert!(receiver.try_recv().expect_err("nothing yet").is_empty());
        // It is lost with the message that nobody received.
        drop((carrier, carried));
        assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
    });
}

#[test]
fn a_receiver_on_its_way_keeps_the_channel_connected() {
    each(|over, _| {
        let (sender, receiver) = channel::<u8>(over, 4).expect("a channel");
        let (carrier, carried) = channel(over, 1).expect("a channel");
        sender.send(1).expect("received");
        carrier.send(receiver).expect("received");
        sender.send(2).expect("it will be received");
        let receiver: Receiver<u8> = carried.recv().expect("sent");
        assert_eq!((receiver.recv(), receiver.recv()), (Ok(1), Ok(2)));
        drop(receiver);
        assert_eq!(sender.send(3).expect_err("gone").0, 3);
    });
}

#[test]
fn an_end_that_could_not_be_sent_can_still_be_used() {
    each(|over, _| {
        let (sender, receiver) = channel::<u8>(over, 1).expect("a channel");
        let (carrier, carried) = channel(over, 1).expect("a channel");
        drop(carried);
        let receiver: Receiver<u8> = carrier.send(receiver).expect_err("nobody receives").0;
        sender.send(5).expect("received");
        assert_eq!(receiver.recv(), Ok(5));
        drop(receiver);
        // It was about to leave, so its end is noticed by the kernel's word only: at the latest
        // when the channel is full.
        let refused = (6..9).find_map(|n| sender.send(n).err());
        assert!(refused.is_some());
    });
}

/// Descriptors of this process that are a channel's memory, or a link, or a mechanism.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn hold(from: Receiver<Sender<u32>>) -> (usize, usize) {
    let first = from.recv().expect("sent");
    let before = open_descriptors();
    let all = all(&from);
    let after = open_descriptors();
    all[7].send(1).expect("received");
    first.send(2).expect("received");
    (before, after)
}

#[test]
fn however_often_an_end_is_sent_it_takes_the_same_descriptors() {
    brigade::init();
    for over in Transport::ALL {
        let (sender, receiver) = channel(over, 4).expect("a channel");
        let (carrier, carried) = channel(over, 16).expect("a channel");
        let task = brigade::process::spawn(hold, carried).expect("starts");
        for _ in 0..500 {
            carrier.send(sender.clone()).expect("received");
        }
        drop((carrier, sender));
        let (before, after) = task.join().expect("returns");
        assert!(after <= before, "{before}, then {after}, over {over}");
        assert_eq!(all(&receiver), [1, 2]);
    }
}

#[test]
fn other_serializers_are_refused() {
    let (sender, receiver) = channel::<u8>(Transport::Pipe, 1).expect("a channel");
    for refused in [
        serde_json::to_string(&sender).expect_err("no bytes can carry it"),
        serde_json::to_string(&receiver).expect_err("no bytes can carry it"),
    ] {
        assert!(refused.to_string().contains("descriptor"), "{refused}");
    }
    let forged = serde_json::to_string(&(0, 1, 2)).expect("numbers");
    assert!(serde_json::from_str::<Sender<u8>>(&forged).is_err());
}
