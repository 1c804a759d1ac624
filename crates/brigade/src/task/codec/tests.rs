mod as_json;
mod handwritten;
mod hostile;
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
