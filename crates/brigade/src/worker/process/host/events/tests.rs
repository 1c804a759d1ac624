//! What a hostile worker may send, and what comes of it.

use std::fmt::Debug;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::sys::fds;
use crate::worker::process::ipc::events::{EventWriter, FieldValue, MAX_FRAME, Place, place_bytes};

/// Keeps the messages that it is told.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl Messages {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Visit for Messages {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.lock().expect("no panic").push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Messages {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A worker's end, and what the program is told.
fn connected() -> (OwnedFd, Arc<WorkerEvents>, Messages) {
    let messages = Messages::default();
    let name = TaskName::told("a task", std::panic::Location::caller());
    let forwarding = tracing::subscriber::with_default(messages.clone(), || {
        Forwarding::of_task(Level::TRACE, name).expect("a thread")
    });
    let mailbox = Mailbox::map(Mailbox::file().expect("memfd")).expect("mmap");
    let (socket, source) = forwarding.connect(1, &Arc::new(mailbox)).expect("a socket");
    (socket, source, messages)
}

fn event(message: &str) -> Vec<u8> {
    let place = Place {
        level: 3,
        name: "event",
        target: "hostile",
        module: None,
        file: None,
        line: None,
    };
    let place = place_bytes(&place, ["message"].into_iter());
    let mut writer = EventWriter::new(Some(7), &place, "");
    writer.value(0, FieldValue::Shown(message));
    writer.bytes().to_vec()
}

fn told(messages: &Messages) -> Vec<String> {
    wait_until_told(Duration::from_secs(30));
    messages.take()
}

#[test]
fn nonsense_is_told_once_and_harms_no_event() {
    let (socket, _source, messages) = connected();
    fds::send(&socket, &event("before"), &[]).expect("sent");
    let too_long = vec![1; MAX_FRAME + 1];
    for nonsense in [&b"nonsense"[..], &[0xff; 100], &too_long] {
        fds::send(&socket, nonsense, &[]).expect("sent");
    }
    // It comes with a descriptor, which is closed.
    let (ours, theirs) = opened::socket_pair().expect("sockets");
    fds::send(&socket, &event("after"), &[theirs.as_fd()]).expect("sent");
    drop(theirs);
    let told = told(&messages);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!((told[0].as_str(), told[2].as_str()), ("before", "after"));
    assert!(told[1].contains("no event"), "{told:?}");
    let end = fds::recv(&ours, &mut [0; 1], &mut Vec::new(), true).expect("the other end is gone");
    assert_eq!(end.bytes, 0);
}

/// An event that says it has fields that its place does not have, or the same one twice.
#[test]
fn values_without_a_field_are_left_out() {
    let (socket, _source, messages) = connected();
    let mut bytes = event("first");
    let other = event("second");
    // The value of the second one, behind that of the first; and of a field that there is not.
    let value = &other[other.len() - 9..];
    bytes.extend(value);
    bytes.extend([&[29][..], &value[1..]].concat());
    fds::send(&socket, &bytes, &[]).expect("sent");
    assert_eq!(told(&messages), ["second"]);
}

#[test]
fn what_a_worker_lost_is_told_when_it_is_gone() {
    let (socket, source, messages) = connected();
    drop(socket);
    assert!(told(&messages).is_empty());
    drop(source);

    let (socket, source, messages) = connected();
    source.mailbox().count_lost_event();
    source.mailbox().count_lost_event();
    drop(socket);
    let told = told(&messages);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("2 events of process 1 were lost"),
        "{told:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes, the next event is told.
    #[test]
    fn any_frames_are_harmless(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..20),
    ) {
        let (socket, _source, messages) = connected();
        for frame in frames {
            fds::send(&socket, &frame, &[]).expect("sent");
        }
        fds::send(&socket, &event("the last"), &[]).expect("sent");
        let told = told(&messages);
        prop_assert_eq!(told.last().map(String::as_str), Some("the last"));
    }
}
