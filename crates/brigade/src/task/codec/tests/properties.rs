//! What holds for all types and values, and for all bytes.

use proptest::prelude::*;

use crate::task::codec::model;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_of_any_type_arrives_equal(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        model::there_and_back(&data);
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        bytes[0] = [0x01, 0x81, 0xc1, bytes[0]][usize::from(bytes[0] % 4)];
        model::from_anyone(&bytes);
    }
}
