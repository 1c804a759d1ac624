//! A reader of Perfetto's format, written from its `.proto` files: field by field, without the
//! types that the library writes with.

use std::collections::HashMap;

/// A field: its number, and a varint or bytes.
enum Field<'a> {
    Number(u32, u64),
    Bytes(u32, &'a [u8]),
}

/// The fields of a message, which has to be whole.
fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let number = (key >> 3) as u32;
        fields.push(match key & 7 {
            0 => Field::Number(number, varint(&mut bytes)),
            2 => {
                let len = varint(&mut bytes) as usize;
                let (body, rest) = bytes.split_at_checked(len).expect("a whole field");
                bytes = rest;
                Field::Bytes(number, body)
            }
            other => panic!("wire type {other}"),
        });
    }
    fields
}

/// The packets that are whole, of a file that is written meanwhile: one is cut where write(2) is.
pub(crate) fn whole_packets(file: &[u8]) -> &[u8] {
    let mut rest = file;
    while let [key, after @ ..] = rest {
        assert_eq!(*key, 1 << 3 | 2, "a packet");
        let ends = after.iter().take(10).position(|byte| *byte < 0x80);
        let Some(ends) = ends else { break };
        let (mut len, body) = after.split_at(ends + 1);
        let Some((_, next)) = body.split_at_checked(varint(&mut len) as usize) else {
            break;
        };
        rest = next;
    }
    &file[..file.len() - rest.len()]
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number of more than 64 bits");
}

fn number(message: &[u8], wanted: u32) -> Option<u64> {
    fields(message).into_iter().find_map(|field| match field {
        Field::Number(number, value) if number == wanted => Some(value),
        _ => None,
    })
}

fn all_bytes(message: &[u8], wanted: u32) -> Vec<&[u8]> {
    let found = fields(message).into_iter().filter_map(|field| match field {
        Field::Bytes(number, body) if number == wanted => Some(body),
        _ => None,
    });
    found.collect()
}

fn bytes(message: &[u8], wanted: u32) -> Option<&[u8]> {
    all_bytes(message, wanted).into_iter().next()
}

fn text(message: &[u8], wanted: u32) -> Option<String> {
    let text = bytes(message, wanted)?.to_vec();
    Some(String::from_utf8(text).expect("text"))
}

#[derive(Clone, Debug)]
enum Value {
    Count(u64),
    Text(String),
}

type Annotations = HashMap<String, Value>;

fn annotations(event: &[u8]) -> Annotations {
    let each = all_bytes(event, 4).into_iter().map(|annotation| {
        let name = text(annotation, 10).expect("a name");
        let value = match (number(annotation, 3), text(annotation, 6)) {
            (Some(count), None) => Value::Count(count),
            (None, Some(text)) => Value::Text(text),
            _ => panic!("one value"),
        };
        (name, value)
    });
    each.collect()
}

/// A run of a task.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) track: u64,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) name: String,
    annotations: Annotations,
}

impl Slice {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.annotations.contains_key(name)
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        match self.annotations.get(name) {
            Some(Value::Count(count)) => *count,
            other => panic!("{name}: {other:?}"),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.annotations.get(name)? {
            Value::Text(text) => Some(text),
            Value::Count(count) => panic!("{name}: {count}"),
        }
    }
}

/// Something that happened.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) track: u64,
    pub(crate) name: String,
    annotations: Annotations,
}

impl Mark {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.annotations.get(name)? {
            Value::Text(text) => Some(text),
            Value::Count(count) => panic!("{name}: {count}"),
        }
    }
}

struct Track {
    name: Option<String>,
    parent: Option<u64>,
}

/// A file.
pub(crate) struct Timeline {
    tracks: HashMap<u64, Track>,
    /// By sequence and number.
    names: HashMap<(u64, u64), String>,
    /// The sequence, the time and the event.
    events: Vec<(u64, u64, Vec<u8>)>,
}

impl Timeline {
    pub(crate) fn read(file: &[u8]) -> Timeline {
        let mut timeline = Timeline {
            tracks: HashMap::new(),
            names: HashMap::new(),
            events: Vec::new(),
        };
        for packet in all_bytes(file, 1) {
            let sequence = number(packet, 10).expect("a sequence");
            assert_ne!(sequence, 0);
            if let Some(track) = bytes(packet, 60) {
                let uuid = number(track, 1).expect("a number");
                let new = Track {
                    name: text(track, 2),
                    parent: number(track, 5),
                };
                assert!(timeline.tracks.insert(uuid, new).is_none(), "each row once");
            }
            for name in bytes(packet, 12)
                .into_iter()
                .flat_map(|names| all_bytes(names, 2))
            {
                let key = (sequence, number(name, 1).expect("a number"));
                timeline.names.insert(key, text(name, 2).expect("a name"));
            }
            if let Some(event) = bytes(packet, 11) {
                let time = number(packet, 8).expect("a time");
                timeline.events.push((sequence, time, event.to_vec()));
            }
        }
        timeline
    }

    /// In the order in which they were written. The last may be one that has not ended in the file.
    pub(crate) fn slices(&self) -> Vec<Slice> {
        let mut slices = Vec::new();
        let mut open: HashMap<u64, Slice> = HashMap::new();
        for (sequence, time, event) in &self.events {
            let track = number(event, 11).expect("a track");
            assert!(self.tracks.contains_key(&track), "a row that was described");
            match number(event, 9) {
                Some(1) => {
                    let name = number(event, 10).expect("a name's number");
                    let slice = Slice {
                        track,
                        begin: *time,
                        end: 0,
                        name: self.names[&(*sequence, name)].clone(),
                        annotations: annotations(event),
                    };
                    assert!(open.insert(track, slice).is_none(), "one at a time");
                }
                Some(2) => {
                    let slice = open.remove(&track).expect("it has begun");
                    assert!(slice.begin <= *time);
                    slices.push(Slice {
                        end: *time,
                        ..slice
                    });
                }
                Some(3) => {}
                other => panic!("an event of type {other:?}"),
            }
        }
        assert!(open.len() <= 1, "each has ended");
        slices
    }

    pub(crate) fn marks(&self) -> Vec<Mark> {
        let marks = self
            .events
            .iter()
            .filter(|(_, _, event)| number(event, 9) == Some(3));
        let each = marks.map(|(_, _, event)| Mark {
            track: number(event, 11).expect("a track"),
            name: text(event, 23).expect("a name"),
            annotations: annotations(event),
        });
        each.collect()
    }

    /// The row whose name begins so.
    pub(crate) fn track_of(&self, begin: &str) -> u64 {
        let named = |track: &Track| {
            track
                .name
                .as_ref()
                .is_some_and(|name| name.starts_with(begin))
        };
        let mut found = self.tracks.iter().filter(|(_, track)| named(track));
        *found.next().expect("such a row").0
    }

    pub(crate) fn parent(&self, track: u64) -> Option<u64> {
        self.tracks.get(&track)?.parent
    }

    /// The names of the rows below this one.
    pub(crate) fn children(&self, track: u64) -> Vec<String> {
        let below = self.tracks.values().filter(|row| row.parent == Some(track));
        below.filter_map(|row| row.name.clone()).collect()
    }
}
