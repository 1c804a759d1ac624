//! The parts of Perfetto's format that a timeline needs: `trace_packet.proto`, `track_event.proto`,
//! `track_descriptor.proto` and what they name, by the numbers of their fields. A file is one
//! `Trace` message; several of them one after another are one as well, so that packets are
//! appended, and files of several pools can be put together by cat(1).

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::process;

use prost::Message;

use crate::Kind;
use crate::sys::clock;

/// The packets before this one do not matter to it.
const CLEARED: u32 = 1;
/// The packet uses numbers that packets before it have given to names.
const NEEDS_OTHERS: u32 = 2;

const SLICE_BEGIN: i32 = 1;
const SLICE_END: i32 = 2;
const INSTANT: i32 = 3;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Trace {
    #[prost(message, repeated, tag = "1")]
    pub(super) packets: Vec<TracePacket>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TracePacket {
    #[prost(uint64, optional, tag = "8")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, tag = "10")]
    pub(super) sequence: u32,
    #[prost(message, optional, tag = "11")]
    pub(super) event: Option<TrackEvent>,
    #[prost(message, optional, tag = "12")]
    pub(super) interned: Option<InternedData>,
    #[prost(uint32, optional, tag = "13")]
    pub(super) sequence_flags: Option<u32>,
    #[prost(message, optional, tag = "60")]
    pub(super) track: Option<TrackDescriptor>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackEvent {
    #[prost(message, repeated, tag = "4")]
    pub(super) annotations: Vec<Annotation>,
    #[prost(int32, tag = "9")]
    pub(super) sort: i32,
    #[prost(uint64, optional, tag = "10")]
    pub(super) name_number: Option<u64>,
    #[prost(uint64, tag = "11")]
    pub(super) track: u64,
    #[prost(string, repeated, tag = "22")]
    pub(super) categories: Vec<String>,
    #[prost(string, optional, tag = "23")]
    pub(super) name: Option<String>,
}

/// A value beside an event.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Annotation {
    #[prost(uint64, optional, tag = "3")]
    pub(super) count: Option<u64>,
    #[prost(string, optional, tag = "6")]
    pub(super) text: Option<String>,
    #[prost(string, tag = "10")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InternedData {
    #[prost(message, repeated, tag = "2")]
    pub(super) event_names: Vec<EventName>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EventName {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrackDescriptor {
    #[prost(uint64, tag = "1")]
    pub(super) uuid: u64,
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(super) process: Option<ProcessDescriptor>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) parent: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProcessDescriptor {
    #[prost(int32, tag = "1")]
    pub(super) pid: i32,
    #[prost(string, tag = "6")]
    pub(super) name: String,
}

impl Annotation {
    pub(super) fn of_count(name: &str, count: u64) -> Annotation {
        Annotation {
            count: Some(count),
            text: None,
            name: name.to_owned(),
        }
    }

    pub(super) fn of_text(name: &str, text: &str) -> Annotation {
        Annotation {
            count: None,
            text: Some(text.to_owned()),
            name: name.to_owned(),
        }
    }
}

/// Packets that are to be written, and what those before them have named.
#[derive(Debug)]
pub(super) struct Packets {
    bytes: Vec<u8>,
    /// Bytes of the file, which are whole packets.
    written: u64,
    /// What this file is called among others that it may be put together with.
    sequence: u32,
    /// The row of the pool; those of its workers have the numbers that follow.
    pool: u64,
    names: u64,
    /// What CLOCK_BOOTTIME, by which a reader takes times, is ahead of CLOCK_MONOTONIC.
    ahead: u64,
}

impl Packets {
    /// The first ones: the program's row, and the pool's below it.
    pub(super) fn new(kind: Kind, name: Option<&str>) -> Packets {
        let random = RandomState::new();
        let mut packets = Packets {
            bytes: Vec::new(),
            written: 0,
            sequence: (random.hash_one(1) as u32).max(1),
            // Room for as many rows as there are workers in its life.
            pool: random.hash_one(2) & !0xffff_ffff | 1,
            names: 0,
            ahead: clock::boot_nanos().saturating_sub(clock::nanos()),
        };
        let program = std::env::args_os().next().unwrap_or_default();
        let program = program.to_string_lossy();
        let program_row = packets.pool ^ 1;
        packets.push(TracePacket {
            sequence_flags: Some(CLEARED),
            track: Some(TrackDescriptor {
                uuid: program_row,
                process: Some(ProcessDescriptor {
                    pid: process::id() as i32,
                    name: program.rsplit('/').next().unwrap_or_default().to_owned(),
                }),
                ..TrackDescriptor::default()
            }),
            ..TracePacket::default()
        });
        let of = match kind {
            Kind::Thread => "threads",
            Kind::Process => "processes",
        };
        let name = match name {
            Some(name) => format!("{name}: pool of {of}"),
            None => format!("pool of {of}"),
        };
        packets.track(packets.pool, program_row, name);
        packets
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A row for a worker, below the pool's.
    pub(super) fn row(&mut self, row: u64, name: &str) {
        self.track(self.uuid(Some(row)), self.pool, name.to_owned());
    }

    fn track(&mut self, uuid: u64, parent: u64, name: String) {
        self.push(TracePacket {
            track: Some(TrackDescriptor {
                uuid,
                name: Some(name),
                parent: Some(parent),
                process: None,
            }),
            ..TracePacket::default()
        });
    }

    /// The number by which slices have this name.
    pub(super) fn name(&mut self, name: &str) -> u64 {
        self.names += 1;
        let number = self.names;
        self.push(TracePacket {
            interned: Some(InternedData {
                event_names: vec![EventName {
                    number,
                    name: name.to_owned(),
                }],
            }),
            sequence_flags: Some(NEEDS_OTHERS),
            ..TracePacket::default()
        });
        number
    }

    /// A run on this row, from when to when by CLOCK_MONOTONIC.
    pub(super) fn slice(
        &mut self,
        row: u64,
        begin: u64,
        end: u64,
        name: u64,
        annotations: Vec<Annotation>,
    ) {
        let track = self.uuid(Some(row));
        let begins = TrackEvent {
            annotations,
            sort: SLICE_BEGIN,
            name_number: Some(name),
            track,
            categories: vec!["task".to_owned()],
            name: None,
        };
        let ends = TrackEvent {
            sort: SLICE_END,
            track,
            ..TrackEvent::default()
        };
        self.event(begin, begins);
        self.event(end, ends);
    }

    /// Something that happened on this row, or to the pool.
    pub(super) fn mark(
        &mut self,
        row: Option<u64>,
        at: u64,
        what: &str,
        annotations: Vec<Annotation>,
    ) {
        let event = TrackEvent {
            annotations,
            sort: INSTANT,
            name_number: None,
            track: self.uuid(row),
            categories: vec!["pool".to_owned()],
            name: Some(what.to_owned()),
        };
        self.event(at, event);
    }

    fn event(&mut self, at: u64, event: TrackEvent) {
        self.push(TracePacket {
            timestamp: Some(at + self.ahead),
            event: Some(event),
            sequence_flags: Some(NEEDS_OTHERS),
            ..TracePacket::default()
        });
    }

    fn uuid(&self, row: Option<u64>) -> u64 {
        self.pool + row.map_or(0, |row| row + 1)
    }

    fn push(&mut self, packet: TracePacket) {
        let packet = TracePacket {
            sequence: self.sequence,
            ..packet
        };
        let trace = Trace {
            packets: vec![packet],
        };
        // A vector has room for all.
        let _ = trace.encode(&mut self.bytes);
    }

    /// Writes them. If that fails the file ends with what was whole.
    pub(super) fn write_to(&mut self, mut file: &File) -> io::Result<()> {
        match file.write_all(&self.bytes) {
            Ok(()) => {
                self.written += self.bytes.len() as u64;
                self.bytes.clear();
                Ok(())
            }
            Err(e) => {
                self.bytes = Vec::new();
                file.set_len(self.written)?;
                Err(e)
            }
        }
    }
}
