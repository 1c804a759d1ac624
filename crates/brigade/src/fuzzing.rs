//! Ways in for `scripts/fuzz`: what a hostile peer can write, and then what we do with it. No
//! panic, no hang, no memory beyond what came.

#[cfg(feature = "tracing")]
mod events;
mod locks;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::channel::{Receiver, Sender, Transport, channel, parts};
use crate::sys::fds;
use crate::sys::mapping::{Mapping, memfd, sized_memfd};
use crate::task::codec;
use crate::transport::ring::{Consumer, Producer, RingPlace};
use crate::transport::shm::RingSender;
use crate::transport::{FrameHeader, attachment, header, mqueue, pipe, shm};
use crate::{Descriptor, Message};

#[cfg(feature = "tracing")]
pub use events::events;
pub use locks::{PANICS, locks};

const SOON: Duration = Duration::from_millis(1);

/// Takes one thing after another from the fuzzer's bytes; zeros, when they are used up.
#[derive(Debug)]
struct Script<'d>(&'d [u8]);

impl<'d> Script<'d> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn word<const N: usize>(&mut self) -> [u8; N] {
        let mut word = [0; N];
        let _ = self.0.read(&mut word);
        word
    }

    fn byte(&mut self) -> u8 {
        self.word::<1>()[0]
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(u16::from_ne_bytes(self.word())) % n
    }

    fn bytes(&mut self, most: usize) -> &'d [u8] {
        let len = self.below(most + 1).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }
}

/// Runs `f` while another thread writes into the file, again and again.
fn meanwhile<R>(file: &OwnedFd, writes: &[(u64, [u8; 8])], f: impl FnOnce() -> R) -> R {
    let Ok(file) = file.try_clone().map(File::from) else {
        return f();
    };
    if writes.is_empty() {
        return f();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (at, word) in writes {
                    let _ = file.write_all_at(word, *at);
                }
                std::thread::yield_now();
            }
        });
        let result = f();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Memory of this length, as two processes share it: its file, a mapping of it, and the file again,
/// to be written to as a peer would.
fn shared_memory(len: usize) -> Option<(OwnedFd, Mapping, File)> {
    let file = sized_memfd("fuzz", len).ok()?;
    let mapping = Mapping::writable(&file, len).ok()?;
    let raw = File::from(file.try_clone().ok()?);
    Some((file, mapping, raw))
}

fn writes(script: &mut Script<'_>, len: usize) -> Vec<(u64, [u8; 8])> {
    (0..script.below(6))
        .map(|_| (script.below(len / 8 - 1) as u64 * 8, script.word()))
        .collect()
}

/// The memory of a ring, as a peer may have left it, and as it changes.
pub fn ring(data: &[u8]) {
    const PLACE: RingPlace = RingPlace {
        control: 0,
        data: 4096,
        capacity: 1024,
    };
    const LEN: usize = 4096 + 1024;
    let mut script = Script(data);
    let Some((file, mapping, raw)) = shared_memory(LEN) else {
        return;
    };
    // The counts, and the wake socket.
    for at in [0, 128, 256] {
        let _ = raw.write_all_at(&script.word::<8>(), at);
    }
    let writes = writes(&mut script, 4096 / 8 + 1024);
    // Of the first page, only the counts are worth changing.
    let writes: Vec<_> = writes
        .into_iter()
        .map(|(at, word)| match at {
            0..512 => (at / 128 * 128, word),
            at => (at - 512 + 4096, word),
        })
        .filter(|(at, _)| *at + 8 <= LEN as u64)
        .collect();
    let (steps, seen) = (script.bytes(48), u64::from(script.byte()) * 8);
    let _ = raw.write_all_at(&script.0[..script.0.len().min(PLACE.capacity)], 4096);
    meanwhile(&file, &writes, || {
        let mut consumer = Consumer::resume(&mapping, PLACE);
        let mut body = Vec::new();
        for step in steps {
            let len = usize::from(*step) * 5;
            match step % 6 {
                0 => match consumer.pop(&mut body) {
                    Ok(_) => assert!(body.len() <= PLACE.capacity),
                    // It is not used again.
                    Err(_) => consumer = Consumer::resume(&mapping, PLACE),
                },
                1 => {
                    let _ = consumer.pop_parts(&mut [0], &mut body);
                }
                2 => {
                    let _ = (consumer.peek_first(), consumer.is_ready());
                }
                3 => {
                    consumer.prepare_to_wait();
                }
                _ => {
                    let mut producer = Producer::resume(&mapping, PLACE, seen);
                    producer.rewind(len + 8);
                    assert!(producer.reach(len + 8) <= PLACE.capacity as u64);
                    producer.has_room(len);
                    if producer.push_parts(1, &[7], &body_of(len)).is_ok() {
                        producer.show();
                    }
                    if let Some(announcement) = producer.announcement() {
                        producer.take_announcement(announcement);
                    }
                }
            }
        }
    });
}

fn body_of(len: usize) -> Vec<u8> {
    vec![0xa5; len]
}

/// A channel whose sender writes what it likes, wherever it can.
pub fn frames(data: &[u8]) {
    let mut script = Script(data);
    match script.byte() % 2 {
        0 => hostile_sender::<Vec<u8>>(&mut script, |bytes| bytes.to_vec()),
        _ => hostile_sender::<(String, Vec<Descriptor>)>(&mut script, |bytes| {
            let fds = bytes.first().map_or(0, |n| n % 3);
            let fds = (0..fds).filter_map(|kind| some_file(kind).map(Descriptor));
            (String::from_utf8_lossy(bytes).into_owned(), fds.collect())
        }),
    }
}

fn hostile_sender<T: Message>(script: &mut Script<'_>, message: impl Fn(&[u8]) -> T) {
    let over = Transport::ALL[script.below(Transport::ALL.len())];
    let Ok((sender, mut receiver)) = channel::<T>(over, 1 + script.below(20)) else {
        return;
    };
    let (shared, link, mechanism) = parts(&sender);
    let Ok(file) = shared.file().try_clone().map(File::from) else {
        return;
    };
    let ring = RingSender::default();
    let writes = writes(script, 1536);
    meanwhile(shared.file(), &writes, || {
        for _ in 0..40 {
            if script.is_over() {
                break;
            }
            match script.byte() % 10 {
                0 => write_raw(over, link, mechanism, script.bytes(200), script.byte()),
                1 => {
                    let mut frame = header(script).to_bytes().to_vec();
                    frame.extend_from_slice(script.bytes(64));
                    write_raw(over, link, mechanism, &frame, script.byte());
                }
                2 => send_with_files(link, &script.word::<8>(), script),
                3 => {
                    let at = script.below(1536) as u64;
                    let _ = file.write_all_at(script.bytes(16), at);
                }
                4 => {
                    let at = (header::LEN + script.below(256)) as u64;
                    let _ = file.write_all_at(script.bytes(64), at);
                }
                5 => {
                    let header = header(script);
                    let _ = ring.put(shared, header, script.bytes(64), || Ok(()));
                    RingSender::wake_after_fence(shared, || true);
                }
                6 => {
                    let _ = sender.send_timeout(message(script.bytes(64)), SOON);
                }
                7 => tamper(mechanism.unwrap_or(link.as_fd()), script.byte()),
                8 => {
                    // It moves.
                    let mut bytes = Vec::new();
                    let Ok(descriptors) = codec::encode(&receiver, &mut bytes) else {
                        continue;
                    };
                    let Ok(moved) = codec::decode(&bytes, descriptors) else {
                        return;
                    };
                    receiver = moved;
                }
                _ => {
                    let _ = receiver.recv_timeout(SOON);
                }
            }
        }
        for _ in 0..60 {
            if receiver.recv_timeout(Duration::ZERO).is_err() {
                break;
            }
        }
        let _ = (receiver.try_recv(), receiver.len(), receiver.fault());
    });
}

/// One that may be what is due.
fn header(script: &mut Script<'_>) -> FrameHeader {
    let (number, tag) = (script.byte(), script.byte());
    let header = FrameHeader {
        number: u64::from(number % 24),
        len: u32::from(script.byte() % 80),
        descriptors: u16::from(tag % 4),
        large: tag & 128 != 0,
    };
    match tag & 64 {
        0 => header,
        _ => FrameHeader::WAKE_FRAME,
    }
}

fn write_raw(
    over: Transport,
    link: &OwnedFd,
    mechanism: Option<BorrowedFd<'_>>,
    bytes: &[u8],
    fds: u8,
) {
    match (over, mechanism) {
        (Transport::Queue, Some(queue)) => {
            // Its size differs; what is too long is refused.
            if let Ok(queue) = queue.try_clone_to_owned() {
                let _ = crate::sys::mqueue::send(&queue, bytes);
            }
        }
        (Transport::Socket, _) => send_with_files(link, bytes, &mut Script(&[fds])),
        (Transport::SharedMemory, Some(wakeup)) => {
            send_with_files(wakeup, bytes, &mut Script(&[fds]));
        }
        (_, Some(mechanism)) => {
            let _ = rustix::io::write(mechanism, bytes);
        }
        _ => {}
    }
}

fn send_with_files(link: impl AsFd, bytes: &[u8], script: &mut Script<'_>) {
    let files: Vec<OwnedFd> = (0..script.byte() % 4).filter_map(some_file).collect();
    let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let _ = fds::send(link, bytes, &files);
}

/// What a peer that shares the open file can do to it.
fn tamper(mechanism: BorrowedFd<'_>, how: u8) {
    let Ok(copy) = mechanism.try_clone_to_owned() else {
        return;
    };
    match how % 3 {
        0 => {
            let _ = rustix::io::ioctl_fionbio(&copy, false);
        }
        1 => {
            let _ = rustix::pipe::fcntl_setpipe_size(&copy, 4096 * usize::from(how));
        }
        _ => {
            let _ = rustix::fs::fcntl_setfl(&copy, rustix::fs::OFlags::empty());
        }
    }
}

fn some_file(kind: u8) -> Option<OwnedFd> {
    let open = |path: &str| File::open(path).map(OwnedFd::from);
    match kind % 12 {
        0 => attachment::file_of(&[b"a sealed value"]),
        1 => open("/dev/null"),
        2 => sized_memfd("fuzz", shm::LEN),
        3 => return Some(pipe::pair().ok()?.0),
        4 => return Some(pipe::pair().ok()?.1),
        5 => mqueue::create(4),
        6 => open("/"),
        7 => open("/dev/zero"),
        8 => memfd("fuzz"),
        9 => Ok(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()?),
        10 => {
            return std::os::unix::net::UnixStream::pair()
                .ok()
                .map(|p| p.0.into());
        }
        _ => sized_memfd("fuzz", 4096),
    }
    .ok()
}

/// The bytes of an end, with descriptors that may be anything.
pub fn ends(data: &[u8]) {
    let mut script = Script(data);
    let over = Transport::ALL[script.below(Transport::ALL.len())];
    let Ok((sender, receiver)) = channel::<Vec<u8>>(over, 1 + script.below(20)) else {
        return;
    };
    for _ in 0..script.below(4) {
        let _ = sender.try_send(script.bytes(16).to_vec());
    }
    if script.byte() % 4 == 0 {
        let _ = receiver.try_recv();
    }
    let takes = script.byte() % 2 == 0;
    let mut bytes = Vec::new();
    let encoded = match takes {
        true => codec::encode(&receiver, &mut bytes),
        false => codec::encode(&sender, &mut bytes),
    };
    let Ok(mut descriptors) = encoded else {
        return;
    };
    // Some descriptors are others, and some more.
    for _ in 0..script.below(4) {
        let Some(file) = some_file(script.byte()) else {
            continue;
        };
        match script.below(descriptors.len() + 1) {
            at if at < descriptors.len() => descriptors[at] = file,
            _ => descriptors.push(file),
        }
    }
    match script.byte() % 4 {
        0 => bytes = script.0.to_vec(),
        // A frame that is held, made up.
        1 if takes => {
            bytes.truncate(bytes.len().saturating_sub(2));
            bytes.push(1);
            bytes.extend_from_slice(&header(&mut script).to_bytes());
            bytes.push(8);
            bytes.extend_from_slice(&script.word::<8>());
            let more = script.byte() % 2;
            bytes.push(more);
            if more == 1 {
                bytes.push(script.byte() % 8);
            }
            bytes.push(0);
        }
        _ => {
            for _ in 0..script.below(6) {
                let at = script.below(bytes.len());
                bytes[at] = script.byte();
            }
        }
    }
    // Else the sender would be the one that is here.
    if !takes {
        drop(sender);
    }
    if takes {
        let Ok(receiver) = codec::decode::<Receiver<Vec<u8>>>(&bytes, descriptors) else {
            return;
        };
        for _ in 0..4 {
            let _ = receiver.try_recv();
        }
        let _ = (receiver.recv_timeout(SOON), receiver.len());
    } else {
        let Ok(sender) = codec::decode::<Sender<Vec<u8>>>(&bytes, descriptors) else {
            return;
        };
        let _ = sender.try_send(vec![1; 10]);
        let _ = sender.try_send(vec![1; 40_000]);
        let _ = sender.send_timeout(vec![1; 3_000], SOON);
    }
}

/// Values: one of a type that the fuzzer makes up, there and back; and bytes that a peer may have
/// written, read as many types.
pub fn values(data: &[u8]) {
    codec::model::there_and_back(data);
    codec::model::from_anyone(data);
}
