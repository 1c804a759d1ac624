//! Events of `tracing`, and records of `log`, on their way from a worker to the program: a datagram
//! each.
//!
//! A frame has a head ([`Head`]), and that of an event goes on with its values, each with the index
//! of its field. The place that an event comes from ([`Place`]) lies in it as bytes of its own: by
//! these the program finds again what it made of the place, without reading them.
//!
//! All of it is bounded: what is longer is cut, and ends with `…`. The program takes all that it
//! reads for hostile: what is over a bound, no UTF-8 or no number of a level is no frame.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use tracing::Level;

use crate::task::text::floor_char_boundary;

/// No frame is longer, in bytes.
pub(crate) const MAX_FRAME: usize = 8 * 1024;

/// No event has more fields: others are left out.
pub(crate) const MAX_FIELDS: usize = 30;

/// No target, module, file or name of an event is longer, in bytes.
const MAX_TEXT: usize = 256;

/// No name of a field is longer, in bytes.
const MAX_FIELD_NAME: usize = 64;

/// The names of the spans in the worker, and their fields, are no longer all in all, in bytes.
pub(crate) const MAX_SPANS: usize = 1024;

/// What a text that was cut ends with.
const CUT: &str = "…";

/// How a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Head<'a> {
    /// The values of an event follow.
    Event {
        task: Option<u32>,
        place: &'a [u8],
        spans: &'a str,
    },
    Keeps(Keeps),
}

/// What a worker has of its own, which takes its events or records: none of those are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keeps {
    /// A subscriber of `tracing`.
    pub(crate) subscriber: bool,
    /// A logger of `log`.
    pub(crate) logger: bool,
}

/// Where an event comes from, as its metadata has it; the names of its fields follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place<'a> {
    /// As [`number_of`] has it.
    pub(crate) level: u8,
    pub(crate) name: &'a str,
    pub(crate) target: &'a str,
    pub(crate) module: Option<&'a str>,
    pub(crate) file: Option<&'a str>,
    pub(crate) line: Option<u32>,
}

/// A value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum FieldValue<'a> {
    Bool(bool),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    /// A text that is one.
    Str(&'a str),
    /// Anything else, as it is displayed.
    Shown(&'a str),
}

/// As in `name=value`: a text that is one is quoted.
impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::Bool(value) => value.fmt(f),
            FieldValue::I64(value) => value.fmt(f),
            FieldValue::U64(value) => value.fmt(f),
            FieldValue::I128(value) => value.fmt(f),
            FieldValue::U128(value) => value.fmt(f),
            FieldValue::F64(value) => value.fmt(f),
            FieldValue::Str(text) => write!(f, "{text:?}"),
            FieldValue::Shown(text) => f.write_str(text),
        }
    }
}

/// A frame, as it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum EventsFrame<'a> {
    Event(EventFrame<'a>),
    Keeps(Keeps),
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EventFrame<'a> {
    /// Which of all tasks that the worker was given, counted from 0, ran then. `None`: none did.
    pub(crate) task: Option<u32>,
    /// For [`read_place`].
    pub(crate) place: &'a [u8],
    /// The spans in the worker, the outermost first: `outer{a=1}:inner`.
    pub(crate) spans: &'a str,
    values: &'a [u8],
}

/// A level's number in a frame: from 1, an error, to 5.
pub(crate) fn number_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The level of that number.
pub(crate) fn level_of(number: u8) -> Level {
    match number {
        1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

// ---- writing, in the worker

/// The frame of a worker that takes its events itself.
pub(crate) fn keeps(keeps: Keeps) -> Vec<u8> {
    appended(Vec::new(), &Head::Keeps(keeps))
}

/// A place and the names of its fields, as bytes.
pub(crate) fn place_bytes<'n>(place: &Place<'_>, fields: impl Iterator<Item = &'n str>) -> Vec<u8> {
    let place = Place {
        name: prefix(place.name, MAX_TEXT),
        target: prefix(place.target, MAX_TEXT),
        module: place.module.map(|module| prefix(module, MAX_TEXT)),
        file: place.file.map(|file| prefix(file, MAX_TEXT)),
        ..*place
    };
    let mut bytes = appended(Vec::with_capacity(256), &place);
    let count = bytes.len();
    bytes.push(0);
    for name in fields.take(MAX_FIELDS) {
        bytes = appended(bytes, prefix(name, MAX_FIELD_NAME));
        bytes[count] += 1;
    }
    bytes
}

/// An event that is being written.
pub(crate) struct EventWriter(Vec<u8>);

/// What each value needs beside its bytes, at the most: an index, a tag and a length, or a number
/// of 128 bits.
const VALUE_HEAD: usize = 24;

impl EventWriter {
    pub(crate) fn new(task: Option<u32>, place: &[u8], spans: &str) -> EventWriter {
        let spans = prefix(spans, MAX_SPANS);
        let bytes = Vec::with_capacity(place.len() + 256);
        EventWriter(appended(bytes, &Head::Event { task, place, spans }))
    }

    /// Adds a value, if there is room for it; a text is cut.
    pub(crate) fn value(&mut self, index: usize, value: FieldValue<'_>) {
        let Some(room) = (MAX_FRAME - self.0.len()).checked_sub(VALUE_HEAD) else {
            return;
        };
        let (text, make): (_, fn(&str) -> FieldValue<'_>) = match value {
            FieldValue::Str(text) => (text, |text| FieldValue::Str(text)),
            FieldValue::Shown(text) => (text, |text| FieldValue::Shown(text)),
            number => return self.append(index, number),
        };
        if text.len() <= room {
            return self.append(index, value);
        }
        let mut cut = Bounded::new(room);
        let _ = cut.write_str(text);
        self.append(index, make(&cut.finish()));
    }

    fn append(&mut self, index: usize, value: FieldValue<'_>) {
        if index < MAX_FIELDS {
            self.0 = appended(std::mem::take(&mut self.0), &(index as u8, value));
        }
    }

    /// For a text that is written in pieces: as long as a value may still be.
    pub(crate) fn room(&self) -> usize {
        (MAX_FRAME - self.0.len()).saturating_sub(VALUE_HEAD)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn appended<T: Serialize + ?Sized>(bytes: Vec<u8>, value: &T) -> Vec<u8> {
    // Nothing of it fails: memory grows, and all lengths are known.
    postcard::to_extend(value, bytes).unwrap_or_default()
}

/// The beginning of a text, without the sign that it was cut.
fn prefix(text: &str, most: usize) -> &str {
    &text[..floor_char_boundary(text, most)]
}

/// A text of bounded length in bytes, however much is written into it: what comes after
/// that costs no memory, and an honest `Debug` stops.
#[derive(Debug)]
pub(crate) struct Bounded {
    text: String,
    most: usize,
    is_cut: bool,
}

impl Bounded {
    pub(crate) fn new(most: usize) -> Bounded {
        Bounded {
            text: String::new(),
            most,
            is_cut: false,
        }
    }

    /// The text; one that was cut says so.
    pub(crate) fn finish(mut self) -> String {
        if self.is_cut {
            let end = floor_char_boundary(&self.text, self.most.saturating_sub(CUT.len()));
            self.text.truncate(end);
            if self.most >= CUT.len() {
                self.text.push_str(CUT);
            }
        }
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.most - self.text.len();
        let fitting = prefix(text, room);
        if self.is_cut {
            return Err(fmt::Error);
        }
        self.text.push_str(fitting);
        if fitting.len() < text.len() {
            self.is_cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

// ---- reading, in the program

/// What a datagram says; `None`: nothing that makes sense.
pub(crate) fn read(frame: &[u8]) -> Option<EventsFrame<'_>> {
    if frame.len() > MAX_FRAME {
        return None;
    }
    let (head, values) = postcard::take_from_bytes::<Head<'_>>(frame).ok()?;
    match head {
        Head::Keeps(keeps) => Some(EventsFrame::Keeps(keeps)),
        Head::Event { spans, .. } if spans.len() > MAX_SPANS => None,
        Head::Event { task, place, spans } => Some(EventsFrame::Event(EventFrame {
            task,
            place,
            spans,
            values,
        })),
    }
}

/// A place, and the names of its fields; `None`: it makes no sense.
pub(crate) fn read_place(bytes: &[u8]) -> Option<(Place<'_>, Vec<&str>)> {
    let (place, rest) = postcard::take_from_bytes::<Place<'_>>(bytes).ok()?;
    let texts = [
        Some(place.name),
        Some(place.target),
        place.module,
        place.file,
    ];
    if !(1..=5).contains(&place.level) || texts.into_iter().flatten().any(|t| t.len() > MAX_TEXT) {
        return None;
    }
    let (&count, mut rest) = rest.split_first()?;
    if usize::from(count) > MAX_FIELDS {
        return None;
    }
    let mut names = Vec::with_capacity(count.into());
    for _ in 0..count {
        let (name, others) = postcard::take_from_bytes::<&str>(rest).ok()?;
        if name.len() > MAX_FIELD_NAME {
            return None;
        }
        names.push(name);
        rest = others;
    }
    rest.is_empty().then_some((place, names))
}

impl<'a> EventFrame<'a> {
    /// The event's values, each with the index of its field. They end where what follows makes no
    /// sense.
    pub(crate) fn values(&self) -> impl Iterator<Item = (usize, FieldValue<'a>)> + use<'a> {
        let mut rest = self.values;
        let next = move || {
            let ((index, value), others) =
                postcard::take_from_bytes::<(u8, FieldValue<'a>)>(rest).ok()?;
            rest = others;
            Some((usize::from(index), value))
        };
        std::iter::from_fn(next).take(MAX_FIELDS)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::outline;
    use crate::worker::process::ipc::protocol::PROTOCOL;

    const PLACE: Place<'_> = Place {
        level: 3,
        name: "event src/lib.rs:7",
        target: "images::decode",
        module: Some("images::decode"),
        file: Some("src/lib.rs"),
        line: Some(7),
    };

    fn event_of(frame: &[u8]) -> EventFrame<'_> {
        match read(frame) {
            Some(EventsFrame::Event(event)) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    #[test]
    fn an_event_arrives_as_it_was() {
        let names = ["message", "width", "ratio"];
        let place = place_bytes(&PLACE, names.into_iter());
        let mut writer = EventWriter::new(Some(u32::MAX), &place, "job{id=4}:header");
        let values = [
            FieldValue::Shown("decoded"),
            FieldValue::U128(u128::MAX),
            FieldValue::F64(0.5),
            FieldValue::I64(i64::MIN),
            FieldValue::Str("a\u{0}b"),
            FieldValue::Bool(true),
        ];
        for (index, value) in values.into_iter().enumerate() {
            writer.value(index, value);
        }
        let event = event_of(writer.bytes());
        assert_eq!(
            (event.task, event.spans),
            (Some(u32::MAX), "job{id=4}:header")
        );
        assert_eq!(read_place(event.place), Some((PLACE, names.to_vec())));
        assert_eq!(
            event.values().map(|(_, value)| value).collect::<Vec<_>>(),
            values
        );
        let own = Keeps {
            subscriber: true,
            logger: false,
        };
        assert_eq!(read(&keeps(own)), Some(EventsFrame::Keeps(own)));
    }

    /// Programs of other builds read it, as long as they speak the same protocol.
    #[test]
    fn a_frame_is_that_of_the_version() {
        let place = place_bytes(&PLACE, ["message"].into_iter());
        let mut writer = EventWriter::new(Some(300), &place, "job");
        let values = [
            FieldValue::Bool(true),
            FieldValue::I64(-1),
            FieldValue::U64(300),
            FieldValue::I128(-1),
            FieldValue::U128(300),
            FieldValue::F64(0.5),
            FieldValue::Str("text"),
            FieldValue::Shown("shown"),
        ];
        for value in values {
            writer.value(0, value);
        }
        let all = [writer.bytes(), &keeps(Keeps::default())].concat();
        assert_eq!(
            (PROTOCOL, outline::hash(&all)),
            (1, 13_948_467_266_967_825_635),
            "if a release speaks this version of the protocol, raise it; then pin this: {all:?}"
        );
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let long = "ü".repeat(MAX_FRAME);
        let names = vec![long.as_str(); MAX_FIELDS + 2];
        let place = Place {
            name: &long,
            target: &long,
            module: Some(&long),
            file: Some(&long),
            ..PLACE
        };
        let place = place_bytes(&place, names.into_iter());
        let mut writer = EventWriter::new(None, &place, &long);
        for index in 0..MAX_FIELDS + 2 {
            writer.value(index, FieldValue::Shown(&long));
            writer.value(index, FieldValue::U128(u128::MAX));
        }
        assert!(
            writer.bytes().len() <= MAX_FRAME,
            "{}",
            writer.bytes().len()
        );
        let event = event_of(writer.bytes());
        let (place, names) = read_place(event.place).expect("within all bounds");
        assert_eq!((place.target.len(), names.len()), (MAX_TEXT, MAX_FIELDS));
        let Some((0, FieldValue::Shown(text))) = event.values().next() else {
            panic!("{event:?}");
        };
        assert!(
            text.len() > MAX_FRAME / 4 && text.ends_with(CUT),
            "{}",
            text.len()
        );
    }

    #[test]
    fn a_text_that_is_written_without_end_stops() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("12345")?;
                }
            }
        }
        let mut text = Bounded::new(12);
        let _ = write!(text, "{Endless}");
        assert_eq!(text.finish(), "123451234…");
        assert_eq!(Bounded::new(0).finish(), "");
    }

    proptest! {
        /// Whatever a worker sends, reading it ends, stays within the bounds, and panics nowhere.
        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(EventsFrame::Event(event)) = read(&bytes) {
                prop_assert!(event.values().count() <= MAX_FIELDS);
                if let Some((place, names)) = read_place(event.place) {
                    prop_assert!((1..=5).contains(&place.level) && names.len() <= MAX_FIELDS);
                }
            }
            let _ = read_place(&bytes);
        }

        /// As above, of an event of which a few bytes were written over.
        #[test]
        fn a_spoilt_event_is_harmless(spoils in proptest::collection::vec((0..200_usize, any::<u8>()), 1..6)) {
            let place = place_bytes(&PLACE, ["message", "n"].into_iter());
            let mut writer = EventWriter::new(Some(1), &place, "span");
            writer.value(0, FieldValue::Shown("a message that is somewhat longer"));
            writer.value(1, FieldValue::U64(1 << 40));
            let mut bytes = writer.bytes().to_vec();
            for (at, byte) in spoils {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if let Some(EventsFrame::Event(event)) = read(&bytes) {
                prop_assert!(event.values().count() <= MAX_FIELDS);
                let _ = read_place(event.place);
            }
        }
    }
}
