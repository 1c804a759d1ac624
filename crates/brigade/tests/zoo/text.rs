//! Texts and bytes.

use std::borrow::Cow;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::family;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WithBytes {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    #[serde(with = "serde_bytes")]
    array: [u8; 4],
    #[serde(with = "serde_bytes")]
    maybe: Option<Vec<u8>>,
    // Written as bytes, read as a list.
    #[serde(serialize_with = "serde_bytes::serialize")]
    one_way: Vec<u8>,
    // Written as a list, read as bytes.
    #[serde(deserialize_with = "serde_bytes::deserialize")]
    other_way: Vec<u8>,
}

fn with_bytes(bytes: &[u8]) -> WithBytes {
    WithBytes {
        bytes: bytes.to_vec(),
        array: [0, 1, 254, 255],
        maybe: Some(bytes.to_vec()),
        one_way: bytes.to_vec(),
        other_way: bytes.to_vec(),
    }
}

family! {
    Text(String) "String" [0, 1, 30, 31, 32, 33, 127, 128, 255, 256, 70_000].map(|len| "x".repeat(len)) => Equal;
    Unicode(String) "text beyond ASCII" ["ä".repeat(15), "ä".repeat(16), "\0".into(), "\u{10ffff}\u{feff}".into()] => Equal;
    Boxed((Box<str>, Arc<str>, Cow<'static, str>)) "boxed, shared and borrowed text" [("box".into(), "arc".into(), "cow".into())] => Equal;
    Path(PathBuf) "PathBuf" [PathBuf::from("/tmp/ä")] => Equal;
    BadPath(PathBuf) "PathBuf that is no UTF-8" [PathBuf::from(OsString::from_vec(vec![b'/', 0xff]))] => Refused("path contains invalid UTF-8 characters");
    Os(OsString) "OsString, also if it is no UTF-8" [OsString::from("x"), OsString::from_vec(vec![0xff, b'x'])] => Equal;
    C(CString) "CString" [CString::from(c"text"), CString::new([0xff]).expect("no nul")] => Equal;
    Bytes(ByteBuf) "serde_bytes" [ByteBuf::new(), ByteBuf::from(vec![0, 127, 128, 255]), ByteBuf::from(vec![7; 70_000])] => Equal;
    With(WithBytes) "serde_bytes of fields" [with_bytes(&[]), with_bytes(&[200]), with_bytes(&[5; 100])] => Equal;
    Shared(Bytes) "bytes" [Bytes::from_static(b"\xff\0"), Bytes::new()] => Equal;
    Cow(Cow<'static, [u8]>) "Cow<[u8]>" [Cow::Borrowed(&[1_u8, 255][..])] => Equal;
}
