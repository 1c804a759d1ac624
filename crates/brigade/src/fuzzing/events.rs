//! Events that a worker sends of its own, as bytes.

use super::Script;
use crate::worker::process::host::events::fuzzing::told;
use crate::worker::process::ipc::events::{EventWriter, FieldValue, Place, place_bytes};

/// Frames of events: as anyone may write them, and as a worker does, with some bytes changed.
pub fn events(data: &[u8]) {
    let mut script = Script(data);
    while !script.is_over() {
        if script.byte() % 4 == 0 {
            told(script.bytes(400));
            continue;
        }
        let place = place(&mut script);
        let spans = String::from_utf8_lossy(script.bytes(40));
        let task = (script.byte() % 2 == 0).then(|| u32::from_ne_bytes(script.word()));
        let mut writer = EventWriter::new(task, &place, &spans);
        for _ in 0..script.below(6) {
            let index = script.below(34);
            value(&mut script, |value| writer.value(index, value));
        }
        let mut frame = writer.bytes().to_vec();
        for _ in 0..script.below(4) {
            let at = script.below(frame.len());
            frame[at] = script.byte();
        }
        told(&frame);
    }
}

fn place(script: &mut Script<'_>) -> Vec<u8> {
    let text = |script: &mut Script<'_>| String::from_utf8_lossy(script.bytes(20)).into_owned();
    let (name, target, file) = (text(script), text(script), text(script));
    let fields: Vec<String> = (0..script.below(32)).map(|_| text(script)).collect();
    let place = Place {
        level: script.byte() % 7,
        name: &name,
        target: &target,
        module: (script.byte() % 2 == 0).then_some(target.as_str()),
        file: (script.byte() % 2 == 0).then_some(file.as_str()),
        line: (script.byte() % 2 == 0).then(|| u32::from_ne_bytes(script.word())),
    };
    place_bytes(&place, fields.iter().map(String::as_str))
}

fn value(script: &mut Script<'_>, give: impl FnOnce(FieldValue<'_>)) {
    let kind = script.byte();
    let text = String::from_utf8_lossy(script.bytes(60)).into_owned();
    // Longer than a frame holds.
    let text = if kind & 128 == 0 {
        text
    } else {
        text.repeat(300)
    };
    give(match kind % 8 {
        0 => FieldValue::Bool(kind & 64 == 0),
        1 => FieldValue::I64(i64::from_ne_bytes(script.word())),
        2 => FieldValue::U64(u64::from_ne_bytes(script.word())),
        3 => FieldValue::I128(i128::from_ne_bytes(script.word())),
        4 => FieldValue::U128(u128::from_ne_bytes(script.word())),
        5 => FieldValue::F64(f64::from_ne_bytes(script.word())),
        6 => FieldValue::Str(&text),
        _ => FieldValue::Shown(&text),
    });
}
