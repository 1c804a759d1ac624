mod as_json;
mod handwritten;
mod hostile;
mod keys;
mod passed_over;
mod properties;

use super::*;

/// What comes back of a value.
fn back<T: Message, R: Message>(value: &T) -> std::result::Result<R, String> {
    let mut bytes = Vec::new();
    let descriptors = encode(value, &mut bytes)?;
    decode(&bytes, descriptors)
}

#[test]
fn there_and_back() {
    let value = (1_u8, "two".to_owned(), vec![Some(3.0_f64), None]);
    let mut bytes = vec![9];
    encode(&value, &mut bytes).expect("encodes");
    assert_eq!(
        decode::<(u8, String, Vec<Option<f64>>)>(&bytes[1..], Vec::new()).as_ref(),
        Ok(&value)
    );
}

#[test]
fn left_over_and_missing_bytes_are_errors() {
    let mut bytes = Vec::new();
    encode(&0x1234_u16, &mut bytes).expect("encodes");
    bytes.push(0);
    assert!(
        decode::<u16>(&bytes, Vec::new())
            .expect_err("one too many")
            .contains("left over")
    );
    assert!(
        decode::<u16>(&bytes[..2], Vec::new())
            .expect_err("cut")
            .contains("decoded")
    );
}

/// Messages that use one variant's name have a way of their own into the table of names and out of
/// it: what is there is what the README says, however long the name is.
#[test]
fn one_variant_and_one_struct_are_written_as_many_are() {
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct At {
        x: u8,
    }
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Move {
        Stay,
        To(At),
    }
    let encoded = |value: &Move| {
        let mut bytes = Vec::new();
        encode(value, &mut bytes).expect("encodes");
        assert_eq!(back::<Move, Move>(value).as_ref(), Ok(value));
        bytes
    };
    let stay = [&[0x81, 0xc0][..], b"Stay", &[4, 0, 1, 0, 0, 0]].concat();
    assert_eq!(encoded(&Move::Stay), stay);
    let to = [
        &[0x81, 0xd0, 0xa0, 7][..],
        b"To",
        &[1, 1],
        b"x",
        &[2, 0, 5, 0, 1, 0, 1, 0],
    ];
    assert_eq!(encoded(&Move::To(At { x: 7 })), to.concat());
    // What a peer says of where the names end may be anything.
    for bytes in [stay, to.concat()] {
        for at in bytes.len() - 8..bytes.len() {
            for byte in 0..=u8::MAX {
                let mut other = bytes.clone();
                other[at] = byte;
                if other != bytes {
                    let _ = decode::<Move>(&other, Vec::new());
                }
            }
        }
    }
}
