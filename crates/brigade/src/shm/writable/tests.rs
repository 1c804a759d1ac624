use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;

use super::super::{RecoverError, Recovery};
use serde::Serialize;

use super::message::WritableWire;
use super::*;
use crate::shm::owners::OwnerEntry;
use crate::sys::mapping::Mapping;
use crate::task::carry;

type Message = (Vec<u8>, Vec<OwnedFd>);

fn encode(part: &impl Serialize) -> Message {
    let (bytes, descriptors) = carry::collect(|| postcard::to_allocvec(part));
    (bytes.expect("encodes"), descriptors)
}

fn copy((bytes, descriptors): &Message) -> Message {
    let descriptors = descriptors
        .iter()
        .map(|file| file.try_clone().expect("dup"));
    (bytes.clone(), descriptors.collect())
}

fn decode((bytes, descriptors): Message) -> postcard::Result<Writable<[u32]>> {
    carry::provide(descriptors, || postcard::from_bytes(&bytes))
}

fn new(len: usize) -> Writable<[u32]> {
    Shared::<[u32]>::writable(len).expect("a region")
}

fn file_of(part: &Writable<[u32]>) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(part.place.region(), 3).expect("dup")
}

#[test]
fn parts_are_all_of_it_and_lie_side_by_side() {
    for (len, parts) in [(10, 3), (0, 2), (2, 5), (7, 7), (5000, 1)] {
        let parts = new(len).split_into(parts);
        let mut at = 0;
        for part in &parts {
            assert_eq!(part.range().start, at);
            at = part.range().end;
        }
        assert_eq!(at, len);
        let whole = Writable::join(parts).expect("joined");
        assert_eq!(whole.freeze().expect("frozen").len(), len);
    }
    assert_eq!(new(0).into_chunks(4).len(), 0);
    assert_eq!(new(9).into_chunks(usize::MAX).len(), 1);
    let units = Shared::<[()]>::writable(usize::MAX).expect("no bytes");
    assert_eq!(units.split_into(2)[1].range().end, usize::MAX);
}

#[test]
fn what_was_sent_is_received_once_and_not_before_it_is_dropped() {
    let mut part = new(3);
    part[1] = 5;
    let message = encode(&part);
    drop(part);
    let arrived = decode(copy(&message)).expect("once");
    assert_eq!(*arrived, [0, 5, 0]);
    assert!(decode(copy(&message)).is_err(), "somebody has it");
    drop(arrived);
    assert!(decode(copy(&message)).is_err(), "somebody had it");
}

#[test]
fn the_sender_that_keeps_it_still_has_it() {
    let mut part = new(3);
    let first = encode(&part);
    part[2] = 9;
    let second = encode(&part);
    assert!(decode(first).is_err(), "the last message counts");
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| decode(copy(&second)));
        // It waits for the sender, which may look at it meanwhile.
        assert_eq!(*part, [0, 0, 9]);
        drop(part);
        let arrived = receiver.join().expect("no panic").expect("let go of");
        assert_eq!(*arrived, [0, 0, 9]);
    });
}

#[test]
fn one_that_is_never_let_go_of_is_an_error_in_the_end() {
    let part = new(1);
    let message = encode(&part);
    assert!(decode(message).is_err());
    assert_eq!(*part, [0]);
    assert!(part.freeze().is_ok(), "it was never given away");
}

/// A process that can write to the table can say there that anything is on its way.
#[test]
fn a_forged_message_gives_no_element_a_second_owner_in_a_process() {
    let (head, tail) = new(8).split_at(4);
    let message = encode(&head);
    drop(head);
    let table = tail.place.owners.get().expect("made for the first message");
    let (index, ticket) = (0_u64, 1_u64);
    for (from, len) in [(4_u64, 4_u64), (0, 8), (3, 2), (7, 1)] {
        let mut forged: WritableWire<&Shared<[OwnerEntry]>> =
            (0, &table, index, ticket, from, len, 8);
        let forged = carry::collect(|| {
            forged.0 = carry::attach::<postcard::Error>(file_of(&tail)).expect("attached");
            postcard::to_allocvec(&forged).expect("encodes")
        });
        assert!(decode(forged).is_err(), "{from}, {len}");
        // As a hostile worker would: on its way again.
        assert_eq!(table[0].recover(), Ok(true));
        while table[0].send() != Ok(ticket) {
            table[0].set_ticket(0);
        }
        table[0].leave(true);
    }
    assert!(decode(message).is_ok(), "the real one");
    assert_eq!(*tail, [0; 4]);
}

#[test]
fn numbers_that_cannot_be_are_refused() {
    let part = new(8);
    part.place.owners.make().expect("a table");
    let table = part.place.owners.get().expect("made");
    let file = file_of(&part);
    drop(part);
    for (index, from, len, all) in [
        (0, 0, 9, 8),
        (0, 9, 0, 8),
        (0, u64::MAX, 2, 8),
        (0, 0, 8, u64::MAX),
        (1, 0, 8, 8),
        (0, 0, 8, 5000),
        (0, 0, 1 << 62, 1 << 62),
    ] {
        assert_eq!(table[0].recover(), Ok(true));
        let ticket = table[0].send().expect("ours");
        table[0].leave(true);
        let mut forged: WritableWire<&Shared<[OwnerEntry]>> =
            (0, &table, index, ticket, from, len, all);
        let forged = carry::collect(|| {
            forged.0 = carry::attach::<postcard::Error>(&file).expect("attached");
            postcard::to_allocvec(&forged).expect("encodes")
        });
        assert!(decode(forged).is_err(), "{index}, {from}, {len}, {all}");
    }
}

#[test]
fn it_is_not_frozen_while_something_else_could_write_to_it() {
    let part = new(2000);
    let file = file_of(&part);
    let other = Mapping::writable(&file, 8192).expect("mapped");
    let refused = part.freeze().expect_err("another mapping");
    assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
    assert!(refused.to_string().contains("still maps"), "{refused}");
    let mut parts = refused.into_parts();
    parts[0][1999] = 3;
    drop(other);
    let frozen = parts.remove(0).freeze().expect("nobody else");
    assert!(frozen.is_sealed() && frozen[1999] == 3);
    let written = rustix::io::pwrite(&file, &[1], 0);
    assert_eq!(written, Err(rustix::io::Errno::PERM));
}

#[test]
fn a_region_of_owners_is_no_other_region() {
    let part = new(4);
    let seals = rustix::fs::SealFlags::SEAL;
    let file = file_of(&part);
    // As a hostile worker could.
    rustix::fs::fcntl_add_seals(&file, seals).expect("sealed");
    assert!(Region::receive(file).is_err());
}

fn recovered(recovery: &Recovery<[u32]>) -> (Writable<[u32]>, bool) {
    match recovery.recover() {
        Ok(part) => (part, true),
        Err(RecoverError::Poisoned(part)) => (part.into_inner(), false),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn it_is_recovered_when_it_has_no_owner() {
    let mut part = new(2);
    let recovery = part.recovery().expect("no limit");
    assert!(matches!(recovery.recover(), Err(RecoverError::Owned)));
    part[0] = 1;
    let message = encode(&part);
    assert!(matches!(recovery.recover(), Err(RecoverError::Owned)));
    drop(part);
    // On its way, in a message that is never read.
    let (part, whole) = recovered(&recovery);
    assert!(whole && *part == [1, 0]);
    assert!(decode(message).is_err(), "taken out of it");
    drop(part);
    let (mut part, whole) = recovered(&recovery);
    assert!(whole, "dropped");
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        part[1] = 2;
        let _part = part;
        panic!("half-written");
    }));
    assert!(panicked.is_err());
    let (part, whole) = recovered(&recovery);
    assert!(!whole && *part == [1, 2]);
    let parts = part.split_into(2);
    assert!(matches!(recovery.recover(), Err(RecoverError::Retired)));
    drop(parts);
    assert!(matches!(recovery.recover(), Err(RecoverError::Retired)));
}

/// Whatever is sent at the same time by however many: one has it.
#[test]
fn many_who_decode_the_same_message() {
    for _ in 0..200 {
        let part = new(1);
        let message = encode(&part);
        drop(part);
        let messages: Vec<_> = (0..4).map(|_| copy(&message)).collect();
        let arrived: Vec<_> = std::thread::scope(|scope| {
            let receivers: Vec<_> = messages
                .into_iter()
                .map(|message| scope.spawn(|| decode(message)))
                .collect();
            let each = receivers.into_iter().map(|r| r.join().expect("no panic"));
            each.collect()
        });
        assert_eq!(arrived.iter().filter(|part| part.is_ok()).count(), 1);
    }
}
