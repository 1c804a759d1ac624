//! Values that abort on their way.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Can be encoded, and aborts when it is decoded.
#[derive(Debug, Serialize)]
pub(super) struct AbortsDecoding;

impl<'de> Deserialize<'de> for AbortsDecoding {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<AbortsDecoding, D::Error> {
        std::process::abort()
    }
}

/// Could be decoded, and aborts when it is encoded.
#[derive(Debug, Deserialize)]
pub(super) struct AbortsEncoding;

impl Serialize for AbortsEncoding {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        std::process::abort()
    }
}
