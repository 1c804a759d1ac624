//! Both ends of a channel: how they are made, and how they travel.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::receive_side::ReceiveSide;
use super::send_side::SendSide;
use super::senders::{ChannelId, register};
use super::{Receiver, Sender, Transport};
use crate::Message;
use crate::sys::error;
use crate::sys::opened;
use crate::sys::wakeup;
use crate::task::carry;
use crate::transport::header::ChannelHeader;
use crate::transport::overflow::{OverflowSink, OverflowSource};
use crate::transport::{
    FrameContent, FrameHeader, FrameSink, FrameSource, HeldFrame, mqueue, pipe, shm, socket,
};

pub(super) fn create<T: Message>(
    over: Transport,
    capacity: usize,
) -> io::Result<(Sender<T>, Receiver<T>)> {
    super::check_capacity(capacity)?;
    let shared = ChannelHeader::new(capacity, shm::LEN)?;
    let theirs = ChannelHeader::open(opened::copy(shared.file())?, shared.capacity(), shm::LEN)?;
    let (send_link, receive_link) = opened::socket_pair()?;
    let (for_sender, for_receiver) = match over {
        Transport::Pipe => {
            let (read, write) = pipe::pair()?;
            (Some(write), Some(read))
        }
        Transport::Socket => (None, None),
        Transport::Queue => {
            let queue = mqueue::create(capacity)?;
            (Some(opened::copy(&queue)?), Some(queue))
        }
        Transport::SharedMemory => {
            let (woken, wakes) = shm::pair(&shared)?;
            (Some(wakes), Some(woken))
        }
    };
    let sink = sink(over, for_sender)?;
    let for_receiver = for_receiver.map(Arc::new);
    let source = source(
        over,
        &theirs,
        for_receiver.clone(),
        ReceiverState::default(),
    )?;
    let descriptor = sink.descriptor();
    let channel = ChannelId::of(
        over,
        shared.capacity(),
        shared.file(),
        &send_link,
        descriptor,
    )?;
    let sender = register(channel, || SendSide::new(over, shared, send_link, sink));
    let receiver = ReceiveSide::new(over, theirs, receive_link, for_receiver, source, None);
    Ok((Sender::new(sender), Receiver::new(receiver)))
}

fn sink(over: Transport, mechanism: Option<OwnedFd>) -> io::Result<Box<dyn FrameSink>> {
    Ok(match (over, mechanism) {
        (Transport::Pipe, Some(end)) => Box::new(OverflowSink::new(pipe::PipeSink::new(end)?)),
        (Transport::Socket, None) => Box::new(OverflowSink::new(socket::SocketSink)),
        (Transport::Queue, Some(queue)) => {
            Box::new(OverflowSink::new(mqueue::MqueueSink::new(queue)?))
        }
        (Transport::SharedMemory, Some(wakes)) => Box::new(shm::ShmSink::new(wakes)?),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

/// What came along with a receiver.
#[derive(Default)]
struct ReceiverState {
    bytes: Vec<u8>,
    held: Option<HeldFrame>,
}

fn source(
    over: Transport,
    shared: &ChannelHeader,
    mechanism: Option<Arc<OwnedFd>>,
    state: ReceiverState,
) -> io::Result<Box<dyn FrameSource>> {
    let ReceiverState { bytes, held } = state;
    Ok(match (over, mechanism) {
        (Transport::Pipe, Some(end)) => {
            let pipe = pipe::PipeSource::new(end, bytes);
            Box::new(OverflowSource::new(shared, pipe, held))
        }
        (Transport::Socket, None) => Box::new(OverflowSource::new(
            shared,
            socket::SocketSource::new(),
            held,
        )),
        (Transport::Queue, Some(queue)) => {
            let queue = mqueue::MqueueSource::new(queue)?;
            Box::new(OverflowSource::new(shared, queue, held))
        }
        (Transport::SharedMemory, Some(woken)) => Box::new(shm::ShmSource::new(shared, woken)?),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

/// What a process with a sender can write to.
#[cfg(fuzzing)]
pub(crate) fn parts<T>(
    sender: &Sender<T>,
) -> (
    &ChannelHeader,
    &OwnedFd,
    Option<std::os::fd::BorrowedFd<'_>>,
) {
    let side = sender.side();
    (side.shared(), side.link(), side.descriptor())
}

/// An end, as it travels: numbers of descriptors that travel with it.
#[derive(Serialize, Deserialize)]
struct EndWire {
    over: Transport,
    capacity: u64,
    memory: u32,
    link: u32,
    mechanism: Option<u32>,
}

impl EndWire {
    fn attach<E: serde::ser::Error>(
        over: Transport,
        shared: &ChannelHeader,
        link: &OwnedFd,
        mechanism: Option<impl AsFd>,
    ) -> Result<EndWire, E> {
        Ok(EndWire {
            over,
            capacity: shared.capacity(),
            memory: carry::attach(shared.file())?,
            link: carry::attach(link)?,
            mechanism: mechanism.map(carry::attach).transpose()?,
        })
    }
}

/// What came of a [`EndWire`].
struct ReceivedEnd {
    over: Transport,
    capacity: u64,
    memory: OwnedFd,
    link: OwnedFd,
    mechanism: Option<OwnedFd>,
}

impl EndWire {
    fn take<E: serde::de::Error>(self) -> Result<ReceivedEnd, E> {
        let received = ReceivedEnd {
            over: self.over,
            capacity: self.capacity,
            memory: carry::take(self.memory)?,
            link: carry::take(self.link)?,
            mechanism: self.mechanism.map(carry::take).transpose()?,
        };
        if received.capacity == 0 {
            return Err(E::custom("a channel of capacity 0"));
        }
        // Its link is of the kind that wake-ups go through, too.
        wakeup::check(&received.link).map_err(broken)?;
        Ok(received)
    }
}

fn broken<E: serde::de::Error>(e: io::Error) -> E {
    let e = error::needed("receive a channel's end", e);
    E::custom(format_args!("an end of a channel did not arrive: {e}"))
}

impl<T> Serialize for Sender<T> {
    /// # Errors
    /// Any serializer but that of a task's input or result or of a channel's message: an end is
    /// descriptors, which no bytes can carry.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let side = self.side();
        let (over, shared, link, mechanism) =
            (side.over(), side.shared(), side.link(), side.descriptor());
        match mechanism
            .filter(|_| over == Transport::Pipe)
            .and_then(pipe::reopen)
        {
            Some(another) => EndWire::attach(over, shared, link, Some(another)),
            None => EndWire::attach(over, shared, link, mechanism),
        }?
        .serialize(serializer)
    }
}

impl<'de, T: Message> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ReceivedEnd {
            over,
            capacity,
            memory,
            link,
            mechanism,
        } = EndWire::deserialize(deserializer)?.take()?;
        let channel = ChannelId::of(over, capacity, &memory, &link, mechanism.as_ref());
        let channel = channel.map_err(broken)?;
        let shared = ChannelHeader::open(memory, capacity, shm::LEN).map_err(broken)?;
        let mechanism = mechanism.map(|given| match over {
            Transport::Pipe => pipe::reopen(given.as_fd()).unwrap_or(given),
            _ => given,
        });
        let sink = sink(over, mechanism).map_err(broken)?;
        // If there is one already, what has come is closed.
        let side = register(channel, || SendSide::new(over, shared, link, sink));
        Ok(Sender::new(side))
    }
}

/// A receiving end, as it travels.
#[derive(Serialize, Deserialize)]
struct ReceiverWire {
    end: EndWire,
    /// What was taken out of the mechanism and not received.
    bytes: Vec<u8>,
    held: Option<([u8; FrameHeader::SIZE], Vec<u8>, Vec<u32>)>,
    fault: Option<String>,
}

fn attach_all<E: serde::ser::Error>(descriptors: &[OwnedFd]) -> Result<Vec<u32>, E> {
    descriptors.iter().map(carry::attach).collect()
}

fn take_all<E: serde::de::Error>(numbers: Vec<u32>) -> Result<Vec<OwnedFd>, E> {
    numbers.into_iter().map(carry::take).collect()
}

impl<T> Serialize for Receiver<T> {
    /// # Errors
    /// As for a [`Sender`]; and while another thread waits for a message with it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let side = self.side();
        side.leaving(|source, fault| {
            let buffered = source.buffered();
            let held = buffered.held.map(|held| {
                let descriptors = attach_all(&held.content.descriptors)?;
                Ok((
                    held.header.to_bytes(),
                    held.content.body.clone(),
                    descriptors,
                ))
            });
            ReceiverWire {
                end: EndWire::attach(side.over(), side.shared(), side.link(), side.mechanism())?,
                bytes: buffered.bytes.to_vec(),
                held: held.transpose()?,
                fault: fault.map(str::to_owned),
            }
            .serialize(serializer)
        })
        .unwrap_or_else(|| {
            Err(S::Error::custom(
                "a receiver cannot be sent while a thread waits with it",
            ))
        })
    }
}

impl<'de, T: Message> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ReceiverWire {
            end,
            bytes,
            held,
            fault,
        } = ReceiverWire::deserialize(deserializer)?;
        let ReceivedEnd {
            over,
            capacity,
            memory,
            link,
            mechanism,
        } = end.take()?;
        let held = held.map(|(header, body, descriptors)| {
            Ok(HeldFrame {
                header: FrameHeader::from_bytes(&header)
                    // None, if they were lost.
                    .filter(|h| {
                        descriptors.is_empty() || usize::from(h.descriptors) == descriptors.len()
                    })
                    .ok_or_else(|| D::Error::custom("a frame without its header"))?,
                content: FrameContent {
                    body,
                    descriptors: take_all(descriptors)?,
                },
            })
        });
        let state = ReceiverState {
            bytes,
            held: held.transpose()?,
        };
        let shared = ChannelHeader::open(memory, capacity, shm::LEN).map_err(broken)?;
        let mechanism = mechanism.map(Arc::new);
        let source = source(over, &shared, mechanism.clone(), state).map_err(broken)?;
        Ok(Receiver::new(ReceiveSide::new(
            over, shared, link, mechanism, source, fault,
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::task::codec;

    /// What a hostile peer may send for a sender of the first channel: its memory, and the rest of
    /// another one.
    struct Forged(Sender<u32>, Sender<u32>);

    impl Serialize for Forged {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let (real, other) = (self.0.side(), self.1.side());
            let link = match real.over() {
                // It may be right in all but one thing.
                Transport::Pipe => real.link(),
                _ => other.link(),
            };
            EndWire::attach(real.over(), real.shared(), link, other.descriptor())?
                .serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Forged {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Err(D::Error::custom("it is only sent"))
        }
    }

    /// What such a value becomes in this process, once there is no end of the channel here any
    /// more.
    fn arrive(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Sender<u32> {
        codec::decode(bytes, descriptors).expect("an end")
    }

    #[test]
    fn an_end_put_together_of_two_channels_is_not_taken_for_one_of_them() {
        for over in Transport::ALL {
            let (real, receiver) = create::<u32>(over, 4).expect("a channel");
            let (other, elsewhere) = create::<u32>(over, 4).expect("a channel");
            let (mut honest, mut forged) = (Vec::new(), Vec::new());
            let honest_descriptors = codec::encode(&real, &mut honest).expect("encodes");
            let forged_descriptors =
                codec::encode(&Forged(real, other), &mut forged).expect("encodes");
            let forged = arrive(&forged, forged_descriptors);
            let honest = arrive(&honest, honest_descriptors);
            assert!(!Arc::ptr_eq(honest.side(), forged.side()), "{over}");
            honest.send(7).expect("sent");
            let limit = Duration::from_secs(30);
            assert_eq!(receiver.recv_timeout(limit), Ok(7), "{over}");
            assert!(elsewhere.try_recv().is_err(), "{over}");
        }
    }

    #[test]
    fn an_end_that_arrives_again_is_the_one_that_is_here() {
        for over in Transport::ALL {
            let (sender, _receiver) = create::<u32>(over, 4).expect("a channel");
            let mut bytes = Vec::new();
            let descriptors = codec::encode(&sender, &mut bytes).expect("encodes");
            let again = arrive(&bytes, descriptors);
            assert!(Arc::ptr_eq(sender.side(), again.side()), "{over}");
        }
    }
}
